"""How many candidates to evaluate ahead: what is evaluated behind an acceptance is thrown away, what is evaluated alone is dear.

At acceptance a, a batch of K consumes (1 - (1 - a)^K) / a decisions on average and costs about c0 + c1 K seconds. Both a and
the cost are measured while the chain runs. The chain itself does not depend on K.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mcprune.state import alike

# Weight of what was seen one batch earlier (the cost), one decision earlier (the acceptance).
COST_DECAY, RATE_DECAY = 0.995, 0.995
# One batch in so many has another size, so that the line through the costs is known; K is chosen anew as often.
EXPLORE, ANEW = 16, 8
# A batch that took so many times as long as expected tells of the machine, not of its size.
OUTLIER = 2.0
# For each site that a candidate may change: its index and weight, a copy of both, and the gates on the way to float32.
BYTES = 80
# Costs whose ratio is less are a tie.
TIE = 1.02
# The batches after which the line is believed.
ENOUGH = 6


class Ahead:
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
        self._batches = self._usual = 0
        self._sums = [0.0] * 5  # decayed, of 1, K, K^2, seconds, K seconds, over K: the variance grows with K
        self._accepted = self._consumed = 0.0

    @property
    def acceptance(self) -> float:
        """The decayed share of accepted decisions."""
        return self._accepted / self._consumed if self._consumed else 0.0

    def cost(self) -> tuple[float, float]:
        """Return (c0, c1) in seconds; none is negative."""
        weight, size, squares, time, product = self._sums
        spread = weight * squares - size * size
        if spread <= 1e-9 * max(weight * squares, 1.0):  # one size only
            return (0.0, time / size) if size else (0.0, 1.0)
        slope = (weight * product - size * time) / spread
        slope = max(slope, 0.0)
        first = (time - slope * size) / weight
        # Through the origin where the line would start below it.
        return (first, slope) if first >= 0 else (0.0, product / squares)

    def best(self) -> int:
        """Return the size that costs least for each consumed decision.

        Of sizes that differ by less than the cost is known to, the largest: it has the fewest calls.
        """
        first, slope = self.cost()
        each = [(first + slope * size) / consumed(size, self.acceptance) for size in self.sizes]
        return max(size for size, price in zip(self.sizes, each, strict=True) if price <= TIE * min(each))

    def size(self) -> int:
        """Return K for the next batch."""
        if self._batches < ENOUGH:
            # Nothing is known yet: some of the sizes in between, one after the other.
            return self.sizes[len(self.sizes) * (1 + self._batches % 3) // 4]
        if self._batches % ANEW == 0 or self._usual == 0:
            self._usual = self.best() if self._agree is None else self._agree(self.best())
        if self._batches % EXPLORE == EXPLORE // 2:
            # A single candidate, which tells most of c0, and the neighbour above in turns.
            is_single = (self._batches // EXPLORE) % 2
            return 1 if is_single else min(2 * self._usual, self.sizes[-1])
        return self._usual

    def save(self) -> dict[str, Any]:
        """Return what was learned: of use to the speed alone, on the same machine."""
        held = {"batches": self._batches, "usual": self._usual, "sums": list(self._sums)}
        return {**held, "accepted": self._accepted, "consumed": self._consumed}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `save` gave."""
        self._batches, self._usual = (alike(saved[name], 0, name) for name in ("batches", "usual"))
        sums = [alike(part, 0.0, "sums") for part in saved["sums"]]
        if len(sums) != len(self._sums):
            raise ValueError(f"{len(sums)} sums of what batches cost, not {len(self._sums)}")
        self._sums = sums
        self._accepted, self._consumed = (alike(saved[name], 0.0, name) for name in ("accepted", "consumed"))

    def observe(self, size: int, seconds: float, decided: int, accepted: int) -> None:
        """Learn from a batch.

        Parameters
        ----------
        size : int
            Candidates that were evaluated.
        seconds : float
            From proposing to deciding; following an acceptance is not of the batch's size and left out.
        decided : int
            Decisions consumed, of all replicas.
        accepted : int
            Acceptances among them.
        """
        if self._batches == ENOUGH // 2:  # the first ones compile and warm caches
            self._sums = [0.0] * 5
        if self._batches >= 2 * ENOUGH:
            first, slope = self.cost()
            seconds = min(seconds, OUTLIER * (first + slope * size))
        self._batches += 1
        new = (1.0 / size, 1.0, size, seconds / size, seconds)
        self._sums = [COST_DECAY * old + term for old, term in zip(self._sums, new, strict=True)]
        fade = RATE_DECAY**decided
        self._accepted = fade * self._accepted + accepted
        self._consumed = fade * self._consumed + decided


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
