"""Targets of any type to class indices 0..C-1, with the original values in sorted order."""

import math
import re
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from mcprune.data.roles.checks import some
from mcprune.errors import DataError
from mcprune.types import AnyArray, IntArray

Label = str | int | bool | float

_INTEGER = re.compile(r"-?[0-9]+")
MAX_LENGTH = 300  # digits: Python reads no integer of more than 4,300 digits, and no float is that long
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "?"})


def parse_labels(texts: Sequence[str]) -> list[Label]:
    """Return class codes as int, float or bool if every text is what Python prints for its value, else unchanged.

    Two texts never become one class: '3.1' and '3.10', '1' and '1.0', '7' and '007' or 'True' and 'true' stay texts.

    Examples
    --------
    >>> parse_labels(["1", "2"]), parse_labels(["1", "2.50"])
    ([1, 2], ['1', '2.50'])
    """
    distinct = set(texts)
    if any(len(text) > MAX_LENGTH for text in distinct):
        return list(texts)
    parsers: tuple[Callable[[str], Label | None], ...] = (_integer, _float, _boolean)
    for parse in parsers:
        values = {text: value for text in distinct if (value := parse(text)) is not None and str(value) == text}
        if len(values) == len(distinct):
            return [values[text] for text in texts]
    return list(texts)


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and (value or text != "-0.0") else None  # -0.0 equals 0.0


def _boolean(text: str) -> bool | None:
    return {"True": True, "False": False}.get(text)


def label_array(labels: Sequence[Label]) -> AnyArray:
    """Return an array of exactly these labels: of objects where no numpy type holds all of them."""
    array = np.asarray(labels)
    values = array.tolist()
    is_exact = all(type(a) is type(b) and a == b for a, b in zip(values, labels, strict=True))
    return array if is_exact else np.array(labels, dtype=object)


def encode(
    name: str, raw: AnyArray | Sequence[object], target_name: str | None = None
) -> tuple[IntArray, tuple[Label, ...]]:
    """Return class indices and their original values.

    Parameters
    ----------
    name, target_name : str
        For messages.
    raw : array or sequence of length rows
        str, int, bool or float, one type throughout (int and float mix); numpy's or Python's.

    Returns
    -------
    targets : ndarray of int64, shape (rows,)
    labels : tuple of str, int, bool or float
        Sorted, plain Python objects that JSON can hold.

    Raises
    ------
    DataError
        Missing or infinite targets, mixed or unsupported types, more than one target column, bytes that are not UTF-8.
    """
    where = f"{name}: the target" + (f" {target_name!r}" if target_name is not None else "")
    if isinstance(raw, np.ndarray):
        if raw.ndim == 2 and raw.shape[1] == 1:
            raw = raw[:, 0]
        if raw.ndim != 1:
            raise DataError(f"{where} has the shape {raw.shape}. Give one class for each row (not one-hot columns).")
        if raw.dtype.kind in "biu":
            present, inverse = np.unique(raw, return_inverse=True)
            return inverse.astype(np.int64), tuple(present.tolist())
        if raw.dtype.kind not in "fUSO":
            raise DataError(f"{where} is of type {raw.dtype}. Give texts, whole numbers, truth values or numbers.")
    try:
        values = [plain_value(each) for each in raw]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} holds {error.object!r:.60}, which is not UTF-8. Decode the classes to texts."
        ) from None
    missing = [i + 1 for i, each in enumerate(values) if is_missing(each)]
    if missing:
        raise DataError(
            f"{where} is missing (empty, NaN or infinite) in {len(missing)} of {len(values)} rows; counted "
            f"from 1: {some(missing)}. Fill in the class or remove these rows."
        )
    kinds = {type(each) for each in values}
    if not (kinds <= {str} or kinds <= {bool} or kinds <= {int, float}):
        names = some(sorted(kind.__name__ for kind in kinds))
        raise DataError(
            f"{where} holds values of type {names}. Give texts, whole numbers, truth values or numbers, not a mixture."
        )
    if float in kinds:
        values = [float(each) if isinstance(each, int) and abs(each) <= 2**53 else each for each in values]
    classes = cast("list[Label]", values)
    labels = sorted(set(classes))
    index = {each: i for i, each in enumerate(labels)}
    return np.array([index[each] for each in classes], dtype=np.int64), tuple(labels)


def plain_value(value: object) -> object:
    """Return a cell as a plain Python object: numbers of numpy as Python's, bytes as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return str(value) if isinstance(value, str) else value  # str types of numpy and pandas become str


def is_missing(value: object) -> bool:
    """Return whether a plain cell is empty, NaN, infinite, or a text that stands for what is missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, float):
        return not np.isfinite(value)
    return isinstance(value, str) and value.strip().lower() in _MISSING
