"""How the move `informed` draws its sites: by what the chain has learned, by probes, or by scores from outside."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mcprune.chain import moves, scores
from mcprune.chain.scores import SiteStatistics
from mcprune.chain.state import ChainState, StepInfo
from mcprune.evaluators.base import Evaluator
from mcprune.methods.markov.probing.probes import Probes, ProbesState
from mcprune.methods.markov.proposals import Proposals, ProposalState
from mcprune.methods.markov.rule import Rule
from mcprune.methods.markov.settings import ChainSettings
from mcprune.types import BoolArray, FloatArray, IntArray


@dataclass
class InformedState:
    """The scores of the block, and what they come from.

    Attributes
    ----------
    statistics : SiteStatistics
        The scores, and what the chain has learned for them.
    probes : ProbesState or None
    proposals : ProposalState or None
        Of scores from outside.
    """

    statistics: SiteStatistics
    probes: ProbesState | None
    proposals: ProposalState | None


class Informed:
    """The scores of `informed`: those from outside before those of the probes, and these before learned ones.

    Parameters
    ----------
    proposals : Proposals or None
    probes : Probes or None
    """

    def __init__(self, proposals: Proposals | None, probes: Probes | None) -> None:
        self.proposals, self.probes = proposals, probes

    def init(self, sites: int) -> InformedState:
        """Return a state of equal scores."""
        return InformedState(
            scores.new_statistics(sites),
            None if self.probes is None else self.probes.init(sites),
            None if self.proposals is None else self.proposals.init(),
        )

    def probe(
        self,
        state: InformedState,
        chain: ChainState,
        coldest: int,
        evaluator: Evaluator,
        plan: moves.MovePlan,
        rule: Rule,
    ) -> int:
        """Probe some sites before a block, and return how many."""
        if self.probes is None or state.probes is None or not rule.may_score:
            return 0
        if not plan.probabilities[moves.INFORMED] > 0:
            return 0
        count = self.probes.probe(state.probes, chain, coldest, evaluator)
        self.score(state, chain.position[coldest])
        return count

    def score(self, state: InformedState, position: FloatArray) -> None:
        """Set the scores at a position (F,) by what the probes know."""
        assert self.probes is not None
        assert state.probes is not None
        by_rank = self.probes.scores(state.probes, position)
        state.statistics.scores[:] = [scores.floored(one) for one in by_rank]

    def plan(
        self, state: InformedState, settings: ChainSettings, rule: Rule, progress: float, *, is_first: bool
    ) -> moves.MovePlan:
        """Return the mixture of moves of a block, with the scores that `informed` draws by."""
        # The box makes the law normalisable at T > 0; the plain greedy rule has none. By rank walks need it too.
        has_box = rule.temperature > 0 or settings.by_rank
        plan = settings.plan if has_box else settings.plan._replace(box=math.inf)
        if self.proposals is not None and state.proposals is not None and (rule.may_score or is_first):
            self.proposals.update(state.proposals, state.statistics, progress)
        if self.proposals is None and self.probes is None and not settings.learned:
            return plan
        add, remove = state.statistics.scores.copy()
        return plan._replace(add=add, remove=remove)

    def learns(self, settings: ChainSettings, rule: Rule) -> bool:
        """Whether the chain learns the scores from its own decisions in this block."""
        return settings.learned and self.proposals is None and self.probes is None and rule.may_score

    def count(self, state: InformedState, candidates: moves.Moves, info: StepInfo, ruled_out: BoolArray) -> None:
        """Learn from decisions."""
        scores.count(state.statistics, candidates, info, ruled_out)

    def accepted(self, state: InformedState, sites: IntArray) -> None:
        """Note that the coldest replica has toggled these sites."""
        if self.probes is not None and state.probes is not None:
            self.probes.accepted(state.probes, sites)

    def end_block(self, state: InformedState) -> None:
        """Set the learned scores of the next block."""
        scores.end_block(state.statistics)
