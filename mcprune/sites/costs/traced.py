"""Costs of masks over channels, units and single weights, from the layers that the forward pass uses.

A convolution between two groups of channels costs kernel x places for each pair of a kept channel here and one there; a depthwise
one for each channel of its group; a Linear behind a Flatten the places of a map for each channel. A single weight is a parameter,
and a multiply-accumulate wherever its output is computed. What no site changes is a constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.flops import multiply_accumulates
from mcprune.models.forward import run_model, zero_rows
from mcprune.models.modes import evaluating
from mcprune.models.narrow.norms import OVER_CHANNELS, channels_of
from mcprune.sites.channels.calls import CONVOLUTIONS, NORMS, TRANSPOSED
from mcprune.sites.channels.choice import why_missing
from mcprune.sites.channels.groups import ChannelGroup, channel_groups
from mcprune.sites.costs.terms import Costs, Layer, costs_of
from mcprune.sites.site_map import SiteMap

PRODUCTS = (nn.Linear, *CONVOLUTIONS)


def traced_costs(model: nn.Module, sites: SiteMap, unit: str, rows: Sequence[int]) -> Costs:
    """Return the costs of a network whose sites are channels, and units and inputs beside them, or single weights.

    Parameters
    ----------
    model : nn.Module
    sites : SiteMap
    unit : "parameters" or "macs"
    rows : sequence of int
        Shape of one row as the model takes it.

    Returns
    -------
    Costs
        Of channels exactly what the network has that is cut physically. Of weights what is not 0, with all biases and all that
        is no site: a network that loses units besides has less. Inputs of a network with channels save nothing.

    Raises
    ------
    ModelError
        Weights beside other sites, whose cost is no function of kept counts; or sites that are not the model's.
    """
    if not sites.weights:
        return _of_channels(model, sites, unit, rows)
    other = next((group.kind for group in sites.groups if group.kind != "weights"), None)
    if other is not None:
        raise ModelError(
            f"what {type(model).__name__} costs with weights beside {other} as sites depends on which are kept, not on how many; "
            "give the budget in sites, or take one kind of site"
        )
    return _of_weights(model, sites, unit, rows)


def positions(model: nn.Module, rows: Sequence[int]) -> dict[str, int]:
    """Return how often each linear or convolution layer uses its weights for one row: the places of its map.

    Raises
    ------
    ModelError
        The model cannot be run on such rows.
    """
    counts: dict[str, int] = {}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, PRODUCTS):

            def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor, name: str = name) -> None:
                # A transposed convolution uses its weights once for each place that it reads.
                signal = inputs[0] if isinstance(module, TRANSPOSED) else out
                counts[name] = counts.get(name, 0) + signal[0].numel() // len(_weight(module))

            hooks.append(layer.register_forward_hook(note))
    try:
        with torch.no_grad(), evaluating(model):
            run_model(lambda: model(zero_rows(model, 2, rows)), model, tuple(rows))
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def _width(layer: nn.Module) -> int:
    return channels_of(layer) if isinstance(layer, OVER_CHANNELS) else _weight(layer).numel()


def _weight(layer: nn.Module) -> torch.Tensor:
    return layer.get_parameter("weight")


def _of_weights(model: nn.Module, sites: SiteMap, unit: str, rows: Sequence[int]) -> Costs:
    places = positions(model, rows) if unit == "macs" else {}
    uncalled = next((group.layer for group in sites.groups if unit == "macs" and group.layer not in places), None)
    if uncalled is not None:
        raise ModelError(
            f"The multiply-accumulates of layer {uncalled!r} are not known: {type(model).__name__} reads its weight without calling it. "
            "Leave it out of the sites, or give the budget in parameters or sites."
        )
    layers = [Layer(None, place, 1, 1, places.get(group.layer, 1)) for place, group in enumerate(sites.groups)]
    return costs_of([*layers, _rest(model, layers, sites, unit, rows)], sites, unit)


def _of_channels(model: nn.Module, sites: SiteMap, unit: str, rows: Sequence[int]) -> Costs:
    by_layer = {group.layer: group for group in channel_groups(model, rows)}
    # Which groups of sites a layer reads, with the columns of each channel and of all, and which it makes or hands on.
    reads: dict[str, list[tuple[int, int, int]]] = {}
    writes: dict[str, int] = {}
    for place, site in enumerate(sites.groups):
        if site.kind == "inputs":
            continue
        group: ChannelGroup | None = by_layer.get(site.layer)
        if group is None or group.blocked or group.size != site.size:
            why = why_missing(model, site.layer) if group is None else group.blocked or f"it has {group.size}"
            raise ModelError(
                f"what {type(model).__name__} costs without some {site.kind} of layer {site.layer!r} is not known: {why}. Plan the "
                "sites again with site_map(model, ...), or give the budget in sites."
            )
        writes |= dict.fromkeys(group.parts, place)
        for reader in group.readers:
            reads.setdefault(reader.layer, []).append((place, reader.spread, reader.spread * group.size))
    places = positions(model, rows) if unit == "macs" else {}
    layers = [
        part
        for name in sorted({*reads, *writes})
        for part in _layers(model.get_submodule(name), reads.get(name, []), writes.get(name), places.get(name, 1))
    ]
    return costs_of([*layers, _rest(model, layers, sites, unit, rows)], sites, unit)


def _layers(layer: nn.Module, reads: list[tuple[int, int, int]], writes: int | None, places: int) -> list[Layer]:
    """One layer between groups: numbers for each pair of channels, or of each channel where it makes none from others.

    A layer that reads several groups side by side is one for each of them, and one for the columns of no group.
    """
    if not isinstance(layer, PRODUCTS):
        width = layer.num_features if isinstance(layer, NORMS) else _width(layer)
        return [
            Layer(None, writes, 0, 1, 1, sum(tensor.numel() for tensor in layer.parameters(recurse=False)) // width)
        ]
    weight = _weight(layer)
    columns, rows = (0, 1) if isinstance(layer, TRANSPOSED) else (1, 0)
    kernel = weight[0, 0].numel()
    outputs = 1 if writes is not None else weight.shape[rows]
    out = [Layer(place, writes, spread * kernel, outputs, places) for place, spread, _ in reads]
    rest = weight.shape[columns] - sum(width for _, _, width in reads)
    if rest:
        out.append(Layer(None, writes, rest * kernel, outputs, places))
    return [out[0]._replace(others=int(layer.bias is not None)), *out[1:]]


def _rest(model: nn.Module, layers: list[Layer], sites: SiteMap, unit: str, rows: Sequence[int]) -> Layer:
    """Return what no site changes: the whole model's numbers without those of the layers."""
    whole = sum(parameter.numel() for parameter in model.parameters())
    if unit == "macs":
        whole = multiply_accumulates(model, rows)
    counted = costs_of(layers, sites, unit).whole
    assert counted <= whole, (counted, whole)
    return (
        Layer(None, None, 0, 1, 1, whole - counted) if unit == "parameters" else Layer(None, None, whole - counted, 1)
    )
