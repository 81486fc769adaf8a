"""The network of a fitted estimator as plain arrays, so that skops, which trusts no class of torch, can write and read it."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from torch import nn

from mcprune.models.mlp import MLP
from mcprune.types import FloatArray


class NetworkState(TypedDict):
    """What a multilayer perceptron is made of."""

    widths: list[int]
    activation: str
    dropout: float
    bias: bool
    arrays: dict[str, FloatArray]


def network_state(model: nn.Module) -> NetworkState | nn.Module:
    """Return a multilayer perceptron as plain data; any other module as it is."""
    if not isinstance(model, MLP):
        return model
    arrays = {name: tensor.detach().cpu().numpy().astype(np.float64) for name, tensor in model.state_dict().items()}
    return NetworkState(
        widths=list(model.widths), activation=model.activation, dropout=model.dropout, bias=model.bias, arrays=arrays
    )


def restore_network(state: NetworkState | nn.Module) -> nn.Module:
    """Return the float64 network of a state, for evaluation."""
    if isinstance(state, nn.Module):
        return state
    model = MLP(state["widths"], state["activation"], state["dropout"], bias=state["bias"], device="meta")
    tensors = {name: torch.from_numpy(np.array(array, np.float64)) for name, array in state["arrays"].items()}
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(False).eval()
