"""Whether the first line of a text table names the columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from mcprune.data.formats.cells import is_date, is_number, is_truth
from mcprune.data.roles.checks import some
from mcprune.data.roles.columns import MIN_COUNTED_ROWS

MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})
MIN_HEADER_NUMBERS = 5  # numbers in a constant step that count as a header where they do not start at 0
_SAMPLE, _FEW = 1_000, 100  # rows that are looked at


class Header(NamedTuple):
    """Whether the first line holds names, and a note where that is not beyond doubt."""

    is_header: bool
    note: str = ""


def find_header(first: Sequence[str], rows: Callable[[], Iterable[Sequence[str]]], target: str | None = None) -> Header:
    """Decide whether the first line of an unknown table is a header.

    Parameters
    ----------
    first : sequence of str
        Its cells.
    rows : callable
        Returns the lines below; called only where the first line alone does not decide.
    target : str, optional
        Name of the target column that the user asks for.

    Notes
    -----
    A line with the target's name is a header, and so is one of texts, unless most of them occur again below. Numbers 0, 1, 2, ... are a
    header (pandas writes them), and five or more numbers in another constant step too, unless the next line is alike. In a line of
    numbers and texts the texts decide: the class of a row occurs in other rows as well, the name of a column does not. But names are
    no gaps, dates or truth values, no name stands twice, and numbers that are names hardly lie among those below.
    """
    cells = [cell.strip() for cell in first]
    numbers = [cell for cell in cells if is_number(cell)]
    if target in cells or (not numbers and _stands_twice(cells, rows)):
        return Header(True)
    if any(cell == "?" or is_truth(cell) for cell in cells) or _dates_follow(cells, rows):
        return Header(False)
    texts = [i for i, cell in enumerate(cells) if cell and not is_number(cell) and cell.lower() not in MISSING]
    if not numbers:
        return Header(not _mostly_repeats(cells, texts, rows))
    if len(numbers) == len(cells):
        return _numbers_only(cells, rows)
    if not texts or len(set(numbers)) < len(numbers) or _repeats(cells, texts, rows):
        return Header(False)
    names = some(repr(cells[i]) for i in texts)
    once = f"{names} {'occurs' if len(texts) == 1 else 'occur'} in no row below"
    if not _rises(numbers) and _lies_among(cells, rows):
        return Header(
            False,
            f"the first line is read as a row, though {once}: its numbers are like those below. If not: --header yes",
        )
    return Header(True, f"the first line is read as a header: {once}. If it is a row: --header no")


def _numbers_only(cells: list[str], rows: Callable[[], Iterable[Sequence[str]]]) -> Header:
    below = [row for row, _ in zip(rows(), range(_SAMPLE), strict=False)]
    second = below[0] if below else None
    is_even = _rises_evenly(cells) and (second is None or not _rises_evenly(second))
    if is_even and cells[:2] == ["0", "1"]:
        return Header(True)
    text = f"the first line ({some(cells, 3)}) has only numbers and is read as a"
    if is_even and len(cells) >= MIN_HEADER_NUMBERS:
        return Header(True, f"{text} header, as they rise by a constant step. If it is a row: --header no")
    if _is_far(cells, below):
        return Header(True, f"{text} header, as they are far from those below. If it is a row: --header no")
    if len(cells) >= MIN_HEADER_NUMBERS and _rises(cells) and second is not None and not _rises(second):
        return Header(False, f"{text} row, though its numbers rise. If it is a header: --header yes")
    return Header(False)


def _is_far(cells: list[str], below: list[Sequence[str]]) -> bool:
    """Return whether the first line's numbers are distinct and far outside of those below, in all columns but one.

    Far is by more than the range of the column; the one may be the class.
    """
    table = [[float(cell) if is_number(cell) else np.nan for cell in row] for row in below if len(row) == len(cells)]
    if len(table) < MIN_COUNTED_ROWS or len(cells) < 3 or len(set(cells)) < len(cells):
        return False
    first, values = np.array([float(cell) for cell in cells]), np.array(table)
    is_known = np.isfinite(values)
    low = np.where(is_known, values, np.inf).min(axis=0)
    high = np.where(is_known, values, -np.inf).max(axis=0)
    spread = np.maximum(high - low, 0)
    is_near = (first >= low - spread) & (first <= high + spread)
    return int(is_near.sum()) <= 1


def _rises(cells: Sequence[str]) -> bool:
    if len(cells) < 3 or not all(is_number(cell) for cell in cells):
        return False
    return bool((np.diff([float(cell) for cell in cells]) > 0).all())


def _rises_evenly(cells: Sequence[str]) -> bool:
    if not _rises(cells) or not all(float(cell).is_integer() for cell in cells):
        return False
    return len(set(np.diff([float(cell) for cell in cells]).tolist())) == 1


def _dates_follow(cells: list[str], rows: Callable[[], Iterable[Sequence[str]]]) -> bool:
    """Return whether a date is followed by another one: a column may be named by a date, but then it holds something else."""
    dates = [i for i, cell in enumerate(cells) if is_date(cell)]
    second = next(iter(rows()), ()) if dates else ()
    return any(i < len(second) and is_date(second[i]) for i in dates)


def _stands_twice(cells: list[str], rows: Callable[[], Iterable[Sequence[str]]]) -> bool:
    """Return whether a line of texts stands again, whole, among rows that have numbers in its place: tables joined with their headers."""
    below = [[cell.strip() for cell in row] for row in islice(rows(), _FEW)]
    return cells in below and any(is_number(cell) for row in below for cell in row)


def _lies_among(cells: list[str], rows: Callable[[], Iterable[Sequence[str]]]) -> bool:
    """Return whether all numbers of the first line lie between those of their columns below."""
    columns = [i for i, cell in enumerate(cells) if is_number(cell)]
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    for row in islice(rows(), _SAMPLE):
        values = [float(row[i]) if i < len(row) and is_number(row[i]) else np.nan for i in columns]
        low, high = np.fmin(low, values), np.fmax(high, values)
    first = np.array([float(cells[i]) for i in columns])
    return bool(((low <= first) & (first <= high)).all())


def _mostly_repeats(cells: list[str], columns: list[int], rows: Callable[[], Iterable[Sequence[str]]]) -> bool:
    """Return whether half or more of the first line's texts occur again in their own columns."""
    open_ = set(columns)
    for row in islice(rows(), _FEW):
        open_ -= {i for i in open_ if i < len(row) and row[i].strip() == cells[i]}
    return 2 * len(open_) <= len(columns) and bool(columns)


def _repeats(cells: list[str], columns: list[int], rows: Callable[[], Iterable[Sequence[str]]]) -> bool:
    """Return whether one of the first line's cells occurs again in its own column."""
    return any(i < len(row) and row[i].strip() == cells[i] for row in rows() for i in columns)


def known_header(
    first: Sequence[str],
    rows: Callable[[], Iterable[Sequence[str]]],
    names: Sequence[str],
    required: Sequence[str],
    target: str | None,
) -> Header:
    """Decide whether the first line of new rows is a header, with the names that are known from a run.

    Parameters
    ----------
    first, rows
        As in `find_header`.
    names, required : sequence of str
        All feature columns of the run, and those that must be read.
    target : str or None

    Notes
    -----
    Names such as 900, 905, 910 look like a row. They are a header if all required names are present and the other
    numbers are known names too, or if all names of the run are present. If the next line passes as well, as in a table
    of ranks, the names must also be in the run's order.
    """
    cells = [cell.strip() for cell in first]
    known = {*names, target} - {None}
    numbers = [cell for cell in cells if is_number(cell)]
    if any(cell in known and not is_number(cell) for cell in cells):
        return Header(True)
    if len(numbers) < len(cells):
        return find_header(first, rows)
    if not _names_columns(cells, known, names, required):
        return Header(False)
    second = [cell.strip() for cell in next(iter(rows()), ())]
    order = [name for name in names if name in cells]
    if _names_columns(second, known, names, required) and [cell for cell in cells if cell in names] != order:
        return Header(False)
    text = f"the first line ({some(cells, 3)}) is read as a header, as it has names of the run's columns"
    return Header(True, f"{text}. If it is a row: --header no")


def _names_columns(cells: list[str], known: set[str | None], names: Sequence[str], required: Sequence[str]) -> bool:
    if len(set(cells)) < len(cells):
        return False
    present = set(cells)
    if present.issuperset(names):
        return True
    matches = sum(cell in known for cell in cells)
    # A missing name is reported later: a row hardly has several of the run's names by chance.
    return matches == len(cells) if present.issuperset(required) else matches >= max(2, (len(cells) + 1) // 2)
