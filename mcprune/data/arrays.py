"""Features and classes from Python: arrays, lists, tensors and series as numpy arrays."""

from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np

from mcprune.data.coding.coding import Cells, category_of
from mcprune.data.formats.frames import column_values
from mcprune.data.formats.tables import text_in_feature
from mcprune.data.roles.checks import is_missing
from mcprune.errors import DataError
from mcprune.types import AnyArray


def as_targets(name: str, y: object) -> tuple[AnyArray | Sequence[object], str | None]:
    """Return the classes unchanged, and the name of their column if they have one."""
    column = column_values(name, y)
    if column is not None:
        return column
    try:
        # Objects: numpy turns [1, "a"] into texts and [2**63, -1] into floats without a warning.
        targets = np.asarray(y, dtype=object if isinstance(y, list | tuple) else None)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name}: the targets are no array ({error}). Give one class for each row.") from error
    if targets.ndim == 0:
        raise DataError(f"{name}: the targets are a single value. Give one class for each row.")
    return targets, None


def as_array(name: str, X: object) -> AnyArray:
    """Return features as an array of numbers.

    Raises
    ------
    DataError
        Rows of unequal length, a cell that is no number, a sparse matrix, Python objects.
    """
    if isinstance(X, np.ma.MaskedArray):  # what is masked is missing
        X = np.ma.filled(X.astype(np.float64), np.nan)
    try:
        features = np.asarray(X)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name}: the features are no array ({str(error).splitlines()[0]}). Give rows of equal length."
        ) from error
    if features.dtype.kind in "OUS" and features.ndim == 2:
        for (row, column), cell in np.ndenumerate(features):
            if cell is not None and not _is_numeric(cell):
                raise text_in_feature(name, f"column {column}", str(row + 1), cell)
        return features.astype(np.float64)
    if features.dtype == object:
        hint = " Make a sparse matrix dense with .toarray()." if hasattr(X, "toarray") else ""
        raise DataError(
            f"{name}: the features are {type(X).__name__} of Python objects. Give an array of numbers.{hint}"
        )
    return features


def column_of_array(name: str, column: str, values: AnyArray, *, is_text: bool) -> Cells:
    """Return a column (rows,) of an array of numbers or Python objects, as numbers or as a category.

    Parameters
    ----------
    name, column : str
        For messages.
    values : ndarray, shape (rows,)
    is_text : bool
        Whether it is a category, whatever it holds; else it is one if all cells that are not missing are texts.

    Raises
    ------
    DataError
        Texts among numbers.
    """
    if not is_text and values.dtype.kind in "biuf":
        return values.astype(np.float64)
    cells = values.tolist()
    known = [cell for cell in cells if not is_missing(cell)]
    if is_text or (known and all(isinstance(cell, str) for cell in known)):
        return category_of([None if is_missing(cell) else _text(cell) or None for cell in cells])
    for row, cell in enumerate(cells):
        if not is_missing(cell) and not _is_numeric(cell):
            raise text_in_feature(name, column, str(row + 1), cell)
    return np.array([np.nan if is_missing(cell) else float(cell) for cell in cells], np.float64)


def _text(cell: object) -> str:
    """Return a cell of a category as a text, that of a whole number without a point."""
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()


def _is_numeric(cell: str | SupportsFloat) -> bool:
    try:
        float(cell)
    except (ValueError, TypeError, OverflowError):
        return False
    return True
