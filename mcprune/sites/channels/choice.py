"""Which groups of channels are sites, and why a layer has none."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mcprune.errors import ModelError
from mcprune.models.mlp import MLP
from mcprune.models.narrow.norms import OVER_CHANNELS
from mcprune.sites.channels.calls import CONVOLUTIONS
from mcprune.sites.channels.follow import OUTPUT, ChannelGroup
from mcprune.sites.channels.groups import channel_groups


def why_missing(model: nn.Module, layer: str) -> str:
    """Why no group of `channel_groups` holds a layer."""
    modules = dict(model.named_modules())
    if layer not in modules:
        return "there is no such layer"
    names = layer.split(".")
    for depth in range(1, len(names)):
        around = modules[".".join(names[:depth])]
        is_container = isinstance(around, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if not is_container and (type(around) is MLP or type(around).__module__.startswith("torch.nn")):
            name = ".".join(names[:depth])
            return f"it lies inside of layer {name!r} ({type(around).__name__}), which is not looked into"
    return "the forward pass does not call it as a layer"


def choose_groups(model: nn.Module, named: tuple[str, ...], rows: Sequence[int]) -> list[ChannelGroup]:
    """Return the groups of channels that are to be sites: all but those of the outputs, or those that hold the named layers.

    Raises
    ------
    ModelError
        If there are none, a layer is no convolution, or a group that is wanted is blocked; the message names the layer.
    """
    has_any = any(isinstance(module, CONVOLUTIONS) for module in model.modules())
    groups = [group for group in channel_groups(model, rows) if group.kind == "channels"] if has_any else []
    free = [group.layer for group in groups if not group.blocked]
    remedy = (
        f'Choose among {", ".join(free)}, as in sites = "channels:{free[0]}".' if free else 'Choose sites = "inputs".'
    )
    chosen = [group for group in groups if group.blocked != OUTPUT]
    if named:
        places = {part: group for group in groups for part in group.parts}
        for name in named:
            if name not in places:
                modules = dict(model.named_modules())
                reason = f"is a {type(modules[name]).__name__}" if name in modules else "does not exist"
                raise ModelError(f"layer {name!r} {reason} in {type(model).__name__}, so it has no channels. {remedy}")
        layers = {places[name].layer for name in named}
        chosen = [group for group in groups if group.layer in layers]
    if not chosen:
        raise ModelError(
            f"{type(model).__name__} has no convolution whose channels another layer reads, so there are none to drop. "
            'Choose sites = "inputs" or "units".'
        )
    for group in chosen:
        if group.blocked:
            raise ModelError(f"the channels of layer {group.layer!r} cannot be sites: {group.blocked}. {remedy}")
    return chosen


def units_behind_norms(model: nn.Module, rows: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Return where the units of each Linear are gated whose outputs are normalised together; empty where none are, or it is not known."""
    if not any(isinstance(module, OVER_CHANNELS) for module in model.modules()):
        return {}
    try:
        groups = channel_groups(model, rows)
    except ModelError:
        return {}
    return {group.layer: group.gated for group in groups if group.kind == "units" and group.norms and not group.blocked}
