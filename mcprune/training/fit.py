"""Train a classifier by itself: pretraining, retraining, fine-tuning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mcprune.errors import NumericalError
from mcprune.models.modes import is_fully_frozen, use_training_mode
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import Stream, generator, step_noise
from mcprune.training.adam import one_cycle
from mcprune.training.compiled.nets import can_compile
from mcprune.training.distill import DistillationTargets
from mcprune.training.fit_several import fit_several
from mcprune.training.steps import adam, add_noise, autocast, mean_loss, threads_of_steps


def fit(
    model: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    input_noise: float = 0.0,
    view: Callable[[torch.Tensor], torch.Tensor] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    weights: torch.Tensor | None = None,
    amp: bool = False,
    distillation: DistillationTargets | None = None,
    row_loss: RowLoss = CROSS_ENTROPY,
) -> None:
    """Train the trainable parameters of a classifier in place: Adam under one cycle of the learning rate.

    Parameters
    ----------
    model : nn.Module
    features : tensor, shape (rows, ...)
    targets : tensor of int64, shape (rows,), or of float32, shape (rows, T)
    epochs, batch_size : int
    learning_rate : float
        The cycle rises to twice this rate.
    weight_decay : float
    seed : int
        Draws the order of the rows, dropout and noise.
    input_noise : float
        Standard deviation of the normal noise that each input gets in each step.
    view : callable, optional
        Row numbers (B,) to the features of these rows, in place of the rows themselves.
    should_stop : callable
        Polled after each step.
    weights : tensor of float32, shape (rows,), optional
        Of the rows in the loss; their scale does not matter.
    amp : bool
        Forward passes in bfloat16.
    distillation : DistillationTargets, optional
        Features and a teacher's probabilities in place of the rows and their labels. The loss is then the cross-entropy with these
        probabilities, both at the temperature T of the distillation, times T^2, so that its gradients keep their size.
    row_loss : RowLoss
        What is minimised.

    Raises
    ------
    NumericalError
        The loss is not finite.
    KeyboardInterrupt
        `should_stop` returned True.
    """
    if is_fully_frozen(model):
        model.eval()
        return
    rows = len(targets)
    size = min(batch_size, rows)
    is_plain = view is None and distillation is None and not amp
    if is_plain and features.dim() == 2 and can_compile([model], row_loss, size):
        fit_several(
            [model], features[None], targets, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
            weight_decay=weight_decay, seeds=[seed], input_noise=input_noise, should_stop=should_stop, weights=weights,
            row_loss=row_loss,
        )  # fmt: skip
        return
    steps = rows // size
    optimizer = adam(model, learning_rate, weight_decay)
    draw = generator(seed, Stream.FIT_ORDER)
    model.train()
    use_training_mode(model)
    loss = torch.zeros(())
    scaled = None if weights is None else weights / weights.mean()
    done = 0
    with threads_of_steps([model], features[0].numel(), size), step_noise(seed, 0):
        for _ in range(epochs):
            order = torch.from_numpy(draw.permutation(rows)).to(features.device)
            for first in range(0, steps * size, size):
                part = order[first : first + size]
                if distillation is not None:
                    seen, labels = distillation(part)
                else:
                    seen, labels = features[part] if view is None else view(part), targets[part]
                with autocast(features, amp):
                    logits = model(add_noise(seen, input_noise))
                shares = None if scaled is None else scaled[part]
                if distillation is None:
                    loss = mean_loss(logits, labels, shares, row_loss)
                else:
                    temperature = distillation.temperature
                    loss = temperature**2 * mean_loss(logits / temperature, labels, shares)
                optimizer.learning_rate, optimizer.beta = one_cycle(done, epochs * steps, 2 * learning_rate)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                done += 1
                if should_stop():
                    raise KeyboardInterrupt
    model.eval()
    if not bool(torch.isfinite(loss)):
        raise NumericalError(f"The classifier's loss became {loss.item()} while it was trained. Lower --learning-rate.")
