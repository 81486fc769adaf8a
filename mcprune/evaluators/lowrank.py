"""The first Linear after a group of sites, where a sparse move is a low-rank change of a pre-activation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from mcprune.errors import ModelError
from mcprune.evaluators.stages import Stages
from mcprune.models.modes import evaluating
from mcprune.sites.gates import GatedModel

# Layers allowed between the sites and their Linear: each output column depends on the same input column alone.
POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.SiLU, nn.GELU, nn.Mish, nn.Hardtanh, nn.Tanh, nn.Sigmoid),
    *(nn.Softplus, nn.Dropout, nn.Identity),
)


class Level(NamedTuple):
    """A group of sites and the Linear that it feeds."""

    start: int  # flat index of the group's first site
    stop: int
    place: int  # index of the module whose output is gated; -1: the inputs
    between: tuple[nn.Module, ...]
    linear: nn.Linear
    at: int  # index of that Linear


def chain_levels(stages: Stages) -> list[Level]:
    """Return the levels of a chain of layers, the inputs first.

    Raises
    ------
    ModelError
        The first layer after a group of sites is not a Linear.
    """
    out = []
    for group in stages.gated.sites.groups:
        places = [p for p, other in stages.groups.items() if other == group] if group.kind == "units" else [-1]
        if len(places) > 1:
            raise ModelError(f"layer {group.layer!r} runs twice")
        allowed = (*POINTWISE, nn.BatchNorm1d) if group.kind == "units" else (nn.Flatten, nn.Dropout, nn.Identity)
        at = places[0] + 1
        between: list[nn.Module] = []
        while at < len(stages.modules) and type(stages.modules[at]) in allowed:
            between.append(stages.modules[at])
            at += 1
        linear = stages.modules[at] if at < len(stages.modules) else None
        check_linear(linear, group.size, group.layer or "the inputs")
        assert isinstance(linear, nn.Linear)
        out.append(Level(group.start, group.stop, places[0], tuple(between), linear, at))
    return out


def check_linear(module: nn.Module | None, width: int, after: str) -> None:
    """Refuse a layer that is not a plain float32 Linear of that width without hooks.

    Raises
    ------
    ModelError
        It is not; the message says why.
    """
    if type(module) is not nn.Linear:
        raise ModelError(f"the first layer after {after} is a {type(module).__name__}, not a Linear")
    if module.in_features != width or module.weight.dtype != torch.float32:
        raise ModelError(f"the Linear after {after} is {module} in {module.weight.dtype}")
    if module._forward_hooks or module._forward_pre_hooks:
        raise ModelError(f"the Linear after {after} has hooks")


def columns(modules: tuple[nn.Module, ...], x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Apply the layers before a level's Linear to some columns (..., m) of its gated outputs."""
    for module in modules:
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            scale = torch.rsqrt(module.running_var[index] + module.eps)
            if module.weight is not None:
                scale = scale * module.weight[index]
            x = (x - module.running_mean[index]) * scale
            if module.bias is not None:
                x = x + module.bias[index]
        elif isinstance(module, nn.ReLU | nn.ReLU6 | nn.LeakyReLU | nn.ELU | nn.SELU | nn.SiLU | nn.Mish | nn.Hardtanh):
            x = module(x.clone() if module.inplace else x)
        else:
            x = module(x)
    return x


@contextmanager
def answering(linear: nn.Linear, output: torch.Tensor) -> Iterator[None]:
    """Make the layer return `output` for any input inside the context, so that the model continues from there."""
    linear.forward = lambda _: output  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del linear.forward


@torch.no_grad()
def first_linear(gated: GatedModel, x: torch.Tensor) -> nn.Linear:
    """Return the only Linear that reads the inputs of a model of any kind.

    It is the layer whose input is the rows themselves. That no other layer reads them is tested: with its output fixed, rows of
    NaN must give the same outputs of the model.

    Raises
    ------
    ModelError
        There is none.
    """
    seen: list[nn.Linear] = []
    flat = x.flatten(1)

    def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        if isinstance(layer, nn.Linear) and inputs[0].shape == flat.shape and torch.equal(inputs[0], flat):
            seen.append(layer)

    handles = [m.register_forward_hook(hook) for m in gated.model.modules() if isinstance(m, nn.Linear)]
    try:
        with evaluating(gated.model):
            expected = gated.model(x)
    finally:
        for handle in handles:
            handle.remove()
    if len(seen) != 1:
        raise ModelError(f"{len(seen)} Linear layers read the inputs, not 1")
    check_linear(seen[0], flat.shape[1], "the inputs")
    pre = functional.linear(flat, seen[0].weight, seen[0].bias)
    with evaluating(gated.model), answering(seen[0], pre):
        outputs = gated.model(torch.full_like(x, torch.nan))
    if not torch.equal(outputs, expected):
        raise ModelError("the inputs are read by other layers than the first Linear")
    return seen[0]
