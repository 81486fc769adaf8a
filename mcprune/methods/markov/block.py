"""What a block of a Markov chain does: its rule, the budget, decisions and adaptation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from mcprune.chain import moves, stepsize, tempering
from mcprune.chain import state as chain_state
from mcprune.chain.cost_constraint import CostConstraint
from mcprune.evaluators.base import Canonical, Evaluator
from mcprune.methods.base import Batch, Method, Parts
from mcprune.methods.markov import standard_error
from mcprune.methods.markov.enforce.pool import enforce
from mcprune.methods.markov.evaluation import CheckedEvaluator
from mcprune.methods.markov.gates import Gates, GatesByPattern, GatesByRank, GatesBySign, Law
from mcprune.methods.markov.informed import Informed
from mcprune.methods.markov.items import on_items
from mcprune.methods.markov.lookahead import Lookahead, LookaheadState
from mcprune.methods.markov.probing.leaps import LEAPS, Leaps
from mcprune.methods.markov.probing.probes import GUESSED_ROWS, Probes
from mcprune.methods.markov.probing.slopes import Slopes, SlopesState
from mcprune.methods.markov.proposals import Proposals
from mcprune.methods.markov.rule import Rule, rule_of
from mcprune.methods.markov.settings import ChainSettings, check
from mcprune.methods.markov.start import Starts
from mcprune.methods.markov.state import MarkovState, Tally
from mcprune.random import Stream, generator
from mcprune.sites.budget import Goal
from mcprune.sites.space import SearchSpace
from mcprune.types import FloatArray, IntArray

# At most so many rows are evaluated under toggles, and at least so many toggles, between two parts of a block (`DECISIONS`).
TOGGLED_ROWS, LEAST_TOGGLES = 1 << 18, 16


class ChainBlocks(Method[MarkovState]):
    """The parts of a chain, and what they do in a block; `Markov` has the parameters.

    Attributes
    ----------
    settings : ChainSettings
        Changed during the run by `SteeredChain`.
    chains : ndarray of int, shape (R,)
        Numbers of the replicas.
    cost_constraint : CostConstraint or None
        None where the budget is a number of items.
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
        if space.pattern is not None:
            self.gates = GatesByPattern(space.pattern)
        self._evaluates_items = evaluates_items or space.is_plain
        on_sites = evaluator, canonical
        if not self._evaluates_items:
            on_sites = on_items(evaluator, canonical, space, settings.start_weight)
        self.evaluation = CheckedEvaluator(*on_sites, lower_bound, layers)
        probes = Probes(settings.trials) if settings.trials else None
        self.leaps = Leaps(space) if settings.by_slopes else None
        if self.leaps is not None:
            pairs = self.leaps.first_pairs()
            probes = Slopes(self.evaluation, space, evaluates_items=self._evaluates_items, pairs=pairs)
        self.informed = Informed(proposals, probes)
        self.first_rows = GUESSED_ROWS if settings.trials else 0
        self.starts = starts
        self.chains = np.arange(settings.replicas)
        self.lookahead = Lookahead(settings.lookahead)
        self.cost_constraint = None if space.is_count else CostConstraint(space.classes.rules, settings.replicas)
        self._agree: Callable[[int], int] | None = None

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

    def _follow_moves(self, state: MarkovState, candidates: moves.Moves, index: IntArray) -> None:
        """Bring what goes along with the chains to where they stand now: replica r took candidate index[r] (-1: none)."""
        if self.cost_constraint is not None:
            self.cost_constraint.moved(index)
        if not (index >= 0).any():
            return
        cold, k = state.coldest, int(index[state.coldest])
        if k >= 0:
            self.informed.accepted(state.informed, candidates.sites[cold, k, : candidates.size[cold, k]])
        self.evaluation.moved(state.chain, candidates, index)

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

    def _uses_all_losses(self, rule: Rule) -> bool:
        """Whether the losses of rejected candidates are learned from, so that they must be no estimates."""
        return self.informed.learns(self.settings, rule)

    def _leap(self, state: MarkovState, rule: Rule, tally: Tally) -> Parts[None]:
        """Exchange several sites at once a few times, where slopes say which; yield before each."""
        probed, chain = state.informed.probes, state.chain
        is_informed = self.settings.plan.probabilities[moves.INFORMED] > 0
        if self.leaps is None or rule.temperature > 0 or not (is_informed and isinstance(probed, SlopesState)):
            return
        draw = generator(self.settings.seed, Stream.LEAPS, state.blocks)
        for _ in range(LEAPS):
            yield
            kind, leap = self.leaps.draw(probed, chain.position[0], draw)
            if self.cost_constraint is not None:
                self.cost_constraint.close(chain, leap, rule.goal.limits)
            limit, is_accepted = chain.cla[:, None].copy(), False
            if leap.size[0, 0]:
                evaluated = self.evaluation.losses(state.error, chain, leap, limit)
                tally.evaluated += evaluated.evaluated
                is_accepted = bool(evaluated.losses[0, 0] < limit[0, 0])
            self.leaps.judged(probed, kind, accepted=is_accepted)
            tally.by_rung[:, 0, moves.INFORMED] += [1, int(leap.size[0, 0] > 0), int(is_accepted)]
            if is_accepted:
                sites = leap.sites[0, 0, : leap.size[0, 0]]
                chain.position[0, sites] *= -1.0
                probed.moved(sites, chain.position[0] > 0)
                chain_state.refresh(chain, sharpness=rule.sharpness)
                self._follow_moves(state, leap, np.zeros(1, np.int64))
                self.gates.begin(chain, state.weights)
                self._set_loss(state, rule)
        probed.change[:] = probed.changes(chain.position[0] > 0)
        self.informed.score(state.informed, chain.position[0])

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
            learns = self.informed.learns(settings, rule)
            losses, ruled_out, evaluated = self.evaluation.losses(
                state.error, chain, candidates, limits, may_estimate=not self._uses_all_losses(rule)
            )
            if rule.temperature > 0:
                is_known = ~ruled_out & (limits > self.evaluation.lower_bound)
                tally.add_changes((losses - chain.cla[:, None])[is_known])
            info = self.gates.advance(chain, law, candidates, losses, left)
            seconds = time.perf_counter() - began
            self._follow_moves(state, candidates, info.index)
            self.lookahead.observe(state.lookahead, ahead, seconds, int(info.consumed.sum()), int(info.accepted.sum()))
            tally.evaluated += evaluated
            tally.add(info, rung, ruled_out, closed)
            tally.add_samples(candidates, info, state.coldest)
            if learns:
                self.informed.count(state.informed, candidates, info, ruled_out)
