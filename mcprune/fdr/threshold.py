"""The largest set of columns whose estimated false discovery rate is at most q: counts of shadows against counts of columns."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mcprune.types import FloatArray, IntArray

# Shadow sets at least and at most, and so many over 1 / q: the one shadow that is added to the count must leave room for one column.
LEAST_SETS, MOST_SETS, SETS = 12, 60, 1.2


class Selection(NamedTuple):
    """The columns whose estimated false discovery rate is at most q.

    Attributes
    ----------
    columns : ndarray of int64, shape (k,)
        The kept columns, the highest statistic first.
    rate : float
        The estimated false discovery rate of this set; 0 where it is empty.
    threshold : float
        The lowest statistic of a kept column; infinite where there is none.
    statistic : ndarray of float64, shape (p,)
        Of each column, the mean over the sets.
    shadow : ndarray of float64, shape (p,)
        Of its shadows, the mean over the sets.
    rates : ndarray of float64, shape (p,)
        The lowest q at which each column is kept.
    """

    columns: IntArray
    rate: float
    threshold: float
    statistic: FloatArray
    shadow: FloatArray
    rates: FloatArray


def shadow_sets(q: float) -> int:
    """Return how many sets of shadows a rate of q takes."""
    return max(LEAST_SETS, min(MOST_SETS, math.ceil(SETS / q)))


def select(columns: FloatArray, shadows: FloatArray, q: float) -> Selection:
    """Return the largest set of columns whose estimated false discovery rate is at most q.

    Parameters
    ----------
    columns, shadows : ndarray of float64, shape (sets, p)
        Statistics of the columns and of their shadows in each set; large ones speak for a column.
    q : float, 0 < q < 1

    Notes
    -----
    A column without information competes under the same law as its shadow. So the number of such columns at or above a threshold is
    estimated by the mean number of shadows there, of all columns and over the sets, and one more shadow is counted than there is:

        rate(t) = (1 + number of shadows of all sets at or above t) / (sets x number of columns at or above t)
    """
    sets = len(columns)
    statistic = columns.mean(axis=0)
    order = np.lexsort((np.arange(len(statistic)), -statistic))
    ranked = statistic[order]
    above = shadows.size - np.searchsorted(np.sort(shadows, axis=None), ranked, side="left")
    # Columns of one value stand or fall together.
    kept = len(ranked) - np.searchsorted(ranked[::-1], ranked, side="left")
    estimates = np.minimum(1.0, (1.0 + above) / (sets * kept))
    lowest = np.minimum.accumulate(estimates[::-1])[::-1]
    within = np.flatnonzero(estimates <= q)
    count = int(within[-1]) + 1 if within.size else 0
    rates = np.empty(len(statistic))
    rates[order] = lowest
    return Selection(
        columns=order[:count],
        rate=float(estimates[count - 1]) if count else 0.0,
        threshold=float(ranked[count - 1]) if count else math.inf,
        statistic=statistic,
        shadow=shadows.mean(axis=0),
        rates=rates,
    )
