"""Sums over rows of squared per-row gradients, in closed form where the layers allow it, else by vmap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from mcprune.methods.importance.evidence import Evidence, Tensors

# Bytes of per-row gradients in memory at once.
PIECE = 64 << 20
# Bytes of a convolution's patches in memory at once.
PATCHES = 8 << 20
LAYERS = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
# Logits (B, C) and targets (B,) -> vectors (B, C) whose products with the Jacobian are squared and summed.
Pullbacks: TypeAlias = Callable[[torch.Tensor, torch.Tensor], Iterator[torch.Tensor]]


def squared_sums(evidence: Evidence, pullbacks: Pullbacks) -> Tensors:
    """Sum over rows and vectors the squares of J_row^T vector, where J_row is the Jacobian of one row's logits.

    The gradient of a row's loss is J^T (dL/dlogits). The Gauss-Newton diagonal is the sum over the columns of a square root of the
    loss's Hessian. For Linear, Conv2d and batch-norm (in evaluation mode) the gradient of a row follows from the layer's input and
    the gradient at its output: one forward pass, one backward pass for each vector, and the products. Other layers use vmap over
    rows, which is exact too and slower.
    """
    if _is_closed(evidence):
        return _closed(evidence, pullbacks)
    evidence.notes.append("per-row gradients by vmap: a layer is not a Linear, Conv2d or batch-norm, or is used twice")
    return _by_vmap(evidence, pullbacks)


def label_slopes(evidence: Evidence) -> Pullbacks:
    """Return the gradients of each row's loss at the logits; their squares give the empirical Fisher information."""

    def pull(logits: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
        outputs = logits.detach().requires_grad_()
        yield torch.autograd.grad(evidence.losses(outputs, targets).sum(), outputs)[0]

    return pull


def loss_roots(evidence: Evidence) -> Pullbacks:
    """Return the columns of a square root of the Hessian of each row's loss at the outputs: of classes those of the softmax.

    The loss of a row of numbers is a mean over the outputs, so its Hessian is a diagonal of second derivatives.
    """

    def pull(outputs: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
        leaf = outputs.detach().requires_grad_()
        slopes = torch.autograd.grad(evidence.losses(leaf, targets).sum(), leaf, create_graph=True)[0]
        if not slopes.requires_grad:  # a loss of straight pieces
            yield torch.zeros_like(outputs)
            return
        curvature = torch.autograd.grad(slopes.sum(), leaf)[0].clamp_min(0.0).sqrt()
        for place in range(outputs.shape[1]):
            column = torch.zeros_like(outputs)
            column[:, place] = curvature[:, place]
            yield column

    def choose(outputs: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
        return pull(outputs, targets) if targets.is_floating_point() else softmax_roots(outputs, targets)

    return choose


def softmax_roots(logits: torch.Tensor, _targets: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the columns sqrt(p_c) (e_c - p) of a square root of diag(p) - p p^T, the Hessian of cross-entropy at the logits."""
    shares = torch.softmax(logits.detach(), dim=1)
    for label in range(shares.shape[1]):
        column = -shares
        column[:, label] += 1.0
        yield column * shares[:, label : label + 1].sqrt()


def _modules(evidence: Evidence) -> dict[nn.Module, str]:
    """Return the layers whose parameters belong to sites, with their names."""
    names = {name.rpartition(".")[0] for name in evidence.leaves}
    return {evidence.model.get_submodule(name): name for name in names}


def _is_closed(evidence: Evidence) -> bool:
    model, modules = evidence.model, _modules(evidence)
    # A tensor shared by two modules has a gradient from both.
    total = sum(len(list(module.named_parameters(recurse=False))) for module in model.modules())
    plain = all(
        type(module) in LAYERS and not (isinstance(module, nn.Conv2d) and module.padding_mode != "zeros")
        and not (isinstance(module, nn.Conv2d) and isinstance(module.padding, str))
        for module in modules
    )  # fmt: skip
    normed = all(
        module.running_mean is not None for module in modules if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    )
    if not plain or not normed or total != len(list(model.parameters())):
        return False
    calls: list[nn.Module] = []
    handles = [module.register_forward_hook(lambda layer, _inputs, _output: calls.append(layer)) for module in modules]
    try:
        with torch.no_grad():
            evidence.logits(evidence.batches[0][0][:1])
    finally:
        for handle in handles:
            handle.remove()
    return len(calls) == len(set(calls)) == len(modules)


@contextmanager
def _recorded(modules: dict[nn.Module, str]) -> Iterator[dict[str, tuple[torch.Tensor, GradientEdge]]]:
    """Record each layer's input and the edge of its output while the model runs."""
    records: dict[str, tuple[torch.Tensor, GradientEdge]] = {}

    def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        # The edge, not the tensor: an activation may be computed in place.
        records[modules[layer]] = (inputs[0].detach(), get_gradient_edge(output))

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


def _closed(evidence: Evidence, pullbacks: Pullbacks) -> Tensors:
    modules = _modules(evidence)
    layers = {name: module for module, name in modules.items()}
    total: Tensors = {name: torch.zeros_like(leaf, requires_grad=False) for name, leaf in evidence.leaves.items()}
    for features, targets in evidence.batches:
        with _recorded(modules) as records:
            logits = evidence.logits(features)
        vectors = list(pullbacks(logits, targets))
        for number, vector in enumerate(vectors):
            edges = [edge for _, edge in records.values()]
            gradients = torch.autograd.grad(
                logits, edges, vector, retain_graph=number + 1 < len(vectors), allow_unused=True
            )
            for (name, (inputs, _)), slope in zip(records.items(), gradients, strict=True):
                if slope is not None:
                    _add(total, name, layers[name], inputs, slope, evidence.rows_at_once)
    return total


@torch.no_grad()
def _add(
    total: Tensors, name: str, layer: nn.Module, inputs: torch.Tensor, slope: torch.Tensor, at_once: int | None
) -> None:
    """Add the rows' squared gradients of one layer's parameters."""
    weight, bias = total.get(f"{name}.weight"), total.get(f"{name}.bias")
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        shape = (1, -1, *(1,) * (inputs.dim() - 2))
        scale = torch.rsqrt(layer.running_var + layer.eps).view(shape)
        if weight is not None:
            weight += _rest(slope * (inputs - layer.running_mean.view(shape)) * scale).square().sum(0)
        if bias is not None:
            bias += _rest(slope).square().sum(0)
        return
    if isinstance(layer, nn.Linear) and inputs.dim() == 2:
        if weight is not None:
            weight += slope.square().T @ inputs.square()
        if bias is not None:
            bias += slope.square().sum(0)
        return
    if bias is not None:
        over = tuple(range(2, slope.dim())) if isinstance(layer, nn.Conv2d) else tuple(range(1, slope.dim() - 1))
        bias += slope.sum(over).square().sum(0)
    if weight is None:
        return
    if isinstance(layer, nn.Conv2d):
        _add_conv(weight, layer, inputs, slope, at_once)
    else:
        left, right = slope.flatten(1, -2), inputs.flatten(1, -2)
        _add_products(weight[None], left.transpose(1, 2)[:, None], right[:, None])


def _rest(values: torch.Tensor) -> torch.Tensor:
    """Sum (B, C, ...) over all but the first two axes."""
    return values.flatten(2).sum(2) if values.dim() > 2 else values


def _add_conv(
    total: torch.Tensor, layer: nn.Conv2d, inputs: torch.Tensor, slope: torch.Tensor, at_once: int | None
) -> None:
    """Add the squares for a convolution's weight: each row's output gradients times the patches of its input, by group."""
    groups, places = layer.groups, slope[0, 0].numel()
    width = total[0].numel() * groups
    piece = at_once or max(1, PATCHES // (width * places * total.element_size()))
    for first in range(0, len(slope), piece):
        rows = slice(first, first + piece)
        patches = functional.unfold(inputs[rows], layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
        left = slope[rows].reshape(-1, groups, total.shape[0] // groups, places)
        right = patches.reshape(-1, groups, width // groups, places).transpose(2, 3)
        _add_products(total.view(groups, -1, width // groups), left, right)


def _add_products(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add the squared products (G, O, K) of (B, G, O, P) and (B, G, P, K), summed over B.

    Row by row in one buffer: writing the products of all rows to memory and reading them again takes ten times as long.
    """
    buffer = torch.empty_like(total)
    for one, other in zip(left, right, strict=True):
        torch.bmm(one, other, out=buffer)
        total.addcmul_(buffer, buffer)


def _by_vmap(evidence: Evidence, pullbacks: Pullbacks) -> Tensors:
    leaves = {name: leaf.detach() for name, leaf in evidence.leaves.items()}
    total: Tensors = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    size = sum(leaf.numel() * leaf.element_size() for leaf in leaves.values())
    piece = evidence.rows_at_once or max(1, PIECE // max(size, 1))

    def along(parameters: Tensors, row: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        out = functional_call(evidence.model, parameters, (row[None],))[0] / evidence.temperature
        total: torch.Tensor = (out * vector).sum()
        return total

    each = vmap(grad(along), in_dims=(None, 0, 0))
    for features, targets in evidence.batches:
        for first in range(0, len(targets), piece):
            rows = slice(first, first + piece)
            with torch.no_grad():
                logits = evidence.logits(features[rows])
            for vector in pullbacks(logits, targets[rows]):
                with torch.no_grad():
                    squares = each(leaves, features[rows], vector)
                for name, value in squares.items():
                    total[name] += value.square_().sum(0)
    return total
