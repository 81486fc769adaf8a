"""Times of rows, and the split by which training rows come before validation rows before test rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from mcprune.errors import DataError
from mcprune.types import FloatArray, IntArray


def time_values(name: str, column: str, cells: Sequence[str]) -> FloatArray:
    """Return numbers (rows,) that order the rows by time: numbers as they are, dates as ISO 8601 writes them in seconds.

    Raises
    ------
    DataError
        A cell is neither (the row and the cell), or all are the same.
    """
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        value = _time(cell.strip())
        if value is None:
            raise DataError(
                f"{name}: the column {column!r} of times holds {cell[:60]!r} in row {row + 1}. Give numbers, or dates such as "
                "2026-01-31 or 2026-01-31 13:45."
            )
        values[row] = value
    if len(np.unique(values)) < 3:
        raise DataError(
            f"{name}: the column {column!r} of times has {len(np.unique(values))} different values. Three are needed: for training, "
            "validation and test."
        )
    return values


def _time(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        pass
    else:
        return value if np.isfinite(value) else None
    try:
        moment = datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        return None
    # Of one time zone, whatever the machine's is.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def split_by_time(times: FloatArray, validation: float, test: float) -> tuple[IntArray, IntArray, IntArray]:
    """Return the training, validation and test rows, each sorted; rows of one time stay in one part.

    Parameters
    ----------
    times : ndarray of float64, shape (rows,)
    validation : float
        Fraction of all rows.
    test : float
        Fraction of all rows.
    """
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    changes = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1  # where a later time begins

    def cut(place: float, end: int) -> int:
        allowed = changes[changes < end]
        return int(allowed[np.abs(allowed - place).argmin()]) if allowed.size else 0

    rows = len(times)
    last = rows if test == 0 else cut(rows * (1.0 - test), rows)
    middle = last if validation == 0 else cut(rows * (1.0 - test - validation), last)
    return np.sort(order[:middle]), np.sort(order[middle:last]), np.sort(order[last:])
