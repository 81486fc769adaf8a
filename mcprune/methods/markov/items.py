"""Evaluators of sites for a chain that moves items."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.evaluators.base import Canonical, Evaluator
from mcprune.sites.space import SearchSpace
from mcprune.types import FloatArray


class ItemEvaluator:
    """An evaluator, possibly the canonical one, whose positions and moves are of the items of a search space.

    Parameters
    ----------
    inner : Evaluator
        Of all sites.
    space : SearchSpace
    weight : float
        Fixed sites stand at plus or minus this.
    """

    def __init__(self, inner: Any, space: SearchSpace, weight: float) -> None:
        self.inner, self.space, self.weight = inner, space, weight
        self.name = inner.name
        self.objective = getattr(inner, "objective", None)

    @property
    def gated(self) -> Any:
        """The inner one's model."""
        return self.inner.gated

    def pieces(self, rows: int) -> Any:
        """See `Canonical.pieces`."""
        return self.inner.pieces(rows)

    @property
    def error(self) -> float:
        """The inner one's, which may change with the batch."""
        return float(self.inner.error)

    @error.setter
    def error(self, value: float) -> None:
        self.inner.error = value

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.inner.begin(features, targets, self._expand(position), sharpness)

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return np.asarray(self.inner.current())

    def at(self, weights: FloatArray) -> FloatArray:
        """See `FullEvaluator.at`."""
        return np.asarray(self.inner.at(self._expand(weights)))

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        expanded = state._replace(position=self._expand(state.position))
        return np.asarray(self.inner.losses(expanded, self.space.expand_moves(moves), limits))

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        self.inner.moved(self._expand(position), self.space.expand_moves(moves), index)

    def _expand(self, position: FloatArray) -> FloatArray:
        return self.space.expand(position, self.weight)


def on_items(evaluator: Evaluator, canonical: Canonical, space: SearchSpace, weight: float) -> tuple[Any, Any]:
    """Return both evaluators as ones of the space's items; a canonical one that also judges stays one object."""
    if space.is_plain:
        return evaluator, canonical
    judge = ItemEvaluator(evaluator, space, weight)
    return judge, judge if evaluator is canonical else ItemEvaluator(canonical, space, weight)
