"""What the readers of tables share: which columns are read, what comes of them, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.data.coding.coding import Category, Cells
from mcprune.data.formats.cells import is_date
from mcprune.data.formats.header import Header
from mcprune.data.roles.checks import distinct_names
from mcprune.errors import DataError
from mcprune.types import AnyArray

UNNAMED = "Unnamed: 0"  # what pandas calls a first column without a name
FROM_PYTHON = "arrays"  # `data` of a run on arrays from Python: a name that no loader knows
FROM_ESTIMATOR = "X"  # rows of a scikit-learn estimator


class Columns(NamedTuple):
    """Indices of the columns to read: features in this order, the target and the sample weights if they are read, and columns of texts.

    With `skips_identifiers` a feature column of texts that are different in each row is left out. Features of `as_texts` are read as
    texts, whatever they hold.
    """

    features: list[int]
    target: int | None
    skips_identifiers: bool = False
    weights: int | None = None
    texts: tuple[int, ...] = ()
    as_texts: frozenset[int] = frozenset()


class Texts(NamedTuple):
    """A feature column of texts: its index among the features, and the texts in the order of their codes."""

    feature: int
    values: tuple[str, ...]


class Table(NamedTuple):
    """Columns of a file.

    Attributes
    ----------
    names : list of str
        Of the features.
    features : ndarray of float64, shape (rows, N)
        Unchecked; NaN where a cell is missing, codes 0, 1, ... in columns of texts.
    targets, target_name
        The target's values if it was read, and its name.
    identifiers : tuple of str
        Columns of texts that were left out.
    weights : ndarray, shape (rows,), or None
        Unchecked.
    width : int
        Columns of the file.
    texts : tuple of Texts
        Feature columns of texts.
    columns : tuple of list of str
        The cells of `Columns.texts`.
    notes : tuple of str
        How the file was read.
    decimal : '.' or ','
        The decimal mark of the target's texts.
    """

    names: list[str]
    features: AnyArray
    targets: AnyArray | Sequence[object] | None
    target_name: str | None
    identifiers: tuple[str, ...] = ()
    weights: AnyArray | None = None
    width: int = 0
    texts: tuple[Texts, ...] = ()
    columns: tuple[list[str], ...] = ()
    notes: tuple[str, ...] = ()
    decimal: str = "."


Rows = Callable[[], Iterator[list[str]]]
# Takes the first line's cells and the rows below it.
FindHeader = Callable[[list[str], Rows], Header]
# The cells of a column in the first rows, by its index.
Preview = Callable[[int], Sequence[object]]
# Takes the columns' names, whether the file has them (else they are 'column 0', ...), and the first rows.
Chooser = Callable[[list[str], bool, Preview], Columns]


def cells_of(table: Table) -> list[Cells]:
    """Return the cells of the features, column by column."""
    values = {column.feature: column.values for column in table.texts}
    out: list[Cells] = []
    for place in range(len(table.names)):
        column = np.ascontiguousarray(table.features[:, place], np.float64)
        if place in values:
            out.append(Category(np.where(np.isnan(column), -1, column).astype(np.int64), values[place]))
        else:
            out.append(column)
    return out


def text_in_feature(where: object, column: str, row: str, cell: object) -> DataError:
    """Return the error for a feature cell that is not a number."""
    text = str(cell)[:60]
    if is_date(str(cell)) or hasattr(cell, "isoformat"):
        return DataError(
            f"{where}: the feature column {column!r} holds {text!r} in row {row}, a date or a time. Make numbers of it that may "
            "matter, such as the days since the first row, the weekday or the hour, in columns of their own; then leave it out: "
            f"{_leave_out(where, column)}."
        )
    return DataError(
        f"{where}: the feature column {column!r} holds {text!r} in row {row}, where a number is "
        f"needed. Empty the cell if the value is missing; encode the column as numbers or leave it out ({_leave_out(where, column)}); "
        "if it is the class, name it as the target."
    )


def _leave_out(where: object, column: str) -> str:
    """Return how a column is left out of rows from a file, from Python, or of an estimator."""
    if where == FROM_ESTIMATOR:
        return f"remove {column!r} from X"
    return f"ignore=[{column!r}]" if where == FROM_PYTHON else f"--ignore {column!r}"


def text_in_weights(where: object, column: str, row: str, cell: object) -> DataError:
    """Return the error for a sample weight that is not a number."""
    return DataError(
        f"{where}: the column {column!r} of the sample weights holds {str(cell)[:60]!r} in row {row}, where a number is needed. "
        "Name the column that holds the rows' weights."
    )


def require_names(where: object, names: Sequence[str]) -> None:
    """Refuse columns without a name, and columns of one name.

    Raises
    ------
    DataError
        There are such columns.
    """
    if "" in names:
        raise DataError(
            f"{where}: column {list(names).index('')} (counted from 0) has no name. Name it, or remove it if it only "
            f"numbers the rows (pandas: to_csv(..., index=False)).{' If the first line is a title, remove it.' * (names.count('') > 1)}"
        )
    distinct_names(str(where), names)
