"""Enforce a budget of exact counts and of costs: what goes or returns is chosen by its change of loss for what it saves or costs.

It happens between blocks, as for a plain count (`budget`): a pool of items is drawn and each one's toggle judged alone. First the
exact counts are satisfied, then the costs; what is left of the costs is filled where that is asked for. Of the items that may go those
do that raise the loss least for each unit of cost that they save, of which no more counts than is still in excess. No item goes
without which the budget could not be satisfied any more. At T > 0 each change of loss gets T times Gumbel noise first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mcprune.chain import philox, state
from mcprune.evaluators.base import Evaluator
from mcprune.methods.base import Parts
from mcprune.methods.markov.enforce.budget import PART, PART_GUESSED, pool_losses
from mcprune.sites.budget import Goal
from mcprune.sites.item_classes import ItemClasses
from mcprune.types import BoolArray, FloatArray, IntArray


def enforce_budget(
    current: state.ChainState,
    evaluator: Evaluator,
    *,
    classes: ItemClasses,
    goal: Goal,
    end: Goal,
    pool: int,
    temperature: FloatArray | float,
    sharpness: float,
    seed: int,
    block: int,
    chains: IntArray,
    may_grow: bool = False,
    pool_limit: int = 0,
    guesses: FloatArray | None = None,
    at_once: int = 0,
) -> Parts[int]:
    """Toggle items of each replica, in place, until it satisfies `goal`; return how many toggles were evaluated.

    `end` is the goal at the end of the run, which some mask satisfies. With `may_grow` a replica that costs less than its limits
    takes items back until no further one fits. `pool_limit` and
    `guesses` bound a pool, and `at_once` a part of its evaluation, as in `enforce_count`. The evaluator must have begun at the
    current position; call again, with another `block`, until nothing is evaluated.
    """
    replicas = current.position.shape[0]
    warmth = np.broadcast_to(np.asarray(temperature, dtype=np.float64), (replicas,))
    part = PART if guesses is None else PART_GUESSED
    drawn: list[IntArray] = []
    noise: list[FloatArray] = []
    turns: list[_Turn] = []
    for replica, chain in enumerate(chains.tolist()):
        is_kept = current.position[replica] > 0
        turn = _Turn(classes, classes.count(is_kept), goal, end, may_grow, part)
        items = turn.eligible(is_kept)
        need = turn.need(items.size)
        draws = philox.uniforms(seed, chain, block, philox.MASK, 2 * items.size)
        size = max(pool * need, need)
        order = draws[: items.size]
        if pool_limit and items.size > pool_limit:
            size = max(min(size, pool_limit), need)
            order = order if guesses is None else guesses[items]
        drawn.append(np.sort(items[np.argsort(order, kind="stable")[:size]]))
        noise.append(draws[items.size : items.size + drawn[-1].size])
        turns.append(turn)
    if not any(items.size for items in drawn):
        return 0
    before = evaluator.current()
    losses = yield from pool_losses(current, evaluator, drawn, at_once)
    for replica, items in enumerate(drawn):
        if items.size:
            after = losses[replica, : items.size]
            change = np.where(np.isfinite(after), after - before[replica], math.inf)
            if guesses is not None:
                guesses[items] = change
            if warmth[replica] > 0:
                change = change + warmth[replica] * np.log(-np.log(noise[replica]))
            chosen = turns[replica].choose(items, change)
            current.position[replica, chosen] *= -1.0
            if guesses is not None:
                guesses[chosen] *= -1.0  # a toggle back would undo the change
    state.refresh(current, sharpness=sharpness)
    return sum(items.size for items in drawn)


class _Turn:
    """What one round of toggles does to one replica: drop for the counts or for the costs, or take items back.

    Attributes
    ----------
    way : int
        -1 where items go, 1 where they return, 0 where there is nothing to do.
    is_count : bool
        Whether it is for the exact counts, else for the costs.
    """

    def __init__(self, classes: ItemClasses, kept: IntArray, goal: Goal, end: Goal, may_grow: bool, part: int) -> None:
        self.classes, self.kept, self.goal, self.part = classes, kept, goal, part
        self.none = np.zeros_like(kept)
        self.at_once = np.maximum(kept // part, 1)
        self.missing: IntArray | None = None  # items of each class without which no allowed mask is within reach
        over, excess = self.over(), self.excess()
        self.is_count = bool(over.any())
        self.way = 0
        if (over > 0).any() or (excess > 0).any():
            self.way = -1
            self.is_count = bool((over > 0).any())
            self.witness = self._completion(kept, end)
            self.is_closed = np.zeros(kept.size, bool)
            if self.witness is None:  # the way to an allowed mask leads over items that are dropped now
                allowed = self._completion(classes.sizes, end)
                assert allowed is not None, "the budget was checked before the search"
                self.missing = np.maximum(allowed - kept, 0)
                if self.missing.any():
                    self.way = 1
                else:  # the mask is within reach, but a local search between these bounds misses it
                    self.witness, self.missing = allowed, None
        elif over.any() or (may_grow and excess.size):
            self.way = 1

    def _completion(self, most: IntArray, end: Goal) -> IntArray | None:
        """Return an allowed number of items of each class, searched by the limits of now, then by those of the end."""
        first = self.classes.completion(self.none, most, self.goal)
        return first if first is not None else self.classes.completion(self.none, most, self.goal, end.limits)

    def over(self) -> IntArray:
        """Return how far the exact counts are above their goal, shape (Q,)."""
        return np.asarray(self.classes.counters(self.kept)[self.classes.exact] - self.goal.counts)

    def excess(self) -> IntArray:
        """Return how far the costs are above their limits, shape (J,)."""
        return np.asarray(self.classes.costs(self.kept) - self.goal.limits)

    def eligible(self, is_kept: BoolArray) -> IntArray:
        """Return the items that may be toggled."""
        if not self.way:
            return np.empty(0, np.int64)
        can, _ = self.offers()
        return np.flatnonzero((is_kept if self.way < 0 else ~is_kept) & can[self.classes.class_of])

    def need(self, count: int) -> int:
        """Return about how many of `count` eligible items must be toggled."""
        if not count:
            return 0
        if self.missing is not None:
            return min(int(self.missing.sum()), count)
        if self.is_count:
            need = int(np.abs(self.over()).sum())
            return min(need, max(1, count // self.part)) if self.way < 0 else min(need, count)
        excess = self.excess()
        can, _ = self.offers()
        most = (self.way * self.classes.steps(self.kept, self.way))[can].max(axis=0, initial=0)
        if self.way < 0:
            need = max(math.ceil(int(over) / max(int(saved), 1)) for over, saved in zip(excess, most, strict=True))
            return min(need, max(1, count // self.part))
        fits = min(int(room) // max(int(cost), 1) for room, cost in zip(-excess, most, strict=True))
        return min(max(1, fits), count)

    def choose(self, items: IntArray, change: FloatArray) -> Sequence[int]:
        """Return which of the judged items to toggle, one after the other as the costs change."""
        class_of = self.classes.class_of[items]
        left = np.ones(items.size, bool)
        chosen: list[int] = []
        while left.any():
            can, worth = self.offers()
            if self.way < 0:
                can &= self.at_once > 0
            is_open = left & can[class_of]
            if not is_open.any():
                break
            ratio = np.where(is_open, change / np.maximum(worth[class_of], 1.0), math.nan)
            best = int(np.nanargmin(ratio))
            left[best] = False
            self.kept[class_of[best]] += self.way
            self.at_once[class_of[best]] -= 1
            if self.missing is not None:
                self.missing[class_of[best]] -= 1
            chosen.append(int(items[best]))
        return chosen

    def offers(self) -> tuple[BoolArray, FloatArray]:
        """Return which classes may be toggled now, and what an item of each is worth, each (K,)."""
        classes, kept = self.classes, self.kept
        ones = np.ones(kept.size)
        if self.missing is not None:
            return self.missing > 0, ones
        if self.is_count:
            is_off = (classes.amounts[:, classes.exact[self.way * self.over() < 0]] > 0).any(axis=1)
            can, worth = is_off, ones
        else:
            change = self.way * classes.steps(kept, self.way)
            excess = self.excess()
            if self.way < 0:  # what would be saved beyond the excess is not needed now
                worth = self._together(np.minimum(change, np.maximum(excess, 0)))
                can = ~classes.is_counted & (worth > 0)
            else:
                worth = self._together(change)
                can = ~classes.is_counted & (change <= -excess).all(axis=1)
        can = can & ((kept > 0) if self.way < 0 else (kept < classes.sizes))
        if self.way < 0:
            return can & self._safe(can), worth
        if self.is_count and self.goal.limits.size:
            can &= np.array([self._completed(k) for k in range(kept.size)])
        return can, worth

    def _together(self, values: IntArray) -> FloatArray:
        """Return changes of the costs (K, J) as one number a class, in units of the cost with the largest limit."""
        limits = self.goal.limits
        return np.asarray(values @ (limits.max(initial=1) / np.maximum(limits, 1)))

    def _safe(self, can: BoolArray) -> BoolArray:
        """Return which classes can lose an item so that an allowed mask is still within reach."""
        assert self.witness is not None
        known = self.witness
        for k in np.flatnonzero(can & ~self.is_closed & (self.kept <= known)):
            fewer = self.kept.copy()
            fewer[k] -= 1
            other = self.classes.completion(self.none, fewer, self.goal)
            if other is None:  # nor will it be later
                self.is_closed[k] = True
            else:
                self.witness = other
        return ~self.is_closed

    def _completed(self, k: int) -> bool:
        """Return whether a class can take an item back so that an allowed mask is still within reach."""
        more = self.kept.copy()
        more[k] += 1
        return self.classes.completion(more, self.classes.sizes, self.goal) is not None
