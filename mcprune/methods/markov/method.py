"""The Markov chain as a way to a mask: blocks of decisions on one evaluation batch each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from mcprune.chain import min_per_layer, moves, stepsize, tempering
from mcprune.chain import state as chain_state
from mcprune.chain.cost_constraint import CostConstraint
from mcprune.chain.ranks.gates import BOX
from mcprune.evaluators.base import Canonical, Evaluator, gates_of
from mcprune.methods.base import Batch, BlockInfo, Finalist, Method, Parts, whole
from mcprune.methods.markov import standard_error
from mcprune.methods.markov.enforce.pool import enforce
from mcprune.methods.markov.evaluation import CheckedEvaluator
from mcprune.methods.markov.gates import Gates, GatesByRank, GatesBySign, Law, from_cut
from mcprune.methods.markov.info import block_info, shown, waiting_info
from mcprune.methods.markov.informed import Informed
from mcprune.methods.markov.items import on_items
from mcprune.methods.markov.lookahead import Lookahead, LookaheadState
from mcprune.methods.markov.probes import GUESSED_ROWS, Probes
from mcprune.methods.markov.proposals import Proposals
from mcprune.methods.markov.rule import Rule, goal_of, new_step_size, rule_of, sharpness_of
from mcprune.methods.markov.settings import ChainSettings, check
from mcprune.methods.markov.start import Starts
from mcprune.methods.markov.state import MarkovState, Tally
from mcprune.random import Stream, generator
from mcprune.sites.budget import Goal
from mcprune.sites.gates import effects
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray, Float32Array, FloatArray

MEASURED_EVERY = 32  # blocks between two measurements of the standard error
# Between two parts of a block, where knobs may be changed, at most so many decisions are made, or so many rows evaluated under
# toggles: some 50 ms on MNIST while most of it is kept.
DECISIONS, TOGGLED_ROWS, LEAST_TOGGLES = 32, 1 << 18, 16

__all__ = ["ChainSettings", "Markov", "SteeredChain"]


class Markov(Method[MarkovState]):
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

    uses_blocks = True
    # Computed again at the start of each block from the state, the batch and the classifier, and so no part of the state.
    recomputed: tuple[str, ...] = ("evaluation", "cost_constraint", "gates")

    def __init__(
        self,
        space: SearchSpace,
        settings: ChainSettings,
        evaluator: Evaluator,
        canonical: Canonical,
        lower_bound: float | None,
        proposals: Proposals | None = None,
        starts: Starts | None = None,
        *,
        evaluates_items: bool = False,
    ) -> None:
        check(settings, space)
        self.settings = settings
        self.space = space
        layers = space.layers_to_hold(space.least) if space.is_count else None
        self.gates: Gates = GatesByRank(layers) if settings.by_rank else GatesBySign()
        self._evaluates_items = evaluates_items or space.is_plain
        on_sites = evaluator, canonical
        if not self._evaluates_items:
            on_sites = on_items(evaluator, canonical, space, settings.start_weight)
        self.evaluation = CheckedEvaluator(*on_sites, lower_bound, layers)
        self.informed = Informed(proposals, Probes(settings.trials) if settings.trials else None)
        self.first_rows = GUESSED_ROWS if settings.trials else 0
        self.starts = starts
        self.chains = np.arange(settings.replicas)
        self.lookahead = Lookahead(settings.lookahead)
        self.cost_constraint = None if space.is_count else CostConstraint(space.classes.rules, settings.replicas)
        self._agree: Callable[[int], int] | None = None

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

    def _measure_error(self, state: MarkovState, batch: Batch) -> None:
        """Measure the standard error of a paired loss difference, between the mask of the coldest replica and exchanges of it."""
        mask = state.chain.position[state.coldest] > 0
        draw = generator(self.settings.seed, Stream.STANDARD_ERROR, state.blocks)
        masks = np.concatenate([mask[None], standard_error.exchanged(mask, standard_error.EXCHANGES, draw)])
        if len(masks) > 1:
            gates = (masks if self._evaluates_items else np.stack([self.space.expand(one) for one in masks])).astype(
                np.float32
            )
            measured = standard_error.measure(self.evaluation.canonical, batch, gates)
            state.standard_error = measured if math.isfinite(measured) else state.standard_error

    def _decide(self, state: MarkovState, rule: Rule, plan: moves.MovePlan, count: int, tally: Tally) -> None:
        """Let each replica make `count` decisions: propose, evaluate, accept or reject (`chain/accept.py`)."""
        settings, chain = self.settings, state.chain
        # Replicas change their temperatures between legs only, when all have consumed as many proposals.
        rung = state.ladder.rung.copy()
        law = Law(
            plan, rule.delta[rung], rule.rungs[rung], rule.alpha, rule.target, settings.modified, rule.sharpness, settings.seed,
            self.chains,
        )  # fmt: skip
        self.gates.begin_leg(count)
        left = np.full(settings.replicas, count)
        while left.any():
            began = time.perf_counter()
            candidates = self.gates.propose(
                chain, law, min(self.lookahead.size(state.lookahead), int(left.max())), left
            )
            ahead = candidates.kind.shape[1]
            closed = (
                None
                if self.cost_constraint is None
                else self.cost_constraint.close(chain, candidates, rule.goal.limits)
            )
            limits = self.gates.limits(chain, law, candidates, left)
            losses, ruled_out, evaluated = self.evaluation.losses(state.error, chain, candidates, limits)
            if rule.temperature > 0:
                is_known = ~ruled_out & (limits > self.evaluation.lower_bound)
                tally.add_changes((losses - chain.cla[:, None])[is_known])
            info = self.gates.advance(chain, law, candidates, losses, left)
            seconds = time.perf_counter() - began
            self._follow_moves(state, candidates, info)
            self.lookahead.observe(state.lookahead, ahead, seconds, int(info.consumed.sum()), int(info.accepted.sum()))
            tally.evaluated += evaluated
            tally.add(info, rung, ruled_out, closed)
            tally.add_samples(candidates, info, state.coldest)
            if self.informed.learns(settings, rule):
                self.informed.count(state.informed, candidates, info, ruled_out)

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
        if not space.is_count:
            return state, np.asarray(self.position(state) > 0)
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
        if probes is not None and probed is not None:
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

    def share(self, agree: Callable[[int], int]) -> None:
        """Be one of several processes that decide alike: `agree` makes one number of theirs where clocks have a say."""
        self._agree = agree
        self.look_ahead()

    def look_ahead(self) -> LookaheadState:
        """Choose the candidates ahead of a batch by the settings as they are now, and return the state of knowing nothing."""
        self.lookahead = Lookahead(self.settings.lookahead, self._agree)
        return self.lookahead.init()

    def _enter(self, state: MarkovState, progress: float) -> Rule:
        """Return the rule of the block, and bring the state under it."""
        rule = rule_of(self.settings, self.space, state.ladder, state.step_size, progress, state.standard_error)
        if rule.sharpness != state.sharpness:
            state.sharpness = rule.sharpness
            chain_state.refresh(state.chain, sharpness=rule.sharpness)
        if not rule.is_warm and state.frozen_at is None:
            state.frozen_at = int(state.chain.step[0])
            tempering.forget(state.ladder)
        return rule

    def _again(self, state: MarkovState, progress: float, rule: Rule) -> Rule:
        """Return the rule for the rest of a block: that of its start but for what a knob has changed; n(t) waits for the next block."""
        now = rule_of(self.settings, self.space, state.ladder, state.step_size, progress, state.standard_error)
        return now._replace(goal=rule.goal, target=rule.target, is_falling=rule.is_falling)

    def _set_loss(self, state: MarkovState, rule: Rule) -> int:
        return self.evaluation.set_loss(
            state.chain, rule.alpha, rule.target, modified=self.settings.modified, block=state.blocks
        )

    def _begin(self, state: MarkovState, batch: Batch) -> None:
        self.evaluation.begin(state.error, state.chain, batch, state.sharpness)

    def _enforce(self, state: MarkovState, batch: Batch, goal: Goal, temperature: FloatArray) -> Parts[int]:
        """Bring the masks to the goal where the chain does not push towards it, begin there, and return the masks evaluated."""
        evaluated = 0
        if not self.settings.pooled:
            self.gates.keep_top(state.chain, state.weights, self.space.items_to_keep(goal))
        self._begin(state, batch)
        yield
        if self.settings.pooled:
            evaluated = yield from enforce(
                state, self.settings, self.space, self.evaluation, lambda: self._begin(state, batch), goal=goal,
                temperature=temperature, chains=self.chains, constraint=self.cost_constraint,
                at_once=max(LEAST_TOGGLES, TOGGLED_ROWS // len(batch.targets)),
            )  # fmt: skip
        self.gates.begin(state.chain, state.weights)
        return evaluated

    def _follow_moves(self, state: MarkovState, candidates: moves.Moves, info: chain_state.StepInfo) -> None:
        """Bring what goes along with the chains to where they stand now."""
        if self.cost_constraint is not None:
            self.cost_constraint.moved(info.index)
        if not (info.index >= 0).any():
            return
        cold, k = state.coldest, int(info.index[state.coldest])
        if k >= 0:
            self.informed.accepted(state.informed, candidates.sites[cold, k, : candidates.size[cold, k]])
        self.evaluation.moved(state.chain, candidates, info.index)

    def _adapt(self, state: MarkovState, rule: Rule, tally: Tally) -> None:
        """Adapt ladder, delta and scores at the end of a block, where they may change."""
        target = self.settings.adapt_delta
        if rule.is_warm:
            tempering.adapt(state.ladder)
        if state.step_size is not None and target is not None and (rule.is_warm or self.settings.keeps_adapting):
            proposed, decided, accepted = tally.by_rung
            stepsize.adapt(
                state.step_size, proposed, proposed - decided + accepted if self.settings.by_rank else accepted, target
            )
        if self.informed.learns(self.settings, rule):
            self.informed.end_block(state.informed)

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
