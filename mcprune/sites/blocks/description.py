"""The description of an attention, a feed-forward sub-block or a mixture of experts: what its gates, its costs and the cut go by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mcprune.types import IntArray

KINDS = ("heads", "neurons", "experts", "blocks")


def kind_and_size(text: str) -> tuple[str, int]:
    """Return the kind of "neurons/16" and how many neurons are one site; 1 of other texts.

    Raises
    ------
    ValueError
        Another kind, or no whole number above 0.
    """
    kind, has_size, size = text.partition("/")
    if not has_size:
        return kind, 1
    if kind != "neurons" or not size.isdecimal() or int(size) < 1:
        raise ValueError(text)
    return kind, int(size)


class Rows(NamedTuple):
    """Output features of a projection that belong to sites: site s has `each` of them, from `first + s * each` on.

    Attributes
    ----------
    layer : str
        The projection's name; a fused one has several.
    first, each : int
    """

    layer: str
    first: int
    each: int

    def of(self, sites: IntArray) -> IntArray:
        """Return the rows of some sites, in their order."""
        return np.asarray((self.first + sites[:, None] * self.each + np.arange(self.each)).reshape(-1), np.int64)


class Number(NamedTuple):
    """An attribute of a module that holds a number of features, heads or experts: `each` for every kept site, `most` at most."""

    layer: str
    attribute: str
    each: int
    most: int = 2**62

    def of(self, kept: int) -> int:
        """Return the number where so many sites are kept."""
        return min(self.each * kept, self.most)


@dataclass(frozen=True)
class SubBlock:
    """An attention or feed-forward sub-block, or a mixture of experts.

    Attributes
    ----------
    kind : "heads", "neurons" or "experts"
        What its inner sites are called.
    layer : str
        The name that `sites="heads:NAME"` takes.
    size : int
        Inner sites: heads, or groups of heads that share keys and values; neurons; experts.
    spread : int
        Consecutive input features of `out` that belong to one inner site; 0 of an expert.
    writes : tuple of Rows
        Projections that make the inner features.
    out : str
        The projection whose inputs are the inner features and whose output is what the sub-block adds to the residual
        stream; the module itself for torch's MultiheadAttention; the router of experts, whose outputs are their logits.
    whole : str
        A module whose output, or the first part of it, is what the sub-block adds; "" where there is none.
    entries : tuple of str
        Modules that read the residual stream, where there is no `whole`.
    numbers : tuple of Number
        What else changes when inner sites are cut.
    query_heads : int
        Query heads of an inner site; 0 of a neuron.
    blocked : str
        Why its inner sites cannot be cut; "" if they can.
    order : int
        Its place in the order of execution, among all sub-blocks of the model; -1 before that is known.
    batch_axis : int
        The axis of the inner features along which rows of a batch lie.
    members : tuple of str
        The module of each expert, in the order of the router's outputs; empty where the inner sites are features.
    """

    kind: str
    layer: str
    size: int
    spread: int
    writes: tuple[Rows, ...]
    out: str
    whole: str = ""
    entries: tuple[str, ...] = ()
    numbers: tuple[Number, ...] = ()
    query_heads: int = 0
    blocked: str = ""
    order: int = -1
    batch_axis: int = 0
    members: tuple[str, ...] = ()

    def is_of(self, kind: str) -> bool:
        """Whether it has sites of a kind; experts are no block of their own, since nothing is left where none is taken."""
        return kind == self.kind or (kind == "blocks" and not self.members)

    def grouped(self, size: int) -> SubBlock:
        """Return the sub-block with `size` neurons in a row as one inner site; their number must be a multiple of it."""
        return replace(
            self,
            size=self.size // size,
            spread=self.spread * size,
            writes=tuple(rows._replace(each=rows.each * size) for rows in self.writes),
            numbers=tuple(number._replace(each=number.each * size) for number in self.numbers),
        )

    @property
    def can_be_removed(self) -> bool:
        """Whether the whole sub-block can be removed: it does not share its module with other layers."""
        return bool(self.whole or self.entries)

    @property
    def parts(self) -> tuple[str, ...]:
        """Its projections, without repetitions."""
        return tuple(dict.fromkeys([*(rows.layer for rows in self.writes), self.out]))
