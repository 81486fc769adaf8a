"""From a Dataset to the scaled parts that classifiers are trained and judged on."""

from dataclasses import dataclass

import numpy as np

from mcprune.data.base import Dataset, ImageShape
from mcprune.data.scale import Scaler, fit_scaler
from mcprune.data.split import Parts, split
from mcprune.data.targets import Label
from mcprune.types import Float32Array, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Prepared:
    """Scaled parts. x_* are float32 (rows, N), y_* int64 (rows,); a part of fraction 0 has 0 rows.

    `parts` are the rows' indices in the Dataset; the other fields are the Dataset's.
    """

    name: str
    x_train: Float32Array
    y_train: IntArray
    x_validation: Float32Array
    y_validation: IntArray
    x_test: Float32Array
    y_test: IntArray
    scaler: Scaler
    labels: tuple[Label, ...]
    feature_names: tuple[str, ...]
    image_shape: ImageShape | None
    parts: Parts
    target_name: str | None = None
    note: str = ""
    weights: FloatArray | None = None  # (rows,) of the training part, above 0; None: all alike
    groups: IntArray | None = None  # (rows,) of the training part, for objectives that compare groups

    @property
    def n_inputs(self) -> int:
        return int(self.x_train.shape[1])

    @property
    def n_classes(self) -> int:
        return len(self.labels)


def prepare(
    dataset: Dataset, *, seed: int, validation: float = 0.1, test: float = 0.2, scale: str = "auto"
) -> Prepared:
    """Split by seed, learn the scaling on the training part, scale all parts.

    Parameters and errors are those of `split`, `fit_scaler` and `Scaler.apply`.
    """
    parts = split(dataset, seed=seed, validation=validation, test=test)
    scaler = fit_scaler(dataset, parts.train, scale)
    x_train, x_validation, x_test = (scaler.apply(dataset.features[rows]) for rows in parts)
    y_train, y_validation, y_test = (np.ascontiguousarray(dataset.targets[rows]) for rows in parts)
    return Prepared(
        name=dataset.name,
        x_train=x_train,
        y_train=y_train,
        x_validation=x_validation,
        y_validation=y_validation,
        x_test=x_test,
        y_test=y_test,
        scaler=scaler,
        labels=dataset.labels,
        feature_names=dataset.feature_names,
        image_shape=dataset.image_shape,
        parts=parts,
        target_name=dataset.target_name,
        note=dataset.note,
    )
