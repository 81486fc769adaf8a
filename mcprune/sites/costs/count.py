"""The costs of a model without some of its sites, computed from its layers.

For an MLP, MACs = sum over layers of kept_in kept_out, and parameters = MACs + sum over layers of kept_out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.flops import multiply_accumulates
from mcprune.models.forward import home
from mcprune.models.layers import ELEMENTWISE
from mcprune.models.modes import evaluating
from mcprune.models.parametrized import folded
from mcprune.sites.channels.calls import CONVOLUTIONS, TRANSPOSED
from mcprune.sites.costs.blocks import block_costs
from mcprune.sites.costs.states import state_costs
from mcprune.sites.costs.terms import UNITS, Costs, Layer, costs_of
from mcprune.sites.costs.traced import traced_costs
from mcprune.sites.layer_chains import chain_of, row_shape
from mcprune.sites.site_map import SiteMap

__all__ = ["CONVOLUTIONS", "UNITS", "Costs", "Layer", "costs_of", "model_costs"]


def model_costs(model: nn.Module, sites: SiteMap, unit: str, *, input_shape: Sequence[int] | None = None) -> Costs:
    """Return the costs of a chain of layers, such as an MLP, of channels, units and single weights, and of parts of a transformer.

    Parameters
    ----------
    model : nn.Module
    sites : SiteMap
    unit : "parameters" or "macs"
        Weights and biases; or products of linear and convolution layers for one row.
    input_shape : sequence of int, optional
        Shape of one row; by default flat.

    Raises
    ------
    ConfigError
        There is no such unit.
    ModelError
        What the model costs without some of the sites is not known.
    """
    if unit not in UNITS:
        raise ConfigError(f"The unit {unit!r} is none of {', '.join(UNITS)}. Choose one of them.")
    model = folded(model)
    shape = tuple(input_shape) if input_shape is not None else None
    if sites.blocks:
        return block_costs(model, sites, unit, shape or _flat(model, sites))
    if sites.states:
        return state_costs(model, sites, unit)
    if sites.weights or sites.channels:
        return traced_costs(model, sites, unit, shape or _flat(model, sites))
    width = sites.inputs.size if sites.inputs is not None else None
    chain = chain_of(model, shape, width)
    name = type(model).__name__
    if sites.units and (chain is None or any(len(group.places) > 1 for group in sites.units)):
        return traced_costs(model, sites, unit, shape or _flat(model, sites))
    if chain is None:
        raise ModelError(
            f"what {name} costs without some of its sites is not known: it is not a plain chain of layers. "
            "Give the budget in sites, or write the model as one nn.Sequential."
        )
    rows = row_shape(chain, shape, width)
    outputs_of = _outputs(chain.root, rows, model)
    groups = {group.layer.removeprefix(chain.prefix): place for place, group in enumerate(sites.groups)}
    # What enters the next layer: a group or everything, and whether what is dropped is exactly 0 there.
    reads: int | None = groups.get("")
    is_zero = True
    layers: list[Layer] = []
    for stage, layer in chain.stages:
        numbers = sum(parameter.numel() for parameter in layer.parameters())
        if isinstance(layer, CONVOLUTIONS) and not any(each.signals for each in layers):
            reads = None  # inputs before a convolution are replaced by zeros: they save nothing
        if isinstance(layer, (nn.Linear, *CONVOLUTIONS)) and not isinstance(layer, TRANSPOSED):
            if not is_zero and layer.bias is None and reads is not None and unit == "parameters":
                raise ModelError(
                    f"without some of its inputs layer {stage!r} of {name} gains biases, since a dropped one is not 0 there: "
                    "its parameters are not known beforehand. Give that layer a bias, or the budget in macs or sites."
                )
            outputs, writes = layer.weight.shape[0], groups.get(stage)
            signals = layer.weight[0].numel()
            if reads is not None:  # for each kept site: a convolution's kernel, the places of a map that was flattened
                per_row = sites.groups[reads].size if isinstance(layer, nn.Linear) else layer.weight.shape[1]
                signals //= per_row
            positions = outputs_of[stage] // outputs
            others = int(layer.bias is not None)
            layers.append(Layer(reads, writes, signals, outputs if writes is None else 1, positions, others))
            reads, is_zero = writes, True
        elif numbers and isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            each = layer.num_features if reads is None else 1
            layers.append(Layer(None, reads, 0, each, 1, numbers // layer.num_features))
        elif numbers > 1 and reads is not None:
            raise ModelError(
                f"layer {stage!r} of {name} has parameters of its own between sites: its cost is not known."
            )
        elif numbers:
            layers.append(Layer(None, None, 0, 1, 1, numbers))
        is_zero = is_zero and _keeps_zero(layer)
    if unit == "macs":  # products of modules that the loop does not look into
        rest = multiply_accumulates(model, rows) - costs_of(layers, sites, unit).whole
        layers += [Layer(None, None, rest, 1)] if rest > 0 else []
    # Once a group is emptied one constant for each output is left.
    return costs_of(layers, sites, unit, outputs_of[chain.stages[-1][0]] if unit == "parameters" else 0)


def _flat(model: nn.Module, sites: SiteMap) -> tuple[int, ...]:
    """Shape of a row where none is given."""
    chain = chain_of(model, None, sites.inputs.size if sites.inputs is not None else None)
    if chain is None:
        raise ModelError(
            f"{type(model).__name__} does not say how long a row is. Pass input_shape=..., the shape of one row as the model "
            "takes it, such as (1, 28, 28)."
        )
    return row_shape(chain, None, None)


def _keeps_zero(layer: nn.Module) -> bool:
    """Whether 0 stays 0 behind a layer."""
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return False
    if type(layer) not in ELEMENTWISE:
        return True
    with torch.no_grad():
        return float(layer(torch.zeros(1)).abs().max()) == 0.0


def _outputs(root: nn.Module, rows: tuple[int, ...], model: nn.Module) -> dict[str, int]:
    """Values of one row behind each layer."""
    sizes: dict[str, int] = {}
    names = {id(layer): name for name, layer in root.named_modules()}

    def note(module: nn.Module, _: object, out: torch.Tensor) -> None:
        sizes[names[id(module)]] = out.numel()

    hooks = [layer.register_forward_hook(note) for layer in root.modules()]
    dtype, device = home(model)
    try:
        with torch.no_grad(), evaluating(model):
            root(torch.zeros(1, *rows, dtype=dtype, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
