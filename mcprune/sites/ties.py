"""Sites that are kept or dropped together, such as the cells of a detector layer, and what keeping them costs.

An item is a group of tied sites or a single site. The cost of a mask is the sum of its items' costs, which in the form of
`Costs` is a count of kept items for each cost that occurs: so it is known in O(different costs), and the wall of the chain serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mcprune.chain.cost_constraint import CostTerms
from mcprune.sites.cost_terms import Costs
from mcprune.types import AnyArray, BoolArray, IntArray


class Item(NamedTuple):
    """Sites that are kept or dropped together; a site of no group is an item of its own, of cost 1, without a name."""

    name: str
    sites: tuple[int, ...]
    cost: int


@dataclass(frozen=True)
class TiedCosts(Costs):
    """The cost of every mask whose items are whole; `Costs` of the items with the way from sites to items.

    Attributes
    ----------
    items : tuple of Item, F of them
        Those the search chooses among, by rising cost.
    owner : ndarray of int64, shape (N,)
        The item of each site; -1 where it is fixed.
    kept : ndarray of bool, shape (N,)
        The sites that are kept in any case.
    """

    items: tuple[Item, ...] = ()
    owner: IntArray = None  # type: ignore[assignment]
    kept: BoolArray = None  # type: ignore[assignment]

    @property
    def smallest(self) -> int:
        """Cost of the smallest mask that keeps a site."""
        return int(self.of(np.zeros_like(self.sizes))) + (0 if self.kept.any() else self.items[0].cost)

    @property
    def of_items(self) -> Costs:
        """The same costs, of masks over the items."""
        return Costs(self.unit, self.terms, self.sizes, least=0, least_in_all=self.least_in_all)

    @property
    def first(self) -> IntArray:
        """A site of each item, shape (F,)."""
        return np.array([item.sites[0] for item in self.items], np.int64)

    def whole_items(self, mask: AnyArray) -> BoolArray:
        """Return which items masks (..., N) keep, shape (..., F)."""
        return np.asarray(np.asarray(mask)[..., self.first], bool)

    def mask_of(self, items: AnyArray) -> BoolArray:
        """Return the mask (N,) of kept items (F,)."""
        out = self.kept.copy()
        out[self.owner >= 0] = np.asarray(items, bool)[self.owner[self.owner >= 0]]
        return out

    def counts(self, mask: AnyArray) -> IntArray:
        """Return how many items of each cost masks (..., N) keep."""
        return super().counts(self.whole_items(mask))

    def fill(self, order: AnyArray, limit: int) -> BoolArray:
        """Return the mask of the items taken by the mean place of their sites in this order (N,), each where it still fits."""
        place = np.empty(self.owner.size)
        place[np.asarray(order)] = np.arange(self.owner.size)
        by_item = np.argsort([place[list(item.sites)].mean() for item in self.items], kind="stable")
        return self.mask_of(self.of_items.fill(by_item, limit))

    def names(self, mask: AnyArray) -> list[str]:
        """Return the names of the groups that a mask (N,) keeps."""
        return [
            item.name for item, is_kept in zip(self.items, self.whole_items(mask), strict=True) if is_kept and item.name
        ]


def tied_costs(unit: str, sites: int, items: Sequence[Item], kept: Sequence[Item]) -> TiedCosts:
    """Return the costs of items to choose among, beside items that are kept in any case; all other sites are dropped.

    Parameters
    ----------
    unit : "sites" or "cost"
    sites : int
        N.
    items, kept : sequence of Item
        Disjoint.
    """
    ordered = tuple(sorted(items, key=lambda item: (item.cost, item.sites)))
    prices, place = np.unique(np.array([item.cost for item in ordered], np.int64), return_inverse=True)
    groups, fixed = prices.size, sum(item.cost for item in kept)
    owner, always = np.full(sites, -1, np.int64), np.zeros(sites, bool)
    for number, item in enumerate(ordered):
        owner[list(item.sites)] = number
    for item in kept:
        always[list(item.sites)] = True
    terms = CostTerms(
        group=place.astype(np.int64),
        first=np.append(np.arange(groups), groups),
        second=np.full(groups + 1, groups, np.int64),
        each=np.append(prices, fixed),  # the last one is what is kept in any case
    )
    return TiedCosts(
        unit,
        terms,
        np.bincount(place, minlength=groups).astype(np.int64),
        least=0,
        least_in_all=0 if kept else 1,
        items=ordered,
        owner=owner,
        kept=always,
    )
