"""A hard constraint of the chain: masks outside of the budget are rejected without an evaluation.

A mask is allowed if each cost is at most its limit, each counter is at least its least value, and each exact counter has the
value that it had. Counters are linear in what is kept (the kept sites of a layer, the price of the kept groups), and costs are sums
of products of two counters. So a candidate is checked in O(counters + terms), whatever the number of items is. Whether a mask is
allowed depends on the mask alone, so the proposals stay symmetric and the chain's law is Boltzmann's among the allowed masks: a
candidate that is not allowed is a step that stays. To repair it instead (clipping, filling up) would not be symmetric.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.chain.jit import kernel
from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["CostConstraint", "MaskRules", "new_constraint"]


class MaskRules(NamedTuple):
    """Which masks of F items are allowed: C counters c_0 ... c_{C-1}, and c_C = 1.

    c = base + sum of the amounts of the kept items, and cost_j = sum over its terms of each c[left] c[right].
    """

    start: IntArray  # (F + 1,) item i has the entries start[i] .. start[i + 1] - 1
    counter: IntArray  # (E,) the counter that an entry adds to
    amount: IntArray  # (E,) what it adds
    base: IntArray  # (C,) what is kept in any case
    least: IntArray  # (C,) a counter may not be less
    is_exact: BoolArray  # (C,) a move may not change it
    cost: IntArray  # (T,) the cost that a term is part of, 0 .. J - 1
    left: IntArray  # (T,)
    right: IntArray  # (T,)
    each: IntArray  # (T,)


@kernel
def add_costs(
    counts: IntArray, cost: IntArray, left: IntArray, right: IntArray, each: IntArray, costs: IntArray
) -> None:
    """Costs (J,) of counters (C + 1,)."""
    costs[:] = 0
    for t in range(each.size):
        costs[cost[t]] += each[t] * counts[left[t]] * counts[right[t]]


@kernel
def count_rows(
    position: FloatArray, start: IntArray, counter: IntArray, amount: IntArray, base: IntArray, counts: IntArray
) -> None:
    """Counters of each replica, and the last 1, into counts (R, C + 1)."""
    counts[:, :-1] = base
    counts[:, -1] = 1
    for r in range(position.shape[0]):
        for i in range(position.shape[1]):
            if position[r, i] > 0.0:
                for e in range(start[i], start[i + 1]):
                    counts[r, counter[e]] += amount[e]


@kernel
def close_rows(
    position: FloatArray, size: AnyArray, sites: AnyArray, weights: FloatArray, counts: IntArray, limits: IntArray,
    start: IntArray, counter: IntArray, amount: IntArray, least: IntArray, is_exact: BoolArray,
    cost: IntArray, left: IntArray, right: IntArray, each: IntArray, changes: AnyArray, closed: BoolArray,
) -> None:  # fmt: skip
    """Write what each candidate adds to the counters to `changes` (R, K, C); one that is not allowed is `closed`, with size 0."""
    counters = counts.shape[1] - 1
    after = np.empty(counters + 1, np.int64)
    after[counters] = 1
    costs = np.empty(limits.size, np.int64)
    for r in range(size.shape[0]):
        for k in range(size.shape[1]):
            is_other = False
            changes[r, k] = 0
            for m in range(size[r, k]):
                item = sites[r, k, m]
                change = (1 if weights[r, k, m] > 0.0 else 0) - (1 if position[r, item] > 0.0 else 0)
                if change != 0:
                    is_other = True
                    for e in range(start[item], start[item + 1]):
                        changes[r, k, counter[e]] += change * amount[e]
            closed[r, k] = False
            if not is_other:
                continue
            for c in range(counters):
                after[c] = counts[r, c] + changes[r, k, c]
                if after[c] < least[c] or (is_exact[c] and changes[r, k, c] != 0):
                    closed[r, k] = True
            if not closed[r, k]:
                add_costs(after, cost, left, right, each, costs)
                for j in range(limits.size):
                    if costs[j] > limits[j]:
                        closed[r, k] = True
            if closed[r, k]:
                size[r, k] = 0


class CostConstraint:
    """Where R chains stand among the allowed masks.

    Attributes
    ----------
    rules : MaskRules
    counts : ndarray of int64, shape (R, C + 1)
        The counters of each chain; the last column is 1.
    """

    def __init__(self, rules: MaskRules, replicas: int) -> None:
        self.rules = rules
        self.counts = np.zeros((replicas, rules.base.size + 1), np.int64)
        self._changes = np.zeros((replicas, 0, rules.base.size), np.int64)

    def costs(self) -> IntArray:
        """Return the costs of each chain's mask, shape (R, J)."""
        return costs_of_counts(self.rules, self.counts[:, :-1])

    def refresh(self, state: ChainState) -> None:
        """Count again, in O(N): after positions were changed by other than `moved`."""
        count_rows(state.position, *self.rules[:4], self.counts)

    def close(self, state: ChainState, moves: Moves, limits: IntArray) -> BoolArray:
        """Make null moves, in place, of the candidates that are not allowed.

        Parameters
        ----------
        state : ChainState
            What `moves` were proposed from, as `refresh` and `moved` have followed it.
        moves : Moves
            The `size` of a candidate that is not allowed becomes 0; nothing else is changed.
        limits : ndarray of int64, shape (J,)
            The most that a mask may cost.

        Returns
        -------
        ndarray of bool, shape (R, K)
            Which are not allowed.
        """
        replicas, ahead = moves.kind.shape
        self._changes = np.empty((replicas, ahead, self.rules.base.size), np.int64)
        closed = np.empty((replicas, ahead), np.bool_)
        rules = self.rules
        close_rows(
            state.position, moves.size, moves.sites, moves.weights, self.counts, np.asarray(limits, np.int64),
            rules.start, rules.counter, rules.amount, rules.least, rules.is_exact,
            rules.cost, rules.left, rules.right, rules.each, self._changes, closed,
        )  # fmt: skip
        return closed

    def moved(self, index: AnyArray) -> None:
        """Follow the chains: replica r took candidate index[r] of those that `close` saw last (-1: stayed)."""
        rows = np.flatnonzero(index >= 0)
        self.counts[rows, :-1] += self._changes[rows, index[rows]]


def costs_of_counts(rules: MaskRules, counts: AnyArray) -> IntArray:
    """Return the costs (..., J) of counters (..., C)."""
    values = np.asarray(counts, np.int64)
    with_one = np.concatenate([values, np.ones((*values.shape[:-1], 1), np.int64)], axis=-1)
    products = with_one[..., rules.left] * with_one[..., rules.right] * rules.each
    is_part = rules.cost[:, None] == np.arange(int(rules.cost.max(initial=-1)) + 1)
    return np.asarray(products @ is_part.astype(np.int64))


def new_constraint(rules: MaskRules, state: ChainState) -> CostConstraint:
    """Return the constraint of a state.

    Raises
    ------
    ConfigError
        The rules are of another number of items.
    """
    replicas, items = state.position.shape
    if rules.start.size - 1 != items:
        raise ConfigError(
            f"The rules are of {rules.start.size - 1} items, but there are {items}. Give rules of these items."
        )
    constraint = CostConstraint(rules, replicas)
    constraint.refresh(state)
    return constraint
