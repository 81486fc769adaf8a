"""Cut dropped channels out of a network: layers that produce them lose rows, layers that read them lose columns."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.forward import home
from mcprune.models.layers import Scatter
from mcprune.models.narrow.norms import narrow
from mcprune.sites.channels.calls import CONVOLUTIONS, NORMS, TRANSPOSED
from mcprune.sites.channels.choice import why_missing
from mcprune.sites.channels.groups import ChannelGroup, channel_groups
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.surgery.agreement import require_agreement


def shrink_channels(
    model: nn.Module, sites: SiteMap, mask: torch.Tensor, *, input_shape: Sequence[int] | None = None
) -> nn.Module:
    """Return a copy without the dropped channels, units and inputs whose outputs, in evaluation, are the masked model's.

    Parameters
    ----------
    model : nn.Module
        Not changed; its groups of channels must be those of the sites.
    sites : SiteMap
        Channels, and possibly units of Linear layers and inputs.
    mask : Tensor of bool, shape (N,)
    input_shape : sequence of int, optional
        Shape of one row as the model takes it; by default that of a leading Unflatten.

    Returns
    -------
    nn.Module
        Of the same class, with narrower layers, and a `NarrowNorm` in place of a normalisation over all channels; inside a `Scatter`
        where inputs are dropped.

    Raises
    ------
    ConfigError
        If a layer keeps no channel.
    ModelError
        If the model's structure is unknown, or its outputs differ from the masked model's on random rows, in float64.
    """
    rows = tuple(input_shape) if input_shape is not None else _rows(model, sites)
    original = copy.deepcopy(model).cpu().double().eval()
    groups = {group.layer: group for group in channel_groups(original, rows)}
    small = copy.deepcopy(original)
    pairs: list[tuple[ChannelGroup, torch.Tensor]] = []
    for site in sites.groups:
        if site.kind == "inputs":
            continue
        group = groups.get(site.layer)
        kept = mask[site.start : site.stop].nonzero().flatten()
        _check(site, group, kept, model)
        if group is not None and kept.numel() < site.size:
            pairs.append((group, kept))
    cut(small, pairs)
    inputs = sites.inputs
    if inputs is not None:
        small = Scatter(small, mask[inputs.start : inputs.stop].nonzero().flatten().tolist(), rows)
    require_agreement(GatedModel(original, sites), small.eval(), mask, rows, torch.float64)
    dtype, device = home(model)
    return small.to(device=device, dtype=dtype).train(model.training)


def _rows(model: nn.Module, sites: SiteMap) -> tuple[int, ...]:
    if sites.inputs is not None:
        return (sites.inputs.size,)
    first = next(iter(model.children()), None)
    if isinstance(model, nn.Sequential) and isinstance(first, nn.Unflatten):
        size = 1
        for side in first.unflattened_size:
            size *= int(side)
        return (size,)
    linear = next((layer for layer in model.modules() if isinstance(layer, nn.Linear)), None)
    if linear is not None and not any(isinstance(layer, CONVOLUTIONS) for layer in model.modules()):
        return (linear.in_features,)  # where the first one does not read the rows, the model cannot be run on these
    raise ModelError(
        f"{type(model).__name__} does not say how long a row is. Pass input_shape=..., the shape of one row as the model "
        "takes it, such as (1, 28, 28)."
    )


def _check(site: SiteGroup, group: ChannelGroup | None, kept: torch.Tensor, model: nn.Module) -> None:
    """Refuse sites that are not those of the model, and a layer that keeps no channel."""
    name = type(model).__name__
    if group is None or group.blocked or group.size != site.size:
        why = why_missing(model, site.layer) if group is None else group.blocked or f"it has {group.size}"
        raise ModelError(
            f"the {site.kind} of layer {site.layer!r} cannot be cut out of {name}: {why}. "
            'Leave them out of the sites, or choose sites = "inputs".'
        )
    if group.gated != site.places or (site.kind == "channels" and group.parts != site.parts):
        if site.kind == "units":
            raise ModelError(
                f"the units of layer {site.layer!r} of {name} are gated there, but {group.gated[-1]!r} behind it does not keep "
                "their 0. Leave them out of the sites."
            )
        raise ModelError(
            f"the channels of layer {site.layer!r} of {name} belong to {', '.join(group.parts)} and are gated at "
            f"{', '.join(group.gated)}, but the sites say {', '.join(site.parts)} and {', '.join(site.places)}. "
            "Make the sites again with site_map(model, ...)."
        )
    if not kept.numel():
        raise ConfigError(
            f"the mask keeps none of the {site.size} {site.kind} of layer {site.layer!r}, and a network without them cannot "
            "be built. Keep at least one."
        )


def cut(model: nn.Module, groups: Sequence[tuple[ChannelGroup, torch.Tensor]]) -> None:
    """Keep only some channels of groups in a model, in place.

    Parameters
    ----------
    model : nn.Module
        Its layers have all their channels.
    groups : sequence of (ChannelGroup, Tensor of int64)
        With the kept channels, ascending. All at once, since a layer may read several groups side by side.
    """
    columns: dict[str, torch.Tensor] = {}  # that each layer keeps
    for group, kept in groups:
        dropped = torch.ones(group.size, dtype=torch.bool)
        dropped[kept] = False
        for reader in group.readers:
            layer = model.get_submodule(reader.layer)
            width = layer.get_parameter("weight").shape[0 if isinstance(layer, TRANSPOSED) else 1]
            mask = columns.setdefault(reader.layer, torch.ones(width, dtype=torch.bool))
            mask[reader.offset : reader.offset + group.size * reader.spread][
                dropped.repeat_interleave(reader.spread)
            ] = False
    for group, kept in groups:
        for name in group.parts:
            if name in group.norms:
                around, _, last = name.rpartition(".")
                setattr(model.get_submodule(around), last, narrow(model.get_submodule(name), kept))
            else:
                _cut_rows(model.get_submodule(name), kept)
    for name, mask in columns.items():
        _cut_columns(model.get_submodule(name), mask.nonzero().flatten())


def _keep(layer: nn.Module, name: str, kept: torch.Tensor, dim: int) -> None:
    """Keep some slices of a tensor of a layer, in place; a layer without it stays as it is."""
    tensor = getattr(layer, name, None)
    if isinstance(tensor, nn.Parameter):
        setattr(layer, name, nn.Parameter(tensor.detach().index_select(dim, kept), tensor.requires_grad))
    elif isinstance(tensor, torch.Tensor):
        setattr(layer, name, tensor.index_select(dim, kept))


def _cut_rows(layer: nn.Module, kept: torch.Tensor) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        dim = 1 if name == "weight" and isinstance(layer, TRANSPOSED) else 0
        _keep(layer, name, kept, dim)
    count = kept.numel()
    if isinstance(layer, NORMS):
        layer.num_features = count
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = count
    elif isinstance(layer, nn.Linear):
        layer.out_features = count
    else:
        assert isinstance(layer, CONVOLUTIONS)
        if layer.groups > 1:  # depthwise
            layer.groups = layer.in_channels = count
        layer.out_channels = count


def _cut_columns(layer: nn.Module, columns: torch.Tensor) -> None:
    _keep(layer, "weight", columns, 0 if isinstance(layer, TRANSPOSED) else 1)
    if isinstance(layer, nn.Linear):
        layer.in_features = columns.numel()
    else:
        assert isinstance(layer, CONVOLUTIONS)
        layer.in_channels = columns.numel()
