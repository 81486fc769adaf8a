"""A classifier as stages that run one after the other, so that a candidate may start behind what it leaves unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call

from mcprune.errors import ModelError
from mcprune.models.mlp import MLP
from mcprune.pruning.gates import GatedModel

CONTAINERS: tuple[type[nn.Module], ...] = (nn.Sequential, MLP)


class Stages:
    """The modules of an nn.Sequential, nested ones flattened, with the gates between them.

    Parameters
    ----------
    gated : GatedModel

    Attributes
    ----------
    modules : list of nn.Module
        By place, in the order in which they run.
    groups : dict of int to SiteGroup
        The sites that gate the output of the module at a place.
    weights : dict of int to SiteGroup
        The sites that are the weights of the module at a place.

    Raises
    ------
    ModelError
        The model is no chain of modules; the message says what was met.
    """

    def __init__(self, gated: GatedModel) -> None:
        self.gated = gated
        self.modules = list(_flatten(gated.model))
        names = {id(module): name for name, module in gated.model.named_modules()}
        units = {group.layer: group for group in gated.sites.units}
        self.groups = {
            place: units[names[id(module)]]
            for place, module in enumerate(self.modules)
            if names.get(id(module)) in units
        }
        if len({group.layer for group in self.groups.values()}) < len(units):
            raise ModelError("a layer whose units are sites lies within a module that is no chain")
        weights = {group.layer: group for group in gated.sites.weights}
        self.weights = {
            place: weights[names[id(module)]]
            for place, module in enumerate(self.modules)
            if names.get(id(module)) in weights
        }
        if len({group.layer for group in self.weights.values()}) < len(weights):
            raise ModelError("a layer whose weights are sites lies within a module that is no chain")

    def starts(self) -> dict[int, int]:
        """Return the first place that a group's sites gate, by the group's first site; inputs are at -1.

        What weights change comes out of their own module: for them it is the place in front of it.
        """
        out: dict[int, int] = {}
        for place, group in self.groups.items():
            out.setdefault(group.start, place)
        for place, group in self.weights.items():
            out.setdefault(group.start, place - 1)
        if self.gated.sites.inputs is not None:
            out[self.gated.sites.inputs.start] = -1
        return out

    def gate_inputs(self, x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """Return the rows as they enter the first stage, with the gates of the inputs, by GatedModel's own product."""
        group = self.gated.sites.inputs
        return x if group is None else self.gated._gate_inputs(x, gates, group)

    def gate(self, x: torch.Tensor, gates: torch.Tensor, place: int) -> torch.Tensor:
        """Return the output of the module at a place with its gates, (N,) or one row of them for each row of x."""
        if place not in self.groups:
            return x
        group = self.groups[place]
        chosen = gates[..., group.start : group.stop]
        if chosen.dim() == 2 and x.dim() > 2:
            chosen = chosen.view(chosen.shape[0], *(1,) * (x.dim() - 2), chosen.shape[1])
        return x * chosen

    def _call(self, place: int, x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """Return what the module at a place gives, its weights times their gates where they are sites."""
        module = self.modules[place]
        if place not in self.weights:
            out: torch.Tensor = module(x)
            return out
        group = self.weights[place]
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        gated = weight * gates[group.start : group.stop].view(group.shape)
        out = functional_call(module, {"weight": gated}, (x,))
        return out

    def run(
        self,
        x: torch.Tensor,
        gates: torch.Tensor,
        first: int,
        keep: Callable[[int, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Return the outputs, from x as it enters the module at `first`; `keep` sees what comes out before the gates."""
        for place in range(first, len(self.modules)):
            x = self._call(place, x, gates)
            if keep is not None:
                keep(place, x)
            x = self.gate(x, gates, place)
        return x


def _flatten(module: nn.Module) -> Iterator[nn.Module]:
    if not any(isinstance(module, kind) and type(module).forward is kind.forward for kind in CONTAINERS):
        yield module
        return
    if module._forward_hooks or module._forward_pre_hooks:
        raise ModelError(f"a {type(module).__name__} has hooks of its own")
    if isinstance(module, MLP):
        yield nn.Flatten()  # as its forward pass does
        yield from _flatten(module.layers)
    elif isinstance(module, nn.Sequential):
        # By place: `children()` leaves out a module that stands twice.
        for place in range(len(module)):
            yield from _flatten(module[place])


@contextmanager
def judging(model: nn.Module) -> Iterator[None]:
    """The model runs in evaluation mode inside: dropout is off, batch-norm uses its running statistics."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
