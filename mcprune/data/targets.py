"""Targets of any type to class indices 0..C-1, the original values remembered in sorted order."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from mcprune.data.checks import some
from mcprune.errors import DataError
from mcprune.types import AnyArray, IntArray

Label = str | int | bool | float

# only what Python would print for the number counts as one: '007' and '1_000' stay texts
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")
LONGEST = 300  # letters of a number: Python reads no integer of more than 4,300 digits, and no float goes so far
_MISSING = frozenset({"", "nan", "na", "n/a"})


def typed(texts: Sequence[str]) -> list[str] | list[int] | list[bool] | list[float]:
    """The texts of a csv column as int, float or bool if every one of them reads as such, else unchanged."""
    met = set(texts)
    if any(len(each) > LONGEST for each in met):
        return list(texts)
    if all(_INTEGER.fullmatch(each) for each in met):
        return [int(each) for each in texts]
    if all(_FLOAT.fullmatch(each) and any(c.isdigit() for c in each) for each in met):
        return [float(each) for each in texts]
    if all(each.lower() in ("true", "false") for each in met):
        return [each.lower() == "true" for each in texts]
    return list(texts)


def encode(
    name: str, raw: AnyArray | Sequence[object], target_name: str | None = None
) -> tuple[IntArray, tuple[Label, ...]]:
    """Class indices and their original values.

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
        Missing or infinite targets, mixed or unsupported types, more than one target column.
    """
    where = f"{name}: the target" + (f" {target_name!r}" if target_name is not None else "")
    if isinstance(raw, np.ndarray):
        if raw.ndim == 2 and raw.shape[1] == 1:
            raw = raw[:, 0]
        if raw.ndim != 1:
            raise DataError(f"{where} has the shape {raw.shape}. Give one class for each row (not one-hot columns).")
        if raw.dtype.kind in "biu":
            classes, inverse = np.unique(raw, return_inverse=True)
            return inverse.astype(np.int64), tuple(classes.tolist())
        if raw.dtype.kind not in "fUSO":
            raise DataError(f"{where} is of type {raw.dtype}. Give texts, whole numbers, truth values or numbers.")
    values = [_plain(each) for each in raw]
    missing = [i + 1 for i, each in enumerate(values) if _is_missing(each)]
    if missing:
        raise DataError(
            f"{where} is missing (empty, NaN or infinite) in {len(missing)} of {len(values)} rows; counted "
            f"from 1: {some(missing)}. Fill in the class or remove these rows."
        )
    kinds = {type(each) for each in values}
    if not (kinds <= {str} or kinds <= {bool} or kinds <= {int, float}):
        met = some(sorted(kind.__name__ for kind in kinds))
        raise DataError(
            f"{where} holds values of type {met}. Give texts, whole numbers, truth values or numbers, not a mixture."
        )
    labels = sorted(set(values))
    index = {each: i for i, each in enumerate(labels)}
    return np.array([index[each] for each in values], dtype=np.int64), tuple(labels)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value) if isinstance(value, str) else value  # numpy's and pandas' own kinds of str become str


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, float):
        return not np.isfinite(value)
    return isinstance(value, str) and value.strip().lower() in _MISSING
