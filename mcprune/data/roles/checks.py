"""Checks and parts of messages that several loaders share."""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mcprune.errors import DataError
from mcprune.types import AnyArray

FLOAT32_MAX = float(np.finfo(np.float32).max)
# Below this spread a column stays float64 too: float32 has fewer digits under 1.2e-38, and none under 1.4e-45.
SMALLEST = 1e-30
# A column stays float64 if its spread is below this fraction of its size: float32 (2^-24 = 6e-8) then has under
# 1,700 steps.
BLUR = 1e-4
MAX_LENGTH = 100  # letters of an item in a message


def some(items: Iterable[object], most: int = 6) -> str:
    """Return the first few of the items, long ones shortened, and how many more there are."""
    listed = [text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..." for text in map(str, items)]
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


def differ_in_case(values: Iterable[object]) -> list[str]:
    """Return the texts that are equal to another one but for upper and lower case, each as code writes it."""
    of: dict[str, list[str]] = {}
    for value in values:
        if isinstance(value, str):
            of.setdefault(value.casefold(), []).append(repr(value))
    return [text for alike in of.values() if len(alike) > 1 for text in alike]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean ...?' with the nearest known word, or an empty text."""
    by_lower = {each.lower(): each for each in known}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {by_lower[matches[0]]!r}?" if matches else ""


def is_missing(cell: object) -> bool:
    """Return whether a cell of a frame is None, NaN, or pandas' NA or NaT."""
    is_nan = isinstance(cell, float) and math.isnan(cell)
    return cell is None or is_nan or type(cell).__name__ in ("NAType", "NaTType")


def distinct_names(name: str, names: Sequence[str]) -> None:
    """Refuse columns of one name: a mask could not name them."""
    twice = [repr(each) for each, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{name}: several columns are called {some(twice)}. Give every column a name of its own.")


def as_features(name: str, features: AnyArray, names: Sequence[str], *, may_gap: bool = False) -> AnyArray:
    """Return finite features as uint8, float32 or, where float32 would blur a column, float64; the shape is kept.

    With `may_gap` NaN stays.

    Raises
    ------
    DataError
        A type that is not a number; values that are NaN, infinite or beyond float32's range (which columns and
        rows, how many).
    """
    if features.dtype == np.uint8:
        return features
    if features.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: features of type {features.dtype}. Give numbers: encode texts and dates as numbers, or "
            "remove those columns."
        )
    if features.dtype == np.float32:
        values = features
    else:
        with np.errstate(over="ignore"):
            values = features.astype(np.float64, copy=False)
    if may_gap:
        low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        low, high = np.where(np.isnan(low), 0.0, low), np.where(np.isnan(high), 0.0, high)
    else:
        low, high = values.min(axis=0), values.max(axis=0)  # a NaN anywhere in a column makes both NaN
    size = np.maximum(np.abs(low), np.abs(high))
    if not (size <= FLOAT32_MAX).all():
        raise _not_finite(name, values, names, may_gap=may_gap)
    if values.dtype == np.float32:
        return values
    spread = high - low
    if ((spread > 0) & ((spread < BLUR * size) | (spread < SMALLEST))).any():
        return values
    return values.astype(np.float32)


def _not_finite(name: str, values: AnyArray, names: Sequence[str], *, may_gap: bool) -> DataError:
    bad = ~(np.abs(values) <= FLOAT32_MAX)
    if may_gap:
        bad &= ~np.isnan(values)
    per_column = bad.sum(axis=0)
    rows = np.flatnonzero(bad.any(axis=1))
    columns = [f"{names[j]!r} ({per_column[j]})" for j in np.argsort(-per_column, kind="stable") if per_column[j]]
    total = int(per_column.sum())
    return DataError(
        f"{name}: {total} feature value{'s are' if total > 1 else ' is'} {'' if may_gap else 'missing (NaN), '}infinite or beyond "
        f"3.4e38, in {len(rows)} of {len(values)} rows and {len(columns)} of {len(names)} columns. Columns "
        f"(how many): {some(columns)}. Rows, counted from 1: {some(rows + 1)}. Remove these rows or columns, "
        "or fill the values in."
    )
