"""The interface of an evaluator, and the gates of weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.objectives.base import Objective
from mcprune.types import Float32Array, FloatArray

if TYPE_CHECKING:
    import torch

    from mcprune.sites.gates import GatedModel


def gates_of(weights: FloatArray, sharpness: float) -> Float32Array:
    """Return the gates sigmoid(sharpness * w) in float32; infinite sharpness gives hard gates (w > 0).

    Parameters
    ----------
    weights : ndarray of float64, any shape
    sharpness : float, above 0, possibly infinite
    """
    if math.isinf(sharpness):
        return (weights > 0).astype(np.float32)
    # The two branches keep exp from overflowing.
    small = np.exp(-np.abs(sharpness * weights))
    return np.where(weights >= 0, 1.0 / (1.0 + small), small / (1.0 + small)).astype(np.float32)


class Evaluator(Protocol):
    """The losses L_cla of candidates on one evaluation batch under one classifier.

    Attributes
    ----------
    name : str
    error : float
        Bound on |loss - canonical loss|, relative to max(1, loss); zero for the canonical evaluator.
    """

    name: str
    error: float

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """Start on a new batch and the current classifier; nothing is kept of the previous ones.

        Parameters
        ----------
        features : tensor of float32, shape (B, ...)
        targets : tensor of int64, shape (B,)
        position : ndarray, shape (R, N)
            The chains' weights.
        sharpness : float
            Sharpness of the gates until the next `begin`.
        """
        ...

    def current(self) -> FloatArray:
        """Return L_cla at the current position, shape (R,)."""
        ...

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """Return L_cla of each candidate, shape (R, K); the value of a null move is not used.

        `limits` (R, K) are the losses up to which candidates are accepted; an evaluator may use them to reject early.
        """
        ...

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """Update after the decisions: replica r accepted candidate index[r] (-1: none) and is at position[r] now."""
        ...


class Canonical(Evaluator, Protocol):
    """An evaluator that decides where another one's losses are too close, such as `FullEvaluator`."""

    @property
    def objective(self) -> Objective:
        """What the losses are of."""
        ...

    @property
    def gated(self) -> GatedModel:
        """The classifier, or the first of several."""
        ...

    def at(self, weights: FloatArray) -> FloatArray:
        """Return L_cla at each of the weight vectors, shape (K, N) -> (K,)."""
        ...

    def pieces(self, rows: int) -> list[tuple[GatedModel, Objective, slice]]:
        """Return each classifier, its objective and which of the `rows` of a batch it evaluates."""
        ...
