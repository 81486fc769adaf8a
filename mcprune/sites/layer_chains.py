"""Reading a model as a chain of layers, and when not to."""

import math
from typing import NamedTuple

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.forward import home, random_rows, run_model
from mcprune.models.layers import ELEMENTWISE, Stage
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.models.registry import is_built_in


class Chain(NamedTuple):
    """A model that is one layer after the other.

    Attributes
    ----------
    root : nn.Module
        The Sequential (or single layer) that is the whole forward pass; the model itself or its only child.
    prefix : str
        What the names inside of ``root`` have before them in the model: "" or "layers.".
    stages : list of (name inside of root, layer)
    """

    root: nn.Module
    prefix: str
    stages: list[Stage]

    @property
    def width(self) -> int | None:
        """Features of a flat row, if the first layer that cares for the shape says so."""
        for _, layer in self.stages:
            if isinstance(layer, nn.Linear):
                return layer.in_features
            if isinstance(layer, nn.BatchNorm1d):
                return layer.num_features
            if isinstance(layer, nn.Unflatten) and layer.dim == 1:  # a row that becomes an image
                size = [side for side in layer.unflattened_size if isinstance(side, int) and side > 0]
                return math.prod(size) if len(size) == len(layer.unflattened_size) else None
            if not isinstance(layer, (*ELEMENTWISE, nn.Flatten)):
                return None
        return None


def chain_of(model: nn.Module, shape: tuple[int, ...] | None, n_inputs: int | None) -> Chain | None:
    """Return the model as a chain of layers, or None if it is not known to be one.

    Parameters
    ----------
    model : nn.Module
        A module around one child is believed only if both compute the same bits on random rows.
    shape : tuple of int or None
        Shape of one row as the model takes it.
    n_inputs : int or None
        Features of a flat row, if known.

    Raises
    ------
    ModelError
        If a module around one child cannot be run.
    """
    if isinstance(model, MLP) and is_built_in(model):
        return Chain(model.layers, "layers.", list(model.layers.named_children()))
    if type(model) is nn.Sequential or type(model) is nn.Linear:
        stages = _flatten("", model)
        return Chain(model, "", stages) if stages is not None else None
    children = list(model.named_children())
    if (
        len(children) != 1
        or model._parameters
        or model._buffers
        or type(children[0][1]) not in (nn.Sequential, nn.Linear)
    ):
        return None
    name, child = children[0]
    stages = _flatten("", child)
    if stages is None or model._forward_hooks or model._forward_pre_hooks:
        return None
    chain = Chain(child, f"{name}.", stages)
    rows = shape or row_shape(chain, shape, n_inputs)
    dtype, device = home(model)
    x = random_rows(rows, model).to(device=device, dtype=dtype)
    with torch.no_grad(), evaluating(model):
        whole = run_model(lambda: model(x), model, rows)
        inner = run_model(lambda: child(x.flatten(1) if chain.width == math.prod(rows) else x), child, rows)
    return chain if whole.dtype == inner.dtype and torch.equal(whole, inner) else None


def _flatten(name: str, layer: nn.Module) -> list[Stage] | None:
    """Return the layers of nested Sequentials in order; None if one has hooks or parameters that come twice."""
    stages: list[Stage] = []
    if layer._forward_hooks or layer._forward_pre_hooks:
        return None
    if isinstance(layer, MLP) and is_built_in(layer):
        inner = _flatten(f"{name}.layers", layer.layers)
        return None if inner is None else [(name, nn.Flatten()), *inner]
    if type(layer) is not nn.Sequential:
        return [(name, layer)]
    for child_name, child in layer._modules.items():
        inner = _flatten(f"{name}.{child_name}" if name else child_name, child) if child is not None else []
        if inner is None:
            return None
        stages.extend(inner)
    parameters = [id(parameter) for _, stage in stages for parameter in stage.parameters()]
    return stages if len(set(parameters)) == len(parameters) else None


def row_shape(chain: Chain, shape: tuple[int, ...] | None, n_inputs: int | None) -> tuple[int, ...]:
    """Return the shape of the rows on which ``chain.root`` is compared; a ModelError if nothing says it."""
    width = n_inputs if n_inputs is not None else chain.width
    if shape is None and width is None:
        raise ModelError(
            f"the first layer of {type(chain.root).__name__} does not say how long a row is. "
            "Pass input_shape=..., the shape of one row as the model takes it, such as (1, 28, 28)."
        )
    if shape is None or (chain.width == math.prod(shape) and width is not None):
        return (width,) if width is not None else ()
    return shape
