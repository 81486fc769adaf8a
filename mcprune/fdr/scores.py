"""Normal scores behind the columns of a table, and the cells that scores stand for.

A plain number has one score. A category is a chain of decisions, its first value or another one, of those the next value or another one,
and so on, with a score for each; the values are put in the order that follows the other columns most, so that decisions rise or fall with
them. A number with gaps is the decision whether it is missing, and a number otherwise. A score that a row's cell says nothing about is
free. So one multivariate normal law holds what columns of all kinds have to do with each other, and the scores of a shadow always make
cells that the column has, each as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

# Scores are drawn no farther out than this share of the normal law at either end.
TAIL = 1e-12


class ScoredColumn(Protocol):
    """A column of the table with the scores behind it.

    Attributes
    ----------
    width : int
        Number of its scores.
    bounds : dict
        By score, the bounds (rows, 2) within which it is drawn again; a score that is not there is known.
    """

    width: int
    bounds: dict[int, FloatArray]

    def first(self, draw: np.random.Generator) -> FloatArray:
        """Return scores (rows, width) that fit the cells, drawn without the other columns."""
        ...

    def cells(self, scores: FloatArray) -> Float32Array:
        """Return the column's own cells (rows, numbers) in the order of scores (rows, width)."""
        ...


class NumberColumn:
    """A number in each row.

    Parameters
    ----------
    values : ndarray of float32, shape (rows,)
    """

    width = 1

    def __init__(self, values: Float32Array) -> None:
        self._values = values
        self._sorted = np.sort(values)
        different = 1 + int((self._sorted[1:] != self._sorted[:-1]).sum())
        self.bounds = {0: rank_bounds(values)} if 1 < different < len(values) else {}

    def first(self, draw: np.random.Generator) -> FloatArray:
        """See `ScoredColumn.first`."""
        return normal_scores(self._values[:, None], draw)

    def cells(self, scores: FloatArray) -> Float32Array:
        """See `ScoredColumn.cells`."""
        return self._sorted[scores[:, 0].argsort().argsort()][:, None]


class CategoryColumn:
    """A category: several numbers, whose different rows are its values.

    Parameters
    ----------
    numbers : ndarray of float32, shape (rows, k)
    others : ndarray of float32, shape (rows, m)
        The numbers of the other columns.
    """

    def __init__(self, numbers: Float32Array, others: Float32Array) -> None:
        values, codes, counts = np.unique(numbers, axis=0, return_inverse=True, return_counts=True)
        order = np.argsort(leading_direction(codes.reshape(-1), counts, others), kind="stable")
        self._values: Float32Array = values[order]
        self._counts: IntArray = counts[order]
        self._codes = np.argsort(order)[codes.reshape(-1)]
        self.width = max(1, len(order) - 1)
        self.bounds = {place: decision_bounds(self._codes, place) for place in range(self.width)}

    def first(self, draw: np.random.Generator) -> FloatArray:
        """See `ScoredColumn.first`."""
        return np.stack([within(self.bounds[place], draw) for place in range(self.width)], axis=1)

    def cells(self, scores: FloatArray) -> Float32Array:
        """See `ScoredColumn.cells`."""
        codes = np.full(len(scores), len(self._counts) - 1)
        is_open = np.ones(len(scores), bool)
        for place, count in enumerate(self._counts[:-1]):
            chosen = highest(scores[:, place], is_open, int(count))
            codes[chosen], is_open[chosen] = place, False
        cells: Float32Array = self._values[codes]
        return cells


class GappedColumn:
    """A number with gaps: its values, and where they are missing.

    Parameters
    ----------
    numbers : ndarray of float32, shape (rows, 2)
        Values, with the same one in each gap, and a number that is larger where the value is missing.
    """

    width = 2

    def __init__(self, numbers: Float32Array) -> None:
        is_missing = numbers[:, 1] > numbers[:, 1].min()
        self._count = int(is_missing.sum())
        self._gap, self._whole = numbers[is_missing][:1], numbers[~is_missing][:1, 1]
        self._sorted = np.sort(numbers[~is_missing, 0])
        values = np.tile([-np.inf, np.inf], (len(numbers), 1))
        values[~is_missing] = rank_bounds(numbers[~is_missing, 0])
        self.bounds = {0: decision_bounds(np.where(is_missing, 0, 1), 0), 1: values}

    def first(self, draw: np.random.Generator) -> FloatArray:
        """See `ScoredColumn.first`."""
        return np.stack([within(self.bounds[place], draw) for place in range(2)], axis=1)

    def cells(self, scores: FloatArray) -> Float32Array:
        """See `ScoredColumn.cells`."""
        is_missing = np.zeros(len(scores), bool)
        is_missing[highest(scores[:, 0], ~is_missing, self._count)] = True
        out = np.empty((len(scores), 2), np.float32)
        out[is_missing] = self._gap
        out[~is_missing, 0] = self._sorted[scores[~is_missing, 1].argsort().argsort()]
        out[~is_missing, 1] = self._whole
        return out


class WholeColumn(NumberColumn):
    """A number whose gaps are in other rows.

    Parameters
    ----------
    numbers : ndarray of float32, shape (rows, 2)
        As those of `GappedColumn`; the second is the same in all rows.
    """

    def __init__(self, numbers: Float32Array) -> None:
        super().__init__(numbers[:, 0])
        self._whole = numbers[:, 1:]

    def cells(self, scores: FloatArray) -> Float32Array:
        """See `ScoredColumn.cells`."""
        return np.concatenate([super().cells(scores), self._whole], axis=1)


def scored_columns(x: Float32Array, owner: IntArray, categories: Sequence[int] = ()) -> list[ScoredColumn]:
    """Return the columns of a table of numbers.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, M)
    owner : ndarray of int64, shape (M,)
        The column of each number, rising.
    categories : sequence of int
        The columns that are categories; others of two numbers have gaps.
    """
    out: list[ScoredColumn] = []
    for column in range(int(owner[-1]) + 1):
        own = owner == column
        out.append(CategoryColumn(x[:, own], x[:, ~own]) if column in categories else _number(x[:, own]))
    return out


def _number(numbers: Float32Array) -> ScoredColumn:
    if numbers.shape[1] == 1:
        return NumberColumn(numbers[:, 0])
    has_both = numbers[:, 1].min() < numbers[:, 1].max()
    return GappedColumn(numbers) if has_both else WholeColumn(numbers)


def leading_direction(codes: IntArray, counts: IntArray, others: Float32Array) -> FloatArray:
    """Return a number for each of the values of a category (K,), such that it has as much to do with the other columns as can be.

    It is the first principal direction of the means of the standardised others (rows, m) under each value, weighted by the counts.
    """
    if not others.shape[1] or len(counts) < 2:
        return -counts.astype(np.float64)
    deviation = others.std(axis=0, dtype=np.float64)
    away = (others - others.mean(axis=0, dtype=np.float64)) / np.where(deviation > 0, deviation, 1.0)
    sums = np.zeros((len(counts), others.shape[1]))
    np.add.at(sums, codes, away)
    root = np.sqrt(counts)
    left, _, _ = np.linalg.svd(sums / root[:, None], full_matrices=False)
    return np.asarray(left[:, 0] / root)


def normal_scores(x: Float32Array, draw: np.random.Generator) -> FloatArray:
    """Return the normal quantiles (rows, p) of the ranks in each column; ties are broken at random."""
    from scipy.special import ndtri

    rows = len(x)
    quantiles = ndtri((np.arange(rows) + 0.5) / rows)
    out = np.empty(x.shape)
    for j in range(x.shape[1]):
        out[np.lexsort((draw.random(rows), x[:, j])), j] = quantiles
    return out


def rank_bounds(values: Float32Array) -> FloatArray:
    """Return the bounds (rows, 2) of the score of each value: those of the ranks that it takes."""
    from scipy.special import ndtri

    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    bounds: FloatArray = ndtri(np.stack([ends - counts, ends], axis=1) / len(values))[place]
    return bounds


def decision_bounds(codes: IntArray, place: int) -> FloatArray:
    """Return the bounds (rows, 2) of the score that decides between the value `place` and all later ones; earlier rows are free."""
    from scipy.special import ndtri

    later, own = codes > place, codes == place
    cut = ndtri(later.sum() / (later.sum() + own.sum()))
    bounds = np.tile([-np.inf, np.inf], (len(codes), 1))
    bounds[later, 1] = bounds[own, 0] = cut
    return bounds


def within(bounds: FloatArray, draw: np.random.Generator) -> FloatArray:
    """Return normal scores (rows,) within bounds (rows, 2)."""
    from scipy.special import ndtr, ndtri

    low, high = ndtr(bounds).T
    return np.asarray(ndtri(np.clip(low + (high - low) * draw.random(len(bounds)), TAIL, 1.0 - TAIL)), np.float64)


def highest(scores: FloatArray, is_open: BoolArray, count: int) -> IntArray:
    """Return the rows of the highest scores among the open ones."""
    rows = np.flatnonzero(is_open)
    return rows[np.argsort(-scores[rows], kind="stable")[:count]]
