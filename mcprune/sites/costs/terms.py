"""What a masked model costs, in parameters or multiply-accumulates, as a function of how many sites each layer keeps.

A layer that reads from one group of sites and writes to another has a parameter (weights x positions: a multiply-accumulate) for
each pair of a kept site here and a kept site there, so the cost is bilinear. It equals what the physically smaller model has,
emptied layers included. Plain numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mcprune.config.budgets import COST_UNITS
from mcprune.sites.site_map import SiteMap
from mcprune.types import AnyArray, IntArray

UNITS = ("parameters", "macs")


class CostTerms(NamedTuple):
    """cost = sum over t of each[t] c[first[t]] c[second[t]], c the kept counts of G groups, and c[G] = 1."""

    first: IntArray  # (T,)
    second: IntArray  # (T,)
    each: IntArray  # (T,)


class Layer(NamedTuple):
    """A layer with weights, between two groups of sites.

    Attributes
    ----------
    reads, writes : int or None
        Index of the group whose kept sites are its inputs, its outputs; None: of no group, always the same.
    signals, outputs : int
        Inputs that each output is a product with, and outputs: for each kept site where a group is named, else in all. A
        convolution's `signals` hold the size of its kernel.
    positions : int
        Times that its weights are used for one row: the places of a map, 1 for a linear layer.
    others : int
        Parameters of each output besides: 1 for a bias, 2 for a batch-norm.
    """

    reads: int | None
    writes: int | None
    signals: int
    outputs: int
    positions: int = 1
    others: int = 0


@dataclass(frozen=True)
class Costs:
    """The cost of every mask over the sites.

    Attributes
    ----------
    unit : "parameters" or "macs"
    terms : CostTerms
    sizes : ndarray of int64, shape (G,)
        Sites of each group.
    dead : int or None
        The cost where a group that the terms read has no site left; None: the terms hold there too.
    """

    unit: str
    terms: CostTerms
    sizes: IntArray
    dead: int | None = None

    @property
    def description(self) -> str:
        """The name of the unit for messages."""
        return COST_UNITS[self.unit]

    @property
    def whole(self) -> int:
        """Cost with every site."""
        return int(self.of(self.sizes))

    @property
    def smallest(self) -> int:
        """Cost of the smallest model that is left a model: one site in each group."""
        return int(self.of(np.ones_like(self.sizes)))

    def counts(self, mask: AnyArray) -> IntArray:
        """Return how many sites each group keeps, shape (..., G), of masks (..., N)."""
        edges = np.concatenate([[0], np.cumsum(self.sizes)])
        parts = [np.asarray(mask)[..., a:b].sum(axis=-1) for a, b in pairwise(edges)]
        return np.stack(parts, axis=-1).astype(np.int64)

    def of(self, counts: AnyArray) -> IntArray:
        """Return the cost of kept counts (..., G), in O(groups)."""
        kept = np.asarray(counts, dtype=np.int64)
        with_one = np.concatenate([kept, np.ones((*kept.shape[:-1], 1), np.int64)], axis=-1)
        first, second, each = self.terms
        cost = (with_one[..., first] * with_one[..., second]) @ each
        if self.dead is None:
            return np.asarray(cost)
        used = np.unique(np.concatenate([first, second]))
        return np.asarray(np.where((with_one[..., used] == 0).any(axis=-1), self.dead, cost))

    def of_mask(self, mask: AnyArray) -> int:
        """Return the cost of a mask (N,)."""
        return int(self.of(self.counts(mask)))

    def change(self, counts: AnyArray, d_counts: AnyArray) -> IntArray:
        """Return how the cost changes from `counts` (..., G) to `counts + d_counts`, in O(groups)."""
        kept = np.asarray(counts, dtype=np.int64)
        return np.asarray(self.of(kept + np.asarray(d_counts)) - self.of(kept))

    def steps(self, counts: AnyArray, way: int) -> IntArray:
        """Return what one site more (way = 1) or less (-1) of each group changes, shape (G,), for counts (G,)."""
        return self.change(counts, way * np.eye(self.sizes.size, dtype=np.int64))


def costs_of(layers: Sequence[Layer], sites: SiteMap, unit: str, dead: int | None = None) -> Costs:
    """Return the costs of layers that are described; for models whose structure is known otherwise than by `model_costs`."""
    sizes = np.array([group.size for group in sites.groups], np.int64)
    none = sizes.size
    products: dict[tuple[int, int], int] = {}

    def add(first: int | None, second: int | None, each: int) -> None:
        pair = (none if first is None else first, none if second is None else second)
        if each:
            products[pair] = products.get(pair, 0) + each

    for layer in layers:
        weights = layer.signals * layer.outputs
        add(layer.reads, layer.writes, weights * (layer.positions if unit == "macs" else 1))
        if unit == "parameters":
            add(None, layer.writes, layer.others * layer.outputs)
    pairs = np.array(list(products), np.int64).reshape(-1, 2)
    terms = CostTerms(
        first=np.ascontiguousarray(pairs[:, 0]),
        second=np.ascontiguousarray(pairs[:, 1]),
        each=np.array(list(products.values()), np.int64),
    )
    return Costs(unit, terms, sizes, dead)
