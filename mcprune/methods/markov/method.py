"""The Markov chain as a way to a mask: blocks of decisions on one evaluation batch each."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mcprune.chain import min_per_layer, tempering
from mcprune.chain import state as chain_state
from mcprune.chain.ranks.gates import BOX
from mcprune.evaluators.base import gates_of
from mcprune.methods.base import Batch, BlockInfo, Finalist, Parts, whole
from mcprune.methods.markov.block import ChainBlocks
from mcprune.methods.markov.gates import from_cut
from mcprune.methods.markov.info import block_info, shown, waiting_info
from mcprune.methods.markov.rule import Rule, goal_of, new_step_size, rule_of, sharpness_of
from mcprune.methods.markov.settings import ChainSettings, check
from mcprune.methods.markov.start import Starts
from mcprune.methods.markov.state import MarkovState, Tally
from mcprune.sites.budget import Goal
from mcprune.sites.gates import effects
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray, Float32Array, FloatArray

MEASURED_EVERY = 32  # blocks between two measurements of the standard error
# At most so many decisions are made between two parts of a block, where knobs may be changed: some 50 ms on MNIST while most of it is
# kept. See also `TOGGLED_ROWS` in block.py.
DECISIONS = 32

__all__ = ["ChainSettings", "Markov", "SteeredChain"]


class Markov(ChainBlocks):
    """One chain over the F items of a search space, or several replicas of it on a ladder of temperatures.

    The coldest replica is the one that counts: the classifier trains under its mask, and its mask is the result.

    Parameters
    ----------
    space : SearchSpace
        What the chain moves, and which masks are allowed; evaluators see all N sites.
    settings : ChainSettings
    evaluator : Evaluator
        Evaluates the candidates.
    canonical : Canonical
        Decides where the evaluator's loss is too close to the threshold for its rounding.
    lower_bound : float or None
        Of the objective: a candidate that could not be accepted even at this loss is rejected unevaluated.
    proposals : Proposals, optional
        Scores from outside for `informed`, in place of the chain's own statistics. At T > 0 they change during the warm-up only.
    evaluates_items : bool
        The evaluators see the F items alone: the sites that must be dropped are no part of their classifiers.
    starts : Starts, optional
        What chooses the first mask of each of several chains, one after the other; by default there is one, from all sites.

    Raises
    ------
    ConfigError
        Several replicas without 0 < temperature < hottest, or an adapted delta that no move uses or a schedule changes.
    """

    def init(self) -> MarkovState:
        """See `Method.init`: all items are kept."""
        settings = self.settings
        start = np.full((settings.replicas, self.space.size), settings.start_weight)
        sharpness = sharpness_of(settings, 0.0)
        return MarkovState(
            chain=chain_state.new_state(start, sharpness=sharpness),
            ladder=tempering.new_ladder(settings.replicas),
            informed=self.informed.init(self.space.size),
            error=self.evaluation.init(),
            lookahead=self.lookahead.init(),
            step_size=new_step_size(settings),
            start=None if self.starts is None else self.starts.init(self.space.sites.size),
            sharpness=sharpness,
            blocks=0,
            weights=self.gates.weights(settings.seed, self.chains, self.space.size),
            standard_error=math.nan,
            last_goal=np.concatenate(self.space.whole),
            frozen_at=None,
        )

    def step(self, state: MarkovState, batch: Batch, progress: float) -> tuple[MarkovState, BlockInfo]:
        """See `Method.step`.

        Raises
        ------
        NumericalError
            The loss of the current position is not finite.
        """
        return whole(self.parts(state, batch, progress))

    def parts(self, state: MarkovState, batch: Batch, progress: float) -> Parts[tuple[MarkovState, BlockInfo]]:
        """See `Method.parts`: after each part that may take long. What parts a block has depends on no clock."""
        yield  # the classifier was trained
        if self.starts is not None and state.start is not None and self._begin_chain(self.starts, state, progress):
            return state, self._wait(state, batch, progress)
        if state.blocks % MEASURED_EVERY == 0 or not math.isfinite(state.standard_error):
            self._measure_error(state, batch)
            yield
        rule = self._enter(state, progress)
        tally = Tally.empty(self.settings.replicas)
        tally.evaluated += yield from self._enforce(state, batch, rule.goal, rule.rungs[state.ladder.rung])
        rule, settings = self._again(state, progress, rule), self.settings
        tally.evaluated += self._set_loss(state, rule)
        tally.evaluated += self.informed.probe(
            state.informed, state.chain, state.coldest, self.evaluation.evaluator, self.settings.plan, rule
        )
        yield from self._leap(state, rule, tally)
        plan = self.informed.plan(state.informed, settings, rule, progress, is_first=state.blocks == 0)
        for leg in settings.legs(is_falling=rule.is_falling):
            for count in _split(leg, max(DECISIONS, settings.lookahead)):
                yield
                if self.settings is not settings:
                    rule, settings = self._again(state, progress, rule), self.settings
                    tally.evaluated += self._set_loss(state, rule)
                    plan = self.informed.plan(state.informed, settings, rule, progress, is_first=False)
                self._decide(state, rule, plan, count, tally)
            if self.settings.replicas > 1:
                chain, seed = state.chain, self.settings.seed
                tempering.swap(state.ladder, chain.loss, rule.rungs, seed=seed, step=int(chain.step[0]))
        self._adapt(state, rule, tally)
        self.evaluation.audit(state.error, state.chain, state.blocks)
        # Rounding of the running sums is wiped out at fixed steps: the end of every block.
        chain_state.refresh(state.chain, sharpness=rule.sharpness)
        state.blocks += 1
        return state, self._info(state, rule, tally)

    def finish(self, state: MarkovState, batch: Batch) -> tuple[MarkovState, BoolArray]:
        """See `Method.finish`: what n(t) had not yet dropped goes the same way, then the n largest weights stay.

        What is left of a cost is filled until no further item fits.
        """
        settings, space = self.settings, self.space
        if self.starts is not None and state.start is not None and not state.start.is_done:
            # A run that ended before its start keeps what the measure keeps.
            state.start.leg = max(0, state.start.leg)
            self._place(state, self.starts.choose(state.start, space.goal, space))
        if settings.pooled:
            goal = np.concatenate(space.goal)
            state.last_goal = goal if space.is_count else np.zeros_like(goal)  # what is left of the costs is filled
        if settings.pooled or settings.by_rank:
            whole(self._enforce(state, batch, space.goal, np.zeros(settings.replicas)))
        if not space.is_count or space.pattern is not None:
            return state, self._mask(state)
        layers = space.layers_to_hold(space.final_least)
        ranked = state.chain.position if state.weights is None else state.weights
        mask = min_per_layer.hardened(ranked[state.coldest], space.keep, layers)
        return state, np.asarray(space.expand(mask), bool)

    def position(self, state: MarkovState) -> FloatArray:
        """See `Method.position`; that of the coldest replica. By rank a weight is its distance from the cut."""
        position = state.chain.position[state.coldest]
        if state.weights is not None:
            position = from_cut(state.weights[state.coldest], position)
        return np.asarray(self.space.expand(position, self.settings.start_weight))

    def training_gates(self, state: MarkovState) -> Float32Array:
        """See `Method.training_gates`."""
        return gates_of(self.position(state), state.sharpness)

    def goal(self, progress: float) -> Goal:
        """Return what a mask must satisfy at a share of the run: n(t) of each count, and cost(t) of each cost."""
        return goal_of(self.settings, self.space, progress)

    def is_falling(self, progress: float, end: float) -> bool:
        """See `Method.is_falling`."""
        return bool((np.concatenate(self.goal(progress)) > np.concatenate(self.goal(end))).any())

    def begin(self, state: MarkovState, batch: Batch) -> MarkovState:
        """See `Method.begin`: the probes begin with a guess of what each weight does."""
        probes, probed = self.informed.probes, state.informed.probes
        if probes is not None and probed is not None and probes.count:
            probes.guess(probed, self.space.sums(effects(self.evaluation.canonical.gated, batch.features)))
        return state

    def validate(self, state: MarkovState) -> None:
        """See `Method.validate`."""
        if not np.isfinite(state.chain.position).all():
            raise ValueError("a position is not finite")
        if state.weights is not None and not (np.abs(state.weights) <= BOX).all():
            raise ValueError("a weight is outside of the box")

    def forwards(self, state: MarkovState) -> int:
        """See `Method.forwards`."""
        parts = (state.start, state.informed.proposals)
        return sum(part.scorer.forwards for part in parts if part is not None)

    def evaluator_error(self, state: MarkovState) -> float | None:
        """See `Method.evaluator_error`."""
        return state.error.measured

    def description(self) -> dict[str, str]:
        """See `Method.description`."""
        return {"evaluator": self.evaluation.evaluator.name, "canonical": self.evaluation.canonical.name}

    def notes(self, state: MarkovState) -> list[str]:
        """See `Method.notes`."""
        return [] if state.start is None else list(state.start.notes)

    def steered(self, state: MarkovState) -> SteeredChain:
        """See `Method.steered`."""
        return SteeredChain(self, state)

    def announce(self, state: MarkovState, progress: float) -> str:
        """See `Method.announce`."""
        if self.starts is None or state.start is None:
            return ""
        return self.starts.announce(state.start, progress)

    def _begin_chain(self, starts: Starts, state: MarkovState, progress: float) -> bool:
        """Begin the next chain where it is time for it; return whether the classifier only trains in this block."""
        start = state.start
        assert start is not None
        if start.leg < 0:
            starts.choose_others(start, self.space)
        if starts.enter(start, progress, self._mask(state)) and start.leg:
            self._place(state, None)
        if (
            starts.chooses(start, progress)
            and (mask := starts.choose(start, self.goal(progress), self.space)) is not None
        ):
            self._place(state, mask)
        return starts.trains(start, progress)

    def _place(self, state: MarkovState, mask: BoolArray | None) -> None:
        """Put all replicas onto a mask (N,), or onto all sites."""
        items = np.ones(self.space.size, bool) if mask is None else self.space.items_of(mask)
        weight = self.settings.start_weight
        state.chain.position[:] = np.where(items, weight, -weight)
        chain_state.refresh(state.chain, sharpness=state.sharpness)
        self.gates.begin(state.chain, state.weights)  # by rank the weights follow the mask

    def _mask(self, state: MarkovState) -> BoolArray:
        return np.asarray(self.position(state) > 0)

    def finalists(self, state: MarkovState) -> list[Finalist]:
        """See `Method.finalists`."""
        if self.starts is None or state.start is None:
            return []
        self.starts.end(state.start, self._mask(state))
        return self.starts.finalists(state.start, self.space)

    def refined(self) -> BoolArray | None:
        """See `Method.refined`."""
        return None if self.starts is None else self.starts.refined

    def mask_losses(self, state: MarkovState, batch: Batch, masks: BoolArray) -> FloatArray:
        """See `Method.mask_losses`."""
        self.evaluation.begin(state.error, state.chain, batch, math.inf)
        weight = self.settings.start_weight
        return np.asarray(self.evaluation.canonical.at(np.where(self.space.items_of(masks), weight, -weight)))

    def bound(self, space: SearchSpace) -> None:
        """See `Method.bound`."""
        self.space = space

    def adopt(self, state: MarkovState, mask: BoolArray) -> None:
        """See `Method.adopt`."""
        self._place(state, mask)

    def _wait(self, state: MarkovState, batch: Batch, progress: float) -> BlockInfo:
        """Only compute the loss: the classifier trains."""
        rule = rule_of(self.settings, self.space, state.ladder, state.step_size, progress, state.standard_error)
        self._begin(state, batch)
        modified = self.settings.modified
        kept = int(chain_state.kept_count(state.chain)[state.coldest])
        evaluated = self.evaluation.set_loss(state.chain, rule.alpha, kept, modified=modified, block=state.blocks)
        of_sites = shown(self.space, state, kept, self.settings.start_weight)
        return waiting_info(state, rule, of_sites, evaluated)

    def _info(self, state: MarkovState, rule: Rule, tally: Tally) -> BlockInfo:
        costs = None if self.cost_constraint is None else self.cost_constraint.costs()[state.coldest]
        kept = int(chain_state.kept_count(state.chain)[state.coldest])
        target = rule.target if self.space.is_count else kept
        of_sites = shown(self.space, state, target, self.settings.start_weight)
        return block_info(state, self.settings, self.space, rule, tally, of_sites, target, costs)


def _split(count: int, most: int) -> Iterator[int]:
    """Give numbers of at most `most` that add up to `count`."""
    for first in range(0, count, most):
        yield min(most, count - first)


class SteeredChain:
    """A chain whose settings are changed between two blocks, or two parts of one.

    Parameters
    ----------
    method : Markov
    state : MarkovState
    """

    def __init__(self, method: Markov, state: MarkovState) -> None:
        self.method, self.state = method, state

    @property
    def settings(self) -> ChainSettings:
        """The settings as they are now."""
        return self.method.settings

    @property
    def delta(self) -> float | None:
        """Where an adapted delta is; None where it is not adapted."""
        return None if self.state.step_size is None else float(self.state.step_size.delta[0])

    def steer(self, settings: ChainSettings) -> None:
        """Go on under other settings from the next part of a block on; sites, seed, keep and replicas stay as they are.

        Raises
        ------
        ConfigError
            As `Markov` does; then nothing has changed.
        """
        check(settings, self.method.space)
        before, self.method.settings = self.method.settings, settings
        if settings.adapt_delta is None or self.state.step_size is None or settings.delta != before.delta:
            self.state.step_size = new_step_size(settings)
        if settings.lookahead != before.lookahead:
            self.state.lookahead = self.method.look_ahead()
