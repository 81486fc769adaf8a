"""What the fused evaluators take: plain perceptrons, losses of single rows, and how matrices lie for the kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mcprune.errors import ModelError
from mcprune.evaluators.compiled import mlp_kernels
from mcprune.objectives.base import Objective
from mcprune.objectives.classification import CrossEntropy
from mcprune.objectives.losses import (
    Absolute,
    BinaryCrossEntropy,
    Huber,
    MeanLoss,
    Poisson,
    Quantile,
    RowLoss,
    Squared,
    loss_of,
)
from mcprune.types import Float32Array, FloatArray

CODES: dict[type[nn.Module], int] = {
    nn.ReLU: mlp_kernels.RELU,
    nn.Tanh: mlp_kernels.TANH,
    nn.Sigmoid: mlp_kernels.SIGMOID,
    nn.Softplus: mlp_kernels.SOFTPLUS,
}
ACTIVATIONS = {
    mlp_kernels.RELU: torch.relu,
    mlp_kernels.TANH: torch.tanh,
    mlp_kernels.SIGMOID: torch.sigmoid,
    mlp_kernels.SOFTPLUS: functional.softplus,
}


def cross_entropy(objective: Objective) -> CrossEntropy:
    """Return the objective, which must be mean cross-entropy, with or without sample weights.

    Raises
    ------
    ModelError
        It is another one.
    """
    if not isinstance(objective, CrossEntropy):
        raise ModelError(f"it supports cross-entropy only, not {objective.name!r}")
    return objective


# The losses of numbers by their codes in the kernels.
LOSSES: dict[type, int] = {
    Squared: mlp_kernels.SQUARED,
    Absolute: mlp_kernels.ABSOLUTE,
    Huber: mlp_kernels.HUBER,
    Quantile: mlp_kernels.QUANTILE,
    Poisson: mlp_kernels.POISSON,
    BinaryCrossEntropy: mlp_kernels.BINARY,
}


def row_loss_of(objective: Objective) -> tuple[CrossEntropy | MeanLoss, RowLoss]:
    """Return the objective, which must be the mean of a loss of rows that the kernels know, and that loss.

    Raises
    ------
    ModelError
        It is another one.
    """
    loss = loss_of(objective)
    if not isinstance(objective, CrossEntropy | MeanLoss) or loss is None:
        raise ModelError(f"it supports cross-entropy and losses of numbers only, not {objective.name!r}")
    return objective, loss


def loss_rule(loss: RowLoss) -> mlp_kernels.LossRule:
    """Return the code of a loss in the kernels, and its number."""
    number = loss.delta if isinstance(loss, Huber) else loss.level if isinstance(loss, Quantile) else 0.0
    return LOSSES.get(type(loss), mlp_kernels.CROSS_ENTROPY), np.float32(number)


def row_shares(objective: CrossEntropy | MeanLoss, rows: int, padded: int) -> FloatArray:
    """Return the weights of the batch's rows (padded,), of mean 1 over the rows and 0 behind them; empty where all count alike."""
    if objective.weights is None:
        return np.empty(0)
    out = np.zeros(padded)
    weights = objective.weights.double().cpu().numpy()
    out[:rows] = weights * (rows / weights.sum())
    return out


def linear_chain(model: nn.Module) -> tuple[list[nn.Linear], int]:
    """Return the linear layers of a plain multilayer perceptron and the code of its activation.

    Raises
    ------
    ModelError
        The model is no plain perceptron; the message says why.
    """
    if not _is_plain(model, nn.Sequential):
        children = list(model.children())
        if type(model).__module__ != "mcprune.models.mlp" or len(children) != 1:
            raise ModelError(f"{type(model).__name__} is not a plain chain of layers")
        model = children[0]
    # By index: `children()` leaves out a module that appears twice.
    places = [model[place] for place in range(len(model))] if isinstance(model, nn.Sequential) else []
    modules = [m for m in places if not _is_plain(m, nn.Dropout, nn.Identity, nn.Flatten)]
    for place, module in enumerate(modules):
        if not _is_plain(module, nn.Linear) if place % 2 == 0 else type(module) not in CODES:
            raise ModelError(f"module {place} of the chain is a {type(module).__name__}")
    layers = [m for m in modules if isinstance(m, nn.Linear)]
    if len(set(map(id, layers))) < len(layers):
        raise ModelError("a linear layer appears twice in the chain")
    codes = {CODES[type(m)] for m in modules[1::2]}
    if len(modules) % 2 == 0 or len(codes) > 1 or any(m.weight.dtype != torch.float32 for m in layers):
        raise ModelError("the chain does not end in a linear layer, or mixes activations or number types")
    if any(isinstance(m, nn.Softplus) and (m.beta, m.threshold) != (1, 20) for m in modules):
        raise ModelError("the softplus has a beta or threshold of its own")
    return layers, codes.pop() if codes else mlp_kernels.RELU


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module is of one of these classes and does not override its forward pass."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def padded(width: int) -> int:
    """Return the next multiple of 16."""
    return -(-width // 16) * 16


def aligned_zeros(rows: int, columns: int) -> Float32Array:
    """Return zeros (rows, columns) that start at a cache line: loading a vector from two lines takes twice as long."""
    room = np.zeros(rows * columns + 16, np.float32)
    start = (-room.ctypes.data % 64) // 4
    return room[start : start + rows * columns].reshape(rows, columns)


def view_of(flat: Float32Array, start: int, rows: int, columns: int) -> Float32Array:
    """Return a view of the matrix that starts at offset `start` of a vector."""
    return flat[start : start + rows * columns].reshape(rows, columns)


def by_input(columns: Float32Array) -> tuple[Float32Array, int]:
    """Return (vector, pitch) of a matrix (N, B): row i starts at i * pitch. It is copied only if its rows are not contiguous."""
    inputs, rows = columns.shape
    if columns.strides[1] != columns.itemsize or columns.strides[0] < rows * columns.itemsize:
        columns = np.ascontiguousarray(columns)
    pitch = columns.strides[0] // columns.itemsize
    flat = np.lib.stride_tricks.as_strided(columns, ((inputs - 1) * pitch + rows,), (columns.itemsize,))
    return flat, pitch
