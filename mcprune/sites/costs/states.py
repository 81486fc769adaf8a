"""What recurrent layers cost without some of their hidden units."""

from __future__ import annotations

from torch import nn

from mcprune.errors import ModelError
from mcprune.models.narrow.recurrent import BLOCKS, directions_of
from mcprune.sites.costs.terms import Costs, Layer, costs_of
from mcprune.sites.site_map import SiteMap


def state_costs(model: nn.Module, sites: SiteMap, unit: str) -> Costs:
    """Return the parameters of a network whose sites are hidden units of recurrent layers, and inputs, which save nothing.

    Raises
    ------
    ModelError
        Other sites beside them, or multiply-accumulates.
    """
    name = type(model).__name__
    other = next((group.kind for group in sites.groups if group.kind not in ("states", "inputs")), None)
    if other is not None:
        raise ModelError(
            f"What {name} costs with {other} beside states as sites is not known. Give the budget in sites."
        )
    if unit != "parameters":
        raise ModelError(
            f"The multiply-accumulates of {name} without some states are not known. Give the budget in parameters or sites."
        )
    layers: list[Layer] = []
    for place, group in enumerate(sites.groups):
        if group.kind != "states":
            continue
        layer = model.get_submodule(group.layer)
        assert isinstance(layer, nn.RNNBase)
        blocks, both = BLOCKS[type(layer)], 1 + layer.bidirectional
        for each in directions_of(layer):
            read, signals = (None, layer.input_size) if each.reads_rows else (place, both)
            layers += [
                Layer(read, place, signals, blocks, others=len(each.biases)),
                Layer(place, place, 1, blocks),
            ]
    total = sum(parameter.numel() for parameter in model.parameters())
    return costs_of([*layers, Layer(None, None, 0, 1, 1, total - costs_of(layers, sites, unit).whole)], sites, unit)
