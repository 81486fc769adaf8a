"""How well several chains agree, and what their means are worth: rank-normalised split R-hat, effective samples, Monte-Carlo errors.

By ArviZ, after Vehtari et al. [1]_. What is said here of constants and of sites that are hardly ever kept is not in there: a site that no
draw keeps has no error by the formula, though a few kept draws may just not have come up.

References
----------
.. [1] Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021), Rank-normalization, folding, and localization: an improved R-hat for assessing
   convergence of MCMC, Bayesian Analysis 16, 667.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from mcprune.types import BoolArray, FloatArray

# Draws of a chain from which its halves can be compared at all.
FEWEST_DRAWS = 8


def r_hat(series: FloatArray) -> float:
    """Return the rank-normalised split R-hat of a series (chains, draws) of finite numbers.

    Returns
    -------
    float
        Near 1 where all halves of all chains have one law. 1 of one and the same constant, inf of chains that stand still at different
        values, nan of fewer than `FEWEST_DRAWS` draws.
    """
    if series.shape[1] < FEWEST_DRAWS:
        return math.nan
    if series.min() == series.max():
        return 1.0
    from arviz_stats.base import array_stats  # takes a second, which most commands do not need

    # Folding halves that are constants divides zero by zero: they agree on no value.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(array_stats.rhat(series, chain_axis=0, draw_axis=1, method="rank"))
    return math.inf if math.isnan(value) else value


def effective_size(series: FloatArray) -> float:
    """Return how many independent draws the mean of a series (chains, draws) is worth; all of a constant, nan of a few."""
    if series.shape[1] < FEWEST_DRAWS:
        return math.nan
    from arviz_stats.base import array_stats

    return float(array_stats.ess(series, chain_axis=0, draw_axis=1, method="mean"))


def bulk_size(series: FloatArray) -> float:
    """Return the effective sample size of the bulk of a series (chains, draws), after rank normalisation; as `effective_size` else."""
    if series.shape[1] < FEWEST_DRAWS:
        return math.nan
    from arviz_stats.base import array_stats

    if series.min() == series.max():
        return float(series.size)
    return float(array_stats.ess(series, chain_axis=0, draw_axis=1, method="bulk"))


def site_r_hat(masks: BoolArray) -> FloatArray:
    """Return R-hat (sites,) of masks (chains, draws, sites), as `r_hat`.

    Ranks of two values are an affine function of them, and so is folding: rank normalisation changes no R-hat of a site.
    """
    _, draws, sites = masks.shape
    if draws < FEWEST_DRAWS:
        return np.full(sites, math.nan)
    half = draws // 2
    halves = np.concatenate([masks[:, :half].mean(axis=1), masks[:, -half:].mean(axis=1)])  # (2 chains, sites)
    within = (halves * (1.0 - halves)).mean(axis=0) * half / (half - 1)
    between = halves.var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.sqrt(between / within + (half - 1) / half)
    values[between == 0.0] = np.minimum(values[between == 0.0], 1.0)
    values[(between == 0.0) & (within == 0.0)] = 1.0
    return np.asarray(values, np.float64)


def site_effective_size(masks: BoolArray) -> FloatArray:
    """Return the effective sample size (sites,) of the mean of each site of masks (chains, draws, sites)."""
    chains, draws, sites = masks.shape
    sizes = np.full(sites, math.nan if draws < FEWEST_DRAWS else float(chains * draws))
    if draws < FEWEST_DRAWS:
        return sizes
    counts = masks.sum(axis=(0, 1))
    varies = np.flatnonzero((counts > 0) & (counts < chains * draws))
    if varies.size:
        from arviz_stats.base import array_stats

        series = np.ascontiguousarray(np.moveaxis(masks[:, :, varies], 2, 0), dtype=np.float64)
        sizes[varies] = array_stats.ess(series, chain_axis=1, draw_axis=2, method="mean")
    return sizes


def site_error(probability: FloatArray, effective: FloatArray, loss_effective: float) -> FloatArray:
    """Return the Monte-Carlo standard error (sites,) of P(kept).

    Parameters
    ----------
    probability, effective : ndarray of float64, shape (sites,)
        The share of the draws that keep a site, and the effective sample size of that mean.
    loss_effective : float
        The effective sample size of the loss.

    Notes
    -----
    sqrt(P (1 - P) / effective), but with P a success and a failure nearer to 1/2 (Agresti and Coull's interval), and for sites that all
    draws keep, or none, with the effective sample size of the loss. So of 400 effective draws that all drop a site, P = 0 +- .0025.
    """
    constant = (probability <= 0.0) | (probability >= 1.0)
    size = np.where(constant, loss_effective, effective)
    moved = (probability * size + 1.0) / (size + 2.0)
    return np.asarray(np.sqrt(moved * (1.0 - moved) / size), np.float64)
