"""The Markov chain as a way to a mask: blocks of decisions on one evaluation batch each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcprune.arrays import BoolArray, Float32Array, FloatArray
from mcprune.chain import budget, engine, moves, state
from mcprune.chain.schedules import Schedule
from mcprune.errors import NumericalError
from mcprune.evaluate.base import Evaluator, gates_of
from mcprune.evaluate.full import FullEvaluator
from mcprune.methods import pool
from mcprune.methods.base import Batch, MaskUpdate


@dataclass(frozen=True)
class ChainSettings:
    """Everything that the chain is a function of, besides the losses."""

    plan: moves.MovePlan
    delta: Schedule
    temperature: Schedule
    alpha: Schedule
    sharpness: Schedule | None  # None: hard gates
    target: Schedule  # n(t)
    keep: int
    modified: bool
    pooled: bool  # the count follows n(t) by dropping the cheapest of a pool
    pool: int
    start_weight: float
    decisions: int
    speculate: int
    seed: int


class Markov:
    """One chain over N sites.

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
    """

    def __init__(
        self,
        sites: int,
        settings: ChainSettings,
        evaluator: Evaluator,
        canonical: FullEvaluator,
        lower_bound: float | None,
    ) -> None:
        self.settings = settings
        self.evaluator = evaluator
        self.canonical = canonical
        self.lower_bound = -math.inf if lower_bound is None else lower_bound
        self.sharpness = self._sharpness(0.0)
        start = np.full((1, sites), settings.start_weight)
        self.state = state.new_state(start, sharpness=self.sharpness)
        self.chains = np.zeros(1, np.int64)
        self.blocks = 0
        self._ahead = settings.speculate
        self._judged = 0

    def position(self) -> FloatArray:
        """See `Method.position`."""
        position: FloatArray = self.state.position[0]
        return position

    def training_gates(self) -> Float32Array:
        """See `Method.training_gates`."""
        return gates_of(self.state.position[0], self.sharpness)

    def description(self) -> dict[str, Any]:
        """See `Method.description`."""
        return {"evaluator": self.evaluator.name, "canonical": self.canonical.name}

    def target(self, progress: float) -> int:
        """Return n(t), rounded up, never below n."""
        return max(self.settings.keep, math.ceil(self.settings.target.value(progress) - 1e-9))

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
        alpha = settings.alpha.value(progress)
        delta = settings.delta.value(progress)
        target = self.target(progress)
        self._begin(batch)
        if settings.pooled:
            self._follow(batch, target, temperature)
        self._set_loss(alpha, target)
        rule: dict[str, Any] = {
            "temperature": temperature,
            "alpha": alpha,
            "n": target,
            "modified": settings.modified,
            "seed": settings.seed,
            "chains": self.chains,
        }
        # The box makes the law normalisable at T > 0; the plain greedy rule has none.
        plan = settings.plan if temperature > 0 else settings.plan._replace(box=math.inf)
        tally = np.zeros((2, len(moves.KINDS)), np.int64)
        nonfinite = null = by_bound = 0
        left = settings.decisions
        while left > 0:
            ahead = min(self._ahead, left)
            candidates = moves.propose(
                self.state, ahead, plan=plan, delta=delta, sharpness=sharpness, seed=settings.seed, chains=self.chains
            )
            limits = engine.thresholds(self.state, candidates, **rule)
            losses, ruled_out = self._judge(candidates, limits)
            _, info = engine.advance(self.state, candidates, losses, sharpness=sharpness, **rule)
            if info.index[0] >= 0:
                self.evaluator.moved(self.state.position, candidates, info.index)
                self.canonical.moved(self.state.position, candidates, info.index)
            consumed = int(info.consumed[0])
            left -= consumed
            by_bound += int(ruled_out[:consumed].sum())
            tally[0] += info.proposed[0]
            tally[1] += info.accepted[0]
            nonfinite += int(info.nonfinite[0])
            null += int(info.null[0])
        proposals, accepted = int(tally[0].sum()), int(tally[1].sum())
        self._look_ahead(accepted / proposals)
        # Rounding of the running sums is wiped out at fixed steps: the end of every block.
        state.refresh(self.state, sharpness=sharpness)
        self.blocks += 1
        judged, self._judged = self._judged, 0
        sums, sites = self.state.sums[0], self.state.position.shape[1]
        sel = float(budget.selection_loss(sums[0], target, sites))
        pru = float(budget.pruning_loss(sums, target, sites, settings.modified))
        return MaskUpdate(
            loss=float(self.state.loss[0]),
            cla=float(self.state.cla[0]),
            sel=sel,
            rej=pru - sel,
            alpha=alpha,
            delta=delta,
            temperature=temperature,
            gate_sum=float(sums[0]),
            kept=self.kept(),
            target=target,
            proposals=proposals,
            accepted=accepted,
            nonfinite=nonfinite,
            null_moves=null,
            rejected_by_bound=by_bound,
            moves={kind: (int(tally[0, k]), int(tally[1, k])) for k, kind in enumerate(moves.KINDS) if tally[0, k]},
            judged=judged,
        )

    def kept(self) -> int:
        """Return how many sites have a positive weight."""
        return int(state.kept_count(self.state)[0])

    def harden(self, batch: Batch) -> BoolArray:
        """See `Method.harden`: what n(t) had not yet dropped goes the same way, then the n largest weights stay."""
        if self.settings.pooled:
            self._begin(batch)
            self._follow(batch, self.settings.keep, 0.0)
        return np.asarray(state.mask(self.position(), self.settings.keep))

    def _sharpness(self, progress: float) -> float:
        return math.inf if self.settings.sharpness is None else self.settings.sharpness.value(progress)

    def _begin(self, batch: Batch) -> None:
        self.evaluator.begin(batch.features, batch.targets, self.state.position, self.sharpness)
        if self.evaluator is not self.canonical:
            self.canonical.begin(batch.features, batch.targets, self.state.position, self.sharpness)

    def _follow(self, batch: Batch, target: int, temperature: float) -> None:
        """Drop the cheapest of a pool until n(t) sites are kept."""
        for turn in range(4096):
            evaluated = pool.drop(
                self.state, self.evaluator, target=target, pool=self.settings.pool, temperature=temperature,
                sharpness=self.sharpness, seed=self.settings.seed, block=self.blocks * 4096 + turn,
            )  # fmt: skip
            if not evaluated:
                return
            self._judged += evaluated
            self._begin(batch)

    def _set_loss(self, alpha: float, target: int) -> None:
        cla = self.evaluator.current()
        if not np.isfinite(cla).all():
            raise NumericalError(
                f"the loss of the current mask is {cla[0]} in block {self.blocks}: the classifier has diverged; "
                "lower --learning-rate, or look for huge values in the data (--scale standard)"
            )
        engine.set_loss(self.state, cla, alpha=alpha, n=target, modified=self.settings.modified)

    def _judge(self, candidates: moves.Moves, limits: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return losses (1, K) that decide as the canonical ones would, and which were rejected unevaluated (K,)."""
        open_ = limits[0] > self.lower_bound
        # Any finite loss above the threshold rejects; the bound says that the true one is.
        losses = np.where(np.isfinite(limits), limits, 0.0) + 1.0
        chosen = np.flatnonzero(open_)
        self._judged += chosen.size
        if chosen.size:
            part = candidates if chosen.size == open_.size else take(candidates, chosen)
            losses[0, chosen] = self.evaluator.losses(self.state, part, np.ascontiguousarray(limits[:, chosen]))[0]
            if self.evaluator.error > 0:
                self._settle_ties(candidates, chosen, losses, limits)
        return losses, ~open_ & (candidates.size[0] > 0)

    def _settle_ties(self, candidates: moves.Moves, chosen: np.ndarray, losses: FloatArray, limits: FloatArray) -> None:
        """Where rounding could turn the decision, take the change of loss from the canonical evaluator."""
        # Both losses of a decision carry the error: the threshold holds the current one.
        band = 2.0 * self.evaluator.error * max(1.0, abs(float(self.state.cla[0])))
        for k in chosen:
            margin = limits[0, k] - losses[0, k]
            # Exactly 0: no row has changed (two pixels that are black everywhere), a tie in the canonical evaluator too.
            if 0.0 < abs(margin) <= band:
                both = self.canonical.at(
                    np.stack([self.position(), moves.dense(self.state, take(candidates, np.array([k])))[0, 0]])
                )
                losses[0, k] = self.state.cla[0] + (both[1] - both[0])
                margin = limits[0, k] - losses[0, k]
            if margin > 0:
                return

    def _look_ahead(self, acceptance: float) -> None:
        """Choose K for the next block: what is evaluated behind an acceptance is thrown away. The chain does not change."""
        wanted = 2.0 / max(acceptance, 1e-3) ** 0.5
        self._ahead = int(min(self.settings.speculate, max(2, round(wanted))))


def take(candidates: moves.Moves, chosen: np.ndarray) -> moves.Moves:
    """Return the chosen candidates of all replicas."""
    return moves.Moves(*(np.ascontiguousarray(part[:, chosen]) for part in candidates))
