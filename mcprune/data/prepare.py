"""Split a Dataset by the seed and scale the parts."""

from typing import NamedTuple

import numpy as np

from mcprune.data.base import Dataset, ImageShape, pixel_names
from mcprune.data.coding.coding import Coding
from mcprune.data.parts.entities import STRETCHES, stretches
from mcprune.data.parts.split import Parts, split
from mcprune.data.roles.doubts import ColumnNote
from mcprune.data.roles.targets import Label
from mcprune.data.roles.tasks import CLASSIFICATION, TargetScaler, fit_target_scaler
from mcprune.data.scale import Scaler, fit_scaler
from mcprune.types import AnyArray, Float32Array, FloatArray, InputField, IntArray


class Rows(NamedTuple):
    """The rows of one part.

    Attributes
    ----------
    features : ndarray of float32, shape (rows, N)
        Scaled.
    targets : ndarray of int64, shape (rows,), or of float32, shape (rows, T)
        Class indices, or scaled numbers.
    weights : ndarray of float64, shape (rows,), or None
        Sample weights, above 0; None where all rows count alike.
    groups : ndarray of int64, shape (rows,), or None
        For objectives that compare groups. Of the training part alone.
    entities : ndarray of int64, shape (rows,), or None
        Rows of one number stay in one fold: those of one entity, or of one stretch of time. Not of the test part.
    """

    features: Float32Array
    targets: AnyArray
    weights: FloatArray | None = None
    groups: IntArray | None = None
    entities: IntArray | None = None


class Splits(NamedTuple):
    """A data set in three scaled parts; a part of fraction 0 has 0 rows.

    `prepare` puts the validation rows right behind the training rows in memory, since retraining takes both.

    Attributes
    ----------
    train, validation, test : Rows
    scaler : Scaler
        Fitted on the training rows.
    labels : tuple, length C
        The classes' own values, by index; empty where targets are numbers.
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
    coding : Coding or None
    task : str
    target_names : tuple of str
        See `Dataset`.
    target_scaler : TargetScaler or None
        Of numeric targets, fitted on the training rows.
    fields : tuple of InputField
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
    coding: Coding | None = None
    task: str = CLASSIFICATION
    target_names: tuple[str, ...] = ()
    target_scaler: TargetScaler | None = None
    fields: tuple[InputField, ...] = ()

    @property
    def n_inputs(self) -> int:
        """Number of feature columns, N."""
        return int(self.train.features.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes, C; 0 where targets are numbers."""
        return len(self.labels)

    @property
    def has_own_names(self) -> bool:
        """Whether the columns have names of their own, not those that pixels are given."""
        return self.image_shape is None or self.names != pixel_names(self.image_shape)

    @property
    def n_outputs(self) -> int:
        """Number of outputs of a network: one a class, or one a target."""
        return len(self.labels) or len(self.target_names)

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
        entities = [part.entities for part in (train, validation) if part.entities is not None]
        return Rows(
            x,
            np.concatenate([train.targets, validation.targets]),
            np.concatenate(parts) if self.is_weighted else None,
            entities=np.concatenate(entities) if entities else None,
        )


def prepare(
    dataset: Dataset,
    *,
    seed: int,
    validation: float = 0.1,
    test: float = 0.2,
    scale: str = "auto",
    link: str = "identity",
    scales_targets: bool = True,
) -> Splits:
    """Split by seed, fit the scaling on the training part, scale all parts.

    `link` is that of a regression's loss, see `TargetScaler`; without `scales_targets` numbers stay in their unit.

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
    target_scaler = None
    if dataset.task != CLASSIFICATION:
        of_training = None if dataset.weights is None else dataset.weights[parts.train]
        target_scaler = fit_target_scaler(dataset.targets[parts.train], of_training, dataset.task, link)
        if not scales_targets:
            one = np.ones(dataset.targets.shape[1])
            target_scaler = target_scaler._replace(shift=0.0 * one, scale=one)
        targets = [target_scaler.apply(part) for part in targets]
    weights = [None if dataset.weights is None else np.ascontiguousarray(dataset.weights[rows]) for rows in parts]
    train, validation_rows, tested = (Rows(*part) for part in zip(features, targets, weights, strict=True))
    train, validation_rows = _with_entities(dataset, parts, train, validation_rows)
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
        coding=dataset.coding,
        task=dataset.task,
        target_names=dataset.target_names,
        target_scaler=target_scaler,
        fields=dataset.fields,
    )


def _with_entities(dataset: Dataset, parts: Parts, train: Rows, validation: Rows) -> tuple[Rows, Rows]:
    """Return the rows with what stays in one fold, where there is such."""
    if dataset.entities is not None:
        of_train, of_validation = dataset.entities[parts.train], dataset.entities[parts.validation]
    elif dataset.times is not None:
        of_train = stretches(dataset.times[parts.train])
        of_validation = STRETCHES + stretches(dataset.times[parts.validation])
    else:
        return train, validation
    return train._replace(entities=of_train), validation._replace(entities=of_validation)


def canonical_order(dataset: Dataset) -> IntArray:
    """Return the order of the rows by class or number, then by the bytes of their values; equal rows by their weights."""
    features = dataset.features
    # The same values are the same bytes: -0 and 0 are one value, and a table of bytes equals one read from a text.
    table = np.ascontiguousarray(features.astype(np.float64 if features.dtype == np.float64 else np.float32))
    table += 0.0
    rows = table.view(np.dtype((np.void, table.strides[0])))[:, 0]
    targets = [dataset.targets] if dataset.targets.ndim == 1 else list(dataset.targets.T)
    keys = [rows, *targets] if dataset.weights is None else [dataset.weights, rows, *targets]
    order = np.arange(dataset.n_rows)
    for key in keys:  # from the last key to the first: each sort is stable
        order = order[np.argsort(key[order], kind="stable")]
    return order
