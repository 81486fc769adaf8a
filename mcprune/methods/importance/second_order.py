"""Measures of second order: Hessian products, squared per-row gradients, the Hessian's diagonal. The lowest is dropped first."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mcprune.methods.importance.evidence import Evidence, Tensors
from mcprune.methods.importance.samples import label_slopes, loss_roots, squared_sums
from mcprune.models.mlp import MLP
from mcprune.types import FloatArray

# Most weights for which the Hessian's diagonal is computed by one Hessian-vector product each.
EXACT_UP_TO = 10_000
# Hessian-vector products that are computed at once.
DIRECTIONS = 64
# Layers that keep the logits piecewise linear in every single weight.
PIECEWISE_LINEAR = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh, nn.Identity,
    nn.Dropout, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    nn.Flatten, nn.Unflatten,
)  # fmt: skip


def grasp(evidence: Evidence) -> FloatArray:
    """Return the sum of theta (H g), signed: dropping the lowest raises the norm of the gradient."""
    products = evidence.hessian_gradient
    return evidence.owners.sums({name: theta * products[name] for name, theta in evidence.theta.items()})


def gradient_norm(evidence: Evidence) -> FloatArray:
    """Return |sum theta (H g)|: to first order, the change of the norm of the gradient when the site is dropped."""
    return np.abs(grasp(evidence))


def fisher(evidence: Evidence) -> FloatArray:
    """Return the sum of theta^2 F, where F is the mean over rows of the squared gradient of the row's loss."""
    return _weighted(evidence, squared_sums(evidence, label_slopes(evidence)), 1.0 / evidence.rows)


def fisher_batch(evidence: Evidence) -> FloatArray:
    """Return the sum of theta^2 F', where F' is the mean over batches of the squared gradient of the batch's mean loss."""
    total: Tensors = {}
    for rows, part in evidence.batch_gradients():
        # A batch's share of the mean gradient, times all rows / rows of the batch, is the gradient of its own mean loss.
        squares = {name: (value * (evidence.rows / rows)) ** 2 for name, value in part.items()}
        total = {name: total[name] + value if total else value for name, value in squares.items()}
    return _weighted(evidence, total, 1.0 / len(evidence.batches))


def obd(evidence: Evidence) -> FloatArray:
    """Return the sum of h_kk theta_k^2 / 2, where h_kk is the diagonal of the Hessian."""
    return _weighted(evidence, hessian_diagonal(evidence), 0.5)


def obd_row_sum(evidence: Evidence) -> FloatArray:
    """Return the row sums of the Hessian on the first batch, signed and without theta^2: H times a vector of ones."""
    ones = {name: torch.ones_like(leaf) for name, leaf in evidence.leaves.items()}
    return evidence.owners.sums(evidence.hessian_times(ones, batches=1))


def hessian_diagonal(evidence: Evidence) -> Tensors:
    """Return the diagonal of the mean loss's Hessian.

    If the model is piecewise linear in each of its weights (ReLU, pooling, batch-norm in evaluation mode; no tensor used twice), it is
    the Gauss-Newton diagonal, which takes one backward pass for each class. Otherwise it takes one Hessian-vector product for each
    weight, up to `EXACT_UP_TO` weights. Beyond that the Gauss-Newton diagonal is used as an approximation, and a note says so.
    """
    count = sum(leaf.numel() for leaf in evidence.leaves.values())
    if not is_piecewise_linear(evidence.model):
        if count <= EXACT_UP_TO:
            return exact_diagonal(evidence)
        evidence.notes.append(
            f"obd: the Gauss-Newton diagonal is used instead of the Hessian's ({count:,} weights, and {type(evidence.model).__name__} is "
            "not known to be piecewise linear in each)"
        )
    return gauss_newton_diagonal(evidence)


def gauss_newton_diagonal(evidence: Evidence) -> Tensors:
    """Return the diagonal of the mean of J^T H J, of classes H = diag(p) - p p^T: the Hessian without the curvature of the outputs."""
    scale = 1.0 / evidence.rows
    return {name: value * scale for name, value in squared_sums(evidence, loss_roots(evidence)).items()}


def exact_diagonal(evidence: Evidence) -> Tensors:
    """Return the diagonal of the Hessian of the mean loss, by one Hessian-vector product per weight, `DIRECTIONS` at a time."""
    leaves = list(evidence.leaves.values())
    sizes = [leaf.numel() for leaf in leaves]
    diagonal = torch.zeros(sum(sizes), dtype=leaves[0].dtype, device=leaves[0].device)
    for loss in evidence.mean_losses():
        gradients = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
        flat = torch.cat([
            (torch.zeros_like(leaf) if gradient is None else gradient).reshape(-1) for gradient, leaf in zip(gradients, leaves, strict=True)
        ])  # fmt: skip
        if not flat.requires_grad:
            continue
        for first in range(0, len(flat), DIRECTIONS):
            chosen = torch.arange(first, min(first + DIRECTIONS, len(flat)), device=flat.device)
            basis = torch.zeros(len(chosen), len(flat), dtype=flat.dtype, device=flat.device)
            basis[torch.arange(len(chosen)), chosen] = 1.0
            rows = torch.autograd.grad(
                flat, leaves, basis, retain_graph=True, is_grads_batched=True, allow_unused=True, materialize_grads=True
            )
            wide = torch.cat([row.reshape(len(chosen), -1) for row in rows], dim=1)
            diagonal[chosen] += wide[torch.arange(len(chosen)), chosen]
    parts = torch.split(diagonal, sizes)
    return {name: part.view_as(leaf) for (name, leaf), part in zip(evidence.leaves.items(), parts, strict=True)}


def is_piecewise_linear(model: nn.Module) -> bool:
    """Whether the logits are known to be piecewise linear in every single weight."""
    own = [module for module in model.modules() if type(module) not in (nn.Sequential, MLP)]
    tensors = sum(len(list(module.named_parameters(recurse=False))) for module in own)
    return all(type(module) in PIECEWISE_LINEAR for module in own) and tensors == len(list(model.parameters()))


def _weighted(evidence: Evidence, diagonal: Tensors, factor: float) -> FloatArray:
    return factor * evidence.owners.sums({name: theta**2 * diagonal[name] for name, theta in evidence.theta.items()})
