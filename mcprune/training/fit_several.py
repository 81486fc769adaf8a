"""Train several small classifiers at once, to rounding as `fit` would train each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from mcprune.errors import NumericalError
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import Stream, generator, noise_generator
from mcprune.training.adam import AdamW, one_cycle
from mcprune.training.stacked_mlp import StackedMLP, have_one_shape
from mcprune.training.steps import threads_of_steps


def can_fit_at_once(models: Sequence[nn.Module]) -> bool:
    """Whether models are built-in perceptrons of one shape; those with dropout, which a GPU draws in its own way, on the CPU."""
    if not have_one_shape(models):
        return False
    has_dropout = any(isinstance(layer, nn.Dropout) for layer in models[0].modules())
    return not has_dropout or next(models[0].parameters()).device.type == "cpu"


def fit_several(
    models: Sequence[nn.Module],
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seeds: Sequence[int],
    input_noise: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
    weights: torch.Tensor | None = None,
    row_loss: RowLoss = CROSS_ENTROPY,
) -> None:
    """Train classifiers in place, each on its own features of the same rows; the parameters are those of `fit`.

    Parameters
    ----------
    models : sequence of nn.Module
        Those for which `can_fit_at_once` holds.
    features : tensor, shape (models, rows, inputs)
    targets : tensor of int64, shape (rows,), or of float32, shape (rows, T)
    epochs, batch_size : int
    learning_rate, weight_decay : float
    seeds : sequence of int
        One for each model: of the order of its rows, of noise and of dropout.
    input_noise : float
        Standard deviation of the normal noise that each input gets in each step.
    should_stop : callable
    weights : tensor of float32, shape (rows,), optional
    row_loss : RowLoss

    Raises
    ------
    NumericalError
        A loss is not finite.
    KeyboardInterrupt
        `should_stop` returned True.
    """
    rows, count = len(targets), len(models)
    size = min(batch_size, rows)
    steps = rows // size
    stack = StackedMLP(models)
    optimizer = AdamW(stack.parameters, learning_rate, weight_decay)
    draws = [generator(seed, Stream.FIT_ORDER) for seed in seeds]
    noise = [noise_generator(seed) for seed in seeds]
    scaled = None if weights is None else weights / weights.mean()
    which = torch.arange(count, device=features.device)[:, None]
    loss, done = torch.zeros(()), 0
    with threads_of_steps(models, features.shape[-1], size):
        for _ in range(epochs):
            order = torch.from_numpy(np.stack([draw.permutation(rows) for draw in draws])).to(features.device)
            for first in range(0, steps * size, size):
                part = order[:, first : first + size]
                seen = features[which, part]
                if input_noise:
                    drawn = [torch.randn(seen.shape[1:], generator=one) for one in noise]
                    seen = seen + input_noise * torch.stack(drawn).to(seen)
                scales = [
                    torch.stack(of_layer)
                    for of_layer in zip(*(stack.draw_scales(size, one) for one in noise), strict=True)
                ]
                logits = stack.forward(seen, scales=scales)
                loss = row_loss.rows(logits.flatten(0, 1), targets[part].flatten(0, 1))
                loss = (loss if scaled is None else loss * scaled[part].flatten()).sum() / size
                optimizer.learning_rate, optimizer.beta = one_cycle(done, epochs * steps, 2 * learning_rate)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                done += 1
                if should_stop():
                    raise KeyboardInterrupt
    for model in models:
        model.eval()
    if not bool(torch.isfinite(loss)):
        raise NumericalError(f"The classifier's loss became {loss.item()} while it was trained. Lower --learning-rate.")
