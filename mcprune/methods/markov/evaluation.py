"""The losses that a chain decides by: a fast evaluator's, and the canonical one's where a decision is closer than rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mcprune.chain import engine, min_per_layer, moves
from mcprune.chain.state import ChainState
from mcprune.errors import NumericalError
from mcprune.evaluators.base import Canonical, Evaluator
from mcprune.methods.base import Batch
from mcprune.types import BoolArray, FloatArray, IntArray

# Blocks after which the evaluator's loss of the position is compared with the canonical one; how many times the largest
# difference seen a decision must be clear of its threshold, and the part of the stated bound that it must be clear of anyway.
AUDIT, SAFETY, STATED = 8, 4.0, 16.0
# A larger error than float32's is a screen's, such as bfloat16's: measured on each batch already.
ROUNDING = 2e-5


@dataclass
class ErrorState:
    """How far the evaluator may be from the canonical one: the width of the band in which the canonical one decides.

    Attributes
    ----------
    measured : float or None
        The largest difference seen, relative to max(1, loss).
    stated : float
        The evaluator's own bound, which a screen widens as it measures itself.
    """

    measured: float | None
    stated: float


class Evaluated(NamedTuple):
    """Losses (R, K) that decide as the canonical ones would, which were rejected by the bound (R, K), and how many were evaluated."""

    losses: FloatArray
    ruled_out: BoolArray
    evaluated: int


class CheckedEvaluator:
    """An evaluator whose close decisions the canonical one takes.

    Parameters
    ----------
    evaluator : Evaluator
        Evaluates the candidates.
    canonical : Canonical
        Decides where the evaluator's loss is too close to the threshold for its rounding.
    lower_bound : float or None
        Of the objective: a candidate that could not be accepted even at this loss is rejected unevaluated.
    layers : ndarray of int, shape (F,), optional
        The layer of each item where it must keep one, -1 else: a candidate that empties a layer is rejected unevaluated.
    """

    def __init__(
        self, evaluator: Evaluator, canonical: Canonical, lower_bound: float | None, layers: IntArray | None = None
    ) -> None:
        self.evaluator = evaluator
        self.canonical = canonical
        self.lower_bound = -math.inf if lower_bound is None else lower_bound
        self.layers = layers
        self.batch: Batch | None = None

    @property
    def is_canonical(self) -> bool:
        """Whether there is one evaluator only."""
        return self.evaluator is self.canonical

    def init(self) -> ErrorState:
        """Return a state in which nothing was measured."""
        return ErrorState(None, self.evaluator.error)

    def begin(self, state: ErrorState, chain: ChainState, batch: Batch, sharpness: float) -> None:
        """Take a batch, and the classifier as it is now."""
        self.batch = batch
        if batch.rows is not None:
            self.canonical.objective.begin(batch.rows)
        if state.stated != self.evaluator.error:
            self.evaluator.error = state.stated
        self.evaluator.begin(batch.features, batch.targets, chain.position, sharpness)
        if not self.is_canonical:
            self.canonical.begin(batch.features, batch.targets, chain.position, sharpness)
        state.stated = self.evaluator.error

    def set_loss(self, chain: ChainState, alpha: float, n: int, *, modified: bool, block: int) -> int:
        """Set the losses of the positions on the batch, in place, and return how many were evaluated.

        Raises
        ------
        NumericalError
            One is not finite.
        """
        cla = self.evaluator.current()
        if not np.isfinite(cla).all():
            raise NumericalError(
                f"The loss of the current mask is {cla[~np.isfinite(cla)][0]} in block {block}: the classifier has diverged. "
                "Lower --learning-rate, or look for huge values in the data (--scale standard)."
            )
        engine.set_loss(chain, cla, alpha=alpha, n=n, modified=modified)
        return int(cla.size)

    def losses(
        self,
        state: ErrorState,
        chain: ChainState,
        candidates: moves.Moves,
        limits: FloatArray,
        *,
        may_estimate: bool = True,
    ) -> Evaluated:
        """Evaluate the candidates that their limits (R, K) do not rule out.

        With `may_estimate` the loss of one that is not accepted may be an estimate above its limit.
        """
        is_open = limits > self.lower_bound
        empties = (
            np.zeros_like(is_open)
            if self.layers is None
            else min_per_layer.emptied(chain.position, candidates, self.layers)
        )
        is_open &= ~empties
        # Any finite loss above the threshold rejects; the bound says that the true one is.
        losses = np.where(np.isfinite(limits), limits, 0.0) + 1.0
        chosen = np.flatnonzero(is_open.any(axis=0))
        if chosen.size:
            part = candidates if chosen.size == is_open.shape[1] else take(candidates, chosen)
            here = is_open[:, chosen]
            if not here.all():  # open for another replica only: a null move costs nothing
                part = part._replace(size=np.where(here, part.size, 0))
            bounds = np.ascontiguousarray(limits[:, chosen]) if may_estimate else None
            evaluated = self.evaluator.losses(chain, part, bounds)
            losses[:, chosen] = np.where(here, evaluated, losses[:, chosen])
            state.stated = self.evaluator.error
            if state.stated > 0:
                for replica, row in enumerate(is_open):
                    self._settle(state, chain, candidates, np.flatnonzero(row), losses, limits, replica)
        return Evaluated(losses, ~is_open & ~empties & (candidates.size > 0), int(is_open.sum()))

    def moved(self, chain: ChainState, candidates: moves.Moves, index: IntArray) -> None:
        """Follow the chains: replica r accepted candidate index[r] (-1: none)."""
        self.evaluator.moved(chain.position, candidates, index)
        if not self.is_canonical:
            self.canonical.moved(chain.position, candidates, index)

    def audit(self, state: ErrorState, chain: ChainState, block: int) -> None:
        """Every `AUDIT` blocks compare the loss that the block's accepted moves have led to with the canonical one, a replica at a time."""
        if self.is_canonical or block % AUDIT:
            return
        replica = block // AUDIT % len(chain.cla)
        loss = float(self.canonical.at(chain.position[replica : replica + 1])[0])
        away = abs(float(chain.cla[replica]) - loss) / max(1.0, abs(loss))
        if math.isfinite(away):
            state.measured = away if state.measured is None else max(state.measured, away)

    def _settle(
        self,
        state: ErrorState,
        chain: ChainState,
        candidates: moves.Moves,
        chosen: IntArray,
        losses: FloatArray,
        limits: FloatArray,
        replica: int,
    ) -> None:
        """Where rounding could turn the decision, take the change of loss from the canonical evaluator."""
        # Both losses of a decision carry the error: the threshold holds the current one.
        error = state.stated
        if state.measured is not None and error <= ROUNDING:
            error = max(SAFETY * state.measured, error / STATED)
        band = 2.0 * error * max(1.0, abs(float(chain.cla[replica])))
        is_stepped = self.canonical.objective.is_stepped
        with np.errstate(invalid="ignore"):  # an infinite loss under an infinite limit decides nothing here
            margins = limits[replica, chosen] - losses[replica, chosen]
        for k in chosen[(margins > 0) | ((margins != 0) & (np.abs(margins) <= band))]:
            margin = limits[replica, k] - losses[replica, k]
            # Exactly 0: no row has changed (two pixels that are black everywhere), a tie in the canonical evaluator too.
            # A row that rounding puts on the other side of a threshold is a whole step of such an objective.
            if 0.0 < abs(margin) <= band or (is_stepped and margin > 0):
                there = moves.dense(chain, take(candidates, np.array([k])))[replica, 0]
                both = self.canonical.at(np.stack([chain.position[replica], there]))
                losses[replica, k] = chain.cla[replica] + (both[1] - both[0])
                margin = limits[replica, k] - losses[replica, k]
            if margin > 0:
                return


def take(candidates: moves.Moves, chosen: IntArray) -> moves.Moves:
    """Return the chosen candidates of all replicas."""
    return moves.Moves(*(np.ascontiguousarray(part[:, chosen]) for part in candidates))
