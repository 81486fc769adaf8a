"""Scores by which the move `informed` draws its sites, where something else than the chain's own statistics gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mcprune.chain import scores
from mcprune.chain.scores import SiteStatistics
from mcprune.methods.importance.scorer import Scorer, ScorerState
from mcprune.sites.space import SearchSpace
from mcprune.types import FloatArray


@dataclass
class ProposalState:
    """When the scores are computed next, as a share of the run, and the draws of the measure that computes them.

    The scores themselves are `SiteStatistics.scores`.
    """

    next_at: float
    scorer: ScorerState


class Proposals(Protocol):
    """Scores from outside."""

    def init(self) -> ProposalState:
        """Return the state before any score is computed."""
        ...

    def update(self, state: ProposalState, statistics: SiteStatistics, progress: float) -> None:
        """Set the scores of the block in place, where they are due at a share of the run."""
        ...


class MeasuredProposals:
    """Scores of `informed` by a measure: the higher a site's rank, the more often it is added, and the less often removed.

    Ranks, since measures are of any scale and some of any sign. All sites are scored as if none were dropped: behind a ReLU a dropped
    unit has no slope. They are computed at the first block and then whenever another `every` of the run is over; at T > 0 the chain asks
    only during its warm-up.

    Parameters
    ----------
    scorer : Scorer
    space : SearchSpace
        Its items have the scores of their sites.
    every : float
        Share of the run.
    """

    def __init__(self, scorer: Scorer, space: SearchSpace, every: float = 1 / 40) -> None:
        self.scorer, self.space, self.every = scorer, space, every

    def init(self) -> ProposalState:
        """See `Proposals.init`."""
        return ProposalState(-math.inf, self.scorer.init())

    def update(self, state: ProposalState, statistics: SiteStatistics, progress: float) -> None:
        """See `Proposals.update`."""
        if progress < state.next_at - 1e-9:
            return
        state.next_at = progress + self.every
        by_rank = ranks(self.scorer.scores(state=state.scorer).values)
        for way, values in zip((scores.ADD, scores.REMOVE), by_rank, strict=True):
            statistics.scores[way] = scores.floored(self.space.items_of(values))


def ranks(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (add, remove), each (N,) in 1/N .. 1: rank from below and from above, ties to their mean."""
    from scipy.stats import rankdata

    rank = np.asarray(rankdata(values) / values.size)
    return rank, 1.0 + 1.0 / values.size - rank
