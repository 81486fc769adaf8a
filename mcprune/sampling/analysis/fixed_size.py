"""How often two sites would be kept together if sites did not depend on each other, but for the number that is kept.

Were the loss of a mask a sum of one term a site, exp(-loss / T) over the masks of exactly n sites would be a product of one weight a kept
site: independent draws of the sites, given that n of them are kept. This is the law of the largest entropy of all with the same P of each
site (conditional Poisson sampling [1]_). That n sites are kept makes each pair slightly rarer than the product of its two P, and this law
says by how much.

Notes
-----
With independent draws of probability p, S = number of kept sites, and S without some sites as S(-i), S(-ij):

    P(i | n)    = p_i P(S(-i) = n - 1) / P(S = n)
    P(i, j | n) = p_i p_j P(S(-ij) = n - 2) / P(S = n)

The probabilities of sums are means over frequencies l = 0 ... M - 1 of products of 1 - p + p exp(2 pi i l / M), one factor a site; a site
is left out by division. No factor is 0, since M is odd, and a quotient is the product of the other factors, so nothing cancels.

References
----------
.. [1] Chen, Dempster, Liu (1994), Weighted finite population sampling to maximize entropy, Biometrika 81, 457.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from mcprune.types import FloatArray, IntArray

# Steps until P of each site is right to within this, and the standard deviations of S that the frequencies tell apart.
MOST_STEPS, PRECISION, DEVIATIONS = 100, 1e-10, 20.0
# Sites that are solved for together; steps that centre the sum; the longest step of log odds.
COUPLED, SHIFTS, LONGEST_STEP = 400, 3, 2.0


def independent_joint(probability: FloatArray, sites: IntArray) -> FloatArray:
    """Return how often pairs of sites are kept together by the law without interactions.

    Parameters
    ----------
    probability : ndarray of float64, shape (N,)
        P(site is kept); the sum is the number of kept sites, to rounding.
    sites : ndarray of int64, shape (S,)
        The sites whose pairs are asked for.

    Returns
    -------
    ndarray of float64, shape (S, S)
        P(both are kept) of each pair; P of the site on the diagonal.
    """
    own = probability[sites]
    joint = own[:, None] * own  # exact where one of the two is always or never kept
    varies = np.flatnonzero((probability > 0.0) & (probability < 1.0))
    inside = np.flatnonzero((own > 0.0) & (own < 1.0))
    if varies.size and inside.size:
        keep = round(float(probability.sum())) - int((probability >= 1.0).sum())
        joint[np.ix_(inside, inside)] = _joint(probability[varies], keep, np.searchsorted(varies, sites[inside]))
    np.fill_diagonal(joint, own)
    return joint


def _joint(probability: FloatArray, keep: int, places: IntArray) -> FloatArray:
    """Return P(both) of the pairs of `places`; each P is strictly between 0 and 1."""
    variance = probability * (1.0 - probability)
    count = math.ceil(DEVIATIONS * math.sqrt(float(variance.sum())) + DEVIATIONS)
    law = _Law(keep, min(probability.size + 1, count) | 1)
    # Newton's method for the log odds of each site; sites that hardly vary hardly depend on the others.
    coupled = np.sort(np.argsort(-variance, kind="stable")[:COUPLED])
    log_odds = np.log(probability) - np.log1p(-probability)
    for _ in range(MOST_STEPS):
        law.solve(log_odds)
        away = probability - law.single
        if np.abs(away).max() < PRECISION:
            break
        step = away / variance
        own = law.single[coupled]
        covariance = law.joint(coupled) - own[:, None] * own
        covariance[np.diag_indices(len(coupled))] = own * (1.0 - own)
        # A common factor of all odds changes nothing, so that the matrix has no inverse in that direction.
        step[coupled] = np.linalg.solve(covariance + variance.max() / len(coupled), away[coupled])
        log_odds = law.log_odds + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
    return law.joint(places)


class _Law:
    """Independent draws given that `keep` sites are kept, by sums over `count` frequencies."""

    def __init__(self, keep: int, count: int) -> None:
        self.keep = keep
        self.frequencies = 2.0 * np.pi * np.arange(count // 2 + 1) / count  # those above are conjugates of these
        self.weights = np.r_[1.0, np.full(count // 2, 2.0)] / count
        self.log_odds = self.single = np.empty(0)
        self.product = self.inverse = np.empty(0, np.complex128)

    def solve(self, log_odds: FloatArray) -> None:
        """Set the log odds of the sites, up to a common summand, and P(kept) of each."""
        for _ in range(SHIFTS):  # to where about n sites are kept, so that P(S = n) is not a small difference
            p = special.expit(log_odds)
            shift = (self.keep - p.sum()) / (p * (1.0 - p)).sum()
            log_odds = log_odds + np.clip(shift, -LONGEST_STEP, LONGEST_STEP)
        p = special.expit(log_odds)
        factors = 1.0 - p[:, None] + p[:, None] * np.exp(1j * self.frequencies)
        product = np.exp(np.log(factors).sum(axis=0)) * self.weights
        self.inverse = p[:, None] / factors
        self.product = product / (product * np.exp(-1j * self.keep * self.frequencies)).real.sum()
        self.log_odds = log_odds
        self.single = (self.inverse @ (self.product * np.exp(-1j * (self.keep - 1) * self.frequencies))).real

    def joint(self, places: IntArray) -> FloatArray:
        """Return P(both) of the pairs of sites at the places; the diagonal has no meaning."""
        inverse = self.inverse[places]
        pairs = ((inverse * (self.product * np.exp(-1j * (self.keep - 2) * self.frequencies))) @ inverse.T).real
        return np.asarray(np.maximum(pairs, 0.0), np.float64)
