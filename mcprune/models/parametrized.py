"""Weights that are computed from others whenever they are used (weight norm, spectral norm), made plain."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize


def has_parametrizations(model: nn.Module) -> bool:
    """Whether a tensor of the model is computed from others by torch.nn.utils.parametrize."""
    return any(parametrize.is_parametrized(module) for module in model.modules())


def folded(model: nn.Module) -> nn.Module:
    """Return a copy whose computed weights are plain parameters of the same values; the model itself where there are none.

    A copy is in the mode and place of the model. A weight is frozen there if all that it was computed from is.
    """
    if not has_parametrizations(model):
        return model
    out = copy.deepcopy(model)
    modes = [(module, module.training) for module in out.modules()]
    out.eval()  # spectral norm makes a step of its power iteration where it is trained
    for module in list(out.modules()):
        if parametrize.is_parametrized(module):
            _fold(module)
    for module, mode in modes:
        module.training = mode
    return out


def _fold(module: nn.Module) -> None:
    """Make the computed tensors of one module parameters, in place.

    torch's own `remove_parametrizations` changes the class, which copies of the module share.
    """
    lists = module._modules.pop("parametrizations")
    assert isinstance(lists, nn.ModuleDict)
    own = dict(module._parameters)
    computed = {}
    for name, each in lists.items():
        with torch.no_grad():
            value = each()
        computed[name] = nn.Parameter(value.detach().clone(), any(one.requires_grad for one in each.parameters()))
    module.__class__ = type(module).__bases__[0]
    module._parameters.clear()
    module._parameters.update(computed | own)
