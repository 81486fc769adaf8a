"""The size in firmware of a perceptron that is rounded by rule, for reports."""

from __future__ import annotations

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.firmware.counting.sizes import HEADER, LayerSize, layer_sizes, size_rows
from mcprune.firmware.network import plain_origin
from mcprune.firmware.rounding import round_mlp
from mcprune.random import Stream, generator
from mcprune.types import AnyArray

BITS = 8
ROWS = 500  # drawn, where there are no others
MOST = 100_000  # weights: beyond that no trigger takes it, and counting takes seconds
RULE = (
    f"weights rounded to {BITS} bits, inputs and hidden signals to 8, each layer with one step; estimates from these integers, nothing was "
    "synthesised"
)


def firmware_sizes(
    model: nn.Module, width: int, rows: AnyArray | None = None, *, use_solver: bool = True
) -> list[LayerSize]:
    """Return the estimated sizes of a perceptron's layers after rounding by `round_mlp`; none where it is no perceptron with ReLU.

    Parameters
    ----------
    model : nn.Module
        Set to evaluation mode.
    width : int
        Inputs.
    rows : ndarray, shape (B, width), optional
        Scaled rows, by which the points are set; by default drawn from the standard normal distribution. They change few digits.
    use_solver : bool
        Ask alkaid where it is installed.
    """
    if sum(parameter.numel() for parameter in model.parameters()) > MOST:
        return []
    if rows is None:
        rows = generator(0, Stream.TRIALS).normal(size=(ROWS, width))
    try:
        with torch.no_grad():
            outputs = model.eval()(torch.zeros(1, width)).shape[1]
        network = round_mlp(model, rows, plain_origin(width, outputs), bits=BITS)
    except (ModelError, RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return []  # another kind of model: there is nothing to say
    return layer_sizes(network, use_solver=use_solver)


def firmware_table(sizes: list[LayerSize] | tuple[LayerSize, ...]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table; without the columns of a solver that was not asked."""
    rows = size_rows(list(sizes))
    last = len(HEADER) if all(row.solved is not None for row in sizes) else len(HEADER) - 2
    return list(HEADER[:last]), [row[:last] for row in rows]
