"""How many candidates to evaluate ahead: what is evaluated behind an acceptance is wasted, and single evaluations are expensive.

At acceptance a, a batch of K consumes (1 - (1 - a)^K) / a decisions on average and costs about c0 + c1 K seconds. Both a and
the cost are measured while the chain runs. The chain itself does not depend on K.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mcprune.types import FloatArray

# Weight of what was seen one batch earlier (the cost), one decision earlier (the acceptance).
COST_DECAY, RATE_DECAY = 0.995, 0.995
# One batch in so many has another size, so that the line through the costs is known; after so many K is chosen again.
EXPLORE, RENEW = 16, 8
# A batch that took so many times as long as expected tells of the machine, not of its size.
OUTLIER = 2.0
# For each site that a candidate may change: its index and weight, a copy of both, and the gates on the way to float32.
BYTES = 80
# Costs whose ratio is less are a tie.
TIE = 1.02
# The batches after which the line is believed.
ENOUGH = 6


@dataclass
class LookaheadState:
    """What batches have cost and how many decisions were accepted: of use to the speed alone.

    Attributes
    ----------
    batches : int
        Batches observed.
    usual : int
        The K that costs least, 0 before it is known.
    sums : ndarray of float64, shape (5,)
        Decayed sums of 1, K, K^2, seconds and K seconds, each over K: the variance of the seconds grows with K.
    accepted, consumed : float
        Decayed counts of decisions.
    """

    batches: int
    usual: int
    sums: FloatArray
    accepted: float
    consumed: float

    @property
    def acceptance(self) -> float:
        """The decayed share of accepted decisions."""
        return self.accepted / self.consumed if self.consumed else 0.0

    def cost(self) -> tuple[float, float]:
        """Return (c0, c1) in seconds; none is negative."""
        weight, size, squares, time, product = self.sums.tolist()
        spread = weight * squares - size * size
        if spread <= 1e-9 * max(weight * squares, 1.0):  # one size only
            return (0.0, time / size) if size else (0.0, 1.0)
        slope = (weight * product - size * time) / spread
        slope = max(slope, 0.0)
        first = (time - slope * size) / weight
        # Through the origin where the line would start below it.
        return (first, slope) if first >= 0 else (0.0, product / squares)


class Lookahead:
    """Choose K in 1, 2, 4, ... up to a cap (and the cap) that costs least for each consumed decision.

    Parameters
    ----------
    cap : int
        The largest K.
    agree : callable, optional
        Of several processes that must all take the same K, but whose clocks differ: makes one choice of theirs.
    """

    def __init__(self, cap: int, agree: Callable[[int], int] | None = None) -> None:
        self._agree = agree
        self.sizes = [*(1 << power for power in range(cap.bit_length()) if 1 << power < cap), cap]

    def init(self) -> LookaheadState:
        """Return a state in which nothing is known."""
        return LookaheadState(0, 0, np.zeros(5), 0.0, 0.0)

    def best(self, state: LookaheadState) -> int:
        """Return the size that costs least for each consumed decision.

        Of sizes that differ by less than the cost is known to, the largest: it has the fewest calls.
        """
        first, slope = state.cost()
        each = [(first + slope * size) / consumed(size, state.acceptance) for size in self.sizes]
        return max(size for size, price in zip(self.sizes, each, strict=True) if price <= TIE * min(each))

    def size(self, state: LookaheadState) -> int:
        """Return K for the next batch."""
        if state.batches < ENOUGH:
            # Nothing is known yet: some of the sizes in between, one after the other.
            return self.sizes[len(self.sizes) * (1 + state.batches % 3) // 4]
        if state.batches % RENEW == 0 or state.usual == 0:
            best = self.best(state)
            state.usual = best if self._agree is None else self._agree(best)
        if state.batches % EXPLORE == EXPLORE // 2:
            # A single candidate, which tells most of c0, and the neighbour above in turns.
            is_single = (state.batches // EXPLORE) % 2
            return 1 if is_single else min(2 * state.usual, self.sizes[-1])
        return state.usual

    def observe(self, state: LookaheadState, size: int, seconds: float, decided: int, accepted: int) -> None:
        """Learn from a batch, in place.

        Parameters
        ----------
        state : LookaheadState
        size : int
            Candidates that were evaluated.
        seconds : float
            From proposing to deciding; following an acceptance is not of the batch's size and left out.
        decided : int
            Decisions consumed, of all replicas.
        accepted : int
            Acceptances among them.
        """
        if state.batches == ENOUGH // 2:  # the first ones compile and warm caches
            state.sums[:] = 0.0
        if state.batches >= 2 * ENOUGH:
            first, slope = state.cost()
            seconds = min(seconds, OUTLIER * (first + slope * size))
        state.batches += 1
        state.sums[:] = COST_DECAY * state.sums + np.array((1.0 / size, 1.0, size, seconds / size, seconds))
        fade = RATE_DECAY**decided
        state.accepted = fade * state.accepted + accepted
        state.consumed = fade * state.consumed + decided


def fitting(max_memory: int, replicas: int, widest: int) -> int:
    """Return how many candidates ahead `max_memory` bytes hold, one at least.

    Parameters
    ----------
    max_memory : int
    replicas : int
    widest : int
        The most sites that a move of the plan changes.
    """
    return max(1, max_memory // (BYTES * replicas * max(widest, 1)))


def consumed(size: int, acceptance: float) -> float:
    """Return the decisions that a batch of K consumes on average, (1 - (1 - a)^K) / a; K at a = 0."""
    if acceptance < 1e-9:
        return float(size)
    if acceptance >= 1.0:
        return 1.0
    return -math.expm1(size * math.log1p(-acceptance)) / acceptance
