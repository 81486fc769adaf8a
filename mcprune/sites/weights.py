"""Single weights as sites: which tensors hold them, and what a hard mask leaves of them."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mcprune.errors import ModelError
from mcprune.models.projections import is_transposed

# Modules whose `weight` is a table of single weights, one site an element; embeddings where they are named.
WEIGHTED = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
NAMED = (*WEIGHTED, nn.Embedding)
# Modules that hold several weights under names of their own.
JOINED = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)
# What a kept weight that was trained to exactly 0 becomes: far below any rounding, and counted as kept.
NEARLY_ZERO = 1e-30


def weighted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear and convolution layer of a model by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, WEIGHTED)}


def weight_layers(model: nn.Module, named: tuple[str, ...] = ()) -> list[tuple[str, tuple[int, ...]]]:
    """Return (name, shape of the weight) of each linear and convolution layer, or of the named ones, in the model's order.

    An embedding has sites where it is named.

    Raises
    ------
    ModelError
        A name that is no such layer, no such layer at all, a weight without a shape yet, one that is shared by two layers,
        or one that is computed from other parameters whenever it is used.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, NAMED if named else WEIGHTED)}
    listing = ", ".join(layers)
    if not layers:
        raise ModelError(f"{type(model).__name__} has no linear or convolution layer, so there are no weights to drop.")
    modules = dict(model.named_modules())
    for name in named:
        if name not in layers:
            reason = f"is a {type(modules[name]).__name__}" if name in modules else "does not exist"
            raise ModelError(
                f"layer {name!r} {reason} in {type(model).__name__}: only weights of linear and convolution layers, and of "
                f"embeddings, are sites. Choose among {listing}."
            )
    owners: dict[int, str] = {}
    out = []
    for name, layer in layers.items():
        weight = layer._parameters.get("weight")
        if weight is None:
            raise ModelError(
                f"the weight of layer {name!r} is no parameter of its own (it is computed from others). "
                "Remove the parametrisation, or leave the layer out of the sites."
            )
        if is_lazy(weight):
            raise ModelError(
                f"layer {name!r} has no shape yet. Run the model once on a row before its weights become sites."
            )
        chosen = not named or name in named
        if id(weight) in owners and (chosen or not named or owners[id(weight)] in named):
            raise ModelError(
                f"layers {owners[id(weight)]!r} and {name!r} share one weight, which cannot be two sites. Name other layers."
            )
        owners[id(weight)] = name
        if chosen:
            out.append((name, tuple(weight.shape)))
    return out


def element_names(layer: str, shape: tuple[int, ...]) -> list[str]:
    """Return the names of a weight's elements, row by row: ``layers.0.weight[3,7]``."""
    out = [f"{layer}.weight["]
    for place, side in enumerate(shape):
        comma = "," if place else ""
        out = [f"{head}{comma}{index}" for head in out for index in range(side)]
    return [f"{head}]" for head in out]


@torch.no_grad()
def with_zeros(model: nn.Module, masks: dict[str, torch.Tensor]) -> nn.Module:
    """Return a copy whose dropped weights are 0.

    Parameters
    ----------
    model : nn.Module
    masks : dict of layer name to bool Tensor
        Of the shape of that layer's weight; True keeps.

    Returns
    -------
    nn.Module
        As many weights of each masked layer are other than 0 as its mask keeps: one that was trained to exactly 0 becomes
        1e-30.
    """
    out = copy.deepcopy(model)
    for name, mask in masks.items():
        weight = out.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        chosen = mask.to(weight.device)
        weight.mul_(chosen)
        weight[chosen & (weight == 0)] = NEARLY_ZERO
    return out


def hold_zeros(model: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
    """Keep every weight of the model that is 0 now at 0 while it is trained on: its gradient is 0 from here on.

    Returns
    -------
    list of handles
        Their ``remove()`` lets the weights go.

    Notes
    -----
    Gradient steps, momentum from here on and weight decay leave a 0 with a gradient of 0 where it is. Copies of the model
    (``copy.deepcopy``) are not held.
    """
    handles = []
    for layer in model.modules():
        if isinstance(layer, NAMED) and bool((layer.weight == 0).any()) and layer.weight.requires_grad:
            kept = (layer.weight.detach() != 0).to(layer.weight)
            handles.append(layer.weight.register_hook(lambda gradient, kept=kept: gradient * kept))  # type: ignore[no-untyped-call]
    return handles


def nonzero_weights(model: nn.Module) -> int:
    """Return how many weights of linear, convolution, attention and recurrent layers are other than 0, biases not counted."""
    return sum(int((weight != 0).sum()) for layer in model.modules() for weight in _weights_of(layer))


def _weights_of(layer: nn.Module) -> list[torch.Tensor]:
    """Return the weights of a layer itself, without those of the layers in it."""
    if isinstance(layer, WEIGHTED) or is_transposed(layer):
        weight = layer.weight
        return [weight] if isinstance(weight, torch.Tensor) else []
    if isinstance(layer, JOINED):
        return [weight for name, weight in layer.named_parameters(recurse=False) if "weight" in name]
    return []


def size_of(shape: tuple[int, ...]) -> int:
    """Return the elements of a weight."""
    return math.prod(shape)
