"""Sample weights: how often each row counts. They are checked here, and then travel with the rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcprune.data.base import Dataset, check_classes
from mcprune.data.formats.frames import column_values
from mcprune.data.roles.checks import nearest, some
from mcprune.data.roles.tasks import CLASSIFICATION, encode_numbers
from mcprune.errors import ConfigError, DataError
from mcprune.types import AnyArray, FloatArray

FROM_ARRAY = "array from Python"  # `sample_weight` of a run whose weights were an array, in its record


def as_weights(name: str, values: object, rows: int) -> FloatArray:
    """Return sample weights as they are used.

    Parameters
    ----------
    name : str
        For messages.
    values : array-like, or series of any frame, shape (rows,)
        Numbers.
    rows : int

    Returns
    -------
    ndarray of float64, shape (rows,)

    Raises
    ------
    DataError
        Another shape, texts, values that are not finite or below 0 (how many, and in which rows), or nothing above 0.
    """
    column = column_values(name, values)
    try:
        weights = np.asarray(values if column is None else column[0], dtype=np.float64)
    except (ValueError, TypeError, RuntimeError):
        raise DataError(f"{name}: the sample weights are no numbers. Give one number for each row.") from None
    if weights.shape != (rows,):
        raise DataError(
            f"{name}: sample weights of shape {weights.shape}, but there are {rows} rows. Give one for each row."
        )
    bad = np.flatnonzero(~np.isfinite(weights))
    if bad.size:
        raise DataError(
            f"{name}: {bad.size} sample weight{'s are' if bad.size > 1 else ' is'} missing or infinite. Rows, counted from 1: "
            f"{some(bad + 1)}. Fill them in, or remove these rows."
        )
    bad = np.flatnonzero(weights < 0)
    if bad.size:
        raise DataError(
            f"{name}: {bad.size} sample weight{'s are' if bad.size > 1 else ' is'} below 0, down to {weights.min():g}. Rows, counted from "
            f"1: {some(bad + 1)}. A row that counts less than nothing can make a loss as low as one likes: remove these rows, or give "
            "their absolute weights."
        )
    if not (weights > 0).any():
        raise DataError(f"{name}: all {rows} sample weights are 0, so no row is left. Give some rows a weight above 0.")
    return weights


def with_weights(dataset: Dataset, values: object) -> Dataset:
    """Return a data set with sample weights; rows of weight 0 are left out, and equal weights are as none.

    Parameters
    ----------
    dataset : Dataset
    values : array-like, shape (rows,)
        See `as_weights`.

    Raises
    ------
    DataError
        As `as_weights`; without the rows of weight 0 there are fewer than two classes, or one of a single row.
    """
    weights = as_weights(dataset.name, values, dataset.n_rows)
    used = np.flatnonzero(weights > 0)
    notes = list(dataset.notes)
    if used.size < dataset.n_rows:
        count = dataset.n_rows - used.size
        notes.append(f"left out, as they have the sample weight 0: {count:,} of {dataset.n_rows:,} rows")
        dataset = _rows_of(dataset, used)
        weights = weights[used]
        if dataset.task != CLASSIFICATION:
            encode_numbers(
                dataset.name, dataset.targets, dataset.task, dataset.target_name
            )  # refuses one number in all rows
        else:
            check_classes(dataset.name, dataset.targets, dataset.labels)
    if weights.min() == weights.max():
        notes.append(f"all sample weights are {weights[0]:g}, which is as without weights")
        return replace(dataset, notes=tuple(notes), weights=None)
    size = weights.sum() ** 2 / (weights**2).sum()
    notes.append(
        f"sample weights of {weights.min():.3g} to {weights.max():.3g}: the {used.size:,} rows tell as much as {size:,.0f} of equal weight"
    )
    return replace(dataset, notes=tuple(notes), weights=weights)


def _rows_of(dataset: Dataset, rows: AnyArray) -> Dataset:
    """Return some rows of a data set; classes without a row are gone."""
    test_rows = dataset.test_rows
    if test_rows is not None:
        is_test = np.zeros(dataset.n_rows, bool)
        is_test[test_rows] = True
        test_rows = np.flatnonzero(is_test[rows])
    dataset = replace(
        dataset,
        features=dataset.features[rows],
        targets=dataset.targets[rows],
        test_rows=test_rows,
        entities=None if dataset.entities is None else dataset.entities[rows],
        times=None if dataset.times is None else dataset.times[rows],
    )
    if dataset.task != CLASSIFICATION:
        return dataset
    present, targets = np.unique(dataset.targets, return_inverse=True)
    return replace(dataset, targets=targets.astype(np.int64), labels=tuple(dataset.labels[label] for label in present))


def weight_column(
    where: object, names: Sequence[str], column: str, target: str | None, role: str = "for the sample weights"
) -> int:
    """Return the index of the column that holds the weights.

    Raises
    ------
    DataError
        There is no such column.
    ConfigError
        It is the target.
    """
    if column == target:
        raise ConfigError(
            f"sample_weight={column!r} is the target column too. Name the column that holds the rows' weights."
        )
    if column not in names:
        raise DataError(
            f"{where}: no column {column!r} {role}.{nearest(column, names)} The columns are: "
            f"{some(map(repr, names), 12)}."
        )
    return list(names).index(column)


def refuse_column(text: str, column: str | None) -> None:
    """Refuse a column of weights in data that have no named columns."""
    if column is not None:
        raise ConfigError(
            f"sample_weight={column!r} names a column of a table, but {text!r} has none. Give the weights from Python: "
            "mcprune.prune(..., sample_weight=array)."
        )
