"""The linear layers of a torch perceptron, in order."""

from __future__ import annotations

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.mlp import MLP

PASSED = (nn.Identity, nn.Dropout, nn.Flatten)


def linear_stages(model: nn.Module) -> list[tuple[nn.Linear, bool]]:
    """Return the Linear layers of a perceptron, and whether a ReLU follows each.

    Parameters
    ----------
    model : nn.Module
        An MLP or nn.Sequential of Linear layers, each but the last one followed by a ReLU or nothing; dropout is passed over.

    Raises
    ------
    ModelError
        A layer of another kind, by its name; parameters that are not finite.
    """
    stages: list[tuple[nn.Linear, bool]] = []
    for name, layer in _flat(model, ""):
        if type(layer) is nn.Linear:
            stages.append((layer, False))
        elif type(layer) is nn.ReLU and stages:
            stages[-1] = (stages[-1][0], True)
        elif not isinstance(layer, PASSED):
            raise ModelError(
                f"an integer net is made of Linear layers and ReLU, but layer {name!r} is a {type(layer).__name__}; "
                "use --to onnx, or train with --activation relu"
            )
    if not stages:
        raise ModelError("the model has no Linear layer, so there is no integer net of it; use --to onnx")
    if stages[-1][1]:
        raise ModelError("a ReLU follows the last layer, so its outputs are no logits; take the ReLU away")
    for layer, _ in stages:
        if not all(bool(torch.isfinite(values).all()) for values in layer.parameters()):
            raise ModelError("a weight is not finite, so it cannot be rounded; train the model again")
    return stages


def _flat(model: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    inner = model.layers if type(model) is MLP else model
    if type(inner) is not nn.Sequential:
        return [(prefix or "the model", model)]
    start = f"{prefix}." if prefix else ""
    start += "layers." if type(model) is MLP else ""
    return [pair for name, layer in inner.named_children() for pair in _flat(layer, start + name)]
