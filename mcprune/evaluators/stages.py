"""A classifier as a sequence of stages, so that a candidate can start at the first stage that it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from mcprune.errors import ModelError
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.sites.gates import GatedModel, gate_hooks, gated_signal
from mcprune.sites.site_map import SiteGroup

CONTAINERS: tuple[type[nn.Module], ...] = (nn.Sequential, MLP)


class Stages:
    """The modules of an nn.Sequential, nested ones flattened, with the gates between them.

    Parameters
    ----------
    gated : GatedModel

    Attributes
    ----------
    modules : list of nn.Module
        In the order in which they run; a place is an index of this list.
    groups : dict of int to SiteGroup
        The sites that gate the output of the module at a place.
    inner : dict of int to tuple of SiteGroup
        The sites that gate outputs within the module at a place, such as a residual block.
    weights : dict of int to SiteGroup
        The sites that are the weights of the module at a place.

    Raises
    ------
    ModelError
        The model is not a chain of modules; the message says why.
    """

    def __init__(self, gated: GatedModel) -> None:
        if gated.sites.blocks:
            raise ModelError("heads, neurons or blocks are sites, which act inside of a model that is not a chain")
        self.gated = gated
        self.modules = list(_flatten(gated.model))
        names = {id(module): name for name, module in gated.model.named_modules()}
        sites = gated.sites.units + gated.sites.channels
        by_module = {name: group for group in sites for name in group.places}
        self.groups = {
            place: by_module[names[id(module)]]
            for place, module in enumerate(self.modules)
            if names.get(id(module)) in by_module
        }
        self._names: dict[int, frozenset[str]] = {}
        self.inner: dict[int, tuple[SiteGroup, ...]] = {}
        for place, module in enumerate(self.modules):
            within = {names[id(each)] for each in module.modules() if each is not module and id(each) in names}
            gated_inside = tuple(group for group in gated.sites.channels if within & set(group.gated))
            if gated_inside and len(self.modules) == 1:
                raise ModelError(
                    f"{type(gated.model).__name__} is not a chain of modules, so no stage comes before its channels"
                )
            if gated_inside:
                self.inner[place], self._names[place] = gated_inside, frozenset(within)
        gating = [*self.groups.values(), *(group for groups in self.inner.values() for group in groups)]
        if len({group.layer for group in gating}) < len(sites):
            raise ModelError("a layer whose units are sites is inside a module that is not a chain")
        weights = {group.layer: group for group in gated.sites.weights}
        self.weights = {
            place: weights[names[id(module)]]
            for place, module in enumerate(self.modules)
            if names.get(id(module)) in weights
        }
        if len({group.layer for group in self.weights.values()}) < len(weights):
            raise ModelError("a layer whose weights are sites is inside a module that is not a chain")

    def starts(self) -> dict[int, int]:
        """Return the place at which candidates that change a group start (see `enter`), by the group's first site; -1 for inputs.

        Weights change the output of their own module, so for them it is the place before it.
        """
        out: dict[int, int] = {}
        for place in sorted({*self.groups, *self.inner}):
            for group in (*self.inner.get(place, ()), *([self.groups[place]] if place in self.groups else ())):
                out.setdefault(group.start, place)
        for place, group in self.weights.items():
            out.setdefault(group.start, place - 1)
        if self.gated.sites.inputs is not None:
            out[self.gated.sites.inputs.start] = -1
        return out

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

    def enter(self, kept: torch.Tensor, gates: torch.Tensor, place: int) -> tuple[torch.Tensor, int]:
        """Return the input of the next module to run, and its place, from the tensor that `run` passed to `keep` at a place.

        That tensor is the input of the module there if it has gates inside, else its output before the gates.
        """
        return (kept.clone(), place) if place in self.inner else (self.gate(kept, gates, place), place + 1)

    def _module(self, x: torch.Tensor, gates: torch.Tensor, place: int) -> torch.Tensor:
        """Return the output of the module at a place, with the gates inside it."""
        hooks: list[RemovableHandle] = []
        try:
            for group in self.inner.get(place, ()):
                hooks += gate_hooks(self.gated.model, group, gates, set(), self._names[place].__contains__)
            out = self._call(place, x, gates)
        finally:
            for hook in hooks:
                hook.remove()
        return out

    def _call(self, place: int, x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """Return the output of the module at a place, with gated weights where they are sites."""
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
        """Return the logits, from the input x of the module at `first`; `keep` gets the tensors that `enter` starts from."""
        for place in range(first, len(self.modules)):
            if keep is not None and place in self.inner:
                keep(place, x.clone())  # a block may modify its input in place
            x = self._module(x, gates, place)
            if keep is not None and place not in self.inner:
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
