"""Sites that are kept or dropped in any case: the chain moves on the free ones alone, the evaluators see all.

So the count is exact, no proposal is lost on a site that must stay, and every move keeps its own law on the free sites. L_sel
and L_rej of the blocks are those of the free sites.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.evaluators.base import gates_of
from mcprune.methods.base import Batch, BlockInfo
from mcprune.methods.markov.method import Markov
from mcprune.methods.markov.state import MarkovState
from mcprune.types import FloatArray, IntArray


class Around:
    """An evaluator of N sites as one of the free ones among them.

    Parameters
    ----------
    inner : Evaluator, possibly the canonical one
    free : ndarray of int64, shape (F,)
    fixed : ndarray, shape (N,)
        Weights of all sites; those of the free ones have no say.
    """

    def __init__(self, inner: Any, free: IntArray, fixed: FloatArray) -> None:
        self.inner, self.free, self.fixed = inner, free, fixed
        self.name, self.objective = inner.name, getattr(inner, "objective", None)

    @property
    def error(self) -> float:
        """That of the inner one, which may change with the batch."""
        return float(self.inner.error)

    def whole(self, position: FloatArray) -> FloatArray:
        """Return positions (R, N) of positions (R, F)."""
        out = np.repeat(self.fixed[None], len(position), axis=0)
        out[:, self.free] = position
        return out

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.inner.begin(features, targets, self.whole(position), sharpness)

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        found: FloatArray = self.inner.current()
        return found

    def at(self, weights: FloatArray) -> FloatArray:
        """See `FullEvaluator.at`."""
        found: FloatArray = self.inner.at(self.whole(weights))
        return found

    def losses(self, current: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        there = current._replace(position=self.whole(current.position))
        found: FloatArray = self.inner.losses(there, self._moves(moves), limits)
        return found

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        self.inner.moved(self.whole(position), self._moves(moves), index)

    def _moves(self, moves: Moves) -> Moves:
        return moves._replace(sites=np.where(moves.sites >= 0, self.free[moves.sites], moves.sites))


class FixedMarkov(Markov):
    """A chain on the free sites that shows itself as one on all.

    Parameters
    ----------
    free : ndarray of int64, shape (F,)
    kept : ndarray of int64
        The sites that must be kept; what is neither free nor among them must be dropped.
    size : int
        N.
    settings, evaluator, canonical, lower_bound, **more
        As `Markov` takes them; `settings.keep` and `settings.target` count the free sites, `groups` and `hard_groups` are of them.
    """

    def __init__(
        self,
        free: IntArray,
        kept: IntArray,
        size: int,
        settings: Any,
        evaluator: Any,
        canonical: Any,
        lower_bound: float | None,
        **more: Any,
    ) -> None:
        self.free, self.must_keep = free, kept
        self.fixed = np.full(size, -settings.start_weight)
        self.fixed[kept] = settings.start_weight
        around = Around(evaluator, free, self.fixed)
        own = around if evaluator is canonical else Around(canonical, free, self.fixed)
        super().__init__(free.size, settings, around, own, lower_bound, **more)  # type: ignore[arg-type]

    def expand(self, position: FloatArray) -> FloatArray:
        """See `Markov.expand`."""
        out = self.fixed.copy()
        out[self.free] = position
        return out

    def collapse(self, values: FloatArray) -> FloatArray:
        """See `Markov.collapse`."""
        return values[self.free]

    def step(self, state: MarkovState, batch: Batch, progress: float) -> tuple[MarkovState, BlockInfo]:
        """See `Method.step`; the counts are of all sites."""
        state, info = super().step(state, batch, progress)
        more = len(self.must_keep)
        others = np.setdiff1d(np.arange(len(self.fixed)), self.free)
        through = float(gates_of(self.fixed[others], state.sharpness).astype(np.float64).sum())
        info = info._replace(kept=info.kept + more, target=info.target + more, gate_sum=info.gate_sum + through)
        return state, info
