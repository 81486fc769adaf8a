"""Train several small classifiers at once, to rounding as `fit` would train each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from mcprune.errors import NumericalError
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import Stream, generator, hash_seed, noise_generator
from mcprune.training.adam import AdamW, one_cycle
from mcprune.training.compiled.nets import PackedNets, can_compile, dropout_of, steps_at_once, widths_of
from mcprune.training.stacked_mlp import StackedMLP, have_one_shape
from mcprune.training.steps import threads_of_steps

MOST_STEPS = 64  # between two looks at `should_stop`


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
    rows = len(targets)
    size = min(batch_size, rows)
    task = _Task(
        features, targets, None if weights is None else weights / weights.mean(), row_loss, size, seeds, input_noise
    )
    cycle = [one_cycle(step, epochs * (rows // size), 2 * learning_rate) for step in range(epochs * (rows // size))]
    make_steps = _compiled_steps if can_compile(models, row_loss, size) else _torch_steps
    loss = make_steps(models, task, cycle, weight_decay, should_stop)
    for model in models:
        model.eval()
    if not math.isfinite(loss):
        raise NumericalError(f"The classifier's loss became {loss} while it was trained. Lower --learning-rate.")


class _Task:
    """The rows and the draws of a training of several classifiers; see `fit_several`."""

    def __init__(
        self,
        features: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor | None,
        row_loss: RowLoss,
        size: int,
        seeds: Sequence[int],
        input_noise: float,
    ) -> None:
        self.features, self.targets, self.weights, self.row_loss = features, targets, weights, row_loss
        self.size, self._input_noise = size, input_noise
        self._orders = [generator(seed, Stream.FIT_ORDER) for seed in seeds]
        self._noise = [noise_generator(seed) for seed in seeds]
        self.hash_seeds = [hash_seed(seed, Stream.FIT_DROPOUT) for seed in seeds]

    def epoch(self) -> torch.Tensor:
        """Return the rows (models, steps, size) of an epoch's batches; rows that do not fill a batch are left out."""
        rows = len(self.targets)
        order = np.stack([draw.permutation(rows) for draw in self._orders])[:, : rows // self.size * self.size]
        return torch.from_numpy(order.reshape(len(order), -1, self.size)).to(self.features.device)

    def batch(self, part: torch.Tensor) -> torch.Tensor:
        """Return the features of rows (models, size) with their noise."""
        seen = self.features[torch.arange(len(part), device=part.device)[:, None], part]
        if self._input_noise:
            drawn = [torch.randn(seen.shape[1:], generator=one) for one in self._noise]
            seen = seen + self._input_noise * torch.stack(drawn).to(seen)
        return seen

    def scales(self, stack: StackedMLP) -> list[torch.Tensor]:
        """Return what dropout multiplies the units of each layer with (models, size, units); drawn after the noise of the step."""
        of_models = [stack.draw_scales(self.size, one) for one in self._noise]
        return [torch.stack(of_layer) for of_layer in zip(*of_models, strict=True)]


def _torch_steps(
    models: Sequence[nn.Module],
    task: _Task,
    cycle: Sequence[tuple[float, float]],
    weight_decay: float,
    should_stop: Callable[[], bool],
) -> float:
    """Make a step for each learning rate and beta 1 of the cycle; return the last loss."""
    stack = StackedMLP(models)
    optimizer = AdamW(stack.parameters, 0.0, weight_decay)
    loss, done = torch.zeros(()), 0
    with threads_of_steps(models, task.features.shape[-1], task.size):
        while done < len(cycle):
            for part in task.epoch().unbind(1):
                logits = stack.forward(task.batch(part), scales=task.scales(stack))
                loss = task.row_loss.rows(logits.flatten(0, 1), task.targets[part].flatten(0, 1))
                loss = (loss if task.weights is None else loss * task.weights[part].flatten()).sum() / task.size
                optimizer.learning_rate, optimizer.beta = cycle[done]
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                done += 1
                if should_stop():
                    raise KeyboardInterrupt
    return loss.item()


def _compiled_steps(
    models: Sequence[nn.Module],
    task: _Task,
    cycle: Sequence[tuple[float, float]],
    weight_decay: float,
    should_stop: Callable[[], bool],
) -> float:
    """Make the steps of `_torch_steps`, but for which units are dropped, in compiled code."""
    stack = StackedMLP(models)
    nets = PackedNets(len(models), widths_of(models[0]), task.row_loss, weight_decay)
    nets.load(nets.parameters, stack.parameters)
    at_once = min(MOST_STEPS, steps_at_once(len(models), task.size, task.features.shape[-1]))
    losses = np.zeros(len(models), np.float32)
    while nets.done < len(cycle):
        for parts in torch.split(task.epoch(), at_once, dim=1):
            rates, betas = np.array(cycle[nets.done : nets.done + parts.shape[1]]).T.copy()
            losses = nets.train(
                torch.stack([task.batch(part) for part in parts.unbind(1)], dim=1).numpy(),
                task.targets[parts].numpy(),
                rates=rates,
                betas=betas,
                dropout=dropout_of(models[0]),
                seeds=task.hash_seeds,
                shares=None if task.weights is None else task.weights[parts].numpy(),
            )
            if should_stop():
                raise KeyboardInterrupt
    nets.store(nets.parameters, stack.parameters)
    return float(losses.sum())
