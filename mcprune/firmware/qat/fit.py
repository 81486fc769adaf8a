"""Train a rounded perceptron while a growing weight on its bit operations makes it smaller, and keep what is best on the way."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.errors import ConfigError, NumericalError
from mcprune.firmware.qat.network import Bits, RoundedMLP
from mcprune.random import Stream, generator
from mcprune.types import Float32Array, FloatArray, IntArray


class Training(NamedTuple):
    """Settings of quantisation-aware training.

    Attributes
    ----------
    hidden : tuple of int
        Hidden units of each layer.
    epochs, batch_size : int
    learning_rate : float
        Of Adam.
    penalty : (float, float)
        Cross-entropy per bit operation, at the first and the last epoch; between them it grows geometrically.
    bits : Bits
    overflow : "wrap" or "saturate"
    every : int
        Epochs between two snapshots.
    seed : int
    """

    hidden: tuple[int, ...] = (32, 16)
    epochs: int = 600
    batch_size: int = 512
    learning_rate: float = 3e-3
    penalty: tuple[float, float] = (1e-6, 1e-3)
    bits: Bits = Bits()
    overflow: str = "wrap"
    every: int = 5
    seed: int = 0


class Snapshot(NamedTuple):
    """A network of the way that no other one beats in both figures.

    Attributes
    ----------
    loss : float
        Cross-entropy of the validation rows.
    bit_operations : float
    epoch : int
    model : RoundedMLP
        Calibrated on the training rows, in evaluation mode.
    """

    loss: float
    bit_operations: float
    epoch: int
    model: RoundedMLP


def train_rounded(
    train: tuple[Float32Array, IntArray],
    validation: tuple[Float32Array, IntArray],
    settings: Training,
    *,
    classes: int | None = None,
) -> list[Snapshot]:
    """Train a fixed-point perceptron for all sizes in one run.

    Parameters
    ----------
    train, validation : (features, targets)
        Scaled features (rows, N), and classes (rows,) that are whole numbers from 0.
    settings : Training
    classes : int, optional
        Outputs; by default as many as the largest class of the training rows says.

    Returns
    -------
    list of Snapshot
        By falling bit operations and rising loss: the Pareto front of the snapshots.

    Raises
    ------
    ConfigError
        Settings out of their ranges.
    NumericalError
        The loss is not finite.
    """
    check_training(settings)
    front: list[Snapshot] = []
    outputs = int(train[1].max()) + 1 if classes is None else classes
    for snapshot in _snapshots(train, validation, settings, outputs):
        front = on_front([*front, snapshot])
    return front


def check_training(settings: Training) -> None:
    """Raise a ConfigError for settings that cannot be."""
    first, last = settings.penalty
    if not (0 < first <= last and math.isfinite(last)):
        raise ConfigError(
            f"penalty={settings.penalty} does not grow from a number above 0 to a finite one. Choose such as (1e-6, 1e-3)."
        )
    if settings.overflow not in ("wrap", "saturate"):
        raise ConfigError(f"overflow={settings.overflow!r} is not known. Choose wrap or saturate.")
    for name in ("epochs", "batch_size", "every"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name}={getattr(settings, name)} is too small. Choose 1 or more.")
    if not (math.isfinite(settings.learning_rate) and settings.learning_rate > 0):
        raise ConfigError(f"learning_rate={settings.learning_rate} is no finite number above 0. Choose such as 0.003.")


def default_batch(rows: int) -> int:
    """Return the rows of a step: so many that an epoch has about 32 steps, between 32 and 512."""
    return min(max(rows // 32, 32), 512)


def on_front(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Return those that no other one beats or equals in both figures, by falling bit operations."""
    best: list[Snapshot] = []
    for one in sorted(snapshots, key=lambda one: (one.bit_operations, one.loss)):
        if not best or one.loss < best[-1].loss:
            best.append(one)
    return best[::-1]


def _snapshots(
    train: tuple[Float32Array, IntArray],
    validation: tuple[Float32Array, IntArray],
    settings: Training,
    classes: int,
) -> Iterator[Snapshot]:
    features, targets = torch.from_numpy(train[0]), torch.from_numpy(train[1])
    checked = torch.from_numpy(validation[0]), torch.from_numpy(validation[1])
    model = make_rounded(features, classes, settings)
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        fused=True,
    )
    penalties = penalty_schedule(settings)
    draw = generator(settings.seed, Stream.FIT_ORDER)
    size = min(settings.batch_size, len(targets))
    for epoch, penalty in enumerate(penalties, start=1):
        model.train()
        order = torch.from_numpy(draw.permutation(len(targets)))
        for first in range(0, len(targets) - size + 1, size):
            rows = order[first : first + size]
            logits, operations = model.outputs_and_operations(features[rows])
            loss = nn.functional.cross_entropy(logits, targets[rows]) + float(penalty) * operations
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            model.clip_bits()
            _check_finite(model, loss, epoch)
        if epoch % settings.every == 0 or epoch == settings.epochs:
            yield _snapshot(model, features, checked, epoch)


def make_rounded(features: torch.Tensor, classes: int, settings: Training) -> RoundedMLP:
    """Return an untrained network for scaled rows (B, N)."""
    return RoundedMLP(
        (features.shape[1], *settings.hidden, classes),
        settings.bits,
        features.abs().max(dim=0).values,
        (features < 0).any(dim=0),
        overflow=settings.overflow,
        seed=settings.seed,
    )


def penalty_schedule(settings: Training) -> FloatArray:
    """Return the penalty of each epoch."""
    return np.geomspace(*settings.penalty, settings.epochs)


@torch.no_grad()
def _check_finite(model: RoundedMLP, loss: torch.Tensor, epoch: int) -> None:
    """Refuse numbers that the next step cannot round."""
    total = loss + model.numbers.sum() + model.number_bits.sum() + model.signal_bits.sum()
    if not math.isfinite(total.item()):
        raise NumericalError(
            f"The training diverged in epoch {epoch}: the loss or a number of the network is not finite any more. Choose a lower "
            "learning rate."
        )


@torch.no_grad()
def _snapshot(
    model: RoundedMLP, features: torch.Tensor, checked: tuple[torch.Tensor, torch.Tensor], epoch: int
) -> Snapshot:
    stored = copy.deepcopy(model).eval()
    stored.calibrate(features)
    loss = float(nn.functional.cross_entropy(stored(checked[0]), checked[1]))
    return Snapshot(loss, float(stored.bit_operations()), epoch, stored)
