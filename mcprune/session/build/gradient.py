"""Make the gradient path from its options."""

from __future__ import annotations

import torch

from mcprune.config.resolved import AlphaSettings, GradientOptions, TrainSettings
from mcprune.methods.gradient.alphas import Alpha, Constant, Decades, Stall, Strength, Timed, Windowed
from mcprune.methods.gradient.method import Gradient, GradientSettings
from mcprune.types import IntArray


def make_alpha(alpha: AlphaSettings) -> Alpha:
    """Return the schedule of alpha."""
    if alpha.kind in ("fixed", "ramp"):
        return Timed(alpha.value)
    rule: Strength = Constant()
    if alpha.kind == "mu-lambda":
        rule = Constant(alpha.strength)
    elif alpha.kind == "decade":
        rule = Decades(alpha.strength, alpha.strength_end, alpha.epochs)
    elif alpha.kind == "stall":
        rule = Stall(alpha.strength, alpha.strength_end, alpha.factor, alpha.tolerance, round(alpha.epochs))
    return Windowed(rule, window=alpha.window, products=not alpha.is_literal, cap=alpha.cap)


def make_gradient(
    options: GradientOptions,
    train: TrainSettings,
    *,
    sites: int,
    keep: int,
    seed: int,
    device: torch.device,
    layers: IntArray | None = None,
) -> Gradient:
    """Return the gradient path.

    Parameters
    ----------
    options : GradientOptions
    train : TrainSettings
    sites, keep : int
        N and n.
    seed : int
    device : torch.device
    layers : ndarray of int, shape (N,), optional
        See `Gradient`.
    """
    settings = GradientSettings(
        keep=keep,
        gate_kind=options.gates,
        sharpness=options.sharpness,
        modified=options.is_modified,
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        start_weight=options.start_weight,
        steps=train.blocks * train.steps,
        epoch_steps=train.epoch_steps,
        seed=seed,
        bound=options.weight_bound,
    )
    return Gradient(sites, settings, make_alpha(options.alpha), device, layers)
