"""Split the rows of a data set into training, validation and test part: stratified, by entities or by time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.data.base import Dataset
from mcprune.data.parts.entities import assign
from mcprune.data.parts.times import split_by_time
from mcprune.data.roles.checks import some
from mcprune.data.roles.tasks import CLASSIFICATION, strata_of
from mcprune.errors import ConfigError, DataError
from mcprune.random import Stream, generator
from mcprune.types import BoolArray, FloatArray, IntArray


class Parts(NamedTuple):
    """Row indices of the three parts; together every row once.

    Each is sorted, but where all rows train: then they stand in canonical order.
    """

    train: IntArray
    validation: IntArray
    test: IntArray


def split(dataset: Dataset, *, seed: int, validation: float, test: float) -> Parts:
    """Split the rows into training, validation and test part.

    By time where the rows have times, by whole entities where they have such, else every class, or quantile of a number, in its own
    proportion; with entities nearly so.

    Parameters
    ----------
    dataset : Dataset
        If it has `test_rows` these are the test part, whatever `test` is, and `validation` is a fraction of the
        others.
    seed : int, at least 0
    validation, test : float
        Fractions of the rows, at least 0, together below 1. A fraction of 0 gives an empty part.

    Returns
    -------
    Parts
        Every class has at least one training row, and one test row if rows are split off for the test; a class of two
        rows then has none for validation.

    Raises
    ------
    ConfigError
        A fraction or seed out of range.
    DataError
        Too few rows: a part would hold fewer rows than there are classes, or a class has no row to train on.
    """
    _check_fraction("validation", validation)
    _check_fraction("test", test)
    test_rows = dataset.test_rows
    if validation + (0.0 if test_rows is not None else test) >= 1:
        raise ConfigError(
            f"validation={validation} and test={test} leave no rows to train on. Choose them so that their "
            "sum is below 1."
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed={seed!r} is not a whole number of at least 0. Choose one such as 0.")
    free = np.ones(dataset.n_rows, dtype=np.bool_)
    if test_rows is not None:
        free[test_rows] = False
    if dataset.times is not None:
        return _by_time(dataset, validation, test)
    if dataset.entities is not None:
        return _by_entity(dataset, seed, validation, test)
    n_free = int(free.sum())
    strata = _strata(dataset, free)
    counts = np.bincount(strata[free], minlength=dataset.n_classes)
    if (counts == 0).any():
        lacking = some(repr(dataset.labels[i]) for i in np.flatnonzero(counts == 0))
        raise DataError(
            f"{dataset.name}: no training row has the class {lacking}, only the test part has it. Add rows or "
            "remove the class."
        )
    n_test = _allocate(counts, test, counts - 1) if test_rows is None else np.zeros_like(counts)
    n_validation = _allocate(counts, validation, counts - n_test - 1)
    if test_rows is None:
        _check_size(dataset, "test", test, n_test, n_free)
    _check_size(dataset, "validation", validation, n_validation, n_free)
    order = _shuffled_by_class(strata, free, seed)
    first = np.cumsum(counts) - counts
    of_class = strata[order]
    rank = np.arange(n_free) - first[of_class]  # the place of each row within its class
    is_test: BoolArray = rank < n_test[of_class]
    is_validation: BoolArray = ~is_test & (rank < (n_test + n_validation)[of_class])
    return Parts(
        train=np.sort(order[~is_test & ~is_validation]),
        validation=np.sort(order[is_validation]),
        test=np.sort(order[is_test] if test_rows is None else test_rows),
    )


def _strata(dataset: Dataset, rows: BoolArray) -> IntArray:
    """Return the class of each row (rows,), or of some rows the quantile of its number."""
    if dataset.task == CLASSIFICATION:
        return dataset.targets
    strata = np.zeros(dataset.n_rows, np.int64)
    strata[rows] = strata_of(dataset.targets[rows])
    return strata


def _by_entity(dataset: Dataset, seed: int, validation: float, test: float) -> Parts:
    entities = dataset.entities
    assert entities is not None
    keys = generator(seed, Stream.SPLIT).random(dataset.n_rows)
    strata = _strata(dataset, np.ones(dataset.n_rows, np.bool_))

    def part_of(rows: IntArray, share: float) -> BoolArray:
        if share == 0:
            return np.zeros(len(rows), np.bool_)
        parts = assign(entities[rows], strata[rows], (1.0 - share, share), keys[rows])
        return np.equal(parts, 1)

    rows = np.arange(dataset.n_rows)
    is_test = part_of(rows, test)
    rest = rows[~is_test]
    is_validation = part_of(rest, validation / (1.0 - test))
    parts = Parts(rest[~is_validation], rest[is_validation], rows[is_test])
    _check_parts(dataset, parts, validation, test, "entities", len(np.unique(entities)))
    return parts


def _by_time(dataset: Dataset, validation: float, test: float) -> Parts:
    times = dataset.times
    assert times is not None
    parts = Parts(*split_by_time(times, validation, test))
    _check_parts(dataset, parts, validation, test, "times", len(np.unique(times)))
    if dataset.task != CLASSIFICATION:
        return parts
    absent = np.setdiff1d(np.arange(dataset.n_classes), dataset.targets[parts.train])
    if absent.size:
        raise DataError(
            f"{dataset.name}: {some(repr(dataset.labels[i]) for i in absent)} occurs after the training rows only, which end at the "
            f"earliest {len(parts.train):,} of {dataset.n_rows:,} rows. Choose smaller test and validation, or remove the class."
        )
    return parts


def _check_parts(dataset: Dataset, parts: Parts, validation: float, test: float, what: str, count: int) -> None:
    for part, fraction in (("train", 1.0), ("validation", validation), ("test", test)):
        if fraction and not len(getattr(parts, part)):
            raise DataError(
                f"{dataset.name}: {count} {what} are too few: none is left for {part}. Add rows, or choose {part}=0."
                if part != "train"
                else f"{dataset.name}: {count} {what} are too few: none is left to train on. Choose smaller test and validation."
            )


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:  # also refuses NaN
        raise ConfigError(f"{name}={value} is not a fraction of the rows. Choose 0 <= {name} < 1.")


def _check_size(dataset: Dataset, part: str, fraction: float, sizes: IntArray, rows: int) -> None:
    classes = dataset.n_classes
    if fraction == 0 or (round(fraction * rows) >= classes and sizes.any()):
        return
    if dataset.task != CLASSIFICATION:
        raise DataError(
            f"{dataset.name}: {rows} rows are too few: {part}={fraction} gives none. Add rows, or choose a larger {part}."
        )
    enough = np.ceil(1000 * classes / rows) / 1000
    remedy = f", or choose {part} of at least {enough}" if fraction < enough < 0.5 else ""
    raise DataError(
        f"{dataset.name}: {rows} rows of {classes} classes are too few: {part}={fraction} gives "
        f"{min(round(fraction * rows), int(sizes.sum()))} rows, where every class should have one and keep "
        "one to train on. "
        f"Add rows{remedy}."
    )


def _shuffled_by_class(targets: IntArray, free: BoolArray, seed: int) -> IntArray:
    # Sorting by uniforms needs only numpy's doubles, which change less between its versions than its shuffles.
    rows = np.flatnonzero(free)
    keys: FloatArray = generator(seed, Stream.SPLIT).random(len(targets))[rows]
    return rows[np.lexsort((keys, targets[rows]))].astype(np.int64)


def _allocate(counts: IntArray, fraction: float, most: IntArray) -> IntArray:
    """Return the rows of each class for a part: by largest remainders, then at least 1 (if `most` allows), at most `most`."""
    if fraction == 0:
        return np.zeros_like(counts)
    ideal = counts * fraction
    base = np.floor(ideal).astype(np.int64)
    left = max(round(float(ideal.sum())) - int(base.sum()), 0)
    base[np.argsort(base - ideal, kind="stable")[:left]] += 1
    allocated: IntArray = np.clip(base, np.minimum(1, most), most)
    return allocated
