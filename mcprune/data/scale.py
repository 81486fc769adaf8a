"""Scaling, fitted on the training rows only and applied to every part and to new rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mcprune.data.base import Dataset
from mcprune.errors import ConfigError, DataError
from mcprune.types import AnyArray, Float32Array, FloatArray, IntArray

KINDS = ("auto", "standard", "unit", "none")
SMALLEST_DEVIATION = 1e-150  # of smaller ones the square is 0
_CHUNK = 1 << 21  # values at a time, so that float64 never holds a whole data set


@dataclass(frozen=True, eq=False)
class Scaler:
    """(features - shift) * factor, missing values filled before.

    Attributes
    ----------
    kind : 'standard', 'unit' or 'none'
    shift, factor : ndarray of float64, shape (N,)
    fill : ndarray of float64, shape (N,), or None
        In the place of NaN; None where no column may have gaps.
    """

    kind: str
    shift: FloatArray
    factor: FloatArray
    fill: FloatArray | None = None

    def apply(self, features: AnyArray, rows: IntArray | None = None, out: Float32Array | None = None) -> Float32Array:
        """Return scaled features, computed in float64 and rounded once.

        Parameters
        ----------
        features : ndarray, shape (rows, N)
        rows : ndarray of int64, optional
            Which rows; by default all. No copy of them is made.
        out : ndarray of float32, shape (rows, N), optional
            Where to write.

        Returns
        -------
        ndarray of float32, shape (rows, N)

        Raises
        ------
        DataError
            Another number of columns; a value so far outside of the training rows' range that float32 cannot
            hold it.
        """
        if features.ndim != 2 or features.shape[1] != self.shift.size:
            raise DataError(
                f"features of shape {features.shape}, but the scaling was fitted on {self.shift.size} columns. Give the same columns."
            )
        count = len(features) if rows is None else len(rows)
        scaled = np.empty((count, features.shape[1]), dtype=np.float32) if out is None else out
        step = max(1, _CHUNK // features.shape[1])
        with np.errstate(over="ignore"):
            for start in range(0, count, step):
                place = slice(start, start + step)
                part = features[place if rows is None else rows[place]].astype(np.float64)
                if self.fill is not None:
                    part = filled(part, self.fill)
                part -= self.shift
                part *= self.factor
                scaled[place] = part
                if not np.isfinite(scaled[place]).all():
                    first, column = np.argwhere(~np.isfinite(scaled[place]))[0]
                    row = start + first if rows is None else rows[start + first]
                    raise DataError(
                        f"row {row} (counted from 0), column {column}: {features[row, column]} cannot be scaled, as the "
                        f"training rows differ by about {1 / self.factor[column]:.3g} there. Remove the column or correct "
                        "the value."
                    )
        return scaled

    def select(self, keep: IntArray) -> "Scaler":
        """Return the scaling of the kept columns, in the order of `keep`."""
        fill = None if self.fill is None else self.fill[keep]
        return Scaler(self.kind, self.shift[keep], self.factor[keep], fill)

    def to_dict(self) -> dict[str, object]:
        """Return JSON-able data, from which `from_dict` restores every bit."""
        fill = {} if self.fill is None else {"fill": self.fill.tolist()}
        return {"kind": self.kind, "shift": self.shift.tolist(), "factor": self.factor.tolist(), **fill}

    @staticmethod
    def from_dict(saved: dict[str, object]) -> "Scaler":
        """Return the Scaler of `to_dict`.

        Raises
        ------
        DataError
            Fields missing, of unequal lengths, or not finite numbers.
        """
        try:
            shift = np.array(saved["shift"], dtype=np.float64)
            factor = np.array(saved["factor"], dtype=np.float64)
            kind = saved["kind"]
            fill = np.array(saved["fill"], dtype=np.float64) if "fill" in saved else None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"a saved scaling has no readable 'kind', 'shift' and 'factor' ({error}). Run again."
            ) from error
        finite = bool(np.isfinite(shift).all() and np.isfinite(factor).all())
        finite = finite and (fill is None or (fill.shape == shift.shape and bool(np.isfinite(fill).all())))
        if kind not in KINDS[1:] or shift.ndim != 1 or shift.shape != factor.shape or not finite:
            raise DataError(
                f"a saved scaling of kind {kind!r} with {shift.shape} shifts and {factor.shape} factors is broken. Run again."
            )
        return Scaler(kind, shift, factor, fill)


def fit_scaler(dataset: Dataset, train_rows: IntArray, kind: str = "auto") -> Scaler:
    """Fit a scaling to the training rows.

    Parameters
    ----------
    dataset : Dataset
    train_rows : ndarray of int64
    kind : str
        standard: every column to mean 0 and standard deviation 1 (a column that is constant over the training
        rows keeps factor 1). unit: one factor for all columns that makes the largest magnitude 1, and no shift, so
        that a black pixel stays exactly 0. none: unchanged. auto: unit for images, standard for
        tables.

    Raises
    ------
    ConfigError
        Another kind.

    Notes
    -----
    Means and deviations count each row by its sample weight, where the data have weights. Gaps are filled with that mean of the
    training rows, before all else.
    """
    if kind not in KINDS:
        raise ConfigError(f"scale={kind!r} is unknown. Choose one of {', '.join(KINDS)}.")
    if kind == "auto":
        kind = "unit" if dataset.image_shape is not None else "standard"
    columns = dataset.n_inputs
    shift, factor = np.zeros(columns), np.ones(columns)
    count = len(train_rows)
    step = max(1, _CHUNK // columns)
    weights = None if dataset.weights is None else dataset.weights[train_rows]
    fill = None if dataset.coding is None else column_means(dataset.features[train_rows], weights)

    def chunks() -> Iterator[AnyArray]:
        parts = (dataset.features[train_rows[start : start + step]] for start in range(0, count, step))
        return parts if fill is None else (filled(part, fill) for part in parts)

    if kind == "unit":
        largest = max(max(abs(float(part.max())), abs(float(part.min()))) for part in chunks())
        factor /= largest if largest > 0 else 1.0
    elif kind == "standard":
        if weights is None:
            shift = sum((part.sum(axis=0, dtype=np.float64) for part in chunks()), np.zeros(columns)) / count
            squares = sum((((part - shift) ** 2).sum(axis=0) for part in chunks()), np.zeros(columns))
            deviation = np.sqrt(squares / count)
        else:
            shift, deviation = _weighted_moments(np.concatenate([*chunks()]), weights)
        # Exact: rounding may leave a constant column a tiny deviation, and dividing by it would blow up the test rows.
        low = np.min([part.min(axis=0) for part in chunks()], axis=0)
        high = np.max([part.max(axis=0) for part in chunks()], axis=0)
        varies = (high > low) & (deviation > SMALLEST_DEVIATION)
        factor[varies] = 1.0 / deviation[varies]
    return Scaler(kind, shift, factor, fill)


def column_means(features: AnyArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the means (N,) of the values that are not missing, under weights (rows,) if there are some; 0 where all are missing."""
    is_missing = np.isnan(features)
    values = np.where(is_missing, 0.0, features)
    if weights is None:
        count = (~is_missing).sum(axis=0).astype(np.float64)
        total = values.sum(axis=0, dtype=np.float64)
    else:
        count, total = weights @ ~is_missing, weights @ values
    means: FloatArray = total / np.where(count > 0, count, 1.0)
    return means


def filled(features: AnyArray, fill: FloatArray) -> AnyArray:
    """Return features (rows, N) with the values of `fill` (N,) in the place of NaN."""
    return np.where(np.isnan(features), fill, features)


def _weighted_moments(features: AnyArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weighted mean and standard deviation of every column."""
    share = weights / weights.sum()
    first = features[0].astype(np.float64)  # of large values that differ little a plain mean would lose all digits
    away = features - first
    mean: FloatArray = share @ away
    return first + mean, np.sqrt(share @ (away - mean) ** 2)
