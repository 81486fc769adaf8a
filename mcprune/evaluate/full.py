"""The canonical evaluator: the whole gated classifier on every candidate, stacked in chunks that fit in memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mcprune.arrays import Float32Array, FloatArray
from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.evaluate.base import gates_of
from mcprune.models.mlp import MLP
from mcprune.objective.base import Objective
from mcprune.pruning.gates import GatedModel

# On a CPU a stack beyond the caches is slower than a loop; measured best at some eight candidates of 1,024 rows.
CPU_ROWS = 8192
# On a CPU these give a row the same bits whatever is stacked beside it. Others (sigmoid, softplus, SiLU, ELU, GELU by tanh)
# treat the last elements of an array, or of a thread's part of it, by another formula than full vectors.
STACKED = {
    *(nn.Sequential, MLP, nn.Linear, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Dropout, nn.Identity, nn.Flatten, nn.Unflatten),
    *(nn.Conv2d, nn.MaxPool2d, nn.BatchNorm1d, nn.BatchNorm2d),
}
# A matrix product of few rows, or of few rows for a thread, is summed in another order: seen up to 27 rows on 16 threads.
STACKED_FROM = 64


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
        self._is_stacked = all(type(module) in STACKED for module in gated.model.modules())

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

    def losses(self, state: ChainState, moves: Moves) -> FloatArray:
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
        """Return how many candidates are stacked at once, from `max_memory` and the batch.

        On a CPU one, wherever stacking could change a bit: the plain loop is the law.
        """
        rows = int(self.features.shape[0])
        if not self.features.is_cuda and (rows < STACKED_FROM or not self._is_stacked):
            return 1
        features = self.features.numel() // max(rows, 1)
        # A row of a candidate holds its inputs twice (plain and gated), its gates, and the activations.
        per_candidate = 4 * rows * (2 * features + sites + self._width)
        fit = max(1, self.max_memory // max(per_candidate, 1))
        return fit if self.features.is_cuda else max(1, min(fit, CPU_ROWS // max(rows, 1)))

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
