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
from mcprune.types import BoolArray, FloatArray

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
        here = self.kind == kind
        change = state.changes(is_kept)
        known = here & np.isfinite(change)
        scale = float(np.abs(change[known]).mean()) if known.any() else 0.0
        change -= NOISE * scale * draw.gumbel(size=is_kept.size)
        target = position.copy()
        for gone, come in islice(self._pairs(state, change, is_kept, here), max(1, round(state.pairs[kind]))):
            target[[gone, come]] *= -1.0
        return kind, moves.between(position[None], target[None])

    def _pairs(
        self, state: SlopesState, change: FloatArray, is_kept: BoolArray, here: BoolArray
    ) -> Iterator[tuple[int, int]]:
        """Give pairs of a kept and a dropped site, each the cheapest beside those before it; no layer is emptied."""
        way, now = np.where(is_kept, -1.0, 1.0), is_kept.copy()
        kept, dropped = np.where(here & is_kept, change, np.inf), np.where(here & ~is_kept, change, np.inf)
        while True:
            free = now if self.layers is None else now & ~min_per_layer.last_ones(now, self.layers)
            gone = int(np.argmin(np.where(free, kept, np.inf)))
            if not (free[gone] and np.isfinite(kept[gone])):
                return
            dropped = dropped + way * state.beside(gone, -1.0)
            come = int(np.argmin(dropped))
            if not np.isfinite(dropped[come]):
                return
            yield gone, come
            kept = kept + way * (state.beside(gone, -1.0) + state.beside(come, 1.0))
            dropped = dropped + way * state.beside(come, 1.0)
            now[gone], dropped[come] = False, np.inf

    def judged(self, state: SlopesState, kind: int, *, accepted: bool) -> None:
        """Note whether a leap was accepted."""
        pairs = state.pairs[kind] * GROWTH if accepted else state.pairs[kind] / SHRINKAGE
        state.pairs[kind] = min(max(1.0, pairs), max(1.0, self.sizes[kind] / MOST))
