"""Whether one site stands in for another, by exchanges in drawn masks: for pairs that the law keeps too rarely to count.

A copy that costs a few temperatures more than its original is hardly ever drawn, so counts of draws say nothing of the two. But their
masks can be evaluated. With a drawn mask C + i of n sites, w = L(C) - L(C + i) is what site i is worth, g = L(C) - L(C + j) what site j is
worth without it, and h = L(C + i) - L(C + i + j) what j is worth beside it. Site j stands in for i where it makes up for at least a share
of i (g >= ratio w) and is worth less than that share beside it (h <= ratio g). A site that is merely good is worth as much beside i.

Both are one-sided t-tests over drawn masks, and the p-value of the pair is the larger one: both must hold (Berger 1982).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from mcprune.sampling.analysis.exchanges import Evaluate, spread
from mcprune.sampling.samples import Samples
from mcprune.types import BoolArray, FloatArray, IntArray

# Pairs are tried in a few masks each, and those that may stand in for each other in more; above so many pairs none is.
FIRST, MASKS, MOST_PAIRS = 6, 48, 4_000
# Only sites are replaced that at least this share of the draws keeps, and that are worth so many temperatures.
KEPT, WORTH = 0.25, 1.0
# Masks that are evaluated at once.
AT_ONCE = 4_096


class ExchangeTest(NamedTuple):
    """Pairs (P, 2) of sites, the replaced one first, and their p-values (P,)."""

    pairs: IntArray
    p_values: FloatArray


def exchange_test(samples: Samples, counted: BoolArray, ratio: float, evaluate: Evaluate) -> ExchangeTest:
    """Test the pairs of a site that draws keep, and one that they keep rarely.

    Parameters
    ----------
    samples : Samples
    counted : ndarray of bool, shape (sites, sites)
        Pairs that the draws themselves say enough of; symmetric.
    ratio : float
    evaluate : callable
        Losses (K,) of masks (K, N).

    Returns
    -------
    ExchangeTest
        All pairs that were tried. A pair that fails in the first masks has the p-value 1.
    """
    kept = np.flatnonzero(samples.probability >= KEPT)
    pairs = np.array(
        [(i, j) for i in kept for j in range(samples.sites) if j != i and not counted[i, j]], np.int64
    ).reshape(-1, 2)
    # Of two sites that are both kept often, the more probable one is replaced.
    p = samples.probability[pairs]
    pairs = pairs[(p[:, 0] > p[:, 1]) | ((p[:, 0] == p[:, 1]) & (pairs[:, 0] < pairs[:, 1]))]
    if not len(pairs) or len(pairs) > MOST_PAIRS:
        return ExchangeTest(np.empty((0, 2), np.int64), np.empty(0))
    values = np.ones(len(pairs))
    first = _tested(samples, pairs, ratio, evaluate, FIRST)
    again = np.flatnonzero(first < 0.5)
    if again.size:
        values[again] = _tested(samples, pairs[again], ratio, evaluate, MASKS)
    return ExchangeTest(pairs, values)


def _tested(samples: Samples, pairs: IntArray, ratio: float, evaluate: Evaluate, most: int) -> FloatArray:
    """Return the p-values (P,) of pairs by at most so many masks each."""
    values = np.ones(len(pairs))
    for site in np.unique(pairs[:, 0]):
        own = np.flatnonzero(pairs[:, 0] == site)
        masks = samples.flat_masks[spread(np.flatnonzero(samples.flat_masks[:, site]), most)]
        without = masks.copy()
        without[:, site] = False
        with_site, nothing = _losses(evaluate, masks), _losses(evaluate, without)
        worth = nothing - with_site
        if not worth.mean() > WORTH * samples.temperature:
            continue
        for row in own:
            other = pairs[row, 1]
            usable = ~masks[:, other]
            if usable.sum() < min(FIRST, most):
                continue
            both, instead = masks[usable].copy(), without[usable].copy()
            both[:, other] = instead[:, other] = True
            gain = nothing[usable] - _losses(evaluate, instead)
            beside = with_site[usable] - _losses(evaluate, both)
            values[row] = max(_p_value(gain - ratio * worth[usable]), _p_value(ratio * gain - beside))
    return values


def _losses(evaluate: Evaluate, masks: BoolArray) -> FloatArray:
    return np.concatenate([evaluate(masks[start : start + AT_ONCE]) for start in range(0, len(masks), AT_ONCE)])


def _p_value(values: FloatArray) -> float:
    """Return the probability of so high a mean if it were 0 or less: a t-test."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    if not np.isfinite(mean):
        return 1.0
    if error == 0.0:
        return 0.0 if mean > 0 else 1.0
    return float(stats.t.sf(mean / error, len(values) - 1))
