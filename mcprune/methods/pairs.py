"""Scores of columns that matter together: pairs whose covariance differs between the classes."""

from __future__ import annotations

import numpy as np

from mcprune.types import Float32Array, FloatArray, IntArray


def pair_f(x: Float32Array, y: IntArray, weights: FloatArray | None = None) -> Float32Array:
    """Return F of the products of all pairs of columns, each column taken from its mean in the row's class.

    What a column tells by its mean is not in it: of the exclusive or of two columns F is 0, and F of their product is not.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, N)
    y : ndarray of int64, shape (rows,)
    weights : ndarray, shape (rows,), optional

    Returns
    -------
    ndarray of float32, shape (N, N)
        On the diagonal that of the squares; 0 for a constant column.
    """
    weight = np.ones(len(y), np.float32) if weights is None else np.asarray(weights, np.float32)
    size = x.shape[1]
    total, squares, between = (np.zeros((size, size), np.float32) for _ in range(3))
    rows, classes = 0.0, 0
    for label in np.unique(y):
        of_class = y == label
        share = weight[of_class, None]
        count = float(share.sum())
        if not count > 0:
            continue
        part = x[of_class] - (share * x[of_class]).sum(axis=0) / count
        sums = part.T @ (share * part)
        part = np.square(part)
        squares += part.T @ (share * part)
        total += sums
        between += np.square(sums) / count
        rows, classes = rows + count, classes + 1
    within = squares - between
    between -= np.square(total) / rows
    degrees = max(rows - classes, 1.0) / max(classes - 1, 1)
    is_constant = ~(np.ptp(x, axis=0) > 0)
    out = np.maximum(between, 0.0) / np.maximum(within, 1e-6 * squares + 1e-30) * np.float32(degrees)
    out[is_constant], out[:, is_constant] = 0.0, 0.0
    return np.asarray(out, np.float32)
