"""Losses of rows that backprop minimises, and the chain by default: of classes, of numbers, and of several labels.

Numbers are compared in units of the spread of the target, see `mcprune.data.roles.tasks.TargetScaler`; of several targets the mean counts.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from mcprune.objectives.base import RowWeighted
from mcprune.objectives.classification import CrossEntropy, row_mean
from mcprune.types import FloatArray


class RowLoss(Protocol):
    """A loss of each row that has a gradient.

    Attributes
    ----------
    name : str
        As `--objective` takes it.
    description : str
        For people.
    link : str
        From outputs to predictions: `softmax`, or one of `mcprune.data.roles.tasks.TargetScaler`.
    metric : str
        What is reported beside the loss, higher is better: `accuracy` or `R2`.
    """

    name: str
    description: str
    link: str
    metric: str

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss (rows,) of outputs (rows, C) against targets (rows,) or (rows, C)."""
        ...

    def stacked(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the losses (K, rows) of the outputs (K, rows, C) of K networks on the same rows."""
        ...

    def mean(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean of `rows`."""
        ...

    def total(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the sum of `rows`."""
        ...

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor, weights: FloatArray | None = None) -> FloatArray:
        """Return a score (K, rows) of each row, whose (weighted) mean is the metric."""
        ...


class _OfClasses:
    """Cross-entropy of the softmax of the outputs, in nats."""

    name = description = "cross-entropy"
    link, metric = "softmax", "accuracy"

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.rows`."""
        return functional.cross_entropy(outputs, targets, reduction="none")

    def stacked(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.stacked`."""
        return functional.cross_entropy(outputs.transpose(1, 2), targets.expand(len(outputs), -1), reduction="none")

    def mean(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.mean`."""
        return functional.cross_entropy(outputs, targets)

    def total(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.total`."""
        return functional.cross_entropy(outputs, targets, reduction="sum")

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor, weights: FloatArray | None = None) -> FloatArray:
        """Return 1 for each row whose largest output is its class, else 0; see `RowLoss.scores`."""
        return np.asarray((outputs.argmax(dim=2) == targets).cpu().numpy(), np.float64)


class _OfNumbers:
    """A loss of each output, of which a row has the mean."""

    name = description = ""
    link, metric = "identity", "R2"

    def elements(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each output, of the shape of the outputs."""
        raise NotImplementedError

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.rows`."""
        return self.elements(outputs, targets).mean(dim=-1)

    def stacked(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.stacked`."""
        return self.elements(outputs, targets).mean(dim=-1)

    def mean(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.mean`."""
        return self.elements(outputs, targets).mean()

    def total(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `RowLoss.total`."""
        return self.elements(outputs, targets).sum() / outputs.shape[-1]

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor, weights: FloatArray | None = None) -> FloatArray:
        """Return 1 - (y - prediction)^2 / variance of y, the mean over the targets: its mean is R2; see `RowLoss.scores`."""
        wide, y = outputs.double().cpu().numpy(), targets.double().cpu().numpy()
        if self.link == "log":
            wide = np.exp(np.minimum(wide, 80.0))
        return r2_rows(wide, y, weights)


def r2_rows(predictions: FloatArray, y: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Return 1 - (y - prediction)^2 / variance of y of each row: the (weighted) mean over the rows is R2.

    Parameters
    ----------
    predictions : ndarray, shape (..., rows, T)
    y : ndarray, shape (rows, T)
    weights : ndarray, shape (rows,), optional

    Returns
    -------
    ndarray of float64, shape (..., rows)
        The mean over the targets; a target of one number in all rows counts in its own unit.
    """
    if not len(y):
        return np.zeros(predictions.shape[:-1])
    share = np.full(len(y), 1.0 / len(y)) if weights is None else weights / weights.sum()
    variance = share @ (y - share @ y) ** 2
    variance = np.where(variance > 0, variance, 1.0)
    return np.asarray((1.0 - (predictions - y) ** 2 / variance).mean(axis=-1))


class Squared(_OfNumbers):
    """Squared error."""

    name, description = "squared", "squared error"

    def elements(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `_OfNumbers.elements`."""
        return (outputs - targets).square()


class Absolute(_OfNumbers):
    """Absolute error, which is least at the median."""

    name, description = "absolute", "absolute error"

    def elements(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `_OfNumbers.elements`."""
        return (outputs - targets).abs()


class Huber(_OfNumbers):
    """Half the squared error up to a distance `delta`, and linear beyond it.

    Parameters
    ----------
    delta : float > 0
        In units of the standard deviation of the target.
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = delta
        self.name = "huber" if delta == 1.0 else f"huber:{delta:g}"
        self.description = f"Huber loss at {delta:g}"

    def elements(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `_OfNumbers.elements`."""
        away = (outputs - targets).abs()
        near = away.clamp(max=self.delta)
        return near * (away - 0.5 * near)


class Quantile(_OfNumbers):
    """The pinball loss, which is least at a quantile.

    Parameters
    ----------
    level : float, in (0, 1)
    """

    def __init__(self, level: float) -> None:
        self.level = level
        self.name, self.description = f"quantile:{level:g}", f"pinball loss at {level:g}"

    def elements(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `_OfNumbers.elements`."""
        above = targets - outputs
        return torch.maximum(self.level * above, (self.level - 1.0) * above)


class Poisson(_OfNumbers):
    """Half the Poisson deviance of counts over their mean; a network gives the logarithm of the rate."""

    name, description = "poisson", "Poisson deviance"
    link = "log"

    def elements(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `_OfNumbers.elements`."""
        return torch.exp(outputs) - targets * outputs + torch.xlogy(targets, targets) - targets


class BinaryCrossEntropy(_OfNumbers):
    """Cross-entropy of each of several labels, in nats."""

    name = description = "binary-cross-entropy"
    link, metric = "logit", "accuracy"

    def elements(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `_OfNumbers.elements`."""
        return functional.binary_cross_entropy_with_logits(outputs, targets.expand_as(outputs), reduction="none")

    def scores(self, outputs: torch.Tensor, targets: torch.Tensor, weights: FloatArray | None = None) -> FloatArray:
        """Return the share of the labels of each row that are right; see `RowLoss.scores`."""
        return np.asarray(((outputs > 0) == (targets > 0.5)).double().mean(dim=-1).cpu().numpy())


CROSS_ENTROPY: RowLoss = _OfClasses()
SQUARED: RowLoss = Squared()
BINARY: RowLoss = BinaryCrossEntropy()


class MeanLoss(RowWeighted):
    """The mean of a loss over the rows, as an objective.

    Parameters
    ----------
    loss : RowLoss
    """

    is_stepped = False
    lower_bound: float | None = 0.0

    def __init__(self, loss: RowLoss) -> None:
        self.loss, self.name, self.description = loss, loss.name, loss.description

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the mean loss of each candidate, shape (K,); see `Objective.losses`."""
        return row_mean(self.loss.stacked(logits, targets), self.weights)


def loss_of(objective: object) -> RowLoss | None:
    """Return the loss of rows of which an objective is the mean; None of another one."""
    if isinstance(objective, CrossEntropy):
        return CROSS_ENTROPY
    return objective.loss if isinstance(objective, MeanLoss) else None
