"""What one call of a forward pass does to the channels that it meets: the table that `channels` goes by."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from mcprune.models.adapters import as_float, two_logits
from mcprune.models.layers import ELEMENTWISE, TwoLogits
from mcprune.models.mlp import MLP
from mcprune.models.narrow.norms import OVER_CHANNELS

Shapes = Mapping[fx.Node, tuple[int, ...]]


class Way(Enum):
    """What an operation does to channels.

    PASS passes each channel on by itself and leaves 0 at 0. SHIFT makes another number of 0. NORM does either, with parameters for each
    channel. OVER normalises over all channels, with parameters for each: a dropped one must be 0 before it, and is gated behind it.
    MAKE reads all channels and makes new ones. TIE is a sum, SCALE a product, JOIN a concatenation. END makes logits of outputs.
    NUMBER gives no tensor of channels.
    """

    PASS = 1
    NORM = 2
    MAKE = 3
    TIE = 4
    NUMBER = 5
    UNKNOWN = 6
    SHIFT = 7
    SCALE = 8
    JOIN = 9
    END = 10
    OVER = 11


class Call(NamedTuple):
    """What a call does; `spread` multiplies the numbers for each channel, `reason` says why it is not known."""

    way: Way
    reason: str = ""
    spread: int = 1


TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
# Each place of a map on its own channel, and 0 where all was 0; with the number of dimensions of their maps.
POOLS: dict[type[nn.Module], int] = {
    **{nn.MaxPool1d: 1, nn.AvgPool1d: 1, nn.AdaptiveAvgPool1d: 1, nn.AdaptiveMaxPool1d: 1, nn.ZeroPad1d: 1},
    **{nn.MaxPool2d: 2, nn.AvgPool2d: 2, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveMaxPool2d: 2, nn.ZeroPad2d: 2},
    **{nn.MaxPool3d: 3, nn.AvgPool3d: 3, nn.AdaptiveAvgPool3d: 3, nn.AdaptiveMaxPool3d: 3},
    **{nn.ReflectionPad2d: 2, nn.ReplicationPad2d: 2, nn.UpsamplingNearest2d: 2, nn.UpsamplingBilinear2d: 2},
}
POOL_FUNCTIONS = {
    *(functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d),
    *(torch.max_pool2d, functional.interpolate),
}
# Functions of one tensor, number by number, that leave 0 at 0 whatever their other arguments are.
ZERO_FUNCTIONS = {
    *(functional.relu, functional.relu_, functional.relu6, functional.leaky_relu, functional.elu, functional.selu),
    *(functional.celu, functional.gelu, functional.silu, functional.mish, functional.hardswish, functional.tanh),
    *(functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d, functional.softsign),
    *(torch.relu, torch.relu_, torch.tanh, torch.clone),
}
ZERO_METHODS = {
    "relu",
    "relu_",
    "tanh",
    "tanh_",
    "contiguous",
    "clone",
    "to",
    "float",
    "double",
    "half",
    "bfloat16",
    "detach",
}
# As above, but 0 becomes another number.
SHIFT_FUNCTIONS = {
    torch.sigmoid,
    functional.sigmoid,
    functional.hardsigmoid,
    functional.softplus,
    functional.logsigmoid,
}
SHIFT_METHODS = {"sigmoid"}
SUMS = {operator.add, operator.iadd, torch.add}
PRODUCTS = {operator.mul, operator.imul, torch.mul}
# With a number: each channel is multiplied by it.
SCALES = {*PRODUCTS, operator.truediv, torch.div, operator.neg}
CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
RESHAPES = {"flatten", "view", "reshape", "squeeze", "unsqueeze"}
RESHAPE_FUNCTIONS = {torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze}
NUMBERS = {"size", "dim", "numel", "ndimension"}


def call_of(node: fx.Node, modules: Mapping[str, nn.Module], shapes: Shapes) -> Call:
    """Return what a node of a graph does to the channels of its inputs."""
    if node.op == "call_module":
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
            return Call(Way.UNKNOWN, f"layer {node.target!r} takes more than one value")
        before, after = shapes.get(node.args[0]), shapes.get(node)
        if before is None or after is None:
            return Call(Way.UNKNOWN)
        return _layer(str(node.target), modules[str(node.target)], before, after)
    if node not in shapes:
        is_number = node.target in NUMBERS or node.target in (getattr, operator.getitem) or not _tensors(node, shapes)
        return Call(Way.NUMBER if is_number else Way.UNKNOWN)
    return _operation(node, shapes)


def _layer(name: str, layer: nn.Module, before: tuple[int, ...], after: tuple[int, ...]) -> Call:
    kind = type(layer)
    if kind in CONVOLUTIONS:
        assert isinstance(layer, CONVOLUTIONS)
        if len(before) != len(layer.kernel_size) + 2:
            return Call(Way.UNKNOWN, f"layer {name!r} reads values of {len(before)} dimensions")
        if layer.groups == 1:
            return Call(Way.MAKE)
        if layer.groups == layer.in_channels == layer.out_channels and kind not in TRANSPOSED:
            return Call(Way.NORM)
        return Call(
            Way.UNKNOWN, f"layer {name!r} convolves in {layer.groups} groups, which is only understood depthwise"
        )
    if kind in (*NORMS, *OVER_CHANNELS):
        return _normalised(name, layer, before)
    if kind is nn.Linear or kind is MLP:
        if kind is nn.Linear and len(before) != 2:
            return Call(Way.UNKNOWN, f"layer {name!r} is a Linear that reads values of {len(before)} dimensions")
        spread = math.prod(before[2:])
        return (
            Call(Way.MAKE, spread=spread) if spread == 1 else Call(Way.UNKNOWN, f"a Flatten is missing before {name!r}")
        )
    if isinstance(layer, nn.PReLU) and kind is nn.PReLU:
        return Call(Way.PASS if layer.num_parameters == 1 else Way.NORM)
    if kind in DROPOUTS:
        return Call(Way.PASS)
    if kind in ELEMENTWISE:
        if not _keeps_zero(layer):
            return Call(Way.SHIFT, f"layer {name!r} ({kind.__name__}) makes something of a dropped channel's 0")
        return Call(Way.PASS)
    if kind in POOLS and len(before) == len(after) == POOLS[kind] + 2 and before[1] == after[1]:
        return Call(Way.PASS)
    if kind in (nn.Flatten, nn.Unflatten):
        return _reshaped(before, after)
    return Call(Way.END if kind is TwoLogits else Way.UNKNOWN)


def _normalised(name: str, layer: nn.Module, before: tuple[int, ...]) -> Call:
    """Classify a normalisation, of each channel by itself or over all of them."""
    if type(layer) in NORMS:
        return Call(Way.NORM) if len(before) > 1 else Call(Way.UNKNOWN)
    is_of_maps = isinstance(layer, nn.GroupNorm) and len(before) > 1
    is_of_rows = len(before) == 2 and getattr(layer, "normalized_shape", None) == (before[1],)
    if is_of_maps or is_of_rows:
        return Call(Way.OVER)
    return Call(Way.UNKNOWN, f"layer {name!r} ({type(layer).__name__}) normalises over more than the channels of a row")


def _keeps_zero(layer: nn.Module) -> bool:
    with torch.no_grad():
        return bool((layer(torch.zeros(1)) == 0).all())


def _reshaped(before: tuple[int, ...], after: tuple[int, ...]) -> Call:
    """Dimensions 1 and more laid one after the other, as a Flatten does, or those behind the channels: its numbers stay together."""
    if before == after or (len(before) > 1 and before[:2] == after[:2]):
        return Call(Way.PASS)
    if len(before) > 1 and after == (before[0], math.prod(before[1:])):
        return Call(Way.PASS, spread=math.prod(before[2:]))
    return Call(Way.UNKNOWN)


def _operation(node: fx.Node, shapes: Shapes) -> Call:
    """Classify a call of a function or a method."""
    tensors = _tensors(node, shapes)
    after = shapes[node]
    two = _of_two(node, tensors, shapes)
    if two is not None:
        return two
    if node.target in CONCATENATIONS:
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        is_side_by_side = isinstance(dim, int) and dim % len(after) == 1 and isinstance(node.args[0], list | tuple)
        return Call(Way.JOIN if is_side_by_side else Way.UNKNOWN)
    if len(tensors) != 1 or not node.args or node.args[0] is not tensors[0]:
        return Call(Way.UNKNOWN)
    before = shapes[tensors[0]]
    if node.target in SCALES or (node.op == "call_method" and node.target in ("mul", "mul_", "div", "div_", "neg")):
        return Call(Way.PASS if before == after and not node.kwargs else Way.UNKNOWN)
    if node.target in SHIFT_FUNCTIONS or (node.op == "call_method" and node.target in SHIFT_METHODS):
        return Call(Way.SHIFT, f"the operation {node.name!r} makes something of a dropped channel's 0")
    if node.op == "call_function":
        if node.target in ZERO_FUNCTIONS and before == after:
            return Call(Way.PASS)
        if node.target in POOL_FUNCTIONS and len(before) == len(after) >= 3 and before[1] == after[1]:
            return Call(Way.PASS)
        if node.target in RESHAPE_FUNCTIONS:
            return _reshaped(before, after)
        if node.target is torch.mean:
            return _mean(node, before, after)
        return Call(Way.END if node.target is two_logits else Way.PASS if node.target is as_float else Way.UNKNOWN)
    if node.target in ZERO_METHODS and before == after:
        return Call(Way.PASS)
    if node.target in RESHAPES:
        return _reshaped(before, after)
    if node.target == "expand":
        return Call(Way.PASS if len(before) == len(after) and before[:2] == after[:2] else Way.UNKNOWN)
    return _mean(node, before, after) if node.target == "mean" else Call(Way.UNKNOWN)


def _of_two(node: fx.Node, tensors: list[fx.Node], shapes: Shapes) -> Call | None:
    """Classify a sum or a product of two values, and a value that is expanded to another's shape; None for anything else."""
    is_method = node.op == "call_method"
    is_sum = node.target in SUMS or (is_method and node.target in ("add", "add_"))
    is_product = node.target in PRODUCTS or (is_method and node.target in ("mul", "mul_"))
    both = [each for each in node.args if isinstance(each, fx.Node) and each in shapes]
    after = shapes[node]
    if is_method and node.target == "expand_as" and len(both) == 2:
        before = shapes[both[0]]
        return Call(Way.PASS if len(before) == len(after) and before[:2] == after[:2] else Way.UNKNOWN)
    if not (is_sum or is_product) or (is_product and len(both) < 2):
        return None
    if len(both) != 2 or len(node.args) != 2 or node.kwargs or len(after) < 2:
        return Call(Way.UNKNOWN)
    one, other = shapes[both[0]], shapes[both[1]]
    if is_sum:
        return Call(Way.TIE if one == other else Way.UNKNOWN)
    same = len(one) == len(other) and one[:2] == other[:2] == after[:2]
    return Call(Way.SCALE if same else Way.UNKNOWN)


def _mean(node: fx.Node, before: tuple[int, ...], after: tuple[int, ...]) -> Call:
    """Classify a mean over the places of a map as a global pool."""
    dim_argument: object = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims = (
        (dim_argument,)
        if isinstance(dim_argument, int)
        else tuple(dim_argument)
        if isinstance(dim_argument, list | tuple)
        else ()
    )
    is_inner = bool(dims) and all(isinstance(each, int) and each % len(before) > 1 for each in dims)
    return Call(Way.PASS) if is_inner and after[:2] == before[:2] else Call(Way.UNKNOWN)


def _tensors(node: fx.Node, shapes: Shapes) -> list[fx.Node]:
    return [each for each in node.all_input_nodes if each in shapes]
