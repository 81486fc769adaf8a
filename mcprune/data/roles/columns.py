"""Columns of a table: which one is the target, and which only number the rows."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.roles.checks import nearest, some
from mcprune.errors import DataError
from mcprune.types import AnyArray

TARGET_NAMES = ("target", "label", "class", "y")
# Names that are usual for classes, but that other columns have too.
_USUAL_TARGET = re.compile(
    r"(is[ _.-]?)?(targets|labels|classes|diagnosis|species|outcome|category|quality|response|result|status|type|survived|churn(ed)?"
    r"|default(ed)?|disease|fraud|spam|income|grade|variety|genre|decision|verdict|genus|phenotype|condition|attack|purchased|approved)",
    re.IGNORECASE,
)
_CLASSES = 30  # whole numbers of more values are counts or measurements rather than classes

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


# --- the target


def target_column(
    path: Path,
    names: Sequence[str],
    target: str | None,
    preview: Callable[[int], Sequence[object]],
    *,
    is_named: bool = True,
) -> tuple[int, str]:
    """Return the index of the target column, and a note if it was chosen on the user's behalf.

    Parameters
    ----------
    path : Path
    names : sequence of str
    target : str or None
        What the user says.
    preview : callable
        The cells of a column in the first rows, by its index.
    is_named : bool
        The file has the names.

    Notes
    -----
    Without a name it is the column called target, label, class or y (in any case). Without such a column it is the last, unless one
    with another name that is usual for classes, such as diagnosis or species, holds classes and the last does not: then it is that one.

    Raises
    ------
    DataError
        No such column (the nearest name is suggested), or several that may be meant.
    """
    if target is not None:
        if target not in names:
            hint = "" if is_named else " The first line was read as a row; if it is a header: --header yes."
            raise DataError(
                f"{path}: no target column {target!r}.{nearest(target, names)} The columns are: "
                f"{some(map(repr, names), 12)}.{hint}"
            )
        return list(names).index(target), ""
    last = len(names) - 1
    certain = [i for i, name in enumerate(names) if name.lower() in TARGET_NAMES]
    if len(certain) == 1:
        return certain[0], f"target = column {names[certain[0]]!r}, by its name"
    usual = certain or [i for i, name in enumerate(names) if _is_usual_target(name) and holds_classes(preview(i))]
    if last in usual and not certain:
        return last, f"target = the last column {names[last]!r}, by its name and place. If not: --target COLUMN"
    if len(usual) == 1 and not holds_classes(preview(last)):
        return usual[0], (
            f"target = column {names[usual[0]]!r}, by its name and content, not the last one, {names[last]!r}. If not: --target COLUMN"
        )
    if not is_named and holds_classes(preview(0)) and not holds_classes(preview(last)):
        usual = [0]
    if usual:
        may_be = [names[i] for i in dict.fromkeys([*usual, last])]
        raise DataError(
            f"{path}: no target is named, and {some(map(repr, may_be))} may be it. Say which: --target {may_be[0]!r}, or another."
        )
    return (
        last,
        f"target = the last column {names[last]!r} (no column is called {', '.join(TARGET_NAMES)}). If not: --target COLUMN",
    )


def _is_usual_target(name: str) -> bool:
    return bool(_USUAL_TARGET.fullmatch(name.strip()))


def holds_classes(cells: Sequence[object]) -> bool:
    """Return whether cells of a column may be classes: texts or whole numbers, of which at most half are different, or two."""
    values = [str(cell).strip() for cell in cells if cell is not None and str(cell).strip()]
    distinct = set(values)
    if len(distinct) < 2 or len(distinct) > max(2, len(values) // 2):
        return False
    try:
        return len(distinct) <= _CLASSES and all(float(each).is_integer() for each in distinct)
    except ValueError:
        return True


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
