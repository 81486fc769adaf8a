"""Columns of a table: whether the first line names them, which one is the target, and which only number the rows."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.checks import nearest, some
from mcprune.errors import DataError
from mcprune.types import AnyArray

TARGET_NAMES = ("target", "label", "class", "y")
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})

MIN_HEADER_NUMBERS = 5  # numbers in a constant step that count as a header where they do not start at 0
MIN_COUNTED_ROWS = 10  # fewer rows that rise by a constant step may do so by chance
_SAMPLE = 1_000  # rows that candidates are found in
_COLUMNS = 1_024  # looked at together
_GENERATED = re.compile(r"column (\d+)")
# Usual names of row numbers and identifiers; a column is one only if its values agree.
_ROW_NUMBER = re.compile(
    r"unnamed: ?\d+|level_\d+|index|idx|#|no\.?|nr\.?|s\.?no\.?|serial([ _.-]?(no|nr|number))?|u?uid|pk|key"
    r"|(row|line|record|obs|observation|sample|case|subject|patient)([ _.-]?(id|no|nr|num|number|index|names?))?"
    r"|(.*[ _.-])?u?u?id([ _.-]?(no|nr|number))?",
    re.IGNORECASE,
)
_CAMEL_ID = re.compile(r".*[a-z](Id|ID)")


def column_names(count: int) -> list[str]:
    """Return names for columns without: 'column 0', 'column 1', ..."""
    return [f"column {i}" for i in range(count)]


def column_numbers(names: Iterable[str]) -> list[int] | None:
    """Return the numbers in names of `column_names`; None if one is another name."""
    matches = [_GENERATED.fullmatch(name) for name in names]
    return None if None in matches else [int(match[1]) for match in matches if match]


def is_number(cell: str) -> bool:
    """Return whether a cell of a text table is a number; '1_000', which Python reads, is not."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


# --- the header line


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
    A line without numbers is a header, and so is one with the target's name. Numbers 0, 1, 2, ... are a header (pandas
    writes them), and five or more numbers in another constant step too, unless the next line is alike. In a line of
    numbers and texts the texts decide: the class of a row occurs in other rows as well, the name of a column does not.
    """
    cells = [cell.strip() for cell in first]
    numbers = [cell for cell in cells if is_number(cell)]
    if not numbers or target in cells:
        return Header(True)
    if len(numbers) == len(cells):
        return _numbers_only(cells, rows)
    texts = [i for i, cell in enumerate(cells) if cell and not is_number(cell) and cell.lower() not in MISSING]
    if not texts or _repeats(cells, texts, rows):
        return Header(False)
    names = some(repr(cells[i]) for i in texts)
    return Header(
        True,
        f"the first line is read as a header: {names} {'occurs' if len(texts) == 1 else 'occur'} in no row below. "
        "If it is a row: --header no",
    )


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
    if not numbers or any(cell in known and not is_number(cell) for cell in cells):
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


# --- the target


def target_column(path: Path, names: Sequence[str], target: str | None, *, is_named: bool = True) -> tuple[int, str]:
    """Return the index of the target column, and a note if it was chosen on the user's behalf.

    Without a name it is the column called target, label, class or y (in any case) if just one of these
    exists, else the last.

    Raises
    ------
    DataError
        No such column (the nearest name is suggested).
    """
    if target is not None:
        if target not in names:
            hint = "" if is_named else " The first line was read as a row; if it is a header: --header yes."
            raise DataError(
                f"{path}: no target column {target!r}.{nearest(target, names)} The columns are: "
                f"{some(map(repr, names), 12)}.{hint}"
            )
        return list(names).index(target), ""
    usual = [i for i, name in enumerate(names) if name.lower() in TARGET_NAMES]
    if len(usual) == 1:
        return usual[0], f"target = column {names[usual[0]]!r}, by its name"
    reason = "no column is" if not usual else "more than one column is"
    return len(names) - 1, f"target = the last column {names[-1]!r} ({reason} called {', '.join(TARGET_NAMES)})"


# --- columns that are no measurements


class RowNumbers(NamedTuple):
    """Indices of columns that number the rows, and of columns that may do so."""

    certain: list[int]
    possible: list[int]


def is_identifier_name(name: str) -> bool:
    """Return whether a name is usual for row numbers or identifiers: 'Unnamed: 0', 'index', 'PatientID', ..."""
    name = name.strip()
    return bool(_ROW_NUMBER.fullmatch(name) or _CAMEL_ID.fullmatch(name))


def row_numbers(names: Sequence[str], features: AnyArray) -> RowNumbers:
    """Find columns that only number the rows: numbers that are different in each row.

    Certain are columns that rise or fall by a constant step over ten rows or more, and columns whose name is usual for
    identifiers. Possible are others that are a permutation of successive numbers, or that rise or fall throughout, and
    numbers that are not whole with a constant step.

    Parameters
    ----------
    names : sequence of str, length N
    features : ndarray, shape (rows, N)
    """
    certain, possible = [], []
    rows = len(features)
    if rows < 3:
        return RowNumbers([], [])
    for j in _may_number(features[:_SAMPLE]):
        name, column = names[j], features[:, j].astype(np.float64)
        if np.unique(column[:_SAMPLE]).size < min(rows, _SAMPLE) or not np.isfinite(column).all():
            continue
        steps = np.diff(column)
        if not (np.mod(column, 1) == 0).all():
            is_even = rows >= MIN_COUNTED_ROWS and np.allclose(steps, steps[0], rtol=1e-6, atol=0)
            possible += [j] if is_even else []
            continue
        if np.unique(column).size < rows:
            continue
        if is_identifier_name(name) or (rows >= MIN_COUNTED_ROWS and (steps == steps[0]).all()):
            certain.append(j)
        elif rows >= MIN_COUNTED_ROWS and (
            (steps > 0).all() or (steps < 0).all() or column.max() - column.min() == rows - 1
        ):
            possible.append(j)
    return RowNumbers(certain, possible)


def _may_number(sample: AnyArray) -> list[int]:
    """Return the columns whose first rows are all different, and whole or in nearly constant steps: many at a time, for wide data."""
    chosen = []
    for start in range(0, sample.shape[1], _COLUMNS):
        part = sample[:, start : start + _COLUMNS].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            is_whole = (np.mod(part, 1) == 0).all(axis=0)
            steps = np.diff(part, axis=0)
            is_even = (np.abs(steps - steps[0]) <= 2e-6 * np.abs(steps[0])).all(axis=0)
            is_different = (np.diff(np.sort(part, axis=0), axis=0) != 0).all(axis=0)
        chosen += (start + np.flatnonzero((is_whole | is_even) & is_different)).tolist()
    return chosen
