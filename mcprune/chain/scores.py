"""Scores of the sites for `informed`, from what the chain itself has met: no gradient, no further evaluation.

A site is worth trying where trying it was accepted, and where the loss changed for the better. Both are kept for a site's
being added and for its being removed, forgotten exponentially since the classifier moves on.
"""

from typing import NamedTuple

import numpy as np

from mcprune.chain.kernels import EXCHANGE, INFORMED, TOGGLE
from mcprune.chain.moves import Moves
from mcprune.chain.state import StepInfo
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, FloatArray

__all__ = ["ADD", "REMOVE", "SiteStatistics", "count", "end_block", "floored", "new_statistics", "scores"]

ADD, REMOVE = 0, 1
# What a block leaves of the counts before it: some fifty blocks are remembered.
KEPT = 0.98
# Proposals that a site is taken to have met at the mean rate and the mean change before any of its own.
PRIOR = 1.0
# Uniform share of every score: each site's chance among N is at least FLOOR / N, and more among fewer.
FLOOR = 0.2
# A change of loss speaks within so many standard deviations: factors of e^-2 to e^2.
REACH = 2.0


class SiteStatistics(NamedTuple):
    """Forgotten counts for [ADD, REMOVE] of each site, updated in place, and the scores of the block. A checkpoint needs both."""

    tries: FloatArray  # (2, N)
    accepted: FloatArray  # (2, N)
    known: FloatArray  # (2, N) tries whose change of loss is known
    change: FloatArray  # (2, N) sum of those changes of L_tot
    scores: FloatArray  # (2, N) of the current block


def new_statistics(sites: int) -> SiteStatistics:
    """Return statistics of N sites of which nothing is known: equal scores."""
    tries, accepted, known, change = np.zeros((4, 2, sites))
    return SiteStatistics(tries, accepted, known, change, np.full((2, sites), 1.0 / sites))


def count(statistics: SiteStatistics, moves: Moves, info: StepInfo, unknown: AnyArray) -> None:
    """Count the consumed exchanges, informed exchanges and toggles of all replicas, in place; the scores stay.

    Parameters
    ----------
    statistics : SiteStatistics
    moves : Moves
    info : StepInfo
        What `engine.advance` said of them.
    unknown : ndarray of bool, shape (R, K)
        Candidates that were rejected without an evaluation: their change of loss is made up.
    """
    consumed = np.arange(moves.kind.shape[1]) < info.consumed[:, None]
    r, k = np.nonzero(consumed & np.isin(moves.kind, (EXCHANGE, INFORMED, TOGGLE)) & (moves.size > 0))
    for m in range(min(2, moves.sites.shape[2])):
        inside = moves.size[r, k] > m
        rows, columns = r[inside], k[inside]
        site = moves.sites[rows, columns, m]
        # These moves turn the sign of every weight that they change.
        way = np.where(moves.weights[rows, columns, m] > 0, ADD, REMOVE)
        change = info.loss_change[rows, columns]
        is_known = np.isfinite(change) & ~unknown[rows, columns]
        np.add.at(statistics.tries, (way, site), 1.0)
        np.add.at(statistics.accepted, (way, site), info.index[rows] == columns)
        np.add.at(statistics.known, (way, site), is_known)
        np.add.at(statistics.change, (way, site), np.where(is_known, change, 0.0))


def end_block(statistics: SiteStatistics) -> None:
    """Set the scores of the next block and forget a little, in place."""
    for way in (ADD, REMOVE):
        statistics.scores[way] = scores(statistics, way)
    for part in statistics[:4]:
        part *= KEPT


def scores(statistics: SiteStatistics, way: int) -> FloatArray:
    """Return scores (N,) that sum to 1, each at least FLOOR / N.

    The rate of acceptance with PRIOR tries at the mean rate, times exp(-z), z the mean change of loss (with as many tries at
    the mean change) in standard deviations over the sites, within +-REACH.
    """
    tries, accepted, known, change = (part[way] for part in statistics[:4])
    mean_rate = (accepted.sum() + PRIOR) / (tries.sum() + 2.0 * PRIOR)
    rate = (accepted + PRIOR * mean_rate) / (tries + PRIOR)
    mean_change = change.sum() / max(float(known.sum()), 1e-300)
    mean = (change + PRIOR * mean_change) / (known + PRIOR)
    scale = float(mean.std())
    z = np.clip((mean - mean_change) / scale, -REACH, REACH) if scale > 0 else np.zeros_like(mean)
    return floored(rate * np.exp(-z))


def floored(values: AnyArray) -> FloatArray:
    """Return scores from outside, scaled to a sum of 1, FLOOR of it shared out equally.

    Parameters
    ----------
    values : ndarray, shape (N,), finite and >= 0, not all 0

    Raises
    ------
    ConfigError
        For anything else.
    """
    weights = np.asarray(values, dtype=np.float64)
    total = float(weights.sum())
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not 0 < total < np.inf:
        raise ConfigError("Scores must be finite, none negative and not all 0: they are weights of a random choice.")
    return np.asarray((1.0 - FLOOR) * weights / total + FLOOR / weights.size)
