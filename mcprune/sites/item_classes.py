"""Items of a search in classes that count alike, so that a budget is a question of a few numbers.

Whether a mask is allowed depends on a few counters of what it keeps (the sites of a layer, of a kind, the price of the groups).
Items that add the same to all counters form a class, so a mask is as good as its number of kept items in each class: all
questions about the budget are answered in classes, whatever the number of items is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from mcprune.chain.cost_constraint import MaskRules, costs_of_counts
from mcprune.sites.budget import Budget, Goal
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

# Layers of one exact count up to which the cheapest way to spread it over them is found by looking at all extreme ones.
ENUMERATED = 8


@dataclass(frozen=True, eq=False)
class ItemClasses:
    """Classes of the items of a search.

    Attributes
    ----------
    rules : MaskRules
        Of F items and C counters.
    class_of : ndarray of int64, shape (F,)
        The class of each item, one of K.
    amounts : ndarray of int64, shape (K, C)
        What an item of a class adds to each counter.
    exact : ndarray of int64, shape (Q,)
        The counters that a goal gives values for, in its order.
    """

    rules: MaskRules
    class_of: IntArray
    amounts: IntArray
    exact: IntArray

    @cached_property
    def sizes(self) -> IntArray:
        """Items of each class, shape (K,)."""
        return np.bincount(self.class_of, minlength=len(self.amounts)).astype(np.int64)

    @cached_property
    def is_counted(self) -> BoolArray:
        """Which classes an exact count holds, shape (K,)."""
        return np.asarray((self.amounts[:, self.exact] > 0).any(axis=1))

    @cached_property
    def least(self) -> IntArray:
        """Items that each class must keep since it alone adds to a counter, shape (K,)."""
        out = np.zeros(len(self.amounts), np.int64)
        for counter in np.flatnonzero(self.rules.least > self.rules.base):
            members = np.flatnonzero(self.amounts[:, counter])
            if members.size == 1:
                missing = int(self.rules.least[counter] - self.rules.base[counter])
                out[members] = np.maximum(out[members], -(-missing // self.amounts[members, counter]))
        return out

    def count(self, mask: AnyArray) -> IntArray:
        """Return how many items of each class a mask (F,) keeps, shape (K,)."""
        return np.bincount(self.class_of[np.asarray(mask, bool)], minlength=len(self.amounts)).astype(np.int64)

    def counters(self, kept: AnyArray) -> IntArray:
        """Return the counters (..., C) of kept items of each class (..., K)."""
        return np.asarray(self.rules.base + np.asarray(kept, np.int64) @ self.amounts)

    def costs(self, kept: AnyArray) -> IntArray:
        """Return the costs (..., J) of kept items of each class (..., K)."""
        return costs_of_counts(self.rules, self.counters(kept))

    def steps(self, kept: IntArray, way: int) -> IntArray:
        """Return what one item more (way = 1) or less (-1) of each class changes of each cost, shape (K, J)."""
        return np.asarray(self.costs(kept + way * np.eye(kept.size, dtype=np.int64)) - self.costs(kept))

    def completion(
        self, least: IntArray, most: IntArray, goal: Goal, prices: IntArray | None = None
    ) -> IntArray | None:
        """Return an allowed number of items of each class (K,) between two bounds, a cheap one; None where none is found.

        Parameters
        ----------
        least, most : ndarray of int64, shape (K,)
            Bounds of the items of each class.
        goal : Goal
        prices : ndarray of int64, shape (J,), optional
            Limits by which the search tells what is cheap; by default those of the goal. A local search finds other ways by others.

        Notes
        -----
        One is found where there is one for chains of layers with one cost, and for exact counts of single layers. Where an exact
        count spreads over more than `ENUMERATED` layers beside a cost, over residual layers, or beside several costs, and where
        groups of tied sites cover several layers, the search is local.
        """
        cheapest = self.cheapest(least, most, goal if prices is None else goal._replace(limits=prices))
        return cheapest if cheapest is not None and (self.costs(cheapest) <= goal.limits).all() else None

    def cheapest(self, least: IntArray, most: IntArray, goal: Goal) -> IntArray | None:
        """Return the number of items of each class (K,) whose costs are the smallest part of their limits, whatever part that is.

        None where the bounds leave no way to the exact counts, or to the least of a counter.
        """
        kept = self._with_least(least, most, goal)
        if kept is None:
            return None
        spread = []
        for counter, value in zip(self.exact, goal.counts, strict=True):
            members = np.flatnonzero(self.amounts[:, counter])
            need = int(value - self.counters(kept)[counter])
            if not 0 <= need <= int((most - kept)[members].sum()):
                return None
            if members.size == 1:
                kept[members] += need
            elif need:
                spread.append((members, need))
        for members, need in spread:  # any way at first
            room = (most - kept)[members]
            kept[members] += np.minimum(room, np.maximum(0, need - np.cumsum(room) + room))
        if not goal.limits.size:
            return kept
        for _ in range(len(spread) if len(spread) < 2 else 3):
            for members, _ in spread:
                kept = self._spread(kept, least, most, members, goal)
        return kept

    def smallest_limits(self, goal: Goal) -> IntArray:
        """Return for each cost the least that a mask of the goal's exact counts can have, shape (J,); -1 where there is no such mask."""
        out = np.full(goal.limits.size, -1, np.int64)
        for j in range(out.size):
            only = np.where(np.arange(out.size) == j, 1, np.iinfo(np.int64).max)
            kept = self.cheapest(np.zeros_like(self.sizes), self.sizes, goal._replace(limits=only))
            out[j] = -1 if kept is None else int(self.costs(kept)[j])
        return out

    def _with_least(self, least: IntArray, most: IntArray, goal: Goal) -> IntArray | None:
        """Return `least` with what the counters' own least values need beside it."""
        kept = np.maximum(least, self.least)
        if (kept > most).any():
            return None
        while True:
            missing = np.flatnonzero(self.counters(kept) < self.rules.least)
            if not missing.size:
                return kept
            can = (self.amounts[:, missing[0]] > 0) & (kept < most)
            if not can.any():
                return None
            price = np.where(can, _shares(self.steps(kept, 1), goal.limits).max(axis=-1, initial=0.0), np.inf)
            kept[int(np.argmin(price))] += 1

    def _spread(self, kept: IntArray, least: IntArray, most: IntArray, members: IntArray, goal: Goal) -> IntArray:
        """Return `kept` with the exact count spread over its classes so that the costs are a small part of their limits.

        In a chain of layers a cost is concave along each exchange between two classes, so the cheapest spread is an extreme one:
        at most one class is neither at its lower nor at its upper bound. What is left is a descent by exchanges.
        """
        lower = self._with_least(np.where(np.isin(np.arange(kept.size), members), least, kept), most, goal)
        assert lower is not None  # `kept` itself is such a one
        low, high = lower[members], most[members]
        if members.size <= ENUMERATED:
            full = np.where(np.array(list(product([False, True], repeat=members.size))), high, low)
            rest = int(kept[members].sum()) - full.sum(axis=1)[:, None] + full
            way, place = np.nonzero((rest >= low) & (rest <= high))
            spreads = full[way]
            spreads[np.arange(way.size), place] = rest[way, place]
            kept = self._best(kept, members, spreads, goal)
        while True:
            moved = self._best(kept, members, _exchanges(kept[members], low, high), goal)
            if np.array_equal(moved, kept):
                return kept
            kept = moved

    def _best(self, kept: IntArray, members: IntArray, spreads: IntArray, goal: Goal) -> IntArray:
        """Return the cheapest of `kept` and of the same with other items of some classes; a tie stays."""
        options = np.repeat(kept[None], len(spreads) + 1, axis=0)
        options[1:, members] = spreads
        return np.asarray(options[int(np.argmin(_shares(self.costs(options), goal.limits).max(axis=-1)))])


def _shares(costs: IntArray, limits: IntArray) -> FloatArray:
    """Return costs as shares of their limits."""
    return np.asarray(costs / np.maximum(limits, 1))


def _exchanges(kept: IntArray, least: IntArray, most: IntArray) -> IntArray:
    """Return what exchanges between two of m classes lead to, of as many items as possible, of half of them, ... of one, shape (E, m)."""
    source, target = np.nonzero(~np.eye(kept.size, dtype=bool))
    amount = np.minimum((kept - least)[source], (most - kept)[target])
    parts = []
    while amount.any():
        out = np.repeat(kept[None], source.size, axis=0)
        rows = np.arange(source.size)
        out[rows, source] -= amount
        out[rows, target] += amount
        parts.append(out)
        amount //= 2
    return np.concatenate(parts) if parts else kept[None]


class Column(NamedTuple):
    """A counter before it is numbered: what items add to it."""

    items: IntArray  # rising
    amounts: IntArray
    base: int
    least: int = 0
    is_exact: bool = False


class Term(NamedTuple):
    """A product of two counters, named by their columns' places (-1: the constant 1), as a part of a cost."""

    cost: int
    left: int
    right: int
    each: int


def make_classes(size: int, columns: list[Column], terms: list[Term], class_of: IntArray | None) -> ItemClasses:
    """Return the classes of items with such counters and costs.

    Parameters
    ----------
    size : int
        F.
    columns : list of Column
        The exact ones in the order of the goals. Equal ones become one counter.
    terms : list of Term
    class_of : ndarray of int64, shape (F,), or None
        Classes that are known; None: items that add the same to all counters.
    """
    merged: list[Column] = []
    place: list[int] = []
    for column in columns:
        same = next((k for k, other in enumerate(merged) if _is_same(column, other)), len(merged))
        if same == len(merged):
            merged.append(column)
        else:
            other = merged[same]
            merged[same] = other._replace(
                least=max(other.least, column.least), is_exact=other.is_exact or column.is_exact
            )
        place.append(same)
    items = np.concatenate([column.items for column in merged] or [np.empty(0, np.int64)])
    counter = np.repeat(np.arange(len(merged)), [column.items.size for column in merged])
    amount = np.concatenate([column.amounts for column in merged] or [np.empty(0, np.int64)])
    order = np.argsort(items, kind="stable")
    number = [*place, len(merged)]  # the last one for -1
    rules = MaskRules(
        start=np.append(0, np.cumsum(np.bincount(items, minlength=size))).astype(np.int64),
        counter=counter[order].astype(np.int64),
        amount=amount[order].astype(np.int64),
        base=np.array([column.base for column in merged], np.int64),
        least=np.array([column.least for column in merged], np.int64),
        is_exact=np.array([column.is_exact for column in merged], bool),
        cost=np.array([term.cost for term in terms], np.int64),
        left=np.array([number[term.left] for term in terms], np.int64),
        right=np.array([number[term.right] for term in terms], np.int64),
        each=np.array([term.each for term in terms], np.int64),
    )
    if class_of is None:
        dense = np.zeros((size, len(merged)), np.int64)
        dense[items, counter] = amount
        amounts, class_of = np.unique(dense, axis=0, return_inverse=True)
        class_of = class_of.reshape(-1).astype(np.int64)
    else:
        amounts = np.zeros((int(class_of.max(initial=-1)) + 1, len(merged)), np.int64)
        amounts[class_of[items], counter] = amount
    exact = np.array([number[k] for k, column in enumerate(columns) if column.is_exact], np.int64)
    return ItemClasses(rules, class_of, amounts, exact)


def _is_same(column: Column, other: Column) -> BoolArray | bool:
    return (
        column.base == other.base
        and np.array_equal(column.items, other.items)
        and np.array_equal(column.amounts, other.amounts)
    )


def budget_classes(
    budget: Budget,
    layer: IntArray,
    owner: IntArray,
    kept: BoolArray,
    least: Sequence[int],
    own_costs: tuple[Sequence[int], int] | None,
) -> ItemClasses:
    """Return the classes of items by what they add to the counters of a budget.

    Parameters
    ----------
    budget : Budget
    layer : ndarray of int, shape (N,)
        The layer of each site.
    owner : ndarray of int, shape (N,)
        The item of each site, -1 where it is fixed.
    kept : ndarray of bool, shape (N,)
        The sites that are kept in any case.
    least : sequence of int
        What each layer must keep, 0 or 1.
    own_costs : pair of a sequence of F ints and an int, or None
        What the items cost, and what those that must be kept; None: each free site is an item.
    """
    size = int(owner.max(initial=-1)) + 1
    columns: list[Column] = []
    terms: list[Term] = []

    def add(sites: BoolArray, *, is_exact: bool = False) -> int:
        """Count the kept ones of these sites (N,); return the column's place."""
        items, amounts = np.unique(owner[sites & (owner >= 0)], return_counts=True)
        columns.append(Column(items, amounts.astype(np.int64), int(kept[sites].sum()), is_exact=is_exact))
        return len(columns) - 1

    for count in budget.counts:
        add(np.isin(layer, count.layers), is_exact=True)
    for number, must in enumerate(least):
        if must and not kept[layer == number].any():  # items that touch the layer, whatever their size
            column = columns[add(layer == number)]
            columns[-1] = column._replace(amounts=np.ones_like(column.amounts), least=1)
    for j, cost in enumerate(budget.costs):
        terms.append(Term(j, -1, -1, 0))
        if cost.costs is None:
            prices, always = own_costs or ([], 0)
            columns.append(Column(np.arange(size), np.array(prices, np.int64), always))
            terms.append(Term(j, len(columns) - 1, -1, 1))
            continue
        first, second, each = cost.costs.terms
        constant = cost.costs.sizes.size
        place = {number: add(layer == number) for number in sorted({*first.tolist(), *second.tolist()} - {constant})}
        place[constant] = -1
        terms += [
            Term(j, place[a], place[b], c)
            for a, b, c in zip(first.tolist(), second.tolist(), each.tolist(), strict=True)
        ]
    class_of = None
    if own_costs is None:  # the layers that have free sites
        class_of = np.unique(layer[owner >= 0], return_inverse=True)[1].reshape(-1).astype(np.int64)
    return make_classes(size, columns, terms, class_of)
