"""The fused evaluator for single weights of a multilayer perceptron as sites."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch.nn import functional

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.compiled import weight_kernels
from mcprune.evaluators.fused import MOST_SITES
from mcprune.evaluators.perceptrons import ACTIVATIONS, cross_entropy, linear_chain, row_shares
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, FloatArray

# Accepted moves after which a position is computed again within a block, since rounding errors accumulate.
REFRESH = 1000


class Cache:
    """The current position of one replica."""

    def __init__(self, gates: Float32Array) -> None:
        self.gates = gates
        # The matrices of all layers one after the other, see `weight_kernels`.
        self.signals, self.pre, self.net = np.empty((3, 0), np.float32)
        self.base = np.empty(0, np.float32)
        self.loss = np.nan
        self.accepted = 0


class FusedWeightsEvaluator:
    """Sparse updates of single weights on a multilayer perceptron under mean cross-entropy, on the CPU.

    Parameters
    ----------
    gated : GatedModel
        Its sites are weights and nothing else.
    objective : Objective
        Only mean cross-entropy.
    early_reject : float, optional
        Must be None: every candidate is evaluated on all rows that it changes.

    Raises
    ------
    ModelError
        The model, objective, device or choice of sites is not supported; the message says why.

    Notes
    -----
    A loss is the loss of the position plus the changes of its rows, so a move that changes no row is an exact tie. Every `begin`
    computes the position again: a fused optimizer changes parameters without notice, and the rounding of a block must not depend
    on the blocks before it, or a resumed run would round differently.
    """

    name = "fused"
    error = 1e-6

    def __init__(self, gated: GatedModel, objective: Objective, *, early_reject: float | None = None) -> None:
        self.objective = cross_entropy(objective)
        if {group.kind for group in gated.sites.groups} != {"weights"}:
            raise ModelError("weights are not the only kind of site")
        if early_reject is not None:
            raise ModelError("weights are sites, and for them there is no early rejection")
        self.layers, self.code = linear_chain(gated.model)
        if self.layers[0].weight.device.type != "cpu":
            raise ModelError("the classifier is not on the CPU")
        names = {name: module for name, module in gated.model.named_modules()}
        places = {id(layer): place for place, layer in enumerate(self.layers)}
        level, outs, ins = [], [], []
        self.groups = []
        for group in gated.sites.weights:
            place = places.get(id(names[group.layer]))
            if place is None:
                raise ModelError(f"layer {group.layer!r}, whose weights are sites, is not in the chain")
            self.groups.append((group, place))
            out, into = np.divmod(np.arange(group.size), group.shape[1])
            level.append(np.full(group.size, place, np.int64))
            outs.append(out)
            ins.append(into)
        self.level, self.outs, self.ins = (np.concatenate(part).astype(np.int64) for part in (level, outs, ins))
        sides = np.array([(layer.in_features, layer.out_features) for layer in self.layers], np.int64)
        self.shapes = np.zeros((len(self.layers), 4), np.int64)
        self.shapes[:, [weight_kernels.INPUTS, weight_kernels.OUTPUTS]] = sides
        self.shapes[1:, weight_kernels.WEIGHTS] = np.cumsum(sides.prod(axis=1))[:-1]
        # Offset of each site's weight in the vector of all weights, (in, out) by layer.
        first, width = (self.shapes[self.level, column] for column in (weight_kernels.WEIGHTS, weight_kernels.OUTPUTS))
        self.places = first + self.ins * width + self.outs
        self.replicas: list[Cache] = []

    @torch.no_grad()
    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.sharpness = sharpness
        self._take(features, targets)
        self.replicas = [self._cache(weights) for weights in position]

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return np.array([cache.loss for cache in self.replicas])

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        out = np.full(moves.size.shape, np.nan)
        for replica, cache in enumerate(self.replicas):
            if moves.sites.shape[2] > MOST_SITES:
                for k in np.flatnonzero(moves.size[replica]):
                    out[replica, k] = self._dense(state.position[replica], moves, replica, int(k))
                continue
            sites = np.maximum(moves.sites[replica], 0)
            steps = self.raw[sites] * (gates_of(moves.weights[replica], self.sharpness) - cache.gates[sites])
            move = moves.size[replica], sites, steps.astype(np.float32)
            if numba.get_num_threads() == 1:
                changes = weight_kernels.evaluate(*self._arguments(cache, *move, False))
            else:
                changes = weight_kernels.evaluate_parallel(*self._arguments(cache, *move))
            out[replica] = cache.loss + changes / self.total
        return out

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        for replica in np.flatnonzero(index >= 0).tolist():
            k, cache = int(index[replica]), self.replicas[replica]
            size = int(moves.size[replica, k])
            if size > MOST_SITES or cache.accepted >= REFRESH:
                self.replicas[replica] = self._cache(position[replica])
                continue
            sites = moves.sites[replica, k, :size]
            gates = gates_of(moves.weights[replica, k, :size], self.sharpness)
            steps = (self.raw[sites] * (gates - cache.gates[sites])).astype(np.float32)
            move = moves.size[replica, k : k + 1], sites[None], steps[None]
            cache.loss += weight_kernels.evaluate(*self._arguments(cache, *move, True))[0] / self.total
            cache.gates[sites] = gates
            cache.net[self.places[sites]] = self.raw[sites] * cache.gates[sites]
            cache.accepted += 1

    def _arguments(self, cache: Cache, *move: Any) -> list[Any]:
        """Return the arguments of `weight_kernels.evaluate` for moves of one replica."""
        return [
            self.inputs, cache.signals, cache.pre, cache.base, self.shares, self.labels, cache.net, self.shapes, self.level,
            self.outs, self.ins, self.code, self.total, *move,
        ]  # fmt: skip

    def _take(self, features: torch.Tensor, targets: torch.Tensor) -> None:
        """Lay out a batch and the classifier's weights for the kernels."""
        self.total = len(targets)
        self.padded = -(-self.total // 16) * 16
        self.shapes[1:, weight_kernels.PRE] = np.cumsum(self.shapes[:-1, weight_kernels.OUTPUTS]) * self.padded
        self.flat = features.flatten(1) if features.dim() != 2 else features
        self.inputs = np.zeros((self.flat.shape[1], self.padded), np.float32)
        self.inputs[:, : self.total] = self.flat.T.numpy()
        self.labels = np.zeros(self.padded, np.int32)
        self.labels[: self.total] = targets.numpy()
        self.targets = targets
        self.shares = row_shares(self.objective, self.total, self.padded)
        self.raw = np.concatenate([self.layers[place].weight.numpy().ravel() for _, place in self.groups])

    def _weights(self, gates: Float32Array) -> list[torch.Tensor]:
        """Return the weights (out, in) of each layer times their gates."""
        out = [layer.weight.detach() for layer in self.layers]
        for group, place in self.groups:
            out[place] = out[place] * torch.from_numpy(gates[group.start : group.stop]).view(group.shape)
        return out

    @torch.no_grad()
    def _forward(self, weights: list[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return (pre-activations (B, units) of each layer, loss of each row)."""
        signal = self.flat
        out: list[torch.Tensor] = []
        for weight, layer in zip(weights, self.layers, strict=True):
            if out:
                signal = ACTIVATIONS[self.code](out[-1])
            # Inputs that no kept weight reads are left out if that is faster.
            read = None if out else (weight != 0).any(dim=0)
            if read is not None and 2 * int(read.sum()) < len(read):
                out.append(functional.linear(signal.T[read].T, weight[:, read], layer.bias))
            else:
                out.append(functional.linear(signal, weight, layer.bias))
        return out, functional.cross_entropy(out[-1], self.targets, reduction="none")

    def _cache(self, position: FloatArray) -> Cache:
        cache = Cache(gates_of(position, self.sharpness))
        weights = self._weights(cache.gates)
        pre, losses = self._forward(weights)
        cache.pre = self._by_unit(pre)
        cache.signals = self._by_unit([ACTIVATIONS[self.code](values) for values in pre[:-1]])
        cache.net = np.concatenate([weight.numpy().T.ravel() for weight in weights])
        cache.base = np.zeros(self.padded, np.float32)
        cache.base[: self.total] = losses.numpy()
        cache.loss = self._mean(cache.base[: self.total])
        return cache

    def _by_unit(self, layers: list[torch.Tensor]) -> Float32Array:
        """Return matrices (B, units) as one vector of matrices (units, B padded)."""
        out = np.zeros((sum(values.shape[1] for values in layers), self.padded), np.float32)
        first = 0
        for values in layers:
            out[first : first + values.shape[1], : self.total] = values.T.numpy()
            first += values.shape[1]
        return out.reshape(-1)

    def _dense(self, position: FloatArray, moves: Moves, replica: int, k: int) -> float:
        """Return the loss of a move that changes many sites, by one forward pass."""
        gates = gates_of(position, self.sharpness)
        sites = moves.sites[replica, k, : moves.size[replica, k]]
        gates[sites] = gates_of(moves.weights[replica, k, : sites.size], self.sharpness)
        return self._mean(self._forward(self._weights(gates))[1].numpy())

    def _mean(self, losses: Float32Array) -> float:
        """Return the mean of the rows' losses (B,), under their weights where they have any."""
        if not self.shares.size:
            return float(np.mean(losses, dtype=np.float64))
        return float(np.mean(losses * self.shares[: self.total]))
