"""Layers that are one matrix product, whichever way their weight lies: torch's Linear and the Conv1D of Hugging Face's GPT-2."""

from __future__ import annotations

import torch
from torch import nn


def is_transposed(layer: nn.Module) -> bool:
    """Whether a layer is a Conv1D of transformers, whose weight is (inputs, outputs)."""
    kind = type(layer)
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")


def is_projection(layer: nn.Module | None) -> bool:
    """Whether a layer is a plain matrix product with a weight of its own."""
    if layer is None or not (isinstance(layer, nn.Linear) or is_transposed(layer)):
        return False
    return isinstance(layer._parameters.get("weight"), nn.Parameter)


def matrix(layer: nn.Module) -> torch.Tensor:
    """Return the weight as (outputs, inputs)."""
    weight = layer.get_parameter("weight")
    return weight.t() if is_transposed(layer) else weight


def n_outputs(layer: nn.Module) -> int:
    """Return the output features of a projection."""
    return int(matrix(layer).shape[0])


def n_inputs(layer: nn.Module) -> int:
    """Return the input features of a projection."""
    return int(matrix(layer).shape[1])


def has_bias(layer: nn.Module) -> bool:
    """Whether a projection adds a bias."""
    return getattr(layer, "bias", None) is not None


def keep_outputs(layer: nn.Module, rows: torch.Tensor) -> None:
    """Keep some output features of a projection, in place."""
    _set(layer, "weight", matrix(layer).detach()[rows])
    if has_bias(layer):
        bias = layer.get_parameter("bias")
        layer.bias = nn.Parameter(bias.detach()[rows].clone(), bias.requires_grad)
    setattr(layer, "nf" if is_transposed(layer) else "out_features", rows.numel())


def keep_inputs(layer: nn.Module, columns: torch.Tensor) -> None:
    """Keep some input features of a projection, in place."""
    _set(layer, "weight", matrix(layer).detach()[:, columns])
    setattr(layer, "nx" if is_transposed(layer) else "in_features", columns.numel())


def _set(layer: nn.Module, name: str, value: torch.Tensor) -> None:
    old = layer.get_parameter(name)
    new = value.t() if is_transposed(layer) else value
    setattr(layer, name, nn.Parameter(new.contiguous().clone(), old.requires_grad))
