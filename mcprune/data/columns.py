"""What the columns of a table are: whether the first line names them, which one is the target, which number the rows."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.checks import nearest, some
from mcprune.errors import DataError
from mcprune.types import AnyArray, IntArray

TARGET_NAMES = ("target", "label", "class", "y")
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})

MIN_HEADER_NUMBERS = 5  # numbers in a constant step that count as a header where they do not start at 0
MIN_COUNTED_ROWS = 10  # fewer rows that rise by a constant step may do so by chance
_SAMPLE = 1_000  # rows by which candidates are chosen
_GENERATED = re.compile(r"column (\d+)")
# Names that people and programs give to row numbers and identifiers; the values decide together with the name.
_ROW_NUMBER = re.compile(
    r"unnamed: ?\d+|level_\d+|index|idx|#|no\.?|nr\.?|s\.?no\.?|serial([ _.-]?(no|nr|number))?|u?uid|pk|key"
    r"|(row|line|record|obs|observation|sample|case|subject|patient)([ _.-]?(id|no|nr|num|number|index|names?))?"
    r"|(.*[ _.-])?u?u?id([ _.-]?(no|nr|number))?",
    re.IGNORECASE,
)
_CAMEL_ID = re.compile(r".*[a-z](Id|ID)")


def column_names(count: int) -> list[str]:
    """Names of columns that have none: 'column 0', 'column 1', ..."""
    return [f"column {i}" for i in range(count)]


def column_numbers(names: Iterable[str]) -> list[int] | None:
    """The numbers in names that `column_names` made; None if one of them is another name."""
    matches = [_GENERATED.fullmatch(name) for name in names]
    return None if None in matches else [int(match[1]) for match in matches if match]


def is_number(cell: str) -> bool:
    """Whether a cell of a text table reads as a number: '1_000' does not, though Python reads it."""
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
    """Whether the first line of a table that nothing is known of holds names.

    Parameters
    ----------
    first : sequence of str
        Its cells.
    rows : callable
        Gives the lines behind it; called, and read to the end, only where the first line alone does not tell.
    target : str, optional
        The target column's name as the user says it.

    Notes
    -----
    A line without numbers is a header, and so is one that holds the target's name. Numbers 0, 1, 2, ... are a header
    (pandas writes them), also in another constant step if there are five or more, unless the next line is like it.
    In a line of numbers and texts, the texts decide: in a row the class stands again in another row, a name does not.
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
        f"the first line is taken for a header: {names} {'stands' if len(texts) == 1 else 'stand'} in no row below. "
        "If it is a row: --header no",
    )


def _numbers_only(cells: list[str], rows: Callable[[], Iterable[Sequence[str]]]) -> Header:
    second = next(iter(rows()), None)
    is_even = _rises_evenly(cells) and (second is None or not _rises_evenly(second))
    if is_even and cells[:2] == ["0", "1"]:
        return Header(True)
    text = f"the first line ({some(cells, 3)}) holds numbers only and is taken for a"
    if is_even and len(cells) >= MIN_HEADER_NUMBERS:
        return Header(True, f"{text} header, as they rise by a constant step. If it is a row: --header no")
    if len(cells) >= MIN_HEADER_NUMBERS and _rises(cells) and second is not None and not _rises(second):
        return Header(False, f"{text} row, though its numbers rise. If it is a header: --header yes")
    return Header(False)


def _rises(cells: Sequence[str]) -> bool:
    if len(cells) < 3 or not all(is_number(cell) for cell in cells):
        return False
    return bool((np.diff([float(cell) for cell in cells]) > 0).all())


def _rises_evenly(cells: Sequence[str]) -> bool:
    if not _rises(cells) or not all(float(cell).is_integer() for cell in cells):
        return False
    return len(set(np.diff([float(cell) for cell in cells]).tolist())) == 1


def _repeats(cells: list[str], columns: list[int], rows: Callable[[], Iterable[Sequence[str]]]) -> bool:
    """Whether one of the first line's cells stands again in its own column."""
    return any(i < len(row) and row[i].strip() == cells[i] for row in rows() for i in columns)


def known_header(
    first: Sequence[str],
    rows: Callable[[], Iterable[Sequence[str]]],
    names: Sequence[str],
    required: Sequence[str],
    target: str | None,
) -> Header:
    """Whether the first line of new rows holds names, where the names of the columns are known from a run.

    Parameters
    ----------
    first, rows
        As in `find_header`.
    names, required : sequence of str
        All feature columns of the run, and those that must be read.
    target : str or None

    Notes
    -----
    Names such as 900, 905, 910 look like a row. They are a header if all that are required are there and the other
    numbers are known names too, or if all of the run's columns are there. If the next line reads so as well, such as
    in a table of ranks, it must be the run's order too.
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
    text = f"the first line ({some(cells, 3)}) is taken for a header, as it holds names of the run's columns"
    return Header(True, f"{text}. If it is a row: --header no")


def _names_columns(cells: list[str], known: set[str | None], names: Sequence[str], required: Sequence[str]) -> bool:
    if len(set(cells)) < len(cells):
        return False
    there = set(cells)
    if there.issuperset(names):
        return True
    matches = sum(cell in known for cell in cells)
    # Some may be missing, which an error will say: a row hardly holds several of the run's names by chance.
    return matches == len(cells) if there.issuperset(required) else matches >= max(2, (len(cells) + 1) // 2)


# --- the target


def target_column(path: Path, names: Sequence[str], target: str | None, *, is_named: bool = True) -> tuple[int, str]:
    """Index of the target column, and a note if it was chosen on the user's behalf.

    Without a name it is the column called target, label, class or y (in any case) if just one of these
    exists, else the last.

    Raises
    ------
    DataError
        No such column (the nearest right name is given).
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
    """Columns that number the rows, and columns that may."""

    certain: list[int]
    possible: list[int]


def is_identifier_name(name: str) -> bool:
    """Whether a column is called as row numbers and identifiers are: 'Unnamed: 0', 'index', 'PatientID', ..."""
    name = name.strip()
    return bool(_ROW_NUMBER.fullmatch(name) or _CAMEL_ID.fullmatch(name))


def row_numbers(names: Sequence[str], features: AnyArray) -> RowNumbers:
    """Which columns only number the rows: whole numbers, another one in each row.

    Certain are those that rise or fall by a constant step from row to row, in ten rows or more, and those that are
    called as identifiers are. Possible are the others that are a permutation of successive numbers, or that rise or
    fall throughout.

    Parameters
    ----------
    names : sequence of str, length N
    features : ndarray, shape (rows, N)
    """
    certain, possible = [], []
    rows = len(features)
    if rows < 3:
        return RowNumbers([], [])
    for j, name in enumerate(names):
        column = features[:, j].astype(np.float64)
        if not _is_whole(column[:3]) or not _is_whole(column) or np.unique(column).size < rows:
            continue
        steps = np.diff(column)
        if is_identifier_name(name) or (rows >= MIN_COUNTED_ROWS and (steps == steps[0]).all()):
            certain.append(j)
        elif rows >= MIN_COUNTED_ROWS and (
            (steps > 0).all() or (steps < 0).all() or column.max() - column.min() == rows - 1
        ):
            possible.append(j)
    return RowNumbers(certain, possible)


def _is_whole(column: AnyArray) -> bool:
    return bool(np.isfinite(column).all() and (np.mod(column, 1) == 0).all())


def column_notes(names: Sequence[str], features: AnyArray, targets: IntArray) -> tuple[str, ...]:
    """Notes on columns that a user would want to know of: copies of the target, constants, duplicates.

    Parameters
    ----------
    names : sequence of str, length N
    features : ndarray, shape (rows, N)
    targets : ndarray of int64, shape (rows,)
        Class indices.
    """
    sample, classes = features[:_SAMPLE], np.unique(targets[:_SAMPLE])  # candidates; only these are read to the end
    is_constant = (sample == sample[0]).all(axis=0)
    is_copy = ~is_constant
    for one in classes:
        rows = sample[targets[:_SAMPLE] == one]
        is_copy &= (rows == rows[0]).all(axis=0)
    constant = [j for j in np.flatnonzero(is_constant).tolist() if (features[:, j] == features[0, j]).all()]
    copies = [j for j in np.flatnonzero(is_copy).tolist() if _is_copy(features[:, j], targets)]
    notes = []
    if copies:
        notes.append(
            f"{_columns(names, copies)} {'tells' if len(copies) == 1 else 'tell'} the class exactly, one value for each "
            "class. If it is a copy of the target: --must-drop, or remove it"
        )
    if constant:
        notes.append(f"{_columns(names, constant)} {'has' if len(constant) == 1 else 'have'} one value in all rows")
    first: dict[bytes, list[int]] = {}
    twins = []
    for j in sorted(set(range(len(names))) - set(constant)):
        alike = first.setdefault(sample[:, j].tobytes(), [])
        twin = next((i for i in alike if (features[:, i] == features[:, j]).all()), None)
        if twin is None:
            alike.append(j)
        else:
            twins.append(f"{names[j]!r} and {names[twin]!r}")
    if twins:
        notes.append(f"equal in all rows: columns {some(twins, 3)}. One may stand for the other in the result")
    return tuple(notes)


def _is_copy(column: AnyArray, targets: IntArray) -> bool:
    classes, where = np.unique(targets, return_index=True)
    values = np.zeros(int(classes[-1]) + 1, column.dtype)
    values[classes] = column[where]
    return bool((column == values[targets]).all()) and np.unique(column[where]).size == classes.size


def _columns(names: Sequence[str], chosen: Sequence[int]) -> str:
    return f"column{'' if len(chosen) == 1 else 's'} {some((repr(names[j]) for j in chosen), 4)}"
