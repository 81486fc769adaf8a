"""Classifiers by name, and the descriptions that give a built-in model back without code."""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.adapters import Adapter, adapted, adapter_of
from mcprune.models.kinds import LARGEST, build_layer, describe_layer
from mcprune.models.layers import Scatter, allocate, initialise
from mcprune.models.mlp import MLP
from mcprune.models.networks import NETWORKS, Residual, build_network
from mcprune.models.outputs import changed_place, without_last

LENET = (300, 100)  # hidden widths of lenet-300-100
MODELS = ("mlp", "lenet-300-100", *NETWORKS)
DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
}
DEEPEST = 32
RESIDUAL = ["body", "shortcut", "activation"]


def build(
    name: str = "mlp",
    n_inputs: int = 64,
    n_classes: int = 10,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    dropout: float = 0.0,
    seed: int = 0,
    *,
    bias: bool = True,
    width: float = 1.0,
    image_shape: Sequence[int] | None = None,
) -> nn.Module:
    """Return a fresh classifier, a function of its arguments alone.

    Parameters
    ----------
    name : str
        One of ``MODELS``.
    n_inputs, n_classes : int
    hidden : sequence of int
        Widths of an ``mlp``'s hidden layers; empty for softmax regression.
    activation, dropout, seed, bias
        See `MLP`; the convolutional networks take the seed alone.
    width, image_shape
        See `mcprune.models.networks.build_network`; an MLP does not look at them.

    Raises
    ------
    ConfigError
        For an unknown name or impossible numbers.
    ModelError
        If the rows are no images as a convolutional network needs them.
    """
    if name not in MODELS:
        raise ConfigError(
            f"model={name!r} is not known. Choose one of {', '.join(MODELS)}, or pass your own nn.Module."
        )
    if name in NETWORKS:
        return build_network(name, n_inputs, n_classes, image_shape, width=width, seed=seed)
    hidden = LENET if name == "lenet-300-100" else hidden
    return MLP((n_inputs, *hidden, n_classes), activation, dropout, seed, bias=bias)


def is_built_in(model: nn.Module) -> bool:
    """Whether `describe` can say what the model is without the user's code."""
    return _describe(model) is not None


def describe(model: nn.Module, *, allow_custom: bool = False) -> dict[str, object]:
    """Return what a model is, as JSON-able data without its parameters.

    Parameters
    ----------
    model : nn.Module
        An `MLP`, a layer of the fixed table, an nn.Sequential or a `Residual` of such, or a `Scatter` around one.
    allow_custom : bool
        Describe a user's own model by ``{"kind": "custom", "class": NAME}`` instead of refusing it. The name
        is for messages only; nothing is ever imported by it.

    Returns
    -------
    dict
        With "kind" and "dtype" (of the parameters; "float32" if it has none, "mixed" if they differ).

    Raises
    ------
    ModelError
        For a user's own model, unless allowed.
    """
    body = _describe(model)
    if body is None:
        if not allow_custom:
            raise ModelError(
                f"{type(model).__name__} holds layers of your own code, so it cannot be described without "
                "that code. Use the built-in models or nn.Sequential of torch's plain layers, or keep the "
                "code and pass the model."
            )
        inner = model.model if isinstance(model, Scatter) else model
        body = {"kind": "custom", "class": type(inner).__name__}
        if adapter := adapter_of(inner).to_dict():
            body["adapter"] = adapter
        place = changed_place(inner)
        if place is not None:
            body["logits_at"] = place
        if isinstance(model, Scatter):
            body = _describe_scatter(model, body)
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in model.parameters()}
    return {"dtype": dtypes.pop() if len(dtypes) == 1 else "mixed" if dtypes else "float32", **body}


def _describe(model: nn.Module) -> dict[str, object] | None:
    if type(model) is Scatter:
        inner = _describe(model.model)
        return None if inner is None else _describe_scatter(model, inner)
    if type(model) is Residual:
        parts = [_describe(model.body), _describe(model.shortcut)]
        is_plain = (
            None not in parts
            and not model._forward_hooks
            and type(model.activation) is nn.ReLU
            and list(model._modules) == RESIDUAL
        )
        return {"kind": "residual", "body": parts[0], "shortcut": parts[1]} if is_plain else None
    if type(model) is nn.Sequential:
        # Not named_children, which leaves out the second place of a layer that comes twice.
        layers = [(name, layer) for name, layer in model._modules.items() if layer is not None]
        tensors = [id(tensor) for _, layer in layers for tensor in layer.parameters()]
        bodies = [{"name": name, **body} for name, layer in layers if (body := _describe(layer)) is not None]
        is_whole = len(bodies) == len(layers) and len(set(tensors)) == len(tensors)
        return {"kind": "sequential", "layers": bodies} if is_whole else None
    if type(model) is MLP:
        # Its layers may have been exchanged since it was made; then its widths no longer say what it is.
        plain = MLP(model.widths, model.activation, model.dropout, bias=model.bias, device="meta")
        return describe_layer(model) if _describe(model.layers) == _describe(plain.layers) else None
    return describe_layer(model)


def _describe_scatter(scatter: Scatter, inner: dict[str, object]) -> dict[str, object]:
    return {"kind": "scatter", "keep": list(scatter.indices), "shape": list(scatter.shape), "model": inner}


def from_description(description: Mapping[str, object], seed: int = 0) -> nn.Module:
    """Return the model that `describe` described, freshly initialised from the seed.

    Parameters
    ----------
    description : mapping
        From `describe`, maybe through JSON. It can only choose from a fixed table of layers: nothing is
        imported, called by name or evaluated, and sizes are bounded.
    seed : int
        See `initialise`.

    Raises
    ------
    ModelError
        If the description is not one of a built-in model.
    """
    model = skeleton(description)
    return initialise(allocate(model), seed)


def skeleton(description: Mapping[str, object], own: nn.Module | None = None) -> nn.Module:
    """Return the described model on device "meta", for loaders that bring the tensors: shapes and dtypes without storage.

    Parameters
    ----------
    description : mapping
        From `describe`.
    own : nn.Module, optional
        Put where the description says "custom"; without its last softmax or sigmoid where that was removed.

    Raises
    ------
    ModelError
        If the description cannot be followed, or says "custom" and ``own`` is not given.
    """
    if not isinstance(description, Mapping):
        raise ModelError(f"a model's description must be a table of names and values, but it is {description!r:.80}.")
    model = _build(description, own, 0)
    dtype = description.get("dtype")
    if own is None:
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ModelError(f"dtype {dtype!r} of the model is not one of {', '.join(DTYPES)}. Save the model again.")
        model = model.to(DTYPES[dtype])
    return model


def _build(description: object, own: nn.Module | None, depth: int) -> nn.Module:
    if not isinstance(description, Mapping):
        raise ModelError(f"a layer's description must be a table, but it is {description!r:.80}. Save the model again.")
    if depth > DEEPEST:
        raise ModelError(f"the description nests deeper than {DEEPEST} levels. Save the model again.")
    kind = description.get("kind")
    if kind == "custom":
        if own is None:
            raise ModelError(
                f"the model is of the class {description.get('class')!r:.80}, which is not built in. "
                "Build it with your own code and pass it as model=..."
            )
        place, adapter = description.get("logits_at"), description.get("adapter")
        own = adapted(own, Adapter.from_dict(adapter)) if isinstance(adapter, Mapping) else own
        return without_last(own, place) if isinstance(place, str) else own
    if kind == "scatter":
        keep = description.get("keep")
        shape = description.get("shape")
        inner = _build(description.get("model"), own, depth + 1)
        if not _are_indices(keep, 0) or not _are_indices(shape, 1) or math.prod(shape) > LARGEST:
            raise ModelError("a scatter needs `keep` and `shape`, lists of whole numbers. Save the model again.")
        return Scatter(inner, keep, shape)
    if kind == "residual":
        return Residual(*(_build(description.get(part), own, depth + 1) for part in ("body", "shortcut")))
    if kind == "sequential":
        return _sequential(description.get("layers"), own, depth)
    return build_layer(description)


def _are_indices(value: object, least: int) -> TypeGuard[Sequence[int]]:
    return isinstance(value, list | tuple) and all(type(item) is int and least <= item <= LARGEST for item in value)


def _sequential(layers: object, own: nn.Module | None, depth: int) -> nn.Module:
    if not isinstance(layers, list | tuple):
        raise ModelError(
            f"the layers of a sequential must be a list, but they are {layers!r:.80}. Save the model again."
        )
    named: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in layers:
        built = _build(layer, own, depth + 1)
        name = layer.get("name")
        # Layers are attributes of a Sequential: one named "forward" would replace what the class needs.
        if not isinstance(name, str) or not name or "." in name or name in named or hasattr(nn.Sequential(), name):
            raise ModelError(f"{name!r:.80} is not a name for a layer of a sequential. Save the model again.")
        named[name] = built
    return nn.Sequential(named)
