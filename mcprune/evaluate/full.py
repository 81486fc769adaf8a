"""The canonical evaluator: the whole gated classifier on every candidate.

On a CPU the candidates go one by one. Stacked in one batch they would differ from the plain loop in the last bit, and
so from one K to another: matrix products choose their kernels by the number of rows (17 x 9 weights, 65 rows: a stack
of 23 differs), and sigmoid, softplus or ELU treat the last elements of an array unlike the others. From some hundred
rows on a stack is no faster either. On a GPU they are stacked in chunks that fit in memory; the last bit may depend on that.
"""

from __future__ import annotations

import numpy as np
import torch

from mcprune.arrays import Float32Array, FloatArray
from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.evaluate.base import gates_of
from mcprune.objective.base import Objective
from mcprune.pruning.gates import GatedModel


class FullEvaluator:
    """Evaluate each candidate through the whole model; the others are tested against it.

    Parameters
    ----------
    gated : GatedModel
    objective : Objective
    max_memory : int
        Bytes for the stacked inputs, gates and activations of one chunk; at least one candidate is evaluated at a time.
    """

    name = "full"
    error = 0.0

    def __init__(self, gated: GatedModel, objective: Objective, *, max_memory: int = 2**30) -> None:
        self.gated = gated
        self.objective = objective
        self.max_memory = max_memory
        self._width = _activation_width(gated)

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.features = features
        self.targets = targets
        self.sharpness = sharpness
        self.position = position

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return self.at(self.position)

    def at(self, weights: FloatArray) -> FloatArray:
        """Return L_cla at each of the weight vectors, shape (K, N) -> (K,)."""
        return self._evaluate(gates_of(weights, self.sharpness))

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        replicas, count = moves.size.shape
        out = np.full((replicas, count), np.nan)
        for replica in range(replicas):
            base = gates_of(state.position[replica], self.sharpness)
            changed = np.flatnonzero(moves.size[replica] > 0)
            chunk = self.chunk(base.size)
            for first in range(0, changed.size, chunk):
                part = changed[first : first + chunk]
                gates = np.repeat(base[None], part.size, axis=0)
                for row, k in enumerate(part):
                    sites = moves.sites[replica, k, : moves.size[replica, k]]
                    gates[row, sites] = gates_of(moves.weights[replica, k, : sites.size], self.sharpness)
                out[replica, part] = self._evaluate(gates)
        return out

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`; nothing is kept between candidates."""
        self.position = position

    def chunk(self, sites: int) -> int:
        """Return how many candidates are stacked at once: one on a CPU, on a GPU what `max_memory` holds."""
        if not self.features.is_cuda:
            return 1
        rows = int(self.features.shape[0])
        features = self.features.numel() // max(rows, 1)
        # A row of a candidate holds its inputs twice (plain and gated), its gates, and the activations.
        per_candidate = 4 * rows * (2 * features + sites + self._width)
        return max(1, self.max_memory // max(per_candidate, 1))

    @torch.no_grad()
    def _evaluate(self, gates: Float32Array) -> FloatArray:
        """Return L_cla for gates of shape (K, N); the model runs in evaluation mode."""
        rows = int(self.features.shape[0])
        out = np.empty(gates.shape[0])
        chunk = self.chunk(gates.shape[1])
        was_training = self.gated.model.training
        self.gated.model.eval()
        try:
            for first in range(0, gates.shape[0], chunk):
                part = torch.from_numpy(gates[first : first + chunk]).to(self.features)
                count = part.shape[0]
                if count == 1:
                    logits = self.gated(self.features, part[0])
                else:
                    stacked = self.features.repeat(count, *([1] * (self.features.dim() - 1)))
                    logits = self.gated(stacked, part.repeat_interleave(rows, dim=0))
                out[first : first + count] = self.objective.losses(logits.reshape(count, rows, -1), self.targets)
        finally:
            self.gated.model.train(was_training)
        return out


def _activation_width(gated: GatedModel) -> int:
    """Return an estimate of the floats that a row's activations take: the widths of the linear layers, twice."""
    widths = [m.out_features for m in gated.model.modules() if isinstance(m, torch.nn.Linear)]
    return 2 * sum(widths)
