"""Frozen parts of a classifier, and training mode, evaluation mode and redrawing that leave them alone.

A parameter with ``requires_grad=False`` is frozen. A module is frozen if it has parameters, in itself or inside, and all of them are
frozen. Modules inside a frozen one are frozen too, and so is a normalisation without parameters that follows a frozen layer.
Modules that came in evaluation mode, inside a model in training mode, stay in it: so users freeze running statistics.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mcprune.random import torch_seed

_EVALUATES = "_mcprune_evaluates"  # an attribute of modules, which copies and cut models keep


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that take a gradient, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def has_frozen_parameters(model: nn.Module) -> bool:
    """Whether at least one parameter is frozen."""
    return any(not parameter.requires_grad for parameter in model.parameters())


def is_fully_frozen(model: nn.Module) -> bool:
    """Whether no parameter takes a gradient; a model without parameters counts as frozen."""
    return not trainable_parameters(model)


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """All modules of a model that training leaves in evaluation mode, as the head of this file defines them."""
    out: list[nn.Module] = []
    # Registration order stands for call order: exact in an nn.Sequential, where such normalisations occur.
    is_after_frozen = False

    def collect(module: nn.Module) -> None:
        nonlocal is_after_frozen
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            out.extend(module.modules())
            is_after_frozen = True
            return
        if _EVALUATES in module.__dict__:
            out.append(module)
        if module._parameters and any(each is not None for each in module._parameters.values()):
            is_after_frozen = False
        elif not parameters and getattr(module, "running_mean", None) is not None and is_after_frozen:
            out.append(module)
        for child in module.children():
            collect(child)

    collect(model)
    return out


def keep_evaluation(model: nn.Module) -> None:
    """Let the modules that are in evaluation mode now stay in it, where the model as a whole is in training mode."""
    for module in model.modules():
        module.__dict__.pop(_EVALUATES, None)
        if model.training and not module.training:
            module.__dict__[_EVALUATES] = True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode inside the block, and restore the mode of every module after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def plain_attention() -> Iterator[None]:
    """No fused operators of torch's attention and encoder layers inside the block: they call no modules, so hooks see nothing."""
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


@contextmanager
def attention_of_products() -> Iterator[None]:
    """Compute attention by plain products inside the block: the fused operators have no second derivative, and none for each row."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hardware that is not there
        with sdpa_kernel(SDPBackend.MATH), plain_attention():
            yield


def use_training_mode(model: nn.Module) -> None:
    """Put a model into training mode, its frozen modules into evaluation mode.

    So running statistics of frozen normalisations stay as they are, and no dropout acts inside a frozen extractor.
    """
    model.train()
    for module in frozen_modules(model):
        module.training = False


def redraw(model: nn.Module, seed: int) -> None:
    """Draw a model's trainable parameters afresh by each module's own ``reset_parameters``, in place.

    Frozen parameters, and the buffers of frozen modules, stay as they are to the bit. So do trainable parameters of modules without
    ``reset_parameters`` (`undrawn_parameters` names them).

    Parameters
    ----------
    model : nn.Module
    seed : int
        Of torch's global random state inside; it is put back after.
    """
    with kept_frozen(model), torch_seed(seed):
        for module in model.modules():
            if isinstance(module, nn.MultiheadAttention):
                module._reset_parameters()
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()


def undrawn_parameters(model: nn.Module) -> list[str]:
    """Names of trainable parameters of which `redraw` leaves something as it is."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in trainable_parameters(copied):
            parameter.fill_(math.nan)
    redraw(copied, 0)
    return [name for name, parameter in copied.named_parameters() if bool(parameter.isnan().any())]


@contextmanager
def kept_frozen(model: nn.Module) -> Iterator[None]:
    """Put frozen parameters and the buffers of frozen modules back to their values when the block ends."""
    tensors: list[torch.Tensor] = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    tensors += [buffer for module in frozen_modules(model) for buffer in module._buffers.values() if buffer is not None]
    saved = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in saved:
                tensor.copy_(value)
