"""The fused evaluator: compiled updates of a multilayer perceptron that compute only what a sparse move changes.

An input whose gate changes by d changes the first pre-activation of row b by d x_b times one row of the weights; rows where x_b
is zero (most pixels of most images) keep their loss. A move of a unit of layer l is computed from layer l + 1 on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch.nn import functional

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.compiled import mlp_kernels
from mcprune.evaluators.early_rejection import looks_of, quantile_of
from mcprune.evaluators.perceptrons import (
    ACTIVATIONS,
    aligned_zeros,
    by_input,
    linear_chain,
    loss_rule,
    padded,
    row_loss_of,
    row_shares,
    view_of,
)
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, FloatArray, Int32Array, IntArray

# Moves of more sites than this use matrix products: single rows of the weights would cost more.
MOST_SITES = 64
# Batches of so many rows are sorted: below, sorting costs more than it saves.
SORTED = 1024
# Logit of the padding.
NOTHING = -1e30
# A candidate must be above its limit by so many of the evaluator's errors to be rejected before its last row.
CLEAR = 4.0
NO_LOOKS = np.empty(0, np.int64)
NO_LIMIT = np.full(1, np.inf)


class Cache(NamedTuple):
    """The current position of one replica, as the kernels read and update it."""

    pre: Float32Array  # pre-activations of all layers in one vector, see `mlp_kernels`
    base: Float32Array  # (B padded,) loss of each row
    gates: Float32Array  # (layers, widest) gates of the units
    first_gates: Float32Array  # (N,) gates of the inputs


class Forward(NamedTuple):
    """A position evaluated by matrix products."""

    pre: list[torch.Tensor]  # (B, out) pre-activations of each layer
    losses: torch.Tensor  # (B,)
    gates: Float32Array  # (layers, widest) gates of the units
    first_gates: Float32Array  # (N,) gates of the inputs


class FusedEvaluator:
    """Low-rank updates on a multilayer perceptron under the (weighted) mean of a loss of rows, on the CPU; dense moves by folded products.

    Parameters
    ----------
    gated : GatedModel
    objective : Objective
        The mean cross-entropy, or the mean of another loss of rows.
    early_reject : float, optional
        Probability of rejecting a candidate early that the whole batch would accept. The batch is evaluated in parts, and a
        candidate whose loss so far is significantly above its limit is rejected (a normal test, with a Bonferroni correction for
        the number of tests). None: a candidate is rejected early only where this is certain.
    sorts_rows : bool, optional
        Sort a large batch by the losses at its start, the highest first, so that less rows decide; not with `early_reject`, whose
        test needs rows in random order.

    Raises
    ------
    ModelError
        The model, objective or device is not supported; the message says why.

    Notes
    -----
    The classifier runs in evaluation mode: dropout is off. Sums run in another order than those of the canonical evaluator, so
    losses differ by rounding, at most about `error` times max(1, loss); every `begin` computes the position again.

    A candidate with a limit is rejected as soon as its loss would be above the limit even with a loss of 0 on all rows to come: no
    decision changes. With the rows that have the highest losses in front, a quarter to a half of the rows decides.
    """

    name = "fused"
    error = 5e-6

    def __init__(
        self, gated: GatedModel, objective: Objective, *, early_reject: float | None = None, sorts_rows: bool = True
    ) -> None:
        self.objective, self.row_loss = row_loss_of(objective)
        self._rule = loss_rule(self.row_loss)
        if gated.sites.channels:
            raise ModelError("channels are sites, and it does not support convolutions")
        self.layers, self.code = linear_chain(gated.model)
        if self.layers[0].weight.device.type != "cpu":
            raise ModelError("the classifier is not on the CPU")
        names = {id(module): name for name, module in gated.model.named_modules()}
        levels = {names[id(layer)]: number for number, layer in enumerate(self.layers, start=1)}
        groups = gated.sites.groups
        if gated.sites.weights:
            raise ModelError("weights are sites together with other kinds")
        if any(
            group.kind == "units" and levels.get(group.layer, len(self.layers)) == len(self.layers) for group in groups
        ):
            raise ModelError("a site is not a unit of a hidden layer")
        self.level = np.concatenate([np.full(g.size, levels.get(g.layer, 0), np.int64) for g in groups])
        self.local = np.concatenate([np.arange(g.size, dtype=np.int64) for g in groups])
        self.groups = groups
        self._moves_inputs = not self.level.all()
        self.features, self.pitch = np.zeros(1, np.float32), 0
        self.classes = self.layers[-1].out_features
        self._n_inputs = self.layers[0].in_features
        self.early_reject = early_reject
        self._sorts_rows = sorts_rows and early_reject is None
        self._order: IntArray | None = None
        self._ordered: torch.Tensor | None = None  # the features that the order belongs to
        self._quantile = quantile_of(early_reject)

    @torch.no_grad()
    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`. Features that are the transpose of a contiguous (N, B) tensor are not copied."""
        self.sharpness = sharpness
        flat = features.flatten(1) if features.dim() != 2 else features
        self.rows = len(targets)
        self._flat, self._targets = flat, targets
        self.labels = np.zeros(padded(self.rows), np.int32)
        self.shares = row_shares(self.objective, self.rows, len(self.labels))
        self._lay_out()
        gates = [gates_of(weights, sharpness) for weights in position]
        first: Forward | None = None
        if features is not self._ordered:
            self._order = None
            if self._sorts_rows and self.rows >= SORTED:
                first = self._forward(gates[0])
                self._order = self._by_loss(first.losses.numpy())
            self._ordered = features
            if self._moves_inputs:
                self.features, self.pitch = self._columns()
        order = slice(None) if self._order is None else self._order
        self.goals = np.empty(0, np.float32)
        if targets.dim() == 1:
            self.labels[: self.rows] = targets.numpy()[order]
        else:
            goals = np.zeros((targets.shape[1], len(self.labels)), np.float32)
            goals[:, : self.rows] = targets.numpy()[order].T
            self.goals = goals.ravel()
        if self.shares.size:
            self.shares[: self.rows] = self.shares[: self.rows][order]
        self._looks = np.array(looks_of(self.early_reject, self.rows), np.int64)
        outcomes = (self._forward(one) if number or first is None else first for number, one in enumerate(gates))
        self.replicas = [self._cache(one) for one in outcomes]

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return np.array([mlp_kernels.row_mean(cache.base, self.shares, self.rows) for cache in self.replicas])

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`. The loss of a candidate that is rejected early is an estimate above its limit."""
        if moves.sites.shape[2] > MOST_SITES:
            return self._dense(state, moves)
        changed = gates_of(moves.weights, self.sharpness)
        out = np.empty(moves.size.shape)
        self.seen = np.zeros(moves.size.shape, np.int64)
        looks = self._looks if limits is not None else NO_LOOKS
        for replica in range(moves.size.shape[0]):
            # Only early rejection compares with the loss of the position.
            base, now = self.replicas[replica].base, 0.0
            bounds = np.full(moves.size.shape[1], np.inf)
            if limits is not None:
                now = mlp_kernels.row_mean(base, self.shares, self.rows)
                bounds = np.ascontiguousarray(limits[replica])
            if limits is not None and not looks.size:
                size = np.where(np.isfinite(bounds), np.maximum(abs(bounds), abs(now)), 1.0)
                bounds = bounds + CLEAR * self.error * np.maximum(1.0, size)
            move = moves.size[replica], moves.sites[replica], changed[replica]
            screen = bounds, now, looks, self._quantile
            threads = numba.get_num_threads()
            if threads == 1:
                result = mlp_kernels.evaluate(*self._arguments(replica, *move, False, *screen))
            else:
                result = mlp_kernels.evaluate_parallel(*self._arguments(replica, *move, *screen, threads))
            out[replica], self.seen[replica] = result
        return out

    @torch.no_grad()
    def _dense(self, state: ChainState, moves: Moves) -> FloatArray:
        """Return the losses of moves that change many sites, by matrix products with folded weights, one candidate at a time."""
        out = np.full(moves.size.shape, np.nan)
        self.seen = np.where(moves.size > 0, self.rows, 0)
        for replica, k in zip(*np.nonzero(moves.size), strict=True):
            gates = gates_of(state.position[replica], self.sharpness)
            sites = moves.sites[replica, k, : moves.size[replica, k]]
            gates[sites] = gates_of(moves.weights[replica, k, : sites.size], self.sharpness)
            out[replica, k] = mlp_kernels.row_mean(
                self._in_order(self._forward(gates).losses).numpy(), self.shares, self.rows
            )
        return out

    @torch.no_grad()
    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        for replica in np.flatnonzero(index >= 0).tolist():
            k = int(index[replica])
            if moves.size[replica, k] > MOST_SITES:
                self.replicas[replica] = self._cache(self._forward(gates_of(position[replica], self.sharpness)))
            elif moves.size[replica, k]:
                one = slice(k, k + 1)
                changed = gates_of(moves.weights[replica, one], self.sharpness)
                move = moves.size[replica, one], moves.sites[replica, one], changed
                if numba.get_num_threads() > 1:
                    mlp_kernels.settle_parallel(*self._arguments(replica, *move))
                else:
                    mlp_kernels.evaluate(*self._arguments(replica, *move, True, NO_LIMIT, 0.0, NO_LOOKS, 0.0))

    def _by_loss(self, losses: Float32Array) -> IntArray:
        """Return the rows in the order of their (weighted) losses, the highest first."""
        weighted = losses if self.shares.size == 0 else losses * self.shares[: self.rows]
        return np.argsort(-weighted, kind="stable")

    def _in_order(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of the rows in the order in which the kernels have them."""
        return values if self._order is None else values[torch.from_numpy(self._order)]

    def _columns(self) -> tuple[Float32Array, int]:
        """Return the batch's features as `_by_input` does, with the rows in order."""
        columns = self._flat.T.numpy()
        if self._order is None:
            return by_input(columns)
        return by_input(np.take(columns, self._order, axis=1, mode="clip"))

    def _arguments(
        self, replica: int, size: Int32Array, sites: IntArray, changed: Float32Array, *rest: object
    ) -> list[Any]:
        """Return the arguments of `mlp_kernels.evaluate` for moves of one replica; `rest` are those after `code`."""
        cache = self.replicas[replica]
        return [
            self.features, self.pitch, self.rows, self.labels, cache.pre, self.net, self.shapes, cache.base, self.shares,
            self.goals, self._rule, cache.gates, cache.first_gates, self.level, self.local, size, sites, changed, self.code, *rest,
        ]  # fmt: skip

    def _lay_out(self) -> None:
        """Lay out the classifier's weights and biases for the kernels, zero-padded to multiples of 16 except for the inputs."""
        self.shapes = np.zeros((len(self.layers), 7), np.int64)
        below, places, outputs = self._n_inputs, 0, 0
        for number, (layer, shape) in enumerate(zip(self.layers, self.shapes, strict=True)):
            width = padded(layer.out_features)
            shape[mlp_kernels.WEIGHTS], shape[mlp_kernels.BIAS] = places, places + padded(below) * width
            shape[mlp_kernels.INPUTS], shape[mlp_kernels.OUTPUTS] = below, width
            places += (padded(below) + 1) * width
            # The last two layers lie by unit.
            is_by_unit = number >= len(self.layers) - 2
            sides = (layer.out_features, len(self.labels)) if is_by_unit else (self.rows, width)
            shape[mlp_kernels.PRE] = outputs
            shape[mlp_kernels.PRE_ROWS], shape[mlp_kernels.PRE_COLUMNS] = sides
            outputs += sides[0] * sides[1]
            below = width
        self._outputs = outputs
        self.net = aligned_zeros(1, places)[0]
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            matrix = view_of(self.net, *shape[[mlp_kernels.WEIGHTS, mlp_kernels.INPUTS, mlp_kernels.OUTPUTS]])
            matrix[: layer.in_features, : layer.out_features] = layer.weight.numpy().T
            bias = view_of(self.net, shape[mlp_kernels.BIAS], 1, shape[mlp_kernels.OUTPUTS])[0]
            if layer.bias is not None:
                bias[: layer.out_features] = layer.bias.numpy()
        bias[self.classes :] = NOTHING

    def _forward(self, gates: Float32Array) -> Forward:
        """Evaluate a position by matrix products; the rows are in the batch's own order."""
        stages = np.ones((len(self.layers), int(self.shapes[:, mlp_kernels.OUTPUTS].max())), np.float32)
        first = np.ones(self._n_inputs, np.float32)
        for group in self.groups:
            part = gates[group.start : group.stop]
            if group.kind == "inputs":
                first[:] = part
            else:
                stages[self.level[group.start] - 1, : group.size] = part
        # The gates of the inputs are folded into the weights; if most are 0, those inputs are left out of the product.
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
            signal = ACTIVATIONS[self.code](out[-1] * torch.from_numpy(stages[number, : layer.out_features]))
        return Forward(out, self.row_loss.rows(out[-1], self._targets), stages, first)

    def _cache(self, position: Forward) -> Cache:
        """Lay an evaluated position out for the kernels."""
        pre, losses, stages, first = position
        outputs = aligned_zeros(1, self._outputs)[0]
        for number, (unordered, shape) in enumerate(zip(pre, self.shapes, strict=True)):
            out = self._in_order(unordered)
            place, sides, width = shape[mlp_kernels.PRE], shape[mlp_kernels.PRE_ROWS], shape[mlp_kernels.PRE_COLUMNS]
            if number < len(pre) - 2:
                view_of(outputs, place, sides, width)[:, : out.shape[1]] = out.numpy()
                continue
            for start in range(0, self.rows, mlp_kernels.PART):  # by unit
                rows = out[start : start + mlp_kernels.PART]
                part = view_of(outputs, place + start * sides, sides, min(mlp_kernels.PART, width - start))
                torch.from_numpy(part)[:, : len(rows)].copy_(rows.T)  # numpy transposes several times slower
        base = aligned_zeros(1, len(self.labels))[0]
        base[: self.rows] = self._in_order(losses).numpy()
        return Cache(outputs, base, stages, first)
