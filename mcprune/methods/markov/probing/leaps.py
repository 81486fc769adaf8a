"""Leaps: exchanges of several sites at once at T = 0, drawn by the slopes of the loss and judged like every candidate.

A backward pass scores all sites, an evaluation only one mask. So far from a good mask an exchange of one pair wastes what is known. A
leap exchanges as many pairs as have lately been accepted together: their number grows when a leap is accepted and shrinks when it is
rejected. At T > 0 the way back would have another probability, so there are no leaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from mcprune.chain import min_per_layer, moves
from mcprune.methods.markov.probing.slopes import SlopesState
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray, FloatArray, IntArray

# Leaps before the decisions of a block.
LEAPS = 6
# Scores are perturbed by Gumbel noise of this part of their mean size.
NOISE = 0.25
# What an accepted leap multiplies the number of pairs by, and a rejected one divides it by.
GROWTH, SHRINKAGE = 1.5, 1.6
# The first leap exchanges one of so many sites of a kind, and none more than one of so many.
FIRST, MOST = 64, 8


class Leaps:
    """Draws exchanges of several sites that leave every count and cost as it is.

    Parameters
    ----------
    space : SearchSpace

    Attributes
    ----------
    kind : ndarray of int64, shape (F,)
        Items of one kind can be exchanged for each other: they add the same to the exact counts, and where there are costs to these.
    """

    def __init__(self, space: SearchSpace) -> None:
        classes = space.classes
        amounts = classes.amounts[:, classes.exact]
        numbers = (
            np.arange(len(amounts)) if space.goal.limits.size else np.unique(amounts, axis=0, return_inverse=True)[1]
        )
        self.kind = np.asarray(numbers, np.int64).reshape(-1)[classes.class_of]
        self.layers = space.layers_to_hold(space.least)
        self.sizes = np.bincount(self.kind)

    def first_pairs(self) -> FloatArray:
        """Return how many pairs the first leap of each kind exchanges."""
        return np.maximum(1.0, self.sizes / FIRST)

    def draw(self, state: SlopesState, position: FloatArray, draw: np.random.Generator) -> tuple[int, moves.Moves]:
        """Return the kind of a leap from a position (F,), and the leap as the only candidate; a null move where there is none."""
        is_kept = position > 0
        share = np.sqrt(self.sizes)
        kind = int(draw.choice(share.size, p=share / share.sum()))
        noise = draw.gumbel(size=is_kept.size)
        here = self.kind == kind
        change = state.changes(is_kept)
        scale = float(np.abs(change[here & np.isfinite(change)]).mean()) if here.any() else 0.0
        change = change - NOISE * scale * noise
        kept, dropped = (sites[np.argsort(change[sites], kind="stable")] for sites in _halves(here, is_kept))
        most = min(kept.size, dropped.size, max(1, round(state.pairs[kind])))
        gone = np.fromiter(islice(self._free(kept, is_kept), most), np.int64)
        target = position.copy()
        for sites in (gone, dropped[: gone.size]):
            target[sites] *= -1.0
        return kind, moves.between(position[None], target[None])

    def judged(self, state: SlopesState, kind: int, *, accepted: bool) -> None:
        """Note whether a leap was accepted."""
        pairs = state.pairs[kind] * GROWTH if accepted else state.pairs[kind] / SHRINKAGE
        state.pairs[kind] = min(max(1.0, pairs), max(1.0, self.sizes[kind] / MOST))

    def _free(self, kept: IntArray, is_kept: BoolArray) -> Iterator[int]:
        """Give the kept sites that can be dropped one after the other without emptying a layer."""
        if self.layers is None:
            yield from kept.tolist()
            return
        left = min_per_layer.counts(is_kept, self.layers)
        for site in kept.tolist():
            layer = int(self.layers[site])
            if layer < 0 or left[layer] > 1:
                left[layer] -= layer >= 0
                yield site


def _halves(here: BoolArray, is_kept: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the kept and the dropped sites of a kind."""
    return np.flatnonzero(here & is_kept), np.flatnonzero(here & ~is_kept)
