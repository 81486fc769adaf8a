"""Ridge regression on the classes or the numbers of a table: what a linear model says of columns, at hardly any cost."""

from __future__ import annotations

import numpy as np

from mcprune.types import AnyArray, BoolArray, Float32Array, FloatArray

# Of the rows that train: the penalty of a weight, for columns of variance 1.
PENALTY = 0.1


def ridge_losses(features: Float32Array, targets: AnyArray, weights: FloatArray, is_scored: BoolArray) -> FloatArray:
    """Return the squared errors of some rows, by a ridge regression on the other rows.

    Parameters
    ----------
    features : ndarray of float32, shape (rows, n)
        Scaled.
    targets : ndarray of int64, shape (rows,), or of float, shape (rows, T)
        Class indices, regressed on as 0 and 1 for each class; or numbers.
    weights : ndarray of float64, shape (rows,)
    is_scored : ndarray of bool, shape (rows,)

    Returns
    -------
    ndarray of float64, shape (scored rows,)
        Summed over the classes or the targets.
    """
    answers = np.eye(int(targets.max()) + 1)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    rows = ~is_scored & (weights > 0)
    share = weights[rows] / weights[rows].sum()
    center, mean = share @ features[rows], share @ answers[rows]
    root = np.sqrt(share)[:, None]
    inside, outside = root * (features[rows] - center), features[is_scored] - center
    goals = root * (answers[rows] - mean)
    if inside.shape[1] <= inside.shape[0]:
        gram = inside.T @ inside + PENALTY * np.eye(inside.shape[1])
        predicted = outside @ np.linalg.solve(gram, inside.T @ goals)
    else:
        gram = inside @ inside.T + PENALTY * np.eye(inside.shape[0])
        predicted = outside @ (inside.T @ np.linalg.solve(gram, goals))
    return np.asarray(np.square(predicted + mean - answers[is_scored]).sum(axis=1))
