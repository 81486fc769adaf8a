"""A chain on items, groups of sites that are kept or dropped together: it moves items, the evaluators see their sites.

Every move keeps its own law on the items, and the wall and the pool of a budget that is a cost serve as they are: a mask over the
items is one over the sites.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mcprune.chain.moves import Moves
from mcprune.evaluators.base import gates_of
from mcprune.methods.base import Batch, BlockInfo
from mcprune.methods.markov.fixed import Around
from mcprune.methods.markov.method import Markov
from mcprune.methods.markov.state import MarkovState
from mcprune.sites.ties import TiedCosts
from mcprune.types import FloatArray, IntArray


class AroundItems(Around):
    """An evaluator of N sites as one of F items.

    Parameters
    ----------
    inner : Evaluator, possibly the canonical one
    owner : ndarray of int64, shape (N,)
        The item of each site, -1 for a fixed one.
    fixed : ndarray, shape (N,)
        Weights of all sites; those of the items have no say.
    """

    def __init__(self, inner: Any, owner: IntArray, fixed: FloatArray) -> None:
        super().__init__(inner, np.flatnonzero(owner >= 0), fixed)
        self.owner = owner[self.free]
        self._sites = self.free[np.argsort(self.owner, kind="stable")]
        self._size = np.bincount(self.owner)
        self._start = np.append(0, np.cumsum(self._size))[:-1]

    def whole(self, position: FloatArray) -> FloatArray:
        """Return positions (R, N) of positions (R, F)."""
        out = np.repeat(self.fixed[None], len(position), axis=0)
        out[:, self.free] = position[:, self.owner]
        return out

    def _moves(self, moves: Moves) -> Moves:
        """Return the moves with the sites of each item in its place."""
        used = np.arange(moves.sites.shape[2]) < moves.size[..., None]
        row = np.nonzero(used.reshape(-1, moves.sites.shape[2]))[0]
        items, weights = moves.sites[used], moves.weights[used]
        times = self._size[items]
        size = np.bincount(row, times, minlength=moves.size.size).astype(np.int64)
        most = max(int(size.max(initial=0)), 1)
        sites, new = np.full((size.size, most), -1, np.int64), np.full((size.size, most), np.nan)
        rows = np.repeat(row, times)
        within = np.arange(rows.size) - np.repeat(np.cumsum(times) - times, times)
        place = np.arange(rows.size) - np.repeat(np.cumsum(size) - size, size)
        sites[rows, place] = self._sites[np.repeat(self._start[items], times) + within]
        new[rows, place] = np.repeat(weights, times)
        shape = (*moves.size.shape, most)
        return moves._replace(
            size=size.reshape(moves.size.shape).astype(moves.size.dtype),
            sites=sites.reshape(shape),
            weights=new.reshape(shape),
        )


class TiedMarkov(Markov):
    """A chain on F items that shows itself as one on N sites.

    Parameters
    ----------
    costs : TiedCosts
    settings, evaluator, canonical, lower_bound, **more
        As `Markov` takes them, with a budget of `costs.of_items`.
    """

    recomputed = (*Markov.recomputed, "around")

    def __init__(
        self, costs: TiedCosts, settings: Any, evaluator: Any, canonical: Any, lower_bound: float | None, **more: Any
    ) -> None:
        self.costs = costs
        self.fixed = np.where(costs.kept, settings.start_weight, -settings.start_weight)
        around = AroundItems(evaluator, costs.owner, self.fixed)
        own = around if evaluator is canonical else AroundItems(canonical, costs.owner, self.fixed)
        self.around = around
        super().__init__(len(costs.items), settings, around, own, lower_bound, **more)  # type: ignore[arg-type]

    def expand(self, position: FloatArray) -> FloatArray:
        """See `Markov.expand`."""
        whole: FloatArray = self.around.whole(position[None])[0]
        return whole

    def collapse(self, values: FloatArray) -> FloatArray:
        """See `Markov.collapse`: an item does what its sites do together."""
        is_free = self.costs.owner >= 0
        return np.asarray(np.bincount(self.costs.owner[is_free], values[is_free], minlength=self.sites), np.float64)

    def step(self, state: MarkovState, batch: Batch, progress: float) -> tuple[MarkovState, BlockInfo]:
        """See `Method.step`; the counts are of sites."""
        state, info = super().step(state, batch, progress)
        position = self.position(state)
        kept = int((position > 0).sum())
        through = float(gates_of(position, state.sharpness).astype(np.float64).sum())
        return state, info._replace(kept=kept, target=kept, gate_sum=through)
