"""A chain of layers with the gates between them, for low-rank updates that go on from a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.sites.gates import GatedModel, gated_signal

CONTAINERS: tuple[type[nn.Module], ...] = (nn.Sequential, MLP)


class Stages:
    """The modules of an nn.Sequential, nested ones flattened, with the gates of inputs and units between them.

    Parameters
    ----------
    gated : GatedModel

    Attributes
    ----------
    modules : list of nn.Module
        In the order in which they run; a place is an index of this list.
    groups : dict of int to SiteGroup
        The sites that gate the output of the module at a place.

    Raises
    ------
    ModelError
        The model is not a chain of modules, or has sites of another kind; the message says why.
    """

    def __init__(self, gated: GatedModel) -> None:
        self.gated = gated
        if gated.sites.channels:
            raise ModelError(
                "channels are sites, and dropping one changes whole maps, which is not a low-rank update of a Linear"
            )
        other = next((group.kind for group in gated.sites.groups if group.kind not in ("inputs", "units")), None)
        if other is not None:
            raise ModelError(f"{other} are sites, which are no inputs or units of a chain")
        self.modules = list(_flatten(gated.model))
        names = {id(module): name for name, module in gated.model.named_modules()}
        by_module = {name: group for group in gated.sites.units for name in group.places}
        self.groups = {
            place: by_module[names[id(module)]]
            for place, module in enumerate(self.modules)
            if names.get(id(module)) in by_module
        }
        if len({group.layer for group in self.groups.values()}) < len(gated.sites.units):
            raise ModelError("a layer whose units are sites is inside a module that is not a chain")

    def gate_inputs(self, x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """Return the gated rows that enter the first stage; the product is that of GatedModel."""
        group = self.gated.sites.inputs
        return x if group is None else self.gated._gate_inputs(x, gates, group)

    def gate(self, x: torch.Tensor, gates: torch.Tensor, place: int) -> torch.Tensor:
        """Apply the gates, (N,) or one row of them for each row of x, to the output of the module at a place."""
        if place not in self.groups:
            return x
        group = self.groups[place]
        return gated_signal(x, gates[..., group.start : group.stop], group.kind)

    def run(
        self,
        x: torch.Tensor,
        gates: torch.Tensor,
        first: int,
        keep: Callable[[int, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Return the logits, from the input x of the module at `first`; `keep` gets the output of each, before its gates."""
        for place in range(first, len(self.modules)):
            x = self.modules[place](x)
            if keep is not None:
                keep(place, x)
            x = self.gate(x, gates, place)
        return x


def _flatten(module: nn.Module) -> Iterator[nn.Module]:
    if not any(isinstance(module, kind) and type(module).forward is kind.forward for kind in CONTAINERS):
        yield module
        return
    if module._forward_hooks or module._forward_pre_hooks:
        raise ModelError(f"a {type(module).__name__} has hooks")
    if isinstance(module, MLP):
        yield nn.Flatten()  # as in its forward pass
        yield from _flatten(module.layers)
    elif isinstance(module, nn.Sequential):
        # By index: `children()` leaves out a module that appears twice.
        for place in range(len(module)):
            yield from _flatten(module[place])


@torch.no_grad()
def activations(model: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """Return the number of floats in a row's outputs of all layers without children, and of the widest of them.

    Parameters
    ----------
    model : nn.Module
    x : tensor, shape (B, ...)
        Only the first row is run.
    """
    sizes = [0]

    def count(_module: nn.Module, _inputs: object, out: object) -> None:
        if isinstance(out, torch.Tensor):
            sizes.append(out.numel())

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if not any(layer.children())]
    try:
        with evaluating(model):
            model(x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return sum(sizes), max(sizes)
