"""Split a Dataset by the seed and scale the parts."""

from typing import NamedTuple

import numpy as np

from mcprune.data.base import Dataset, ImageShape
from mcprune.data.checks import some
from mcprune.data.doubts import ColumnNote
from mcprune.data.scale import Scaler, fit_scaler
from mcprune.data.targets import Label
from mcprune.errors import ConfigError, DataError
from mcprune.random import Stream, generator
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray


class Parts(NamedTuple):
    """Row indices of the three parts; together every row once.

    Each is sorted, but where all rows train: then they stand in canonical order.
    """

    train: IntArray
    validation: IntArray
    test: IntArray


class Rows(NamedTuple):
    """The rows of one part.

    Attributes
    ----------
    features : ndarray of float32, shape (rows, N)
        Scaled.
    targets : ndarray of int64, shape (rows,)
        Class indices.
    weights : ndarray of float64, shape (rows,), or None
        Sample weights, above 0; None where all rows count alike.
    groups : ndarray of int64, shape (rows,), or None
        For objectives that compare groups. Of the training part alone.
    """

    features: Float32Array
    targets: IntArray
    weights: FloatArray | None = None
    groups: IntArray | None = None


class Splits(NamedTuple):
    """A data set in three scaled parts; a part of fraction 0 has 0 rows.

    `prepare` puts the validation rows right behind the training rows in memory, since retraining takes both.

    Attributes
    ----------
    train, validation, test : Rows
    scaler : Scaler
        Fitted on the training rows.
    labels : tuple, length C
        The classes' own values, by index.
    names : tuple of str, length N
        Of the columns.
    name : str
        Of the data set.
    image_shape : tuple of int or None
    parts : Parts
        The rows' indices in the Dataset.
    target_name : str or None
    notes : tuple of str
    doubts : tuple of ColumnNote
    file_width : int or None
        See `Dataset`.
    """

    train: Rows
    validation: Rows
    test: Rows
    scaler: Scaler
    labels: tuple[Label, ...]
    names: tuple[str, ...]
    name: str
    image_shape: ImageShape | None
    parts: Parts
    target_name: str | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[ColumnNote, ...] = ()
    file_width: int | None = None

    @property
    def n_inputs(self) -> int:
        """Number of feature columns, N."""
        return int(self.train.features.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes, C."""
        return len(self.labels)

    @property
    def is_weighted(self) -> bool:
        """Whether the rows have sample weights."""
        return self.train.weights is not None

    def all_but_test(self) -> Rows:
        """Return the training rows followed by the validation rows, without groups; features of `prepare` are a view."""
        train, validation = self.train, self.validation
        base = train.features.base
        is_view = (
            isinstance(base, np.ndarray)
            and base is validation.features.base
            and base.shape == (len(train.targets) + len(validation.targets), self.n_inputs)
        )
        x = base if is_view else np.concatenate([train.features, validation.features])
        assert x is not None
        parts = [part.weights for part in (train, validation) if part.weights is not None]
        return Rows(
            x, np.concatenate([train.targets, validation.targets]), np.concatenate(parts) if self.is_weighted else None
        )


def prepare(dataset: Dataset, *, seed: int, validation: float = 0.1, test: float = 0.2, scale: str = "auto") -> Splits:
    """Split by seed, fit the scaling on the training part, scale all parts.

    Parameters and errors are those of `split`, `fit_scaler` and `Scaler.apply`. Where all rows train, they are brought into one
    canonical order, so that the order in which they came changes nothing. Sample weights go with their rows.
    """
    parts = split(dataset, seed=seed, validation=validation, test=test)
    if len(parts.train) == dataset.n_rows:
        parts = parts._replace(train=canonical_order(dataset))
    scaler = fit_scaler(dataset, parts.train, scale)
    n_train = len(parts.train)
    x = np.empty((n_train + len(parts.validation), dataset.n_inputs), np.float32)
    features = (
        scaler.apply(dataset.features, parts.train, out=x[:n_train]),
        scaler.apply(dataset.features, parts.validation, out=x[n_train:]),
        scaler.apply(dataset.features, parts.test),
    )
    targets = [np.ascontiguousarray(dataset.targets[rows]) for rows in parts]
    weights = [None if dataset.weights is None else np.ascontiguousarray(dataset.weights[rows]) for rows in parts]
    train, validation_rows, tested = (Rows(*part) for part in zip(features, targets, weights, strict=True))
    return Splits(
        train=train,
        validation=validation_rows,
        test=tested,
        scaler=scaler,
        labels=dataset.labels,
        names=dataset.feature_names,
        name=dataset.name,
        image_shape=dataset.image_shape,
        parts=parts,
        target_name=dataset.target_name,
        notes=dataset.notes,
        doubts=dataset.doubts,
        file_width=dataset.file_width,
    )


def canonical_order(dataset: Dataset) -> IntArray:
    """Return the order of the rows by class, then by the bytes of their values; equal rows by their weights."""
    features = dataset.features
    # The same values are the same bytes: -0 and 0 are one value, and a table of bytes equals one read from a text.
    table = np.ascontiguousarray(features.astype(np.float64 if features.dtype == np.float64 else np.float32))
    table += 0.0
    rows = table.view(np.dtype((np.void, table.strides[0])))[:, 0]
    keys = (rows, dataset.targets) if dataset.weights is None else (dataset.weights, rows, dataset.targets)
    order = np.arange(dataset.n_rows)
    for key in keys:  # from the last key to the first: each sort is stable
        order = order[np.argsort(key[order], kind="stable")]
    return order


def split(dataset: Dataset, *, seed: int, validation: float, test: float) -> Parts:
    """Split the rows into training, validation and test part, every class in its own proportion.

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
    n_free = int(free.sum())
    classes = dataset.n_classes
    counts = np.bincount(dataset.targets[free], minlength=classes)
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
    order = _shuffled_by_class(dataset.targets, free, seed)
    first = np.cumsum(counts) - counts
    rank = np.arange(n_free) - first[dataset.targets[order]]  # the place of each row within its class
    of_class = dataset.targets[order]
    is_test: BoolArray = rank < n_test[of_class]
    is_validation: BoolArray = ~is_test & (rank < (n_test + n_validation)[of_class])
    return Parts(
        train=np.sort(order[~is_test & ~is_validation]),
        validation=np.sort(order[is_validation]),
        test=np.sort(order[is_test] if test_rows is None else test_rows),
    )


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:  # also refuses NaN
        raise ConfigError(f"{name}={value} is not a fraction of the rows. Choose 0 <= {name} < 1.")


def _check_size(dataset: Dataset, part: str, fraction: float, sizes: IntArray, rows: int) -> None:
    classes = dataset.n_classes
    if fraction == 0 or (round(fraction * rows) >= classes and sizes.any()):
        return
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
