"""The mask that a chain starts from, by an importance measure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mcprune.methods.importance.scorer import Scorer, ScorerState
from mcprune.methods.importance.selection import select
from mcprune.sites.budget import Goal
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray


@dataclass
class StartState:
    """Whether the measure has chosen the mask, what it drew, and what the user should know of it."""

    is_done: bool
    scorer: ScorerState
    notes: list[str] = field(default_factory=list)


class MeasureStart:
    """Until the share `begin` of the run the classifier trains on all sites; then a measure chooses the chain's first mask.

    Parameters
    ----------
    scorer : Scorer
    begin : float
        Share of the run; 0: the first block.
    how, floor
        As `select` takes them.
    """

    def __init__(self, scorer: Scorer, begin: float, how: str, floor: int) -> None:
        self.scorer, self.begin, self.how, self.floor = scorer, begin, how, floor

    def init(self) -> StartState:
        """Return the state before the start."""
        return StartState(False, self.scorer.init())

    def is_waiting(self, state: StartState, progress: float) -> bool:
        """Whether the start is still to come after a block that ends at this share of the run."""
        return not state.is_done and progress < self.begin - 1e-9

    def choose(self, state: StartState, goal: Goal, space: SearchSpace) -> BoolArray:
        """Return the mask (N,) of the highest scores that satisfies the goal."""
        scores = self.scorer.scores(state=state.scorer)
        if space.is_count and space.is_plain:
            mask = select(scores.values, space.sites.groups, int(goal.counts[0]), self.how, self.floor)
        else:
            mask = space.enforce(np.where(np.isfinite(scores.values), scores.values, -np.inf), goal)
        state.is_done = True
        state.notes += [f"start: {int(mask.sum()):,} sites by {self.scorer.settings.measure}", *scores.notes]
        return mask
