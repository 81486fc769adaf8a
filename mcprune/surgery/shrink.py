"""Cut what a mask drops out of a model, which becomes physically smaller."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.forward import home
from mcprune.models.layers import ELEMENTWISE, Scatter
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.models.parametrized import folded
from mcprune.models.registry import is_built_in
from mcprune.sites.gates import GatedModel, as_mask
from mcprune.sites.layer_chains import Chain, chain_of, row_shape
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.sites.weights import with_zeros
from mcprune.surgery.agreement import require_agreement
from mcprune.surgery.fold import fold, wire_of
from mcprune.surgery.narrow_rows import without_sensors
from mcprune.surgery.shrink_blocks import shrink_blocks
from mcprune.surgery.shrink_channels import shrink_channels
from mcprune.surgery.shrink_states import shrink_states
from mcprune.types import BoolArray


def shrink(
    model: nn.Module,
    sites: SiteMap,
    mask: BoolArray | torch.Tensor,
    *,
    input_shape: Sequence[int] | None = None,
) -> nn.Module:
    """Return a smaller model whose outputs, in evaluation, equal the hard-masked model's.

    Parameters
    ----------
    model : nn.Module
        Not changed. Units can be cut in an `MLP`, in an nn.Sequential (nested ones too) and in a module
        whose only child is such a Sequential and its whole forward pass, from Linear layers that are followed
        by elementwise activations, Dropout, BatchNorm1d with running statistics, Identity or Flatten up to
        the next Linear. Inputs can be dropped in any model; whole sensors are cut
        out of its first layer. Channels, and units of other models, can be cut where `shrink_channels` follows them.
    sites : SiteMap
    mask : bool, shape (N,)
        True keeps.
    input_shape : sequence of int, optional
        Shape of one row as the model takes it; by default flat. Needed for convolutions.

    Returns
    -------
    nn.Module
        On the model's device, in its dtype and training mode, with no tensor in common with it: an `MLP` for
        an `MLP`, else an nn.Sequential. If inputs are sites it takes (B, n): the kept inputs in ascending
        order of index. Where the first layer cannot be cut it is a `Scatter`, with as many parameters as
        before. If a layer keeps no unit, nothing varies behind it and the result is a `Constant`.

    Raises
    ------
    ConfigError
        If the mask does not fit or keeps nothing.
    ModelError
        If units are to be cut in a model of unknown structure (the message names the layer), if the model cannot be
        run on rows of ``input_shape``, or if its outputs on random rows differ.

    Notes
    -----
    Built and compared with the masked original in float64, then cast: in float32 both differ by rounding
    only. In TRAINING mode a batch-norm whose dropped units were folded, and Dropout on folded constants, differ from the
    masked model.
    """
    chosen = as_mask(mask)
    if chosen.dtype != torch.bool or tuple(chosen.shape) != (sites.size,):
        raise ConfigError(
            f"a mask of shape {tuple(chosen.shape)} and type {chosen.dtype} for {sites.size} sites. "
            f"Give {sites.size} booleans, True for what is kept."
        )
    if not bool(chosen.any()):
        raise ConfigError(f"the mask keeps none of the {sites.size} sites. Keep at least one.")
    model = folded(model)
    masked = GatedModel(model, sites)
    if sites.blocks:
        return _shrink_with_rest(model, sites, chosen, input_shape, "blocks")
    if sites.states:
        return _shrink_with_rest(model, sites, chosen, input_shape, "states")
    if sites.channels:
        return shrink_channels(model, sites, chosen, input_shape=input_shape)
    shape = tuple(input_shape) if input_shape is not None else None
    if sites.weights:
        return _shrink_weights(masked, chosen, shape)
    n_inputs = sites.inputs.size if sites.inputs is not None else None
    is_normalised = any(len(group.places) > 1 for group in sites.units)
    chain = None if is_normalised else chain_of(model, shape, n_inputs)
    small = None if chain is None else _shrink_chain(model, chain, sites, chosen, shape)
    if small is not None:
        return small
    if sites.units:
        return shrink_channels(model, sites, chosen, input_shape=input_shape)
    rows = shape or (sites.size,)
    if len(rows) == 1 and (narrow := without_sensors(model, chosen)) is not None:
        return narrow
    dtype, device = home(model)
    scattered = Scatter(copy.deepcopy(model), chosen.nonzero().flatten().tolist(), rows).to(device)
    with evaluating(model), evaluating(scattered):
        require_agreement(masked, scattered, chosen, rows, dtype)
    scattered.training = model.training
    return scattered


def _shrink_with_rest(
    model: nn.Module, sites: SiteMap, mask: torch.Tensor, input_shape: Sequence[int] | None, what: str
) -> nn.Module:
    """Return the model without what is dropped of its sub-blocks or of its states, and of the other sites."""
    if input_shape is None and sites.inputs is None:
        raise ModelError(
            f"{type(model).__name__} does not say how long a row is. Pass input_shape=..., the shape of one row as the model "
            "takes it, such as (1, 28, 28)."
        )
    rows = tuple(input_shape) if input_shape is not None else (sites.inputs.size,) if sites.inputs else ()
    small = (shrink_blocks if what == "blocks" else shrink_states)(model, sites, mask, rows)
    groups: list[SiteGroup] = []
    parts: list[torch.Tensor] = []
    for group in sites.groups:
        if (group.block is None) if what == "blocks" else (group.kind != "states"):
            parts.append(mask[group.start : group.stop])
            groups.append(replace(group, start=groups[-1].stop if groups else 0))
    return shrink(small, SiteMap(tuple(groups)), torch.cat(parts), input_shape=rows) if groups else small


def _shrink_weights(masked: GatedModel, mask: torch.Tensor, shape: tuple[int, ...] | None) -> nn.Module:
    """Return the model with dropped weights at 0, other dropped sites cut, and units without any kept weight cut too.

    A unit without a kept weight before and behind it has no effect, and no kept weight is lost with it.
    """
    model, sites = masked.model, masked.sites
    masks = {group.layer: mask[group.start : group.stop].view(group.shape) for group in sites.weights}
    sparse = with_zeros(model, masks)
    n_inputs = sites.inputs.size if sites.inputs is not None else None
    chain = chain_of(sparse, shape, n_inputs)
    alive = {} if chain is None else {chain.prefix + name: kept for name, kept in _connected_units(chain).items()}
    groups: list[SiteGroup] = []
    parts: list[torch.Tensor] = []
    for group in sites.groups:
        if group.kind != "weights":
            part = mask[group.start : group.stop]
            if group.kind == "units" and group.layer in alive:
                part = part & alive.pop(group.layer)
            parts.append(part)
            groups.append(replace(group, start=groups[-1].stop if groups else 0))
    for name, kept in alive.items():
        if not bool(kept.all()):
            start = groups[-1].stop if groups else 0
            groups.append(SiteGroup("units", name, start, kept.numel(), (name,), (name,)))
            parts.append(kept)
    small = shrink(sparse, SiteMap(tuple(groups)), torch.cat(parts), input_shape=shape) if groups else sparse
    dtype, _ = home(model)
    rows = shape or ((n_inputs,) if n_inputs is not None else None if chain is None else row_shape(chain, None, None))
    if rows is None:
        raise ModelError(
            f"{type(model).__name__} does not say how long a row is. Pass input_shape=..., the shape of one row as the "
            "model takes it, such as (1, 28, 28)."
        )
    with evaluating(model), evaluating(small):
        require_agreement(masked, small, mask, rows, dtype)
    return small


def _connected_units(chain: Chain) -> dict[str, torch.Tensor]:
    """Return, for each hidden Linear before another one, which of its units (width,) have a weight other than 0."""
    out: dict[str, torch.Tensor] = {}
    before: tuple[str, nn.Linear] | None = None
    for name, layer in chain.stages:
        if type(layer) is nn.Linear:
            if before is not None and before[1].out_features == layer.in_features:
                weight = before[1].weight.detach()
                out[before[0]] = ((weight != 0).any(dim=1) | (layer.weight.detach() != 0).any(dim=0)).cpu()
            before = name, layer
        elif type(layer) not in ELEMENTWISE:
            before = None
    # A layer without any such unit stays whole, so that the chain keeps its shape.
    return {name: kept for name, kept in out.items() if bool(kept.any())}


def _shrink_chain(
    model: nn.Module, chain: Chain, sites: SiteMap, mask: torch.Tensor, shape: tuple[int, ...] | None
) -> nn.Module | None:
    """Return the smaller chain; None if only inputs are dropped and the first layers cannot be cut."""
    inputs = sites.inputs
    groups = tuple(replace(group, layer=group.layer.removeprefix(chain.prefix), gated=()) for group in sites.groups)
    masks = {group.layer: mask[group.start : group.stop] for group in groups if group.kind == "units"}
    unknown = masks.keys() - {name for name, _ in chain.stages}
    if unknown:
        raise ModelError(
            f"units of layer {chain.prefix + min(unknown)!r} are sites, but it is inside a layer of "
            f"your own in {type(model).__name__}, so what reads them is unknown. Leave it out of the sites."
        )
    stages = [(name, copy.deepcopy(layer).cpu().double().eval()) for name, layer in chain.stages]
    rows = row_shape(chain, shape, None if inputs is None else inputs.size)
    kept = None if inputs is None else mask[inputs.start : inputs.stop]
    result = fold(stages, None if kept is None else wire_of(kept), masks)
    is_scattered = bool(result.blocked) and kept is not None
    if is_scattered:
        if not masks:
            return None
        result = fold(stages, None, masks)
    if result.blocked:
        names = ", ".join(repr(group.layer) for group in sites.units)
        raise ModelError(
            f"the dropped units of {names} cannot be cut out of {type(model).__name__}: {result.blocked}. "
            "Leave those units out of the sites, or prune inputs only."
        )
    small = _assemble(model, chain, result.layers, takes_model_rows=kept is None)
    if is_scattered and kept is not None:
        small = Scatter(small, kept.nonzero().flatten().tolist(), rows)
    original = copy.deepcopy(chain.root).cpu().double().eval()
    require_agreement(GatedModel(original, SiteMap(groups)), small.eval(), mask, rows, torch.float64)
    dtype, device = home(model)
    return small.to(device=device, dtype=dtype).train(model.training)


def _assemble(model: nn.Module, chain: Chain, layers: list[nn.Module], *, takes_model_rows: bool) -> nn.Module:
    """Return the layers as an MLP if the model is one and enough of it is left, else as a Sequential."""
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    # Constants folded into layers without biases give some of them one: then it is not an MLP.
    is_alike = isinstance(model, MLP) and all((layer.bias is not None) == model.bias for layer in linear)
    if isinstance(model, MLP) and is_built_in(model) and linear and is_alike:
        widths = (*(layer.in_features for layer in linear), model.widths[-1])
        mlp = MLP(widths, model.activation, model.dropout, bias=model.bias, device="meta")
        mlp.layers = nn.Sequential(*layers)
        return mlp
    # The module around the Sequential may have flattened its rows.
    is_flattened = takes_model_rows and chain.root is not model and chain.width is not None
    return nn.Sequential(*([nn.Flatten()] if is_flattened else []), *layers)
