"""The canonical evaluator: a forward pass of the whole gated classifier for every candidate, stacked where no bit changes.

A stack may differ from the plain loop in the last bit, and so may two stacks of different sizes: matrix products choose their
kernels by the number of rows (17 x 9 weights, 65 rows: a stack of 23 differs), and sigmoid, softplus and ELU compute the last
elements of an array in another way. So on a CPU only models without such layers are stacked. The stacks have one fixed size,
which is compared with the loop, bit by bit, on the user's own model and batch shape. If a bit differs, or the stack is slower,
candidates are evaluated one by one. So the clock affects the speed and not the losses.
On a GPU candidates are stacked in chunks that fit in memory; the last bit may depend on the size of the chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.stages import activations
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.models.networks import Residual
from mcprune.objectives.base import Objective, losses_of
from mcprune.random import Stream, generator
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, FloatArray

# From some thousand rows on a stack is no faster than a loop on a CPU.
CPU_ROWS = 4096
TURNS = 5  # timings of the stack and of the loop
# Layers whose output for a row has the same bits wherever it lies in an array: products, and functions with one formula.
STACKED = {
    *(nn.Sequential, MLP, nn.Linear, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Dropout, nn.Identity, nn.Flatten, nn.Unflatten),
    *(nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.BatchNorm1d, nn.BatchNorm2d, Residual),
}


class FullEvaluator:
    """Evaluate each candidate by a forward pass of the whole model; the reference for all other evaluators.

    Parameters
    ----------
    gated : GatedModel
    objective : Objective
    max_memory : int
        Bytes for the stacked inputs, gates and activations of one chunk; at least one candidate is evaluated at a time.
    """

    name = "full"

    def __init__(self, gated: GatedModel, objective: Objective, *, max_memory: int = 2**30) -> None:
        self.gated = gated
        self.objective = objective
        self.max_memory = max_memory
        self.error = 0.0
        self._width = 2 * sum(m.out_features for m in gated.model.modules() if isinstance(m, nn.Linear))
        self._pays_for: dict[tuple[object, ...], bool] = {}
        self._is_simple = all(type(module) in STACKED for module in gated.model.modules())

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.features = features
        self.targets = targets
        # On a GPU the last bits depend on the size of the stack; close decisions are evaluated one by one, in `at`.
        self.error = 2e-5 if features.is_cuda else 0.0
        self.sharpness = sharpness
        self.position = position
        self._width = activation_width(self.gated, features)

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return self.at(self.position)

    def at(self, weights: FloatArray) -> FloatArray:
        """Return L_cla at each weight vector, shape (K, N) -> (K,); on a GPU one by one, so that it does not depend on K."""
        gates = gates_of(weights, self.sharpness)
        if self.features.is_cuda:
            return np.concatenate([self._evaluate(one[None]) for one in gates])
        return self._evaluate(gates)

    def pieces(self, rows: int) -> list[tuple[GatedModel, Objective, slice]]:
        """See `Canonical.pieces`."""
        return [(self.gated, self.objective, slice(0, rows))]

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        replicas, count = moves.size.shape
        out = np.full((replicas, count), np.nan)
        for replica in range(replicas):
            base = gates_of(state.position[replica], self.sharpness)
            changed = np.flatnonzero(moves.size[replica] > 0)
            chunk = self.chunk(base.size, changed.size)
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

    def chunk(self, sites: int, candidates: int | None = None) -> int:
        """Return how many candidates are stacked: as many as fit in `max_memory`, on a CPU only if no bit changes.

        The rows of a stack share their weights, so candidates are not stacked where weights are sites. On a CPU, fewer than fill a
        stack are not stacked either: for so few `candidates` no stack is compared with the loop.
        """
        if self.gated.sites.weights:
            return 1
        rows = int(self.features.shape[0])
        features = self.features.numel() // max(rows, 1)
        # A row of a candidate holds its inputs twice (plain and gated), its gates, and the activations.
        per_candidate = 4 * rows * (2 * features + sites + self._width)
        fit = max(1, self.max_memory // max(per_candidate, 1))
        if self.features.is_cuda:
            return fit
        fit = min(fit, CPU_ROWS // max(rows, 1))
        if candidates is not None and candidates < fit:
            return 1
        return fit if fit > 1 and self._is_simple and self._pays(fit, sites) else 1

    def _pays(self, count: int, sites: int) -> bool:
        """Whether a stack of `count` candidates has the bits of the loop and is faster, for this model and batch shape."""
        key = (count, sites, self.features.shape, self.features.stride(), self.features.dtype, torch.get_num_threads())
        if key not in self._pays_for:
            draw = generator(0, Stream.TRIALS)
            soft = draw.random((count, sites), dtype=np.float32)
            trials = [torch.from_numpy(gates).to(self.features) for gates in (soft, np.round(soft))]
            with torch.no_grad(), evaluating(self.gated.model):
                self._pays_for[key] = all(
                    torch.equal(self._stack(gates), self._loop(gates)) for gates in trials
                ) and is_faster(lambda: self._stack(trials[0]), lambda: self._loop(trials[0]))
        return self._pays_for[key]

    def _loop(self, gates: torch.Tensor) -> torch.Tensor:
        """Return the outputs (K, B, C) for gates (K, N), one candidate at a time."""
        return torch.stack([self.gated(self.features, one) for one in gates])

    def _stack(self, gates: torch.Tensor) -> torch.Tensor:
        """Return the outputs (K, B, C) for gates (K, N) as one batch."""
        count, rows = gates.shape[0], int(self.features.shape[0])
        stacked = self.features.repeat(count, *([1] * (self.features.dim() - 1)))
        logits: torch.Tensor = self.gated(stacked, gates.repeat_interleave(rows, dim=0))
        return logits.reshape(count, rows, -1)

    @torch.no_grad()
    def _evaluate(self, gates: Float32Array) -> FloatArray:
        """Return L_cla for gates of shape (K, N)."""
        out = np.empty(gates.shape[0])
        chunk = self.chunk(gates.shape[1], gates.shape[0])
        with evaluating(self.gated.model):
            first = 0
            while first < gates.shape[0]:
                part = torch.from_numpy(gates[first : first + chunk]).to(self.features)
                # On a CPU only whole chunks are stacked: another size may change bits.
                if len(part) > 1 and (len(part) == chunk or self.features.is_cuda):
                    logits = self._stack(part)
                else:
                    part = part[:1]
                    logits = self.gated(self.features, part[0])[None]
                masks = gates[first : first + len(part)] > 0.5
                out[first : first + len(part)] = losses_of(self.objective, logits, self.targets, masks)
                first += len(part)
        return out


def is_faster(first: Callable[[], object], second: Callable[[], object]) -> bool:
    """Whether the first call is faster than the second, by the best of `TURNS` alternating timings of each."""
    times = np.empty((TURNS, 2))
    for turn in times:
        for place, call in enumerate((first, second)):
            began = time.perf_counter()
            call()
            turn[place] = time.perf_counter() - began
    best = times.min(axis=0)
    return bool(best[0] < best[1])


def activation_width(gated: GatedModel, features: torch.Tensor) -> int:
    """Return an estimate of the number of floats in a row's activations: twice the widths of the linear layers.

    For a convolutional network one row is run, since its maps are larger than its layers' widths, and three times the widest
    output counts: the layer's input, its output and the gated copy. Other activations are freed by then.
    """
    if any(isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d) for m in gated.model.modules()):
        return 3 * activations(gated.model, features)[1]
    widths = [m.out_features for m in gated.model.modules() if isinstance(m, torch.nn.Linear)]
    return 2 * sum(widths)
