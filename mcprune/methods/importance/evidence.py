"""Inputs of the measures: parameters, gradient and Hessian products of a classifier, each computed once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
import torch
import torch.autograd.forward_ad as forward
from torch import nn
from torch.func import functional_call

from mcprune.errors import ConfigError, ModelError
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective
from mcprune.objectives.losses import loss_of
from mcprune.random import Stream, generator
from mcprune.sites.channels.calls import NORMS
from mcprune.sites.owners import Owners
from mcprune.types import BoolArray, FloatArray, IntArray

# Logits (B, C) and targets (B,) -> loss of each row (B,), which must have a gradient.
RowLosses: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Tensors: TypeAlias = dict[str, torch.Tensor]


def row_losses(objective: Objective, measure: str) -> RowLosses:
    """Return the objective's loss of each row, differentiable by torch.

    Raises
    ------
    ConfigError
        The objective has no gradient, which the measure needs.
    """
    if (loss := loss_of(objective)) is not None:
        return loss.rows
    raise ConfigError(
        f"the measure {measure!r} needs a gradient, and the objective {objective.name!r} has none. Choose magnitude, "
        "magnitude-l1, bn-scale or random, or score by a loss such as cross-entropy."
    )


def balanced_rows(
    targets: IntArray, count: int, batch: int, seed: int, turn: int = 0, weights: FloatArray | None = None
) -> list[IntArray]:
    """Draw batches of rows with equal class frequencies, as far as the data allow.

    Parameters
    ----------
    targets : ndarray of int64, shape (rows,)
    count : int
        Number of rows; fewer are drawn if the data have fewer.
    batch : int
        Rows in a batch.
    seed, turn : int
        Key of the random draw.
    weights : ndarray of float64, shape (rows,), optional
        Rows of a class are drawn in proportion to their weights, and may repeat.

    Returns
    -------
    list of ndarray of int64
        Indices, without repetition unless there are weights. Classes alternate, so their numbers in a batch differ by at most one until
        the rows of a class are used up.
    """
    draw = generator(seed, Stream.SCORE_ROWS, turn)
    piles = [_pile(draw, np.flatnonzero(targets == label), weights) for label in np.unique(targets)]
    deepest = max(len(pile) for pile in piles)
    # Each turn is in random order, so that an incomplete turn favours no class.
    turns = [np.array([pile[depth] for pile in piles if depth < len(pile)]) for depth in range(min(deepest, count))]
    order = np.concatenate([draw.permutation(labels) for labels in turns])[:count]
    return [order[first : first + batch] for first in range(0, len(order), batch)]


def _pile(draw: np.random.Generator, members: IntArray, weights: FloatArray | None) -> IntArray:
    """Return the rows of a class in random order."""
    if weights is None:
        return draw.permutation(members)
    return draw.choice(members, members.size, p=weights[members] / weights[members].sum())


@contextmanager
def plain_norms(model: nn.Module) -> Iterator[None]:
    """Compute batch-norms in evaluation mode as x scale + shift inside the context: their second derivative is much faster."""
    norms = [
        module
        for module in model.modules()
        if type(module) in NORMS and not module.training and getattr(module, "running_mean", None) is not None
    ]
    for module in norms:
        module.forward = partial(_plain_norm, module)
    try:
        yield
    finally:
        for module in norms:
            del module.forward


def _plain_norm(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    # A batch-norm without parameters has scale 1 and shift 0.
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale if norm.bias is None else norm.bias - norm.running_mean * scale
    shape = (1, -1, *(1,) * (x.dim() - 2))
    return torch.addcmul(shift.view(shape), x, scale.view(shape))


def _channels_last(leaves: Mapping[str, torch.Tensor]) -> Tensors:
    """Return the leaves, those of 4 dimensions in channels-last format: convolutions keep it, and it is faster."""
    return {
        name: leaf.contiguous(memory_format=torch.channels_last) if leaf.dim() == 4 else leaf
        for name, leaf in leaves.items()
    }


class Evidence:
    """A classifier and rows, with the quantities that measures need.

    Parameters
    ----------
    model : nn.Module
        Not modified. It is evaluated in evaluation mode: batch-norm with its running statistics, no dropout.
    owners : Owners
    batches : sequence of (features (B, ...), targets (B,))
    mask : ndarray of bool, shape (N,), optional
        Sites that are kept, by default all. The parameters of dropped sites are 0, and so are their scores.
    losses : callable
        Loss of each row, with a gradient.
    temperature : float > 0
        Divisor of the logits.
    seed : int
        Seed of the measure `random`.
    tracked : ndarray of float64, shape (N,), optional
        Running mean of |sum theta g| over training steps.
    rows_at_once : int, optional
        Rows that the per-row measures process at once; by default limited by memory.
    """

    def __init__(
        self,
        model: nn.Module,
        owners: Owners,
        batches: Sequence[tuple[torch.Tensor, torch.Tensor]],
        *,
        losses: RowLosses,
        mask: BoolArray | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        tracked: FloatArray | None = None,
        rows_at_once: int | None = None,
    ) -> None:
        self.model = model
        self.owners = owners
        self.batches = batches
        self.losses = losses
        self.temperature = temperature
        self.seed = seed
        self.tracked = tracked
        self.rows_at_once = rows_at_once
        self.leaves: Tensors = owners.masked(mask)
        # Weights between a kept unit and a dropped input count as 0 too.
        self.theta: Tensors = {name: leaf.detach() for name, leaf in self.leaves.items()}
        self.rows = sum(len(targets) for _, targets in batches)
        self.notes: list[str] = []
        self._has_forward = True
        self._check_reader()

    def logits(self, features: torch.Tensor, leaves: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Return the outputs (B, C) under the masked parameters, divided by the temperature."""
        out: torch.Tensor = functional_call(self.model, dict(leaves or self.leaves), (features,))
        return out if self.temperature == 1.0 else out / self.temperature

    def mean_losses(self) -> Iterator[torch.Tensor]:
        """Yield each batch's share of the mean loss over all rows, with its graph."""
        for features, targets in self.batches:
            yield self.losses(self.logits(features, _channels_last(self.leaves)), targets).sum() / self.rows

    def batch_gradients(self) -> Iterator[tuple[int, Tensors]]:
        """Yield the number of rows of each batch and its share of the mean gradient."""
        for loss, (_, targets) in zip(self.mean_losses(), self.batches, strict=True):
            yield len(targets), self._gradient(loss)

    @cached_property
    def gradient(self) -> Tensors:
        """The gradient g of the mean loss."""
        total: Tensors = {}
        for _, part in self.batch_gradients():
            total = {name: total[name] + value if total else value for name, value in part.items()}
        return total

    @cached_property
    def hessian_gradient(self) -> Tensors:
        """The product H g, by one Hessian-vector product over all rows."""
        return self.hessian_times(self.gradient)

    def hessian_times(self, vector: Mapping[str, torch.Tensor], batches: int | None = None) -> Tensors:
        """Return H v, where H is the Hessian of the mean loss over the first `batches` batches (None: all)."""
        chosen = self.batches[:batches]
        rows = sum(len(targets) for _, targets in chosen)
        total: Tensors = {name: torch.zeros_like(leaf) for name, leaf in self.leaves.items()}
        with plain_norms(self.model):
            for features, targets in chosen:
                for name, value in self._product(vector, features, targets).items():
                    total[name] += value / rows
        return total

    def _product(self, vector: Mapping[str, torch.Tensor], features: torch.Tensor, targets: torch.Tensor) -> Tensors:
        """Return H v of the summed loss of a batch.

        The derivative of the loss along v in forward mode, differentiated backward: 8 products of a layer's size instead of the 9 of
        the gradient of a gradient. Some operators have no forward mode, or none that can be differentiated.
        """
        if self._has_forward:
            try:
                return self._gradient_along(self._directional_derivative(vector, features, targets))
            except RuntimeError:
                self._has_forward = False
        loss = self.losses(self.logits(features, _channels_last(self.leaves)), targets).sum()
        slopes = self._gradient(loss, create_graph=True)
        along = [(slopes[name] * vector[name]).sum() for name in slopes]
        return self._gradient_along(torch.stack(along).sum())

    def _directional_derivative(
        self, vector: Mapping[str, torch.Tensor], features: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return v . g, in forward mode up to the logits, with its graph."""
        with forward.dual_level():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # raised inside torch at the first dual tensor
                dual: Callable[..., torch.Tensor] = forward.make_dual
                pairs = {name: dual(leaf, vector[name]) for name, leaf in self.leaves.items()}
            apart: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = forward.unpack_dual
            logits, tangent = apart(self.logits(features, _channels_last(pairs)))
        if tangent is None:
            return torch.zeros_like(logits).detach().sum()
        # Backward mode for the loss itself: log-softmax has no forward mode that can be differentiated.
        (slope,) = torch.autograd.grad(self.losses(logits, targets).sum(), logits, create_graph=True)
        along: torch.Tensor = (slope * tangent).sum()
        return along

    def _gradient_along(self, along: torch.Tensor) -> Tensors:
        """Return the gradient of v . g; empty where the loss is linear, since H is 0 there."""
        return self._gradient(along) if along.requires_grad else {}

    def _gradient(self, value: torch.Tensor, create_graph: bool = False) -> Tensors:
        parts = torch.autograd.grad(value, list(self.leaves.values()), create_graph=create_graph, allow_unused=True)
        pairs = zip(self.leaves.items(), parts, strict=True)
        return {name: torch.zeros_like(leaf) if part is None else part for (name, leaf), part in pairs}

    @torch.no_grad()
    def _check_reader(self) -> None:
        """Check that only the layer that owns the columns of the inputs reads them."""
        group = self.owners.sites.inputs
        if group is None:
            return
        name = next(part.parameter for part in self.owners.parts if part.group is group)
        features = self.batches[0][0][:8]
        with evaluating(self.model):
            blind = self.logits(features, {**self.leaves, name: torch.zeros_like(self.leaves[name])})
            empty = self.logits(torch.zeros_like(features))
        if not torch.equal(blind, empty):
            raise ModelError(
                f"{type(self.model).__name__} reads its inputs in other layers than {name.rpartition('.')[0]!r} too, so no column of "
                "weights represents an input. Prune its units or weights by importance, or its inputs by --method markov or gradient."
            )
