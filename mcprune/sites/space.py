"""Which masks a search may end in, and the one mapping between the items that it moves and the sites that evaluators see.

An item is a free site, or a group of sites that are kept or dropped together. Sites that must be kept or dropped are no items: so
every move keeps its own law on the items, and no proposal is lost on a site that must stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mcprune.chain.min_per_layer import hardened
from mcprune.chain.moves import Moves
from mcprune.errors import ConfigError
from mcprune.sites.budget import Budget, Goal
from mcprune.sites.item_classes import ItemClasses, budget_classes
from mcprune.sites.items import NOTHING_FIXED, Fixed, Item
from mcprune.sites.patterns import Pattern
from mcprune.sites.site_map import SiteMap
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

IMPOSSIBLE = "No mask satisfies the budget. Raise a limit, or name fewer sites to keep or drop."


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """The sites of a run and which masks of them are allowed.

    Attributes
    ----------
    sites : SiteMap
        N sites in G groups, here called layers.
    budget : Budget
        A single count of all sites, or where sites are tied of all items, is the chain's aim, which its moves may leave for a while;
        every other budget holds at every step.
    fixed : Fixed
        Sites that must be kept or dropped.
    items : tuple of Item, or None
        The groups of tied sites and the single sites to choose among; None: every free site is an item.
    always : tuple of Item
        Those of the tied groups and single sites that must be kept.
    least, final_least : tuple of int, one a layer
        Sites that a layer keeps at every step, and in the final mask.
    pattern : Pattern or None
        Of the kept weights; it holds at every step, from the first mask of n sites on.
    """

    sites: SiteMap
    budget: Budget
    fixed: Fixed = NOTHING_FIXED
    items: tuple[Item, ...] | None = None
    always: tuple[Item, ...] = ()
    least: tuple[int, ...] = ()
    final_least: tuple[int, ...] = ()
    pattern: Pattern | None = None

    @cached_property
    def kept(self) -> BoolArray:
        """The sites (N,) that are kept in any case."""
        out = np.zeros(self.sites.size, bool)
        out[self.fixed.kept] = True
        for item in self.always:
            out[list(item.sites)] = True
        return out

    @cached_property
    def owner(self) -> IntArray:
        """The item of each site, shape (N,); -1 where it is fixed."""
        if self.items is None:
            is_free = np.ones(self.sites.size, bool)
            is_free[self.fixed.kept] = is_free[self.fixed.dropped] = False
            return np.where(is_free, np.cumsum(is_free) - 1, -1)
        out = np.full(self.sites.size, -1, np.int64)
        for number, item in enumerate(self.items):
            out[list(item.sites)] = number
        return out

    @cached_property
    def free(self) -> IntArray:
        """The sites that belong to items, rising."""
        return np.flatnonzero(self.owner >= 0)

    @cached_property
    def first(self) -> IntArray:
        """A site of each item, shape (F,)."""
        return self.free if self.items is None else np.array([item.sites[0] for item in self.items], np.int64)

    @property
    def size(self) -> int:
        """F, the number of items."""
        return int(self.first.size)

    @property
    def has_fixed(self) -> bool:
        """Whether a site must be kept or dropped."""
        return bool(self.kept.any()) or self.free.size < self.sites.size

    @property
    def is_plain(self) -> bool:
        """Whether the items are the sites."""
        return self.items is None and self.free.size == self.sites.size

    def expand(self, values: AnyArray, weight: float = 1.0) -> AnyArray:
        """Return positions or masks of all sites (..., N) of those of the items (..., F); a fixed site is at +-`weight`."""
        if self.is_plain:
            return values
        fixed = self.kept if values.dtype == bool else np.where(self.kept, weight, -weight)
        out = np.repeat(fixed[None], int(np.prod(values.shape[:-1])), axis=0).reshape(*values.shape[:-1], -1)
        out[..., self.free] = values[..., self.owner[self.free]]
        return out

    def items_of(self, values: AnyArray) -> AnyArray:
        """Return the values of the items (..., F) of those of all sites (..., N), the same for the sites of an item."""
        return values if self.is_plain else values[..., self.first]

    def sums(self, values: AnyArray) -> FloatArray:
        """Return the sums over the sites of each item (F,) of values (N,)."""
        if self.is_plain:
            return values
        return np.asarray(np.bincount(self.owner[self.free], values[self.free], minlength=self.size), np.float64)

    def expand_moves(self, moves: Moves) -> Moves:
        """Return moves of items as moves of all their sites."""
        if self.is_plain:
            return moves
        if self.items is None:
            return moves._replace(sites=np.where(moves.sites >= 0, self.free[moves.sites], moves.sites))
        sites, count, start = self._sites_of_items
        used = np.arange(moves.sites.shape[2]) < moves.size[..., None]
        row = np.nonzero(used.reshape(-1, moves.sites.shape[2]))[0]
        items, weights = moves.sites[used], moves.weights[used]
        times = count[items]
        size = np.bincount(row, times, minlength=moves.size.size).astype(np.int64)
        most = max(int(size.max(initial=0)), 1)
        new_sites, new_weights = np.full((size.size, most), -1, np.int64), np.full((size.size, most), np.nan)
        rows = np.repeat(row, times)
        within = np.arange(rows.size) - np.repeat(np.cumsum(times) - times, times)
        place = np.arange(rows.size) - np.repeat(np.cumsum(size) - size, size)
        new_sites[rows, place] = sites[np.repeat(start[items], times) + within]
        new_weights[rows, place] = np.repeat(weights, times)
        shape = (*moves.size.shape, most)
        return moves._replace(
            size=size.reshape(moves.size.shape).astype(moves.size.dtype),
            sites=new_sites.reshape(shape),
            weights=new_weights.reshape(shape),
        )

    @cached_property
    def _sites_of_items(self) -> tuple[IntArray, IntArray, IntArray]:
        """The sites item by item, how many each has, and where each begins."""
        owner = self.owner[self.free]
        count = np.bincount(owner, minlength=self.size)
        return self.free[np.argsort(owner, kind="stable")], count, np.append(0, np.cumsum(count))[:-1]

    def names(self, mask: AnyArray) -> list[str]:
        """Return the names of the tied groups that a mask (N,) keeps, those that must be kept left out."""
        kept = self.items_of(np.asarray(mask))
        return [item.name for item, is_kept in zip(self.items or (), kept, strict=False) if is_kept and item.name]

    @property
    def is_count(self) -> bool:
        """Whether the budget is a single count of all sites, or of all items where sites are tied."""
        return not self.budget.costs and len(self.budget.counts) == 1 and self.budget.counts[0].name == "sites"

    @property
    def fixed_count(self) -> int:
        """What must be kept, in the unit of a single count: sites, or items where sites are tied."""
        return int(self.kept.sum()) if self.items is None else len(self.always)

    def counted(self, mask: AnyArray) -> int:
        """Return what a mask (N,) keeps in the unit of a single count: sites, or items where sites are tied."""
        if self.items is None or not self.is_count:
            return int(np.count_nonzero(mask))
        return int(np.count_nonzero(self.items_of(np.asarray(mask)))) + len(self.always)

    @property
    def n(self) -> int:
        """What a final mask keeps, in the unit of its count, with what must be kept; N where a cost bounds it."""
        if self.budget.costs and not (self.is_counted_whole):
            return self.sites.size
        return sum(count.n for count in self.budget.counts)

    @property
    def is_counted_whole(self) -> bool:
        """Whether every layer is part of an exact count."""
        layers = {layer for count in self.budget.counts for layer in count.layers}
        return len(layers) == len(self.sites.groups)

    @property
    def keep(self) -> int:
        """The items that a final mask keeps, of a budget that is a single count."""
        return self.items_to_keep(self.goal)

    def items_to_keep(self, goal: Goal) -> int:
        """Return how many items a goal keeps, of a budget that is a single count."""
        return int(goal.counts[0]) - self.fixed_count

    @cached_property
    def _layer_of_sites(self) -> IntArray:
        return np.repeat(np.arange(len(self.sites.groups)), [group.size for group in self.sites.groups])

    def layers_to_hold(self, least: Sequence[int]) -> IntArray | None:
        """Return the layer of each item (F,) where it must keep one of its items, numbered from 0, else -1; None where none must."""
        if not any(least):
            return None
        kept = np.bincount(self._layer_of_sites[self.kept], minlength=len(self.sites.groups))
        must = np.array([number > 0 for number in least]) & (kept == 0)
        layer = self._layer_of_sites[self.first]
        layer = np.where(must[layer], layer, -1)
        numbers = np.unique(layer[layer >= 0])
        return np.where(layer >= 0, np.searchsorted(numbers, layer), -1) if numbers.size else None

    @cached_property
    def classes(self) -> ItemClasses:
        """The classes of the items, by what they add to the counters of the budget."""
        own_costs = None
        if self.items is not None:
            own_costs = [item.cost for item in self.items], sum(item.cost for item in self.always)
        return budget_classes(self.budget, self._layer_of_sites, self.owner, self.kept, self.least, own_costs)

    @cached_property
    def goal(self) -> Goal:
        """What the final mask must satisfy."""
        return Goal(
            np.array([count.n for count in self.budget.counts], np.int64),
            np.array([cost.limit for cost in self.budget.costs], np.int64),
        )

    @cached_property
    def whole(self) -> Goal:
        """The counts and the costs of the mask that keeps every item."""
        if self.is_count:
            return Goal(np.array([self.size + self.fixed_count]), np.empty(0, np.int64))
        counters = self.classes.counters(self.classes.sizes)
        return Goal(counters[self.classes.exact], self.classes.costs(self.classes.sizes))

    @cached_property
    def smallest(self) -> IntArray:
        """The least that a mask of the exact counts can cost, by unit, shape (J,); -1 where there is no such mask."""
        return self.classes.smallest_limits(self.goal)

    def reachable(self, goal: Goal) -> Goal:
        """Return a goal on the way to the final one with its limits raised to what its counts cost at least."""
        if not (goal.counts.size and goal.limits.size):
            return goal
        classes = self.classes
        kept = classes.cheapest(np.zeros_like(classes.sizes), classes.sizes, goal)
        return goal if kept is None else goal._replace(limits=np.maximum(goal.limits, classes.costs(kept)))

    def costs_of(self, mask: AnyArray) -> IntArray:
        """Return the costs (J,) of a mask (N,)."""
        return self.classes.costs(self.classes.count(self.items_of(np.asarray(mask, bool))))

    def is_within(self, mask: AnyArray) -> bool:
        """Return whether a mask (N,) keeps and costs no more than the final one may."""
        chosen = np.asarray(mask, bool)
        if self.is_count:
            return self.counted(chosen) <= self.n
        counters = self.classes.counters(self.classes.count(self.items_of(chosen)))
        is_over = (counters[self.classes.exact] > self.goal.counts).any()
        return not (is_over or (self.costs_of(chosen) > self.goal.limits).any())

    def allowed(self, mask: AnyArray) -> bool:
        """Return whether a mask (N,) may be the final one."""
        chosen = np.asarray(mask, bool)
        items = self.items_of(chosen)
        has_pattern = self.pattern is None or self.pattern.holds(chosen)
        if not (np.array_equal(self.expand(items), chosen) and self._holds_layers(chosen) and has_pattern):
            return False
        if self.is_count:
            return self.counted(chosen) == self.n
        counters = self.classes.counters(self.classes.count(items))
        is_exact = np.array_equal(counters[self.classes.exact], self.goal.counts)
        return is_exact and bool((self.costs_of(chosen) <= self.goal.limits).all())

    def _holds_layers(self, mask: BoolArray) -> bool:
        """Return whether each layer keeps what a final mask must keep of it."""
        kept = np.bincount(self._layer_of_sites[mask], minlength=len(self.sites.groups))
        return bool((kept >= np.array(self.final_least or 0)).all())

    def enforce(self, scores: FloatArray, goal: Goal | None = None) -> BoolArray:
        """Return the allowed mask (N,) of the highest scores (N,): best first, each site or group where the budget still allows it.

        Parameters
        ----------
        scores : ndarray, shape (N,)
            Of a group of tied sites the highest score counts under a single count, else the mean place in the order. Ties go to the
            lowest index.
        goal : Goal, optional
            By default the final one.

        Raises
        ------
        ConfigError
            No mask is allowed.
        """
        aim = self.goal if goal is None else goal
        if self.pattern is not None:
            return self.pattern.best(scores, self.n)
        if self.is_count:
            items = hardened(
                self._best_of_items(scores), self.items_to_keep(aim), self.layers_to_hold(self.final_least)
            )
            mask = np.asarray(self.expand(items), bool)
            if not self._holds_layers(mask):
                raise ConfigError(IMPOSSIBLE)
            return mask
        order = np.argsort(-scores, kind="stable")
        if self.items is None:
            by_item = self.owner[order[self.owner[order] >= 0]]
        else:
            place = np.empty(order.size)
            place[order] = np.arange(order.size)
            by_item = np.argsort([place[list(item.sites)].mean() for item in self.items], kind="stable")
        return np.asarray(self.expand(self._filled(by_item, aim)), bool)

    def _best_of_items(self, scores: FloatArray) -> FloatArray:
        """Return the highest score of the sites of each item (F,)."""
        if self.items is None:
            return np.asarray(self.items_of(scores))
        sites, _, start = self._sites_of_items
        return np.asarray(np.maximum.reduceat(scores[sites], start)) if start.size else np.empty(0)

    def _filled(self, order: IntArray, goal: Goal) -> BoolArray:
        """Return the mask (F,) of the items taken in this order, each where the rest can still be completed."""
        classes = self.classes
        sizes, class_of = classes.sizes, classes.class_of
        kept, is_open = np.zeros_like(sizes), np.ones(sizes.size, bool)
        witness = classes.completion(kept, sizes, goal)
        if witness is None:
            raise ConfigError(IMPOSSIBLE)
        mask = np.zeros(order.size, bool)
        for item in order.tolist():
            number = class_of[item]
            if not is_open[number]:
                continue
            kept[number] += 1
            if kept[number] > witness[number]:
                other = classes.completion(kept, sizes, goal)
                if other is None:  # nor will it be later
                    kept[number] -= 1
                    is_open[number] = False
                    continue
                witness = other
            mask[item] = True
        return mask
