"""The suffix evaluator: the layers before a candidate's first changed site are computed once for all candidates.

Units of layer l first act on the output of layer l, so a candidate that changes no other site starts there. Weights of layer l
act in the layer itself, and channels inside a block, such as a residual block, from its input on. On a CPU the operations are
those of the canonical evaluator, on the same tensors, one candidate at a time: the bits are the same.
"""

from __future__ import annotations

import numpy as np
import torch

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.full import activation_width
from mcprune.evaluators.stages import Stages
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, FloatArray


class SuffixEvaluator:
    """Start each candidate at the layer of its first changed site; for any chain of layers and objective, on CPU or GPU.

    Parameters
    ----------
    gated : GatedModel
        Its model is an nn.Sequential (possibly nested, of any modules) or an `MLP`. Candidates that change inputs start at the
        first layer, as in `full`.
    objective : Objective
    max_memory : int
        Bytes for the stacked activations of the candidates of one chunk on a GPU.

    Attributes
    ----------
    error : float
        0 on a CPU, where the bits are those of the canonical evaluator. 2e-5 on a GPU, where candidates are stacked and products
        of another size round differently.

    Raises
    ------
    ModelError
        The model is not a chain of layers.

    Notes
    -----
    A forward pass in which rows depend on each other (batch-norm without running statistics) has the same bits on a CPU. On a
    GPU, where candidates are stacked, it does not, and `choose` detects that. Not tested on a GPU so far.
    """

    name = "suffix"

    def __init__(self, gated: GatedModel, objective: Objective, *, max_memory: int = 2**30) -> None:
        self.stages = Stages(gated)
        self.gated = gated
        self.objective = objective
        self.max_memory = max_memory
        starts = self.stages.starts()
        self._kept_places = {place for place in starts.values() if place >= 0}
        self.place = np.concatenate([np.full(group.size, starts[group.start]) for group in gated.sites.groups])
        self.error = 0.0

    @torch.no_grad()
    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.features, self.targets, self.sharpness = features, targets, sharpness
        self.error = 2e-5 if features.is_cuda else 0.0
        self.before: list[dict[int, torch.Tensor]] = [{} for _ in position]
        self._loss = np.empty(len(position))
        for replica, weights in enumerate(position):
            self._walk(replica, -1, self._tensor(gates_of(weights, sharpness)))

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return self._loss.copy()

    @torch.no_grad()
    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        out = np.full(moves.size.shape, np.nan)
        for replica in range(moves.size.shape[0]):
            base = gates_of(state.position[replica], self.sharpness)
            changed = np.flatnonzero(moves.size[replica] > 0)
            first = np.array([self._first(moves, replica, int(k)) for k in changed], np.int64)
            for place in np.unique(first):
                part = changed[first == place]
                is_stacked = (
                    self.features.is_cuda and not self.stages.weights
                )  # the rows of a stack share their weights
                chunk = self._chunk(place, base.size) if is_stacked else 1
                for begin in range(0, part.size, chunk):
                    few = part[begin : begin + chunk]
                    gates = np.repeat(base[None], few.size, axis=0)
                    for row, k in enumerate(few):
                        sites = moves.sites[replica, k, : moves.size[replica, k]]
                        gates[row, sites] = gates_of(moves.weights[replica, k, : sites.size], self.sharpness)
                    out[replica, few] = self._evaluate(replica, int(place), gates)
        return out

    @torch.no_grad()
    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`: the layers from the first changed site on are computed again."""
        for replica in np.flatnonzero(index >= 0).tolist():
            k = int(index[replica])
            if moves.size[replica, k]:
                gates = self._tensor(gates_of(position[replica], self.sharpness))
                self._walk(replica, self._first(moves, replica, k), gates)

    def _first(self, moves: Moves, replica: int, k: int) -> int:
        return int(self.place[moves.sites[replica, k, : moves.size[replica, k]]].min())

    def _tensor(self, gates: Float32Array) -> torch.Tensor:
        return torch.from_numpy(gates).to(self.features)

    def _walk(self, replica: int, place: int, gates: torch.Tensor) -> None:
        """Compute the layers after a place at the replica's own gates, and keep the results."""
        before = self.before[replica]

        def keep(at: int, x: torch.Tensor) -> None:
            if at in self._kept_places or at in self.stages.inner:
                before[at] = x

        with evaluating(self.gated.model):
            signal, first = self._enter(replica, place, gates)
            logits = self.stages.run(signal, gates, first, keep)
        self._loss[replica] = self.objective.losses(logits[None], self.targets)[0]

    def _enter(self, replica: int, place: int, gates: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Return the gated signal at a place, and the place of the module that it enters; -1 is the input."""
        if place < 0:
            return self.stages.gate_inputs(self.features, gates), 0
        return self.stages.enter(self.before[replica][place], gates, place)

    def _evaluate(self, replica: int, place: int, gates: Float32Array) -> FloatArray:
        """Return L_cla of candidates (K, N) that start at the same place."""
        chosen = self._tensor(gates)
        rows = len(self.targets)
        with evaluating(self.gated.model):
            if len(chosen) == 1:
                signal, first = self._enter(replica, place, chosen[0])
                logits = self.stages.run(signal, chosen[0], first)[None]
            else:
                signal = self.features if place < 0 else self.before[replica][place]
                stacked = signal.repeat(len(chosen), *([1] * (signal.dim() - 1)))
                spread = chosen.repeat_interleave(rows, dim=0)
                if place < 0:
                    stacked, first = self.stages.gate_inputs(stacked, spread), 0
                else:
                    stacked, first = self.stages.enter(stacked, spread, place)
                logits = self.stages.run(stacked, spread, first)
                logits = logits.reshape(len(chosen), rows, -1)
        return self.objective.losses(logits, self.targets)

    def _chunk(self, place: int, sites: int) -> int:
        """Return how many candidates fit in `max_memory`, judged by the widest signal after the place."""
        signal = self.features if place < 0 else self.before[0][place]
        widths = activation_width(self.gated, self.features)
        floats = 2 * signal.numel() + len(self.targets) * (sites + widths)
        return max(1, self.max_memory // max(4 * floats, 1))
