"""The fixed table of layers that a model file may name, and the fields that may describe each.

A file can only pick from this table: nothing in it is imported, called by name or evaluated.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import nn

from mcprune.errors import ModelError
from mcprune.models.layers import AsFloat, Cast, Constant, TwoLogits
from mcprune.models.mlp import ACTIVATIONS, MLP
from mcprune.models.narrow.norms import NarrowNorm

# A layer of 2**28 by 2**28 numbers is still addressable: no product of sizes in a hostile file overflows.
LARGEST = 2**28


class Kind(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    module : type of nn.Module
        The only class that this kind describes; sub-classes are a user's own.
    fields : mapping of str to str
        Constructor argument -> the rule its value must meet (a key of ``RULES``). The argument is read from
        the attribute of the same name, ``bias`` as whether there is one.
    has_tensors : bool
        Whether the constructor takes ``device``.
    defaults : mapping of str to value
        Fields that a description leaves out where they have this value: files of versions without them stay readable.
    """

    module: type[nn.Module]
    fields: Mapping[str, str]
    has_tensors: bool = False
    defaults: Mapping[str, object] = MappingProxyType({})


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST


def _is_ints(value: object, least: int) -> bool:
    if isinstance(value, list | tuple):
        return 1 <= len(value) <= 1024 and all(_is_int(item, least) for item in value)
    return _is_int(value, least)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


RULES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "size": ("a whole number, 1 or more", lambda value: _is_int(value, 1)),
    "sizes": ("whole numbers, 1 or more", lambda value: _is_ints(value, 1)),
    "list": (
        "a list of whole numbers, 1 or more",
        lambda value: not isinstance(value, int) and _is_ints(value, 1),
    ),
    "places": (
        "a list of whole numbers, 0 or more",
        lambda value: isinstance(value, list | tuple) and bool(value) and all(_is_int(item, 0) for item in value),
    ),
    "size or null": ("a whole number or null", lambda value: value is None or _is_int(value, 1)),
    "counts": ("whole numbers, 0 or more", lambda value: _is_ints(value, 0)),
    "axis": ("a whole number, -1 or more", lambda value: _is_int(value, -1)),
    "number": ("a finite number", _is_number),
    "number or null": ("a finite number or null", lambda value: value is None or _is_number(value)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "activation": (
        "the name of an activation",
        lambda value: isinstance(value, str) and value in ACTIVATIONS,
    ),
    "target": ("float, int or bool", lambda value: value in ("float", "int", "bool")),
    "gelu": ("none or tanh", lambda value: value in ("none", "tanh")),
    "padding": (
        "whole numbers, same or valid",
        lambda value: value in ("same", "valid") or _is_ints(value, 0),
    ),
    "fill": (
        "zeros, reflect, replicate or circular",
        lambda value: value in ("zeros", "reflect", "replicate", "circular"),
    ),
}

_NORM = {
    "num_features": "size",
    "eps": "number",
    "momentum": "number or null",
    "affine": "flag",
    "track_running_stats": "flag",
}

_POOL = {"kernel_size": "sizes", "stride": "sizes", "padding": "counts", "ceil_mode": "flag"}

KINDS: dict[str, Kind] = {
    "mlp": Kind(
        MLP, {"widths": "list", "activation": "activation", "dropout": "number", "bias": "flag"}, True, {"bias": True}
    ),
    "linear": Kind(nn.Linear, {"in_features": "size", "out_features": "size", "bias": "flag"}, True),
    "constant": Kind(Constant, {"outputs": "size"}, True),
    "batch_norm_1d": Kind(nn.BatchNorm1d, _NORM, True),
    "batch_norm_2d": Kind(nn.BatchNorm2d, _NORM, True),
    "layer_norm": Kind(
        nn.LayerNorm,
        {"normalized_shape": "sizes", "eps": "number", "elementwise_affine": "flag", "bias": "flag"},
        True,
    ),
    "conv_2d": Kind(
        nn.Conv2d,
        {
            "in_channels": "size",
            "out_channels": "size",
            "kernel_size": "sizes",
            "stride": "sizes",
            "padding": "padding",
            "dilation": "sizes",
            "groups": "size",
            "bias": "flag",
            "padding_mode": "fill",
        },
        True,
    ),
    "max_pool_2d": Kind(nn.MaxPool2d, {**_POOL, "dilation": "sizes", "return_indices": "flag"}),
    "avg_pool_2d": Kind(nn.AvgPool2d, {**_POOL, "count_include_pad": "flag", "divisor_override": "size or null"}),
    "adaptive_avg_pool_2d": Kind(nn.AdaptiveAvgPool2d, {"output_size": "sizes"}),
    "narrow_norm": Kind(
        NarrowNorm,
        {
            "kept": "places",
            "channels": "size",
            "groups": "size",
            "eps": "number or null",
            "is_centred": "flag",
            "weight": "flag",
            "bias": "flag",
        },
        True,
    ),
    "flatten": Kind(nn.Flatten, {"start_dim": "axis", "end_dim": "axis"}),
    "unflatten": Kind(nn.Unflatten, {"dim": "axis", "unflattened_size": "list"}),
    "identity": Kind(nn.Identity, {}),
    "dropout": Kind(nn.Dropout, {"p": "number"}),
    "cast": Kind(Cast, {"target": "target"}),
    "as_float": Kind(AsFloat, {}),
    "two_logits": Kind(TwoLogits, {}),
    "relu": Kind(nn.ReLU, {}),
    "relu6": Kind(nn.ReLU6, {}),
    "tanh": Kind(nn.Tanh, {}),
    "sigmoid": Kind(nn.Sigmoid, {}),
    "gelu": Kind(nn.GELU, {"approximate": "gelu"}),
    "softplus": Kind(nn.Softplus, {"beta": "number", "threshold": "number"}),
    "silu": Kind(nn.SiLU, {}),
    "mish": Kind(nn.Mish, {}),
    "elu": Kind(nn.ELU, {"alpha": "number"}),
    "selu": Kind(nn.SELU, {}),
    "celu": Kind(nn.CELU, {"alpha": "number"}),
    "leaky_relu": Kind(nn.LeakyReLU, {"negative_slope": "number"}),
    "prelu": Kind(nn.PReLU, {"num_parameters": "size"}, True),
    "hardtanh": Kind(nn.Hardtanh, {"min_val": "number", "max_val": "number"}),
    "hardswish": Kind(nn.Hardswish, {}),
    "hardsigmoid": Kind(nn.Hardsigmoid, {}),
    "softsign": Kind(nn.Softsign, {}),
    "log_sigmoid": Kind(nn.LogSigmoid, {}),
    "softmax": Kind(nn.Softmax, {"dim": "axis"}),
    "log_softmax": Kind(nn.LogSoftmax, {"dim": "axis"}),
}

NAMES: dict[type[nn.Module], str] = {kind.module: name for name, kind in KINDS.items()}


def describe_layer(layer: nn.Module) -> dict[str, object] | None:
    """Return the JSON-able description of one layer of the table; None for any other, or one beyond the rules."""
    name = NAMES.get(type(layer))
    # A hook, as torch's old weight_norm sets one, is code that a description would lose.
    if name is None or layer._forward_hooks or layer._forward_pre_hooks:
        return None
    description: dict[str, object] = {"kind": name}
    for field, rule in KINDS[name].fields.items():
        value = getattr(layer, field)
        value = value is not None if field in ("bias", "weight") and not isinstance(value, bool) else value
        if not RULES[rule][1](value):
            return None
        if field not in KINDS[name].defaults or value != KINDS[name].defaults[field]:
            description[field] = list(value) if isinstance(value, tuple) else value
    return description


def build_layer(description: Mapping[str, object]) -> nn.Module:
    """Return a layer of the table without storage (device "meta").

    Raises
    ------
    ModelError
        If the kind is not in the table, a field is missing, unknown or breaks its rule, or torch refuses the
        values.
    """
    name = description.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise ModelError(f"kind {name!r} is not a layer that mcprune knows. It knows {', '.join(KINDS)}.")
    kind = KINDS[name]
    fields = {key: value for key, value in description.items() if key not in ("kind", "name", "dtype")}
    values = {**kind.defaults, **fields}
    if values.keys() != kind.fields.keys():
        raise ModelError(
            f"a {name} is described by {sorted(kind.fields)}, but the description has {sorted(values)}. "
            "Save the model again with this version of mcprune."
        )
    for field, value in values.items():
        rule, is_valid = RULES[kind.fields[field]]
        if not is_valid(value):
            raise ModelError(f"{field} of a {name} must be {rule}, but it is {value!r}. Save the model again.")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return kind.module(**arguments, **({"device": "meta"} if kind.has_tensors else {}))
    except (ValueError, RuntimeError, TypeError) as error:
        raise ModelError(f"a {name} cannot be made of {values}: {error}. Save the model again.") from error
