"""Cross-fitted evaluation: every row is evaluated by the classifier that was not trained on it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.evaluators.base import Evaluator
from mcprune.evaluators.full import FullEvaluator
from mcprune.objectives.base import Objective, Rows
from mcprune.sites.gates import GatedModel
from mcprune.types import FloatArray, IntArray

# Where the folds begin and end in a batch of so many rows, shape (F + 1,).
Bounds = Callable[[int], IntArray]
E = TypeVar("E", bound=Evaluator)


class FoldedObjective:
    """An objective of which each fold has a copy of its own: it may know weights and groups of its rows.

    Parameters
    ----------
    objective : Objective
    bounds : callable
    """

    def __init__(self, objective: Objective, bounds: Bounds) -> None:
        self._bounds = bounds
        self.parts = [copy.copy(objective) for _ in range(len(bounds(0)) - 1)]
        self.name = objective.name
        self.lower_bound = objective.lower_bound
        self.description = objective.description
        self.is_stepped = objective.is_stepped
        self.reads_mask = objective.reads_mask
        self.reads_inputs = objective.reads_inputs
        self.row_weights: FloatArray | None = None

    def begin(self, rows: Rows) -> None:
        """See `Objective.begin`; the rows are those of a whole batch."""
        sized = next(one for one in rows if one is not None)
        bounds = self._bounds(len(sized))
        self.row_weights = None if rows.weights is None else rows.weights.double().cpu().numpy()
        for place, part in enumerate(self.parts):
            piece = slice(int(bounds[place]), int(bounds[place + 1]))
            part.begin(rows.part(piece))

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """See `Objective.losses`; of rows that one classifier evaluates."""
        return self.parts[0].losses(logits, targets)


class FoldedEvaluator(Generic[E]):
    """F evaluators, each of one classifier on the rows of its fold; a loss is the mean over all rows.

    One call goes through every row once, as with a single classifier.

    Parameters
    ----------
    parts : sequence of Evaluator
        All of one kind, one for each fold.
    bounds : callable
        A batch holds the folds one after the other.
    objective : FoldedObjective
        Its parts are those of the evaluators.

    Notes
    -----
    An objective that is no mean over rows, such as an area under a curve, is the mean of its values on the folds, by their rows.
    """

    def __init__(self, parts: Sequence[E], bounds: Bounds, objective: FoldedObjective) -> None:
        self.parts = tuple(parts)
        self.name = self.parts[0].name
        self.objective = objective
        self._bounds = bounds
        self._used: list[tuple[E, float]] = []

    @property
    def error(self) -> float:
        """The largest of the parts'."""
        return max(part.error for part in self.parts)

    @error.setter
    def error(self, value: float) -> None:
        for part in self.parts:
            part.error = value

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        bounds = self._bounds(len(targets))
        weights = self.objective.row_weights
        self._used = []
        for place, part in enumerate(self.parts):
            piece = slice(int(bounds[place]), int(bounds[place + 1]))
            share = float(piece.stop - piece.start if weights is None else weights[piece].sum())
            if piece.stop > piece.start and share > 0.0:
                part.begin(features[piece], targets[piece], position, sharpness)
                self._used.append((part, share))

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return self._mean(lambda part: part.current())

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`; limits are of the whole batch, so no part gets them."""
        return self._mean(lambda part: part.losses(state, moves))

    def moved(self, position: FloatArray, moves: Moves, index: IntArray) -> None:
        """See `Evaluator.moved`."""
        for part, _ in self._used:
            part.moved(position, moves, index)

    def _mean(self, loss: Callable[[E], FloatArray]) -> FloatArray:
        total = sum(share for _, share in self._used)
        part, share = self._used[0]
        mean = share * loss(part)
        for part, share in self._used[1:]:
            mean += share * loss(part)
        return np.asarray(mean / total)


class FoldedFullEvaluator(FoldedEvaluator[FullEvaluator]):
    """The canonical evaluator of folds: the whole gated classifier of each fold on every candidate."""

    @property
    def gated(self) -> GatedModel:
        """The classifier of the first fold."""
        return self.parts[0].gated

    def pieces(self, rows: int) -> list[tuple[GatedModel, Objective, slice]]:
        """See `Canonical.pieces`."""
        bounds = self._bounds(rows)
        return [
            (part.gated, part.objective, slice(int(bounds[place]), int(bounds[place + 1])))
            for place, part in enumerate(self.parts)
        ]

    def at(self, weights: FloatArray) -> FloatArray:
        """See `FullEvaluator.at`."""
        return self._mean(lambda part: part.at(weights))
