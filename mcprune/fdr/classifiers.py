"""Classifiers that evaluate columns beside their shadows, trained under random masks, all sets and folds in one batched product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import torch_seed
from mcprune.training.adam import AdamW
from mcprune.training.stacked_mlp import StackedMLP
from mcprune.types import Float32Array, FloatArray, IntArray

# AdamW's rate falls to 0 over the second half of the steps.
RATE, DECAY, BATCH = 5e-3, 2e-2, 64
# Each training row sees a random mask, of a share of the sites that is drawn between these.
LEAST_SHARE, MOST_SHARE = 0.1, 1.0
# Steps of backprop for each training row, at least and at most.
STEPS_A_ROW, LEAST_STEPS, MOST_STEPS = 0.6, 300, 1200


def train_classifiers(
    models: Sequence[nn.Module],
    tables: Sequence[Float32Array],
    targets: IntArray,
    training: Sequence[IntArray],
    weights: FloatArray | None,
    *,
    draw: np.random.Generator,
    row_loss: RowLoss = CROSS_ENTROPY,
    owner: IntArray | None = None,
) -> None:
    """Train the classifiers of all sets in place.

    Parameters
    ----------
    models : sequence of MLP
        Of one shape: those of the folds of the first set, then of the second.
    tables : sequence of ndarray of float32, shape (rows, 2 M)
        The columns of each set, and their shadows.
    targets : ndarray of int64, shape (rows,), or of float32, shape (rows, T)
    training : sequence of ndarray of int64
        The rows that train each classifier.
    weights : ndarray of float64, shape (rows,), optional
        Rows are drawn in proportion to them.
    draw : Generator
    row_loss : RowLoss
    owner : ndarray of int64, shape (2 M,), optional
        The column, or shadow, of each number: a mask has all of them or none. By default each is one of its own.
    """
    tied = None if owner is None else torch.from_numpy(owner)
    features, goals = torch.from_numpy(np.stack(tables)), torch.from_numpy(targets)
    steps = int(np.clip(STEPS_A_ROW * len(targets), LEAST_STEPS, MOST_STEPS))
    stack = StackedMLP(models)
    optimizer = AdamW(stack.parameters, RATE, DECAY)
    of_set = torch.arange(len(tables)).repeat_interleave(len(models) // len(tables))[:, None]
    chances = [None if weights is None else weights[rows] / weights[rows].sum() for rows in training]
    with torch_seed(int(draw.integers(2**31))):
        for step in range(steps):
            optimizer.learning_rate = RATE * min(1.0, 2.0 * (1.0 - step / steps))
            rows = [draw.choice(part, BATCH, p=chance) for part, chance in zip(training, chances, strict=True)]
            batch = torch.from_numpy(np.stack(rows))
            seen = features[of_set, batch]
            share = LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * torch.rand(len(models), BATCH, 1)
            if tied is None:
                seen = seen * (torch.rand(seen.shape) < share)
            else:
                seen = seen * (torch.rand(*seen.shape[:2], int(tied[-1]) + 1) < share)[..., tied]
            scales = [
                (torch.rand(len(models), BATCH, units) >= part).float().div_(1.0 - part)
                for units, part in stack.dropouts
            ]
            logits = stack.forward(seen, scales=scales)
            loss = row_loss.total(logits.flatten(0, 1), goals[batch].flatten(0, 1)) / BATCH
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    for model in models:
        model.eval()
