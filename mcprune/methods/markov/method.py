"""The Markov chain as a way to a mask: blocks of decisions on one evaluation batch each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mcprune.chain import budget, engine, moves, scores, state, stepsize, tempering
from mcprune.chain import cost_constraint as wall
from mcprune.chain import min_per_layer as floors
from mcprune.errors import NumericalError
from mcprune.evaluators.base import Evaluator, gates_of
from mcprune.evaluators.full import FullEvaluator
from mcprune.methods.base import Batch, MaskUpdate
from mcprune.methods.markov import budget as pool
from mcprune.methods.markov import cost_budget as cost_pool
from mcprune.methods.markov.lookahead import Ahead
from mcprune.methods.markov.probes import Trials
from mcprune.methods.markov.saving import restore_chain, save_chain
from mcprune.methods.markov.settings import ChainSettings, ScoreHook, check
from mcprune.state import Saved
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

__all__ = ["ChainSettings", "Markov", "ScoreHook", "take"]

# Blocks after which the evaluator's loss of the position is compared with the canonical one; how many times the largest
# difference seen a decision must be clear of its threshold, and the part of the stated bound that it must be clear of anyway.
AUDIT, SAFETY, STATED = 8, 4.0, 16.0
# A larger error than float32's is a screen's, such as bfloat16's: measured on each batch already.
ROUNDING = 2e-5


class Markov:
    """One chain over N sites, or several replicas of it on a ladder of temperatures.

    The coldest replica is the one that counts: the classifier trains under its mask, and its mask is the result.

    Parameters
    ----------
    sites : int
    settings : ChainSettings
    evaluator : Evaluator
        Judges the candidates.
    canonical : FullEvaluator
        Decides where the evaluator's loss is too close to the threshold for its rounding.
    lower_bound : float or None
        Of the objective: a candidate that could not be accepted even at this loss is rejected unevaluated.
    site_scores : pair of ndarray (N,), or a function of the share of the run that gives them, optional
        Scores (add, remove) from outside for `informed`, in place of the chain's own statistics; every site keeps a chance
        (see `chain.scores.floored`). At T > 0 a function is asked during the warm-up only.
    groups : ndarray of int, shape (N,), optional
        Groups of sites that must keep one each, -1 for none: no candidate and no mask empties one (see `chain.floor`).
    hard_groups : ndarray of int, shape (N,), optional
        Groups of which the hard mask keeps one site each, whatever the chain was at; by default `groups`.

    Raises
    ------
    ConfigError
        Several replicas without 0 < temperature < hottest, or an adapted delta that no move uses or a schedule changes.
    """

    def __init__(
        self,
        sites: int,
        settings: ChainSettings,
        evaluator: Evaluator,
        canonical: FullEvaluator,
        lower_bound: float | None,
        site_scores: tuple[FloatArray, FloatArray] | ScoreHook | None = None,
        groups: IntArray | None = None,
        hard_groups: IntArray | None = None,
    ) -> None:
        check(settings)
        self.settings = settings
        self.evaluator = evaluator
        self.canonical = canonical
        self.lower_bound = -math.inf if lower_bound is None else lower_bound
        self.sharpness = self._sharpness(0.0)
        start = np.full((settings.replicas, sites), settings.start_weight)
        self.state = state.new_state(start, sharpness=self.sharpness)
        self.chains = np.arange(settings.replicas)
        self.blocks = 0
        costs = None if settings.cost is None else settings.cost.costs
        self.wall = None if costs is None else wall.new_wall(costs.terms, self.state, costs.least, costs.least_in_all)
        self.last_target = sites if costs is None else costs.whole
        self.site_scores = site_scores
        self.groups = groups
        self.hard_groups = groups if hard_groups is None else hard_groups
        self.ladder = tempering.new_ladder(settings.replicas)
        self.step_size = (
            stepsize.new_step_size(settings.delta.start, settings.replicas, settings.plan.box)
            if settings.adapt_delta is not None
            else None
        )
        self.statistics = scores.new_statistics(sites)
        self.frozen_at: int | None = None  # proposals a replica
        self.measured_error: float | None = None  # largest difference from canonical seen, relative to max(1, loss)
        self.agree: Callable[[int], int] | None = None
        self.ahead = Ahead(settings.speculate)
        self._judged = 0
        self.trials = Trials(sites, settings.trials) if settings.trials else None

    def position(self) -> FloatArray:
        """See `Method.position`; that of the coldest replica."""
        position: FloatArray = self.state.position[self.coldest]
        return position

    def training_gates(self) -> Float32Array:
        """See `Method.training_gates`."""
        return gates_of(self.position(), self.sharpness)

    @property
    def coldest(self) -> int:
        """The replica at the lowest temperature."""
        return int(np.argmin(self.ladder.rung))

    def description(self) -> dict[str, Any]:
        """See `Method.description`."""
        return {"evaluator": self.evaluator.name, "canonical": self.canonical.name}

    def target(self, progress: float) -> int:
        """Return n(t), rounded up, never below n; of a budget that is a cost, cost(t)."""
        keep, pressure, most = self.settings.keep, self.settings.pressure, self.state.position.shape[1]
        if self.settings.cost is not None:
            keep, most = self.settings.cost.limit, self.settings.cost.costs.whole
        planned = self.settings.target.value(progress)
        if pressure != 1.0:  # the way to n in logarithms, so that n itself stays n
            planned = min(keep * (planned / keep) ** (1.0 / pressure), float(most))
        return max(keep, math.ceil(planned - 1e-9))

    def steer(self, settings: ChainSettings) -> None:
        """Go on under other settings from the next block on; sites, seed, keep and replicas stay as they are.

        Raises
        ------
        ConfigError
            As the constructor does; then nothing has changed.
        """
        check(settings)
        if settings.adapt_delta is None:
            self.step_size = None
        elif self.step_size is None or settings.delta != self.settings.delta:
            self.step_size = stepsize.new_step_size(settings.delta.start, settings.replicas, settings.plan.box)
        if settings.speculate != self.settings.speculate:
            self.ahead = Ahead(settings.speculate, self.agree)
        self.settings = settings

    def share(self, agree: Callable[[int], int]) -> None:
        """Be one of several processes that decide alike: `agree` makes one number of theirs where clocks have a say."""
        self.agree = agree
        self.ahead = Ahead(self.settings.speculate, agree)

    def update(self, batch: Batch, progress: float) -> MaskUpdate:
        """See `Method.update`.

        Raises
        ------
        NumericalError
            The loss of the current position is not finite.
        """
        settings = self.settings
        sharpness = self._sharpness(progress)
        if sharpness != self.sharpness:
            self.sharpness = sharpness
            state.refresh(self.state, sharpness=sharpness)
        temperature = settings.temperature.value(progress)
        is_warm = progress <= settings.warm_up + 1e-9
        if not is_warm and self.frozen_at is None:
            self.frozen_at = int(self.state.step[0])
            tempering.forget(self.ladder)
        rungs = tempering.temperatures(self.ladder, temperature, settings.hottest)
        # A wall holds the budget: there is nothing for L_pru to push.
        alpha = settings.alpha.value(progress) if self.wall is None else 0.0
        delta = (
            self.step_size.delta.copy()
            if self.step_size is not None
            else np.full(settings.replicas, settings.delta.value(progress))
        )
        target = self.target(progress)
        self._begin(batch)
        if settings.pooled:
            self._follow(batch, target, rungs[self.ladder.rung])
        self._set_loss(alpha, target)
        if (
            self.trials is not None
            and settings.plan.probabilities[moves.INFORMED] > 0
            and (is_warm or temperature == 0)
        ):
            self._judged += self.trials.try_sites(self.state, self.coldest, self.evaluator)
            self.statistics.scores[:] = [scores.floored(one) for one in self.trials.scores(self.position())]
        rule: dict[str, Any] = {
            "alpha": alpha,
            "n": target,
            "modified": settings.modified,
            "seed": settings.seed,
            "chains": self.chains,
        }
        # The box makes the law normalisable at T > 0; the plain greedy rule has none.
        plan = settings.plan if temperature > 0 else settings.plan._replace(box=math.inf)
        plan = self._scored(plan, progress, is_warm or temperature == 0)
        learns = settings.learned and self.site_scores is None and self.trials is None and (is_warm or temperature == 0)
        by_rung = np.zeros((2, settings.replicas, len(moves.KINDS)), np.int64)
        nonfinite = null = by_bound = walled = met = 0
        squares = 0.0
        decisions = settings.falling_decisions or settings.decisions if target > settings.keep else settings.decisions
        leg = settings.swap_every if settings.replicas > 1 and settings.swap_every else decisions
        for begun in range(0, decisions, leg):
            # Who stands at which temperature changes between legs only, when all replicas have consumed as many.
            rung = self.ladder.rung.copy()
            rule["temperature"] = rungs[rung]
            left = np.full(settings.replicas, min(leg, decisions - begun))
            while left.any():
                began = time.perf_counter()
                ahead = min(self.ahead.size(), int(left.max()))
                candidates = moves.propose(
                    self.state, ahead, plan=plan, delta=delta[rung], sharpness=sharpness, seed=settings.seed,
                    chains=self.chains,
                )  # fmt: skip
                closed = None if self.wall is None else self.wall.close(self.state, candidates, target)
                limits = engine.thresholds(self.state, candidates, **rule)
                limits[np.arange(ahead) >= left[:, None]] = -math.inf  # behind the leg: not to be evaluated
                losses, ruled_out = self._judge(candidates, limits)
                if temperature > 0:
                    change = (losses - self.state.cla[:, None])[~ruled_out & (limits > self.lower_bound)]
                    change = change[np.isfinite(change)]
                    met, squares = met + change.size, squares + float(change @ change)
                _, info = engine.advance(self.state, candidates, losses, sharpness=sharpness, room=left, **rule)
                took = time.perf_counter() - began
                if (info.index >= 0).any():
                    if self.trials is not None and info.index[self.coldest] >= 0:
                        k = info.index[self.coldest]
                        self.trials.turned(candidates.sites[self.coldest, k, : candidates.size[self.coldest, k]])
                    self.evaluator.moved(self.state.position, candidates, info.index)
                    self.canonical.moved(self.state.position, candidates, info.index)
                self.ahead.observe(ahead, took, int(info.consumed.sum()), int(info.accepted.sum()))
                left -= info.consumed
                by_bound += int(ruled_out[np.arange(ahead) < info.consumed[:, None]].sum())
                by_rung[:, rung] += [info.proposed, info.accepted]
                nonfinite += int(info.nonfinite.sum())
                null += int(info.null.sum())
                if self.wall is not None and closed is not None:
                    self.wall.moved(info.index)
                    behind = int(closed[np.arange(ahead) < info.consumed[:, None]].sum())
                    walled, null = walled + behind, null - behind
                if learns:
                    scores.count(self.statistics, candidates, info, ruled_out)
            if settings.replicas > 1:
                tempering.swap(self.ladder, self.state.loss, rungs, seed=settings.seed, step=int(self.state.step[0]))
        tally = by_rung.sum(axis=1)
        proposals, accepted = int(tally[0].sum()), int(tally[1].sum())
        if is_warm:
            tempering.adapt(self.ladder)
        if self.step_size is not None and settings.adapt_delta is not None and (is_warm or settings.keeps_adapting):
            stepsize.adapt(self.step_size, by_rung[0], by_rung[1], settings.adapt_delta)
        if learns:
            scores.end_block(self.statistics)
        if self.evaluator is not self.canonical and self.blocks % AUDIT == 0:
            self._audit()
        # Rounding of the running sums is wiped out at fixed steps: the end of every block.
        state.refresh(self.state, sharpness=sharpness)
        self.blocks += 1
        judged, self._judged = self._judged, 0
        cold = self.coldest
        sums, sites = self.state.sums[cold], self.state.position.shape[1]
        aim, cost = target, None
        if self.wall is not None and settings.cost is not None:
            aim, cost = self.kept(), int(self.wall.cost()[cold])
        sel = float(budget.selection_loss(sums[0], aim, sites))
        pru = float(budget.pruning_loss(sums, aim, sites, settings.modified))
        return MaskUpdate(
            loss=float(self.state.loss[cold]),
            cla=float(self.state.cla[cold]),
            sel=sel if cost is None or settings.cost is None else abs(cost - target) / settings.cost.costs.whole,
            rej=pru - sel,
            alpha=alpha,
            delta=float(delta[0]),
            temperature=temperature,
            gate_sum=float(sums[0]),
            kept=self.kept(),
            target=aim,
            cost=cost,
            cost_target=None if cost is None else target,
            walled=walled,
            proposals=proposals,
            accepted=accepted,
            nonfinite=nonfinite,
            null_moves=null,
            rejected_by_bound=by_bound,
            moves={kind: (int(tally[0, k]), int(tally[1, k])) for k, kind in enumerate(moves.KINDS) if tally[0, k]},
            judged=judged,
            adapted=self._adapted(rungs, delta) or None,
            spread=math.sqrt(squares / met) if met else math.nan,
        )

    def kept(self) -> int:
        """Return how many sites have a positive weight."""
        return int(state.kept_count(self.state)[self.coldest])

    def harden(self, batch: Batch) -> BoolArray:
        """See `Method.harden`: what n(t) had not yet dropped goes the same way, then the n largest weights stay."""
        if self.settings.pooled:
            self._begin(batch)
            cold = np.zeros(self.settings.replicas)
            if self.settings.cost is not None:
                self.last_target = 0  # what is left of the budget is filled
                self._follow(batch, self.settings.cost.limit, cold)
                return np.asarray(self.position() > 0)
            self._follow(batch, self.settings.keep, cold)
        return floors.hardened(self.position(), self.settings.keep, self.hard_groups)

    def save(self) -> Saved:
        """See `Method.save`."""
        return save_chain(self)

    def restore(self, saved: Saved) -> None:
        """See `Method.restore`; the settings are the caller's to bring back (`steer`) before."""
        restore_chain(self, saved)

    def _scored(self, plan: moves.MovePlan, progress: float, may_change: bool) -> moves.MovePlan:
        """Return the plan with the scores of this block: those from outside, the learned ones, or the plan's own."""
        given = self.site_scores
        if callable(given):
            given = given(progress) if may_change or self.blocks == 0 else None
        if given is not None:
            for way, values in zip((scores.ADD, scores.REMOVE), given, strict=True):
                self.statistics.scores[way] = scores.floored(values)
        if self.site_scores is None and not self.settings.learned and self.trials is None:
            return plan
        add, remove = self.statistics.scores.copy()
        return plan._replace(add=add, remove=remove)

    def _adapted(self, rungs: FloatArray, delta: FloatArray) -> dict[str, Any]:
        """Say what was adapted, as docs/events.md lists it; empty where nothing is."""
        told: dict[str, Any] = {}
        if self.settings.replicas > 1:
            counts = zip(self.ladder.swaps.tolist(), self.ladder.attempts.tolist(), strict=True)
            told |= {
                "temperatures": rungs.tolist(),
                "swap_rates": [done / asked if asked else None for done, asked in counts],
            }
            told |= {"round_trips": int(self.ladder.trips.sum())}
        if self.step_size is not None:
            told["deltas"] = delta.tolist()
        return {**told, "frozen_at": self.frozen_at} if told else told

    def _sharpness(self, progress: float) -> float:
        return math.inf if self.settings.sharpness is None else self.settings.sharpness.value(progress)

    def _begin(self, batch: Batch) -> None:
        if batch.rows is not None:
            self.canonical.objective.begin(batch.rows)
        self.evaluator.begin(batch.features, batch.targets, self.state.position, self.sharpness)
        if self.evaluator is not self.canonical:
            self.canonical.begin(batch.features, batch.targets, self.state.position, self.sharpness)

    def _follow(self, batch: Batch, target: int, temperature: FloatArray) -> None:
        """Drop the cheapest of a pool, or take back the best, until each replica keeps n(t) sites."""
        # The moves themselves may go below n(t): that is theirs, and only a wave takes sites back.
        rises = target > self.last_target
        if self.settings.cost is not None and not self.settings.cost.costs.least:
            rises = target != self.last_target  # what goes may be large: the gap that it leaves is filled
        self.last_target = target
        for turn in range(4096):
            bounds: dict[str, Any] = {
                "limit": self.settings.pool_limit,
                "guesses": None if self.trials is None else self.trials.change,
            }
            shared: dict[str, Any] = {
                "pool": self.settings.pool, "temperature": temperature, "sharpness": self.sharpness, "may_grow": rises,
                "seed": self.settings.seed, "block": self.blocks * 4096 + turn, "chains": self.chains,
            }  # fmt: skip
            if self.settings.cost is None:
                evaluated = pool.follow(
                    self.state, self.evaluator, target=target, floor=self.groups, **shared, **bounds
                )
            else:
                costs = self.settings.cost.costs
                evaluated = cost_pool.follow(
                    self.state, self.evaluator, costs=costs, limit=target, pool_limit=bounds["limit"],
                    guesses=bounds["guesses"], **shared,
                )  # fmt: skip
            if not evaluated:
                if self.wall is not None:
                    self.wall.refresh(self.state)
                return
            self._judged += evaluated
            self._begin(batch)

    def _set_loss(self, alpha: float, target: int) -> None:
        cla = self.evaluator.current()
        self._judged += cla.size
        if not np.isfinite(cla).all():
            raise NumericalError(
                f"the loss of the current mask is {cla[~np.isfinite(cla)][0]} in block {self.blocks}: the classifier has diverged; "
                "lower --learning-rate, or look for huge values in the data (--scale standard)"
            )
        engine.set_loss(self.state, cla, alpha=alpha, n=target, modified=self.settings.modified)

    def _judge(self, candidates: moves.Moves, limits: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return losses (R, K) that decide as the canonical ones would, and which were rejected unevaluated (R, K)."""
        open_ = limits > self.lower_bound
        empties = (
            np.zeros_like(open_)
            if self.groups is None
            else floors.emptied(self.state.position, candidates, self.groups)
        )
        open_ &= ~empties
        # Any finite loss above the threshold rejects; the bound says that the true one is.
        losses = np.where(np.isfinite(limits), limits, 0.0) + 1.0
        chosen = np.flatnonzero(open_.any(axis=0))
        self._judged += int(open_.sum())
        if chosen.size:
            part = candidates if chosen.size == open_.shape[1] else take(candidates, chosen)
            wanted = open_[:, chosen]
            if not wanted.all():  # open for another replica only: a null move costs nothing
                part = part._replace(size=np.where(wanted, part.size, 0))
            found = self.evaluator.losses(self.state, part, np.ascontiguousarray(limits[:, chosen]))
            losses[:, chosen] = np.where(wanted, found, losses[:, chosen])
            if self.evaluator.error > 0:
                for replica, row in enumerate(open_):
                    self._settle_ties(candidates, np.flatnonzero(row), losses, limits, replica)
        return losses, ~open_ & ~empties & (candidates.size > 0)

    def _audit(self) -> None:
        """Compare the loss that the block's accepted moves have led to with the canonical one, a replica at a time."""
        replica = self.blocks // AUDIT % len(self.state.cla)
        wanted = float(self.canonical.at(self.state.position[replica : replica + 1])[0])
        away = abs(float(self.state.cla[replica]) - wanted) / max(1.0, abs(wanted))
        if math.isfinite(away):
            self.measured_error = max(self.measured_error or 0.0, away)

    def _settle_ties(
        self, candidates: moves.Moves, chosen: np.ndarray, losses: FloatArray, limits: FloatArray, replica: int
    ) -> None:
        """Where rounding could turn the decision, take the change of loss from the canonical evaluator."""
        # Both losses of a decision carry the error: the threshold holds the current one.
        error = self.evaluator.error
        if self.measured_error is not None and error <= ROUNDING:
            error = max(SAFETY * self.measured_error, error / STATED)
        band = 2.0 * error * max(1.0, abs(float(self.state.cla[replica])))
        stepped = self.canonical.objective.is_stepped
        for k in chosen:
            margin = limits[replica, k] - losses[replica, k]
            # Exactly 0: no row has changed (two pixels that are black everywhere), a tie in the canonical evaluator too.
            # A row that rounding puts on the other side of a threshold is a whole step of such an objective.
            if 0.0 < abs(margin) <= band or (stepped and margin > 0):
                moved = moves.dense(self.state, take(candidates, np.array([k])))[replica, 0]
                both = self.canonical.at(np.stack([self.state.position[replica], moved]))
                losses[replica, k] = self.state.cla[replica] + (both[1] - both[0])
                margin = limits[replica, k] - losses[replica, k]
            if margin > 0:
                return


def take(candidates: moves.Moves, chosen: np.ndarray) -> moves.Moves:
    """Return the chosen candidates of all replicas."""
    return moves.Moves(*(np.ascontiguousarray(part[:, chosen]) for part in candidates))
