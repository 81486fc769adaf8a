"""Multiply-accumulates of a model, by torch's own flop counter: every matrix product and convolution of the forward pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from mcprune.models.forward import zero_rows
from mcprune.models.mlp import ACTIVATIONS, MLP
from mcprune.models.modes import evaluating

ROWS = 2  # with which products are counted: some models take a single row for a batch


def multiply_accumulates(model: nn.Module, shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of one row, two flops each; attention and recurrent layers included.

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode, and left as it is.
    shape : sequence of int
        Of a row as the model takes it.
    """
    if _is_plain_mlp(model):  # the counter takes a second of imports
        return sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))
    return module_products(model, shape)[""]


def module_products(model: nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """Count the multiply-accumulates of one row in each module, by its name; "" is the whole model.

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode, and left as it is.
    shape : sequence of int
        Of a row as the model takes it.
    """
    from torch.utils.flop_counter import FlopCounterMode

    rows = zero_rows(model, ROWS, shape)
    aten = torch.ops.aten
    more = {aten.mv: _mv_flops, aten.dot: _dot_flops, aten._trilinear: _trilinear_flops}
    counter = FlopCounterMode(display=False, custom_mapping=more)
    with torch.no_grad(), evaluating(model), _products_in_the_open(model), counter:
        model(rows)
    start = f"{type(model).__name__}."
    counts = {
        name.removeprefix(start): sum(flops.values()) // 2 // ROWS
        for name, flops in counter.get_flop_counts().items()
        if name.startswith(start)
    }
    return {**counts, "": int(counter.get_total_flops()) // 2 // ROWS}


def _is_plain_mlp(model: nn.Module) -> bool:
    """Whether a model is the built-in perceptron with the layers that it was made of."""
    kinds = {nn.Linear, nn.Dropout, *ACTIVATIONS.values()}
    return type(model) is MLP and all(type(layer) in kinds for layer in model.layers)


@contextmanager
def _products_in_the_open(model: nn.Module) -> Iterator[None]:
    """No fused operator inside: torch's counter does not see into those of attention and of recurrent layers."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    was_fast = torch.backends.mha.get_fastpath_enabled()
    is_mkldnn = bool(torch.backends.mkldnn.enabled)
    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in model.modules())
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of hardware that is not there
            with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=is_mkldnn and not is_recurrent):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


def _mv_flops(matrix: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(matrix)


def _dot_flops(vector: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(vector)


def _trilinear_flops(
    one: Sequence[int], two: Sequence[int], three: Sequence[int], expand_one: Sequence[int], expand_two: Sequence[int],
    expand_three: Sequence[int], *_: object, **__: object,
) -> int:  # fmt: skip
    """Return the product that a bilinear layer is made of, for each element of the broadcast tensors."""
    shapes = []
    for shape, expanded in ((one, expand_one), (two, expand_two), (three, expand_three)):
        sides = list(shape)
        for side in sorted(expanded):
            sides.insert(side, 1)
        shapes.append(sides)
    broadcast: list[int] = [max(sides) for sides in zip(*shapes, strict=True)]
    return 2 * math.prod(broadcast)
