"""Classical scores of the columns of a table whose targets are numbers, as `mcprune.methods.columns` has them for classes."""

from __future__ import annotations

import numpy as np

from mcprune.types import Float32Array, FloatArray

COLUMNS = 4_096  # that are looked at together
# Of the L1 penalty: in parts of the least one that drops all columns; it falls until enough columns have a coefficient.
PENALTIES, PASSES = (0.3, 0.1, 0.03, 0.01, 0.003), 300


def shares(rows: int, weights: FloatArray | None) -> FloatArray:
    """Return the share (rows,) of each row in a mean."""
    return np.full(rows, 1.0 / rows) if weights is None else np.asarray(weights, np.float64) / weights.sum()


def from_mean(values: FloatArray | Float32Array, share: FloatArray) -> FloatArray:
    """Return columns less their mean, of length 1 under the shares; 0 for a constant column."""
    away = np.asarray(values, np.float64) - share @ values
    size = np.sqrt(share @ away**2)
    return np.asarray(away / np.where(size > 1e-12 * np.maximum(np.abs(values).max(axis=0), 1e-300), size, np.inf))


def f_of_correlation(squared: FloatArray, rows: int) -> FloatArray:
    """Return F of squared correlations with a number, over rows - 2 degrees of freedom."""
    return np.asarray(squared / np.maximum(1.0 - squared, 1e-12) * max(rows - 2, 1))


def f_scores(x: Float32Array, y: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Return F (N,) of a linear regression on each column alone, of several targets (rows, T) the mean; 0 for a constant column."""
    share = shares(len(y), weights)
    goals = from_mean(y, share)
    out = np.empty(x.shape[1])
    for start in range(0, x.shape[1], COLUMNS):
        part = from_mean(x[:, start : start + COLUMNS], share)
        out[start : start + COLUMNS] = f_of_correlation(((share[:, None] * goals).T @ part) ** 2, len(y)).mean(axis=0)
    return out


def pair_f(x: Float32Array, y: FloatArray, weights: FloatArray | None) -> Float32Array:
    """Return F (N, N) of the products of all pairs of columns, each column taken from its mean; of several targets the mean.

    What a column tells by itself is not in it: the target is taken from its linear regression on all columns.
    """
    share = shares(len(y), weights)
    part = from_mean(x, share)
    root = np.sqrt(share)[:, None]
    goals = from_mean(y, share)
    if len(y) > 2 * x.shape[1]:
        fitted = np.linalg.lstsq(root * part, root * goals, rcond=None)[0]
        goals = from_mean(goals - part @ fitted, share)
    mean = part.T @ (share[:, None] * part)
    squares = part**2
    variance = np.maximum(squares.T @ (share[:, None] * squares) - mean**2, 1e-12)
    out = np.zeros((x.shape[1], x.shape[1]))
    for goal in goals.T:
        covariance = part.T @ ((share * goal)[:, None] * part)
        out += f_of_correlation(np.minimum(covariance**2 / variance, 1.0), len(y)) / goals.shape[1]
    is_constant = ~part.any(axis=0)
    out[is_constant], out[:, is_constant] = 0.0, 0.0
    return np.asarray(out, np.float32)


def forest_scores(x: Float32Array, y: FloatArray, weights: FloatArray | None, *, trees: int, seed: int) -> FloatArray:
    """Return the importances of a forest of regression trees."""
    from sklearn.ensemble import RandomForestRegressor

    # Splits among a third of the columns, as regression forests are usually grown: a strong column does not hide the others.
    forest = RandomForestRegressor(trees, max_features=1 / 3, random_state=seed)
    forest.fit(x, y if y.shape[1] > 1 else y[:, 0], sample_weight=weights)
    return np.asarray(forest.feature_importances_)


def information_scores(x: Float32Array, y: FloatArray, *, seed: int) -> FloatArray:
    """Return the mutual information of each column and the number, of several targets the mean."""
    from sklearn.feature_selection import mutual_info_regression

    return np.asarray(np.mean([mutual_info_regression(x, goal, random_state=seed) for goal in y.T], axis=0))


def lasso_scores(x: Float32Array, y: FloatArray, weights: FloatArray | None, *, keep: int) -> FloatArray:
    """Return absolute coefficients of the Lasso, summed over the targets, under a penalty that leaves at least `keep` of them."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso, MultiTaskLasso

    share = shares(len(y), weights)
    root = np.sqrt(share * len(y))[:, None]
    part, goals = root * from_mean(x, share), root * from_mean(y, share)
    most = float(np.sqrt(((part.T @ goals) ** 2).sum(axis=1)).max()) / len(y)
    scores = np.zeros(x.shape[1])
    for penalty in PENALTIES:
        kind = Lasso if goals.shape[1] == 1 else MultiTaskLasso
        model = kind(alpha=max(penalty * most, 1e-9), fit_intercept=False, max_iter=PASSES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(part, goals)
        scores = np.abs(np.atleast_2d(model.coef_)).sum(axis=0)
        if np.count_nonzero(scores) >= keep:
            break
    rest = f_scores(x, y, weights)
    least = scores[scores > 0].min() if scores.any() else 1.0
    return np.where(scores > 0, scores, 0.5 * least * rest / max(float(rest.max()), 1e-300))
