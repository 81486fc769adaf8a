"""Perceptrons of one shape whose parameters lie as the kernels read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from mcprune.evaluators.compiled.mlp_kernels import BIAS, LossRule
from mcprune.evaluators.perceptrons import LOSSES, loss_rule, padded
from mcprune.models.mlp import MLP
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.training.compiled.kernels import train_nets
from mcprune.types import AnyArray, Float32Array, FloatArray, IntArray

# Numbers of the batches that go to the kernel in one call.
AT_ONCE = 2**22
# Products of a net's forward pass in a step up to which the kernels are faster than torch, whose calls take most of the time of
# small steps. Measured on 1 core: 0.12 ms in place of 1.0 ms at 1.1 million, 0.5 ms in place of 1.1 ms at 4 million.
MOST_PRODUCTS = 4_000_000


def rule_of(loss: RowLoss) -> LossRule | None:
    """Return the code of a loss in the kernels, and its number; None of a loss that they do not have."""
    return loss_rule(loss) if loss is CROSS_ENTROPY or type(loss) in LOSSES else None


def can_compile(models: Sequence[nn.Module], loss: RowLoss, rows: int) -> bool:
    """Whether the kernels train these models, of one shape, on batches of so many rows, and faster than torch does."""
    first = models[0]
    if type(first) is not MLP or first.activation != "relu" or not first.bias or rule_of(loss) is None:
        return False
    sizes = [one.numel() for one in first.parameters() if one.dim() == 2]
    return rows * sum(sizes) <= MOST_PRODUCTS and all(
        one.requires_grad and one.dtype == torch.float32 and one.device.type == "cpu"
        for model in models
        for one in model.parameters()
    )


def widths_of(model: nn.Module) -> tuple[int, ...]:
    """Return inputs, hidden units and outputs of a built-in perceptron."""
    assert isinstance(model, MLP)
    return model.widths


def dropout_of(model: nn.Module) -> float:
    """Return the share of hidden units that a built-in perceptron drops in training."""
    assert isinstance(model, MLP)
    return model.dropout


class PackedNets:
    """K perceptrons with ReLU between their layers, the moments of their gradients, and the number of steps made.

    Parameters
    ----------
    count : int
        K.
    widths : sequence of int
        Inputs, hidden units of each layer, outputs.
    loss : RowLoss
        One that the kernels have: see `rule_of`.
    decay : float
        Weight decay.
    done : int
        Steps that the moments have seen.

    Attributes
    ----------
    parameters, means, squares : ndarray of float32, shape (K, P)
    """

    def __init__(self, count: int, widths: Sequence[int], loss: RowLoss, decay: float, done: int = 0) -> None:
        rule = rule_of(loss)
        assert rule is not None
        self.widths, self._rule, self._decay, self.done = tuple(widths), rule, decay, done
        shapes, offset, size = [], 0, widths[0]
        for width in widths[1:]:
            out = padded(width)
            shapes.append((offset, size, out, offset + size * out))
            offset, size = offset + size * out + out, out
        self._shapes = np.array(shapes, np.int64)
        self.parameters, self.means, self.squares = (np.zeros((count, offset), np.float32) for _ in range(3))

    def weights(self, of: Float32Array, layer: int) -> Float32Array:
        """Return the view (K, in, out) of the weights of a layer in `parameters`, `means` or `squares`."""
        start, size, out, end = map(int, self._shapes[layer])
        view = of[:, start:end].reshape(len(of), size, out)
        return view[:, : self.widths[layer], : self.widths[layer + 1]]

    def bias(self, of: Float32Array, layer: int) -> Float32Array:
        """Return the view (K, out) of the bias of a layer in `parameters`, `means` or `squares`."""
        start = int(self._shapes[layer, BIAS])
        return of[:, start : start + self.widths[layer + 1]]

    def load(self, into: Float32Array, tensors: Sequence[torch.Tensor]) -> None:
        """Fill `parameters`, `means` or `squares` from tensors as torch has them: (K, out, in) and (K, out) of each layer."""
        for place, tensor in enumerate(tensors):
            values = tensor.detach().numpy()
            if place % 2:
                self.bias(into, place // 2)[:] = values
            else:
                self.weights(into, place // 2)[:] = values.transpose(0, 2, 1)

    def store(self, of: Float32Array, tensors: Sequence[torch.Tensor]) -> None:
        """Write `parameters`, `means` or `squares` into tensors; see `load`."""
        for place, tensor in enumerate(tensors):
            values = tensor.detach().numpy()
            values[:] = self.bias(of, place // 2) if place % 2 else self.weights(of, place // 2).transpose(0, 2, 1)

    def train(
        self,
        x: Float32Array,
        targets: AnyArray,
        *,
        rates: FloatArray,
        betas: FloatArray,
        columns: IntArray | None = None,
        shares: Float32Array | None = None,
        dropout: float = 0.0,
        seeds: Sequence[np.uint64] = (),
    ) -> Float32Array:
        """Make S steps in place; return the mean loss (K,) of the last one.

        Parameters
        ----------
        x : ndarray of float32, shape (K, S, B, n)
        targets : ndarray of int64, shape (G, S, B), or of float32, shape (G, S, B, T)
            Net k takes entry k modulo G.
        rates, betas : ndarray of float64, shape (S,)
            Learning rate and beta 1 of each step.
        columns : ndarray of int, shape (G, S or 1, n), optional
            Which inputs of the nets `x` has; by default all.
        shares : ndarray of float32, shape (G, S or 1, B or 1), optional
            Weights of the rows in the mean over the batch; by default 1.
        dropout : float
            Share of the hidden units that is dropped.
        seeds : sequence of uint64
            G seeds of what is dropped; needed with dropout.
        """
        is_classes = targets.ndim == 3
        losses = np.zeros(len(self.parameters), np.float32)
        train_nets(
            x,
            np.arange(x.shape[-1], dtype=np.int32).reshape(1, 1, -1) if columns is None else columns.astype(np.int32),
            np.ascontiguousarray(targets, np.int64) if is_classes else np.zeros((1, 1, 1), np.int64),
            np.zeros((1, 1, 1, 1), np.float32) if is_classes else np.ascontiguousarray(targets, np.float32),
            np.ones((1, 1, 1), np.float32) if shares is None else shares,
            np.array(seeds or [np.uint64(0)]),
            np.float32(dropout),
            self.parameters,
            self.means,
            self.squares,
            self._shapes,
            self._rule,
            self.widths[-1],
            rates,
            betas,
            self._decay,
            self.done,
            losses,
        )
        self.done += x.shape[1]
        return losses


def steps_at_once(nets: int, rows: int, columns: int) -> int:
    """Return how many steps' batches (nets, rows, columns) go to the kernel in one call."""
    return max(1, AT_ONCE // max(1, nets * rows * columns))


def load_kernels() -> None:
    """Compile the kernels, or read their machine code, so that the time of this is not part of a step's."""
    nets = PackedNets(1, (1, 1, 1), CROSS_ENTROPY, 0.0)
    nothing = np.zeros(0)
    nets.train(np.zeros((1, 0, 1, 1), np.float32), np.zeros((1, 0, 1), np.int64), rates=nothing, betas=nothing)
