"""Cut dropped signals out of a chain of layers and fold their constants into the next biases.

A dropped unit sends 0 into its activation, so behind it the signal is a constant: act(0), or batch-normalised
(0 - mu) gamma / sigma + beta. With kept columns k and dropped columns d a Linear layer computes
    W x + b = W[:, k] x[k] + (W[:, d] x[d] + b),
whose bracket is the new bias.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from mcprune.models.layers import ELEMENTWISE, Constant, Stage


class Wire(NamedTuple):
    """The signals between two layers: those that vary, and those that became constants.

    Attributes
    ----------
    kept : Tensor, int64
        Which of the original signals vary, in order.
    constants : Tensor, shape (width,), float64
        The original signals' values where they are dropped; elsewhere unused.
    """

    kept: torch.Tensor
    constants: torch.Tensor

    @property
    def dropped(self) -> torch.Tensor:
        """Bool, shape (width,)."""
        dropped = torch.ones(self.constants.numel(), dtype=torch.bool)
        dropped[self.kept] = False
        return dropped


class Folded(NamedTuple):
    """A chain without its dropped signals, or the reason why there is none.

    Attributes
    ----------
    layers : list of nn.Module
        Empty if ``blocked``.
    blocked : str
        The layer that prevents it and why; else empty.
    """

    layers: list[nn.Module]
    blocked: str = ""


def wire_of(mask: torch.Tensor) -> Wire:
    """Return the signals behind gates of a bool mask (width,); dropped ones are 0."""
    return Wire(mask.nonzero().flatten(), torch.zeros(mask.numel(), dtype=torch.float64))


def fold(stages: Sequence[Stage], wire: Wire | None, masks: Mapping[str, torch.Tensor]) -> Folded:
    """Cut the dropped signals out of a chain.

    Parameters
    ----------
    stages : sequence of (name, layer)
        Applied one after the other; float64, in evaluation mode, on the CPU. Layers that need no change are
        reused.
    wire : Wire or None
        The signals that enter; None if none is dropped, whatever their shape.
    masks : mapping of layer name to bool Tensor (outputs,)
        Which outputs of a Linear layer are kept.

    Returns
    -------
    Folded
        If a layer keeps no unit, nothing varies behind it: the chain is one `Constant`.
    """
    layers: list[nn.Module] = []
    for index, (name, layer) in enumerate(stages):
        if wire is not None and wire.kept.numel() == 0:
            return _constant(stages[index:], wire, masks)
        kind = type(layer)
        mask = masks.get(name)
        if kind is not nn.Linear and mask is not None:
            return Folded([], f"layer {name!r} is a {kind.__name__}, not a plain Linear")
        if isinstance(layer, nn.Linear) and kind is nn.Linear and not (wire is None and mask is None):
            if wire is not None and layer.in_features != wire.constants.numel():
                return Folded([], f"layer {name!r} does not read the {wire.constants.numel()} signals before it")
            if mask is None or bool(mask.any()):
                layers.append(_cut_linear(layer, wire, mask))
            wire = None if mask is None or bool(mask.all()) else wire_of(mask)
        elif wire is None:
            layers.append(layer)
        elif kind in ELEMENTWISE or (isinstance(layer, nn.PReLU) and layer.num_parameters == 1):
            layers.append(layer)
            wire = wire._replace(constants=_apply(layer, wire.constants))
        elif isinstance(layer, nn.Flatten) and kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            layers.append(layer)
        elif isinstance(layer, nn.BatchNorm1d) and _is_fixed_affine(layer, wire):
            layers.append(_cut_batch_norm(layer, wire.kept))
            wire = wire._replace(constants=_apply(layer, wire.constants))
        else:
            return Folded([], f"layer {name!r} ({kind.__name__}) mixes or reshapes signals of which some are dropped")
    if wire is not None:
        return Folded([], "no Linear layer follows the dropped signals")
    return Folded(layers)


def _apply(layer: nn.Module, constants: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        # A clone, because activations may work in place.
        result: torch.Tensor = layer(constants.clone()[None])[0]
    return result


def _constant(stages: Sequence[Stage], wire: Wire, masks: Mapping[str, torch.Tensor]) -> Folded:
    """Return the rest of a chain that only constants enter as its output for them."""
    with torch.no_grad():
        row = wire.constants[None]
        for name, layer in stages:
            if not _takes_flat(layer, row.shape[1]):
                return Folded([], f"layer {name!r} ({type(layer).__name__}) has an unknown effect on constants")
            row = layer(row.clone())
            row = row * masks[name] if name in masks else row
        constant = Constant(row.shape[1]).double()
        constant.bias.copy_(row[0])
    return Folded([constant])


def _takes_flat(layer: nn.Module, width: int) -> bool:
    if isinstance(layer, nn.Linear):
        return layer.in_features == width
    if isinstance(layer, nn.BatchNorm1d):
        return layer.running_mean is not None and layer.num_features == width
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape == (width,)
    return type(layer) in (*ELEMENTWISE, nn.PReLU, nn.Flatten, nn.Softmax, nn.LogSoftmax)


def _cut_linear(layer: nn.Linear, wire: Wire | None, mask: torch.Tensor | None) -> nn.Linear:
    weight, owned = layer.weight.detach(), layer._parameters.get("bias")
    bias = None if owned is None else owned.detach()
    if wire is not None:
        dropped = wire.dropped
        if bool((wire.constants[dropped] != 0).any()):
            folded = weight[:, dropped] @ wire.constants[dropped]
            # A layer without biases gets none where the constants add up to 0.
            has_none = bias is None and not bool((folded != 0).any())
            bias = None if has_none else folded if bias is None else bias + folded
        weight = weight[:, wire.kept]
    if mask is not None:
        weight, bias = weight[mask], None if bias is None else bias[mask]
    # Made on "meta": torch's initialisation would draw from the global random state.
    cut = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    cut.weight = nn.Parameter(weight.clone(), layer.weight.requires_grad)
    if bias is not None:
        cut.bias = nn.Parameter(
            bias.clone(), layer.weight.requires_grad if layer.bias is None else layer.bias.requires_grad
        )
    return cut


def _is_fixed_affine(layer: nn.BatchNorm1d, wire: Wire) -> bool:
    """Return whether, in evaluation, it only scales and shifts each of the signals."""
    return (
        type(layer) is nn.BatchNorm1d
        and layer.running_mean is not None
        and layer.num_features == wire.constants.numel()
    )


def _cut_batch_norm(layer: nn.BatchNorm1d, kept: torch.Tensor) -> nn.BatchNorm1d:
    cut = copy.deepcopy(layer)
    cut.num_features = kept.numel()
    with torch.no_grad():
        for name in ("weight", "bias"):
            parameter = getattr(layer, name)
            if parameter is not None:
                setattr(cut, name, nn.Parameter(parameter.detach()[kept].clone(), parameter.requires_grad))
        for name in ("running_mean", "running_var"):
            setattr(cut, name, getattr(layer, name)[kept].clone())
    return cut
