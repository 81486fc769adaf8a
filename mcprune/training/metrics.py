"""Accuracy or R2, errors, and the value of the objective of a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.errors import ObjectiveError
from mcprune.evaluators.choose import EvaluationProblem, make_canonical
from mcprune.objectives.base import Objective, Rows, losses_of
from mcprune.objectives.decisions import WorstGroup
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.types import AnyArray, BoolArray, Float32Array, FloatArray, IntArray

PART = 8192  # rows at a time
MOST_GROUPS = 1000


def coded_groups(objective: Objective, features: AnyArray) -> IntArray | None:
    """Return the group of each row (rows,) where the objective compares groups by an input; else None.

    Raises
    ------
    ObjectiveError
        The input has too many values.
    """
    if not isinstance(objective, WorstGroup) or objective.column is None:
        return None
    values, groups = np.unique(features[:, objective.column], return_inverse=True)
    if values.size > MOST_GROUPS:
        raise ObjectiveError(
            f"objective={objective.name!r}: {objective.shown!r} has {values.size:,} values, too many for groups; choose a "
            "column of few values, or put it in bins"
        )
    return np.asarray(groups, np.int64)


def try_objective(problem: EvaluationProblem) -> None:
    """Compute the objective of the untrained classifier with all sites kept, before anything is written.

    Raises
    ------
    ObjectiveError
        It cannot be computed.
    """
    canonical = make_canonical(problem)
    problem.start(canonical)
    canonical.at(np.full((1, problem.gated.sites.size), problem.start_weight))


@torch.no_grad()
def value_of(
    objective: Objective,
    model: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    mask: BoolArray,
    gates: torch.Tensor | None = None,
    groups: IntArray | None = None,
    weights: FloatArray | None = None,
    inputs: torch.Tensor | None = None,
) -> float | None:
    """Return the objective of a classifier on rows of its own; None where it is not defined there.

    Parameters
    ----------
    model : nn.Module
        With `gates` (N,) a GatedModel.
    features : tensor, shape (rows, ...)
        As the model takes them.
    mask : ndarray of bool, shape (N,)
    groups : ndarray of int64, shape (rows,), optional
    weights : ndarray of float64, shape (rows,), optional
        Sample weights.
    inputs : tensor, shape (rows, N), optional
        The rows as the whole classifier reads them, for an objective that reads them.
    """
    if not len(targets):
        return None
    model.eval()
    parts = [features[first : first + PART] for first in range(0, len(targets), PART)]
    logits = torch.cat([model(part) if gates is None else model(part, gates) for part in parts])[None]
    shares, members = (None if one is None else torch.from_numpy(one).to(targets.device) for one in (weights, groups))
    try:
        objective.begin(Rows(shares, members, inputs if objective.reads_inputs else None))
        losses = losses_of(objective, logits, targets, mask[None])
    except ObjectiveError:  # a class that is not among these rows
        return None
    return float(losses[0])


class Answers(NamedTuple):
    """What a model says of rows, compared with their targets.

    Attributes
    ----------
    scores : ndarray, shape (rows,)
        Whether each row is right, or its part of R2: the (weighted) mean is the metric.
    errors : ndarray of float64, shape (rows, T), or None
        Predictions of numbers minus the targets, in units of the scaled targets.
    """

    scores: FloatArray | BoolArray
    errors: FloatArray | None = None


@torch.no_grad()
def answers(
    model: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    gates: torch.Tensor | None = None,
    *,
    row_loss: RowLoss = CROSS_ENTROPY,
    weights: FloatArray | None = None,
) -> Answers:
    """Return how a model does on rows (rows, ...) with targets (rows,) or (rows, T); `gates` (N,) for a GatedModel.

    Sample weights (rows,) count where R2 is relative to the variance of the targets.
    """
    if row_loss.link == "softmax":
        return Answers(correct(model, features, targets, gates))
    outputs = torch.cat([torch.empty(0, targets.shape[1]).to(targets), *_logits(model, features, gates)])
    scores = row_loss.scores(outputs[None], targets, weights)[0]
    if row_loss.metric != "R2":
        return Answers(scores)
    scaled = torch.exp(outputs.double().clamp(max=80.0)) if row_loss.link == "log" else outputs.double()
    return Answers(scores, (scaled - targets.double()).cpu().numpy())


def accuracy(
    model: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    gates: torch.Tensor | None = None,
    *,
    weights: FloatArray | None = None,
    row_loss: RowLoss = CROSS_ENTROPY,
) -> float:
    """Return the share of rows (rows, ...) whose largest logit is that of their target (rows,), or R2 of targets (rows, T).

    `gates` (N,) are for a GatedModel. Sample weights (rows,) make it the share of the sum of weights.
    """
    right = answers(model, features, targets, gates, row_loss=row_loss, weights=weights).scores
    if weights is not None:
        return float(weights @ right / weights.sum())
    return float(right.sum()) / max(len(targets), 1)


def weighted_mean(values: FloatArray | BoolArray, share: FloatArray) -> tuple[float, float]:
    """Return the mean of values (rows,) under shares (rows,) of sum 1, and its standard error."""
    mean = float(share @ values)
    return mean, float(np.sqrt(share**2 @ (values - mean) ** 2))


@torch.no_grad()
def correct(
    model: nn.Module, features: torch.Tensor, targets: torch.Tensor, gates: torch.Tensor | None = None
) -> BoolArray:
    """Return for which rows (rows, ...) the largest logit is that of their target (rows,); `gates` (N,) for a GatedModel."""
    parts = [logits.argmax(dim=1) for logits in _logits(model, features, gates)]
    predicted = torch.cat(parts) if parts else targets
    out: BoolArray = (predicted == targets).cpu().numpy()
    return out


@torch.no_grad()
def probabilities(model: nn.Module, features: torch.Tensor) -> Float32Array:
    """Return the probabilities (rows, C) of the classes of rows (rows, ...), of which there is at least one."""
    parts = [torch.softmax(logits.float(), dim=1) for logits in _logits(model, features, None)]
    out: Float32Array = torch.cat(parts).cpu().numpy()
    return out


@torch.no_grad()
def outputs_of(model: nn.Module, features: torch.Tensor) -> Float32Array:
    """Return the outputs (rows, C) of rows (rows, ...), of which there is at least one."""
    out: Float32Array = torch.cat([logits.float() for logits in _logits(model, features, None)]).cpu().numpy()
    return out


def _logits(model: nn.Module, features: torch.Tensor, gates: torch.Tensor | None) -> Iterator[torch.Tensor]:
    """Yield the logits of some rows at a time."""
    model.eval()
    # Maps of images take more memory than flat rows.
    rows = 512 if any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in model.modules()) else PART
    for first in range(0, len(features), rows):
        part = features[first : first + rows]
        yield model(part) if gates is None else model(part, gates)
