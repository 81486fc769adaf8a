"""Parts of a step of backprop: gates with swapped sites, noise, the loss, the optimizer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mcprune.models.modes import trainable_parameters
from mcprune.training.adam import AdamW
from mcprune.types import Float32Array, IntArray


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


def mean_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return the mean cross-entropy of a batch, each row times its weight; over all rows the weights have the mean 1."""
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    if weights is None:
        return functional.cross_entropy(logits, targets)
    return (functional.cross_entropy(logits, targets, reduction="none") * weights).mean()


def add_noise(rows: torch.Tensor, deviation: float) -> torch.Tensor:
    """Return rows plus normal noise, drawn from torch's global state; at a deviation of 0 the rows themselves."""
    return rows + deviation * torch.randn_like(rows) if deviation else rows


def autocast(features: torch.Tensor, is_on: bool) -> AbstractContextManager[object]:
    """Return the context of forward passes: bfloat16 by torch's autocast on the device of the rows, or no change."""
    return torch.autocast(features.device.type, dtype=torch.bfloat16) if is_on else nullcontext()


def adam(model: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """Return the optimizer of a classifier's trainable parameters."""
    return AdamW(trainable_parameters(model), learning_rate, weight_decay)
