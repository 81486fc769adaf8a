"""What the measures are made of: parameters, gradient and Hessian products of a classifier, each computed once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
import torch
import torch.autograd.forward_ad as forward
import torch.nn.functional as functional
from torch import nn
from torch.func import functional_call

from mcprune.errors import ConfigError, ModelError
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective
from mcprune.random import Stream, generator
from mcprune.sites.channel_calls import NORMS
from mcprune.sites.owners import Owners
from mcprune.types import BoolArray, FloatArray, IntArray

# Logits (B, C) and targets (B,) -> one loss a row (B,), which must have a gradient.
RowLosses: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Tensors: TypeAlias = dict[str, torch.Tensor]


def row_losses(objective: Objective, measure: str) -> RowLosses:
    """Return the objective's loss of single rows as torch differentiates it.

    Raises
    ------
    ConfigError
        The objective has no gradient, naming the measure that needs one.
    """
    if objective.name == "cross-entropy":
        return lambda logits, targets: functional.cross_entropy(logits, targets, reduction="none")
    raise ConfigError(
        f"the measure {measure!r} needs a gradient, and the objective {objective.name!r} has none; choose magnitude, "
        "magnitude-l1, bn-scale or random, or score by cross-entropy"
    )


def balanced_rows(targets: IntArray, count: int, batch: int, seed: int, turn: int = 0) -> list[IntArray]:
    """Draw batches of rows in which all classes come equally often, as far as the data allow.

    Parameters
    ----------
    targets : ndarray of int64, shape (rows,)
    count : int
        Rows in all; fewer if there are not so many.
    batch : int
        Rows of a batch.
    seed, turn : int
        The draw is a function of both.

    Returns
    -------
    list of ndarray of int64
        Indices, no row twice. Classes take turns, so every batch has within one row as many of one class as of another,
        until a class has no more rows.
    """
    draw = generator(seed, Stream.SCORE_ROWS, turn)
    piles = [draw.permutation(np.flatnonzero(targets == label)) for label in np.unique(targets)]
    deepest = max(len(pile) for pile in piles)
    # Turn by turn, each turn in another order: the first rows of an incomplete turn belong to no class in particular.
    turns = [np.array([pile[depth] for pile in piles if depth < len(pile)]) for depth in range(min(deepest, count))]
    order = np.concatenate([draw.permutation(labels) for labels in turns])[:count]
    return [order[first : first + batch] for first in range(0, len(order), batch)]


@contextmanager
def plain_norms(model: nn.Module) -> Iterator[None]:
    """Inside, batch-norms in evaluation mode are x scale + shift: torch's own takes many passes for its second derivative."""
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
    # Without parameters of its own a batch-norm has scale 1 and shift 0.
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale if norm.bias is None else norm.bias - norm.running_mean * scale
    shape = (1, -1, *(1,) * (x.dim() - 2))
    return torch.addcmul(shift.view(shape), x, scale.view(shape))


def _laid_out(leaves: Mapping[str, torch.Tensor]) -> Tensors:
    """Return the leaves with channels last in maps: convolutions take them so as they are, and all that follows stays so."""
    return {
        name: leaf.contiguous(memory_format=torch.channels_last) if leaf.dim() == 4 else leaf
        for name, leaf in leaves.items()
    }


class Evidence:
    """A classifier and rows, and what measures ask of them.

    Parameters
    ----------
    model : nn.Module
        Left as it is; all is computed in evaluation mode: batch-norm by its running statistics, no dropout.
    owners : Owners
    batches : sequence of (features (B, ...), targets (B,))
    mask : ndarray of bool, shape (N,), optional
        What is kept now, by default all. The parameters of dropped sites are 0, and so are their scores.
    losses : callable
        One loss a row, with a gradient.
    temperature : float > 0
        Logits are divided by it.
    seed : int
        Of the measure `random`.
    tracked : ndarray of float64, shape (N,), optional
        Running mean of |sum theta g| over training steps.
    rows_at_once : int, optional
        Rows of one piece of the per-sample measures; by default as many as memory is bounded for.
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
        # What is dropped counts as 0: also the weights between a kept unit and a dropped input.
        self.theta: Tensors = {name: leaf.detach() for name, leaf in self.leaves.items()}
        self.rows = sum(len(targets) for _, targets in batches)
        self.notes: list[str] = []
        self._has_forward = True
        self._check_reader()

    def logits(self, features: torch.Tensor, leaves: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Outputs (B, C) under the masked parameters, divided by the temperature."""
        out: torch.Tensor = functional_call(self.model, dict(leaves or self.leaves), (features,))
        return out if self.temperature == 1.0 else out / self.temperature

    def mean_losses(self) -> Iterator[torch.Tensor]:
        """Yield each batch's part of the mean loss over all rows, with its graph."""
        for features, targets in self.batches:
            yield self.losses(self.logits(features, _laid_out(self.leaves)), targets).sum() / self.rows

    def batch_gradients(self) -> Iterator[tuple[int, Tensors]]:
        """Yield the rows of each batch and its part of the mean gradient."""
        for loss, (_, targets) in zip(self.mean_losses(), self.batches, strict=True):
            yield len(targets), self._gradient(loss)

    @cached_property
    def gradient(self) -> Tensors:
        """g, the gradient of the mean loss."""
        total: Tensors = {}
        for _, part in self.batch_gradients():
            total = {name: total[name] + value if total else value for name, value in part.items()}
        return total

    @cached_property
    def hessian_gradient(self) -> Tensors:
        """H g by one Hessian-vector product over all rows."""
        return self.hessian_times(self.gradient)

    def hessian_times(self, vector: Mapping[str, torch.Tensor], batches: int | None = None) -> Tensors:
        """Return H v, H the Hessian of the mean loss over the rows of the first `batches` batches (None: all)."""
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

        The slope of the loss along v by forward mode, and back through that: a layer takes 8 products of its own size, where the
        gradient of a gradient takes 9. Some operators have no forward mode, or none that can be gone back through.
        """
        if self._has_forward:
            try:
                return self._slopes_of(self._slope_ahead(vector, features, targets))
            except RuntimeError:
                self._has_forward = False
        loss = self.losses(self.logits(features, _laid_out(self.leaves)), targets).sum()
        slopes = self._gradient(loss, create_graph=True)
        along = [(slopes[name] * vector[name]).sum() for name in slopes]
        return self._slopes_of(torch.stack(along).sum())

    def _slope_ahead(
        self, vector: Mapping[str, torch.Tensor], features: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return v . g by forward mode up to the logits, with its graph."""
        with forward.dual_level():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of what the first dual tensor loads
                dual: Callable[..., torch.Tensor] = forward.make_dual
                pairs = {name: dual(leaf, vector[name]) for name, leaf in self.leaves.items()}
            apart: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = forward.unpack_dual
            logits, tangent = apart(self.logits(features, _laid_out(pairs)))
        if tangent is None:
            return torch.zeros_like(logits).detach().sum()
        # The loss itself the other way: it is small, and log-softmax has no forward mode that can be gone back through.
        (slope,) = torch.autograd.grad(self.losses(logits, targets).sum(), logits, create_graph=True)
        along: torch.Tensor = (slope * tangent).sum()
        return along

    def _slopes_of(self, along: torch.Tensor) -> Tensors:
        """Return the gradient of v . g; nothing where the loss is linear, for H is 0."""
        return self._gradient(along) if along.requires_grad else {}

    def _gradient(self, value: torch.Tensor, create_graph: bool = False) -> Tensors:
        found = torch.autograd.grad(value, list(self.leaves.values()), create_graph=create_graph, allow_unused=True)
        pairs = zip(self.leaves.items(), found, strict=True)
        return {name: torch.zeros_like(leaf) if part is None else part for (name, leaf), part in pairs}

    @torch.no_grad()
    def _check_reader(self) -> None:
        """Inputs must be read by the layer that owns their columns and nowhere else."""
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
                f"{type(self.model).__name__} reads its inputs elsewhere than in {name.rpartition('.')[0]!r} too, so no column "
                "stands for an input. Prune its units or weights by importance, or its inputs by --method markov or gradient."
            )
