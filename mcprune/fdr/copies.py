"""Shadows: permuted copies of the columns that keep their dependence on the other columns, drawn without the classes.

Gaussian knockoffs of second order (Candes, Fan, Janson and Lv 2018) on normal scores. Where the columns are monotone functions of
Gaussian ones, steps of few levels included, exchanging a column with its shadow leaves the joint law of all columns and shadows as it is.
Gaps and categories are functions of several scores (`mcprune.fdr.scores`), which are exchanged together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcprune.fdr.scores import scored_columns
from mcprune.types import Float32Array, FloatArray, IntArray

# Coordinate updates of the maximum-entropy shadows in sweeps over the columns: until no s changes by more, and at most so many. Wide
# tables get fewer: a sweep costs p^3.
TOLERANCE, SWEEPS, WORK = 1e-4, 30, 4e9
# s stays this much below its bounds, where the law of a shadow would be singular.
INSIDE = 1.0 - 1e-6
# Sweeps that draw the scores of equal values, before the first shadows and before others; scores that some rows leave free take more.
FIRST, FIRST_FREE, NEXT = 6, 24, 2


class Shadows:
    """Draws shadows of a table.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, M)
    owner : ndarray of int64, shape (M,), optional
        The column of each number, rising: the shadow of a column of several numbers permutes them together. By default each number is a
        column.
    categories : sequence of int
        Which columns are categories; others of two numbers have gaps.
    """

    def __init__(self, x: Float32Array, owner: IntArray | None = None, categories: Sequence[int] = ()) -> None:
        self._x = x
        self._columns = scored_columns(x, np.arange(x.shape[1]) if owner is None else owner, categories)
        ends = np.cumsum([0, *(column.width for column in self._columns)])
        self._places = [slice(*ends[j : j + 2]) for j in range(len(self._columns))]
        self._levels = {
            place.start + score: bounds
            for column, place in zip(self._columns, self._places, strict=True)
            for score, bounds in column.bounds.items()
        }
        self._first = FIRST if owner is None else FIRST_FREE
        self._scores: FloatArray | None = None

    def draw(self, draw: np.random.Generator) -> Float32Array:
        """Return shadows (rows, M): each column holds the cells of its original in another order."""
        scores = self._next_scores(draw)
        latent = scores - scores @ self._weights + draw.standard_normal(scores.shape) @ self._root
        columns = zip(self._columns, self._places, strict=True)
        return np.concatenate([column.cells(latent[:, place]) for column, place in columns], axis=1)

    def _next_scores(self, draw: np.random.Generator) -> FloatArray:
        """Return the scores of the columns; those of equal values are drawn again each time."""
        if self._scores is None:
            self._scores = np.concatenate([column.first(draw) for column in self._columns], axis=1)
            for _ in range(self._first if self._levels else 0):
                precision = np.linalg.inv(shrunken_correlation(self._scores))
                draw_levels(self._scores, self._levels, np.asarray(precision, np.float64), draw)
            self._prepare(shrunken_correlation(self._scores))
        else:
            for _ in range(NEXT if self._levels else 0):
                draw_levels(self._scores, self._levels, self._precision, draw)
        return self._scores

    def _prepare(self, correlation: FloatArray) -> None:
        """Compute mean and square root of the covariance of the shadows' scores, given those of the columns."""
        s = entropy_diagonal(correlation)
        self._precision: FloatArray = np.asarray(np.linalg.inv(correlation), np.float64)
        self._weights = self._precision * s
        values, vectors = np.linalg.eigh(2.0 * np.diag(s) - s[:, None] * self._precision * s)
        self._root = (vectors * np.sqrt(np.maximum(values, 0.0))).T


def draw_levels(
    scores: FloatArray, levels: dict[int, FloatArray], precision: FloatArray, draw: np.random.Generator
) -> None:
    """Draw the scores of equal values again, in place: a sweep of a Gibbs sampler (Hoff 2007).

    Scores that are drawn at random within the equal values of a column of few levels understate its dependence on the others. Here they
    follow a normal law, given the scores of the other columns and the bounds of the level.
    """
    from scipy.special import ndtr, ndtri

    for j, bounds in levels.items():
        deviation = precision[j, j] ** -0.5
        mean = scores[:, j] - scores @ precision[j] / precision[j, j]
        low, high = ndtr((bounds - mean[:, None]) / deviation).T
        drawn = mean + deviation * ndtri(low + (high - low) * draw.random(len(scores)))
        # Far from the mean ndtri has no digits.
        inside = np.isfinite(drawn) & (drawn >= bounds[:, 0]) & (drawn <= bounds[:, 1])
        scores[inside, j] = drawn[inside]


def shrunken_correlation(scores: FloatArray) -> FloatArray:
    """Return the correlation (p, p) of scores (rows, p) by Ledoit and Wolf, which is never singular."""
    from sklearn.covariance import ledoit_wolf

    covariance = ledoit_wolf(scores)[0]
    deviation = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / deviation[:, None] / deviation)


def entropy_diagonal(correlation: FloatArray) -> FloatArray:
    """Return s (p,) with 0 < s <= 1 that makes columns and shadows as independent as can be.

    It maximises log det of the joint correlation (Gimenez and Zou 2019) by coordinates, from equal s: with A = 2 C - diag(s) and
    v = (A^-1)_jj the best change of s_j is (1 - v s_j) / 2 v, and A^-1 follows by Sherman and Morrison.
    """
    size = len(correlation)
    s = np.full(size, 0.5 * min(1.0, 2.0 * float(np.linalg.eigvalsh(correlation)[0])))
    inverse = np.linalg.inv(2.0 * correlation - np.diag(s))
    for _ in range(max(1, min(SWEEPS, int(WORK / size**3)))):
        most = 0.0
        for j in range(size):
            v = inverse[j, j]
            change = min((1.0 - v * s[j]) / (2.0 * v), INSIDE - s[j])
            column = inverse[j].copy()
            inverse += change / (1.0 - change * v) * np.outer(column, column)
            s[j] += change
            most = max(most, abs(change))
        if most < TOLERANCE:
            break
    return s * INSIDE
