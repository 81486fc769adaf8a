"""The fused evaluator: what a sparse move leaves unchanged in a multilayer perceptron is not computed again.

An input whose gate changes by d changes the first pre-activation of row b by d x_b times one row of the weights; rows
where x_b is zero (most pixels of most images) keep their loss. A unit of layer l starts one layer above its own.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators import mlp_kernels
from mcprune.evaluators.base import gates_of
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, FloatArray

CODES: dict[type[nn.Module], int] = {
    nn.ReLU: mlp_kernels.RELU,
    nn.Tanh: mlp_kernels.TANH,
    nn.Sigmoid: mlp_kernels.SIGMOID,
    nn.Softplus: mlp_kernels.SOFTPLUS,
}
# Moves of more sites than this go through matrix products: single rows of the weights would cost more.
MOST_SITES = 64
# Staged decisions look after these shares of the batch, but not before so many rows: the normal law needs some.
LOOKS = (1 / 8, 1 / 4, 1 / 2)
FEWEST = 128
# Logits that stand for no class.
NOTHING = -1e30
NO_LOOKS = np.empty(0, np.int64)


def linear_chain(model: nn.Module) -> tuple[list[nn.Linear], int]:
    """Return the linear layers of a plain multilayer perceptron and the code of its activation.

    Raises
    ------
    ModelError
        The model is anything else; the message says what was met.
    """
    if not _is_plain(model, nn.Sequential):
        children = list(model.children())
        if type(model).__module__ != "mcprune.models.mlp" or len(children) != 1:
            raise ModelError(f"{type(model).__name__} is not a plain chain of layers")
        model = children[0]
    # By place: `children()` leaves out a module that stands twice.
    places = [model[place] for place in range(len(model))] if isinstance(model, nn.Sequential) else []
    modules = [m for m in places if not _is_plain(m, nn.Dropout, nn.Identity, nn.Flatten)]
    for place, module in enumerate(modules):
        if not _is_plain(module, nn.Linear) if place % 2 == 0 else type(module) not in CODES:
            raise ModelError(f"a {type(module).__name__} stands at place {place} of the chain")
    layers = [m for m in modules if isinstance(m, nn.Linear)]
    if len(set(map(id, layers))) < len(layers):
        raise ModelError("a linear layer stands in the chain twice")
    codes = {CODES[type(m)] for m in modules[1::2]}
    if len(modules) % 2 == 0 or len(codes) > 1 or any(m.weight.dtype != torch.float32 for m in layers):
        raise ModelError("the chain does not end in a linear layer, or mixes activations or number types")
    if any(isinstance(m, nn.Softplus) and (m.beta, m.threshold) != (1, 20) for m in modules):
        raise ModelError("the softplus has a beta or threshold of its own")
    return layers, codes.pop() if codes else mlp_kernels.RELU


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Tell whether a module is of such a kind and runs its forward pass, not one of its own."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _padded(width: int) -> int:
    return -(-width // 16) * 16


def _aligned_zeros(rows: int, columns: int) -> Float32Array:
    """Return zeros (rows, columns) that start at a cache line: a vector that straddles two costs twice."""
    room = np.zeros(rows * columns + 16, np.float32)
    start = (-room.ctypes.data % 64) // 4
    return room[start : start + rows * columns].reshape(rows, columns)


class FusedEvaluator:
    """Low-rank updates on a multilayer perceptron under mean cross-entropy, on the CPU; dense moves by folded products.

    Parameters
    ----------
    gated : GatedModel
    objective : Objective
        Only mean cross-entropy.
    wrong_rate : float, optional
        Staged decisions: the batch is gone through in parts, and a candidate whose loss on them is above its limit by more
        than chance allows is given up. The chance that one is given up which the whole batch would accept is about this
        (by the normal law, shared out over the looks). None: every candidate sees every row.

    Raises
    ------
    ModelError
        A model, objective or device that it cannot serve; the message says why.

    Notes
    -----
    The classifier runs in evaluation mode: dropout is off. Sums are in another order than the canonical evaluator's, so
    losses differ from it by rounding, at most about `error` times max(1, loss); every `begin` starts afresh.
    """

    name = "fused"
    error = 5e-6

    def __init__(self, gated: GatedModel, objective: Objective, *, wrong_rate: float | None = None) -> None:
        if objective.name != "cross-entropy":
            raise ModelError(f"only cross-entropy is known row by row, not {objective.name!r}")
        if gated.sites.channels:
            raise ModelError("channels are sites, and it knows no convolutions")
        self.layers, self.code = linear_chain(gated.model)
        if self.layers[0].weight.device.type != "cpu":
            raise ModelError("the classifier is not on the CPU")
        names = {id(module): name for name, module in gated.model.named_modules()}
        levels = {names[id(layer)]: number for number, layer in enumerate(self.layers, start=1)}
        groups = gated.sites.groups
        if gated.sites.weights:
            raise ModelError("weights are sites beside other kinds")
        if any(
            group.kind == "units" and levels.get(group.layer, len(self.layers)) == len(self.layers) for group in groups
        ):
            raise ModelError("a site is no unit of a hidden layer")
        self.level = np.concatenate([np.full(g.size, levels.get(g.layer, 0), np.int64) for g in groups])
        self.local = np.concatenate([np.arange(g.size, dtype=np.int64) for g in groups])
        self.groups = groups
        self.classes = self.layers[-1].out_features
        self._n_inputs = self.layers[0].in_features
        self.wrong_rate = wrong_rate
        self._quantile = 0.0 if wrong_rate is None else NormalDist().inv_cdf(1.0 - wrong_rate / len(LOOKS))

    @torch.no_grad()
    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`. Features that are the transpose of a contiguous (N, B) tensor are not copied."""
        self.sharpness = sharpness
        flat = features.flatten(1) if features.dim() != 2 else features
        self.features = flat.T.numpy()
        self.targets = targets.numpy()
        self._flat, self._wanted = flat, targets
        self.labels = np.zeros(_padded(len(targets)), np.int32)
        self.labels[: len(targets)] = self.targets
        shares = () if self.wrong_rate is None else LOOKS
        self._looks = np.array([n for n in (round(share * len(targets)) for share in shares) if n >= FEWEST], np.int64)
        self.weights, self.bias = self._parameters()
        self.replicas = [self._cache(gates_of(weights, sharpness)) for weights in position]

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return np.array([mlp_kernels.mean_loss(cache[1], len(self.targets)) for cache in self.replicas])

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`. With looks a candidate may be given up early: an estimate above its limit stands for it."""
        if moves.sites.shape[2] > MOST_SITES:
            return self._dense(state, moves)
        changed = gates_of(moves.weights, self.sharpness)
        out = np.empty(moves.size.shape)
        self.seen = np.zeros(moves.size.shape, np.int64)
        looks = self._looks if limits is not None else NO_LOOKS
        bounds = np.full(moves.size.shape, np.inf) if limits is None else limits
        for replica in range(moves.size.shape[0]):
            # Only looks compare with the loss of the position.
            now = mlp_kernels.mean_loss(self.replicas[replica][1], len(self.targets)) if looks.size else 0.0
            arguments = self._arguments(replica, moves.size[replica], moves.sites[replica], changed[replica])
            arguments += [bounds[replica], now, looks, self._quantile]
            out[replica], self.seen[replica] = mlp_kernels.candidate_losses(*arguments)
        return out

    @torch.no_grad()
    def _dense(self, state: ChainState, moves: Moves) -> FloatArray:
        """Losses of moves that change many sites: matrix products with folded weights, one candidate after the other."""
        out = np.full(moves.size.shape, np.nan)
        self.seen = np.where(moves.size > 0, len(self.targets), 0)
        for replica, k in zip(*np.nonzero(moves.size), strict=True):
            gates = gates_of(state.position[replica], self.sharpness)
            sites = moves.sites[replica, k, : moves.size[replica, k]]
            gates[sites] = gates_of(moves.weights[replica, k, : sites.size], self.sharpness)
            out[replica, k] = mlp_kernels.mean_loss(self._forward(gates)[1], len(self.targets))
        return out

    @torch.no_grad()
    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        for replica in np.flatnonzero(index >= 0).tolist():
            k = index[replica]
            size = int(moves.size[replica, k])
            if size > MOST_SITES:
                self.replicas[replica] = self._cache(gates_of(position[replica], self.sharpness))
            elif size:
                changed = gates_of(moves.weights[replica, k], self.sharpness)
                mlp_kernels.settle(*self._arguments(replica, size, moves.sites[replica, k], changed))

    def _arguments(self, replica: int, *move: Any) -> list[Any]:
        pre, base, gates, first = self.replicas[replica]
        return [
            self.features, self.targets, self.labels, pre, base, gates, first, self.level, self.local,
            *move, self.weights, self.bias, self.code,
        ]  # fmt: skip

    def _parameters(self) -> tuple[tuple[Float32Array, ...], tuple[Float32Array, ...]]:
        """Return weights (in, out) and biases (out,), zero-padded to multiples of 16 but for the inputs."""
        weights, biases = [], []
        below = self._n_inputs
        for layer in self.layers:
            width = _padded(layer.out_features)
            matrix = _aligned_zeros(below, width)
            matrix[: layer.in_features, : layer.out_features] = layer.weight.numpy().T
            bias = _aligned_zeros(1, width)
            if layer.bias is not None:
                bias[0, : layer.out_features] = layer.bias.numpy()
            weights.append(matrix)
            biases.append(bias)
            below = width
        biases[-1][0, self.classes :] = NOTHING
        return tuple(weights), tuple(biases)

    def _forward(self, gates: Float32Array) -> tuple[list[torch.Tensor], Float32Array, Float32Array, Float32Array]:
        """Return (pre-activations of each layer, loss of each row, unit gates, input gates) by matrix products."""
        stages = np.ones((len(self.layers), max(bias.size for bias in self.bias)), np.float32)
        first = np.ones(self._n_inputs, np.float32)
        for group in self.groups:
            part = gates[group.start : group.stop]
            if group.kind == "inputs":
                first[:] = part
            else:
                stages[self.level[group.start] - 1, : group.size] = part
        # The gates of the inputs are folded into the weights, and inputs whose gate is 0 are left out where that pays.
        alive = torch.from_numpy(np.flatnonzero(first))
        factor = torch.from_numpy(first)
        is_sparse = 2 * len(alive) < self._n_inputs
        signal = self._flat.T[alive].T if is_sparse else self._flat
        out: list[torch.Tensor] = []
        for number, layer in enumerate(self.layers):
            weight = layer.weight
            if number == 0:
                weight = weight[:, alive] * factor[alive] if is_sparse else weight * factor
            out.append(functional.linear(signal, weight, layer.bias))
            signal = self._activation(out[-1] * torch.from_numpy(stages[number, : layer.out_features]))
        losses = functional.cross_entropy(out[-1], self._wanted, reduction="none").numpy()
        return out, losses, stages, first

    def _cache(self, gates: Float32Array) -> tuple[Any, ...]:
        """Return (padded pre-activations of each layer, loss of each row, unit gates, input gates) at one position."""
        pre, losses, stages, first = self._forward(gates)
        rows = len(self.labels)
        padded = []
        for number, (out, bias) in enumerate(zip(pre, self.bias, strict=True)):
            if number < len(pre) - 2:
                padded.append(_aligned_zeros(out.shape[0], bias.size))
                padded[-1][:, : out.shape[1]] = out.numpy()
            else:  # by unit
                padded.append(_aligned_zeros(out.shape[1], rows))
                padded[-1][:, : out.shape[0]] = out.numpy().T
        base = _aligned_zeros(1, rows)[0]
        base[: len(losses)] = losses
        return tuple(padded), base, stages, first

    def _activation(self, values: torch.Tensor) -> torch.Tensor:
        function = {
            mlp_kernels.RELU: torch.relu,
            mlp_kernels.TANH: torch.tanh,
            mlp_kernels.SIGMOID: torch.sigmoid,
            mlp_kernels.SOFTPLUS: functional.softplus,
        }[self.code]
        return function(values)
