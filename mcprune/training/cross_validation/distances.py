"""Two models that need no training, by the distances between rows: kernel ridge regression and nearest neighbours.

They are unlike a network: columns that suit them all are not the luck of one kind of model. Both cost a product of matrices.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from mcprune.types import AnyArray, Float32Array, FloatArray, IntArray

# Of the kernel, as that of a support vector machine by default; rows that answer for others at most.
PENALTY, SUPPORT = 1.0, 1_000
NEIGHBOURS = 5


def distance_losses(
    features: Float32Array, targets: AnyArray, weights: FloatArray | None, fold: IntArray
) -> FloatArray:
    """Return the squared errors of both models, each on rows outside of its own, relative to those of a constant.

    Parameters
    ----------
    features : ndarray of float32, shape (rows, n)
        Scaled.
    targets : ndarray of int64, shape (rows,), or of float32, shape (rows, T)
        Class indices, predicted as shares of the classes; or numbers.
    weights : ndarray of float64, shape (rows,), optional
    fold : ndarray of int64, shape (rows,)
        Each row is predicted from the rows of other folds.

    Returns
    -------
    ndarray of float64, shape (2, rows)
        Summed over the classes or the targets. Their mean is 1 for a model that knows nothing.
    """
    count = np.ones(len(fold)) if weights is None else weights
    is_class = targets.ndim == 1
    answers = (np.eye(int(targets.max()) + 1)[targets] if is_class else targets).astype(np.float32)
    share = count / count.sum()
    constant = float(share @ np.square(answers - share @ answers).sum(axis=1))
    out = np.empty((2, len(fold)))
    for part in range(int(fold.max()) + 1):
        is_scored = fold == part
        rows = np.flatnonzero(~is_scored & (count > 0))
        if not len(rows):  # nothing is known of these rows
            out[:, is_scored] = constant
            continue
        if len(rows) > SUPPORT:
            rows = rows[np.linspace(0, len(rows) - 1, SUPPORT).astype(np.int64)]
        mean = (count[rows] @ answers[rows] / count[rows].sum()).astype(np.float32)
        scale = np.float32(features.shape[1] * max(float(features[rows].var()), 1e-12))
        inside = np.exp(-_squares(features[rows], features[rows]) / scale)
        outside = _squares(features[is_scored], features[rows])
        inside[np.diag_indices(len(rows))] += (PENALTY * count[rows].mean() / count[rows]).astype(np.float32)
        weight = cho_solve(cho_factor(inside, check_finite=False), answers[rows] - mean, check_finite=False)
        near = np.argpartition(outside, min(NEIGHBOURS, len(rows) - 1), axis=1)[:, :NEIGHBOURS]
        votes = count[rows][near]
        voted = (votes[:, :, None] * answers[rows][near]).sum(axis=1) / votes.sum(axis=1)[:, None]
        for place, predicted in enumerate((np.exp(-outside / scale) @ weight + mean, voted)):
            out[place, is_scored] = np.square(predicted - answers[is_scored]).sum(axis=1)
    return out / max(constant, 1e-9)


def _squares(some: Float32Array, others: Float32Array) -> Float32Array:
    """Return the squared distances (rows, rows) of rows."""
    out = np.square(some).sum(axis=1)[:, None] + np.square(others).sum(axis=1) - 2.0 * (some @ others.T)
    return np.asarray(np.maximum(out, 0.0), np.float32)
