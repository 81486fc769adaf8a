"""Parts of a step of backprop: gates with swapped sites, noise, the loss, the optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from mcprune.models.modes import trainable_parameters
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.training.adam import AdamW
from mcprune.types import Float32Array, IntArray

# Multiply-accumulates of a step's forward pass below which handing parts to threads takes longer than it saves. Measured on 2 cores
# whose threads sleep between two parts (OMP_WAIT_POLICY=PASSIVE): 0.6 ms in place of 1.9 ms at 4 million, level at 100 to 150 million.
SMALL_STEP = 120_000_000
FLAT = (nn.Linear, nn.BatchNorm1d, nn.LayerNorm)


def swap_sites(
    gates: Float32Array, kept: IntArray, dropped: IntArray, count: int, rows: int, draw: np.random.Generator
) -> Float32Array:
    """Return gates (rows, N) in which every row has `count` kept sites swapped for dropped ones.

    The weights of a site that the classifier never sees go stale, and then no exchange is evaluated fairly. Sites are drawn with
    replacement, so a row may swap fewer, or keep one site more or less than the others.
    """
    out = np.repeat(gates[None], rows, axis=0)
    if count and kept.size and dropped.size:
        row = np.arange(rows)[:, None]
        out_sites = kept[draw.integers(0, kept.size, (rows, count))]
        in_sites = dropped[draw.integers(0, dropped.size, (rows, count))]
        out[row, in_sites] = gates[out_sites]
        out[row, out_sites] = gates[in_sites]
    return out


def mean_loss(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None, loss: RowLoss = CROSS_ENTROPY
) -> torch.Tensor:
    """Return the mean loss of a batch, each row times its weight; over all rows the weights have the mean 1."""
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    return loss.mean(logits, targets) if weights is None else (loss.rows(logits, targets) * weights).mean()


def add_noise(rows: torch.Tensor, deviation: float) -> torch.Tensor:
    """Return rows plus normal noise, drawn from torch's global state; at a deviation of 0 the rows themselves."""
    return rows + deviation * torch.randn_like(rows) if deviation else rows


def autocast(features: torch.Tensor, is_on: bool) -> AbstractContextManager[object]:
    """Return the context of forward passes: bfloat16 by torch's autocast on the device of the rows, or no change."""
    return torch.autocast(features.device.type, dtype=torch.bfloat16) if is_on else nullcontext()


@contextmanager
def threads_of_steps(models: Sequence[nn.Module], inputs: int, rows: int) -> Iterator[None]:
    """Make the steps inside on one thread of torch's where their work is too small to share.

    Parameters
    ----------
    models : sequence of nn.Module
        Those that a step trains. With one that does not take whole rows into linear layers nothing changes: the work of a
        convolution or of a recurrent layer is not its size.
    inputs : int
        Numbers in a row.
    rows : int
        Of a batch.
    """
    before = torch.get_num_threads()
    sizes = [_linear_size(model, inputs) for model in models]
    if before == 1 or any(size is None for size in sizes) or rows * sum(filter(None, sizes)) >= SMALL_STEP:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _linear_size(model: nn.Module, inputs: int) -> int | None:
    """Return the number of weights of a model of linear layers on rows of so many inputs, None for other models."""
    layers = [part for part in model.modules() if next(part.parameters(recurse=False), None) is not None]
    linear = [part for part in layers if isinstance(part, nn.Linear)]
    if not linear or linear[0].in_features != inputs or any(not isinstance(part, FLAT) for part in layers):
        return None
    return sum(part.weight.numel() for part in linear)


def adam(model: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """Return the optimizer of a classifier's trainable parameters."""
    return AdamW(trainable_parameters(model), learning_rate, weight_decay)
