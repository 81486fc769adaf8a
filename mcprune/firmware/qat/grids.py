"""Rounding to binary grids whose numbers of fractional bits are trained together with the rounded values.

A value x is rounded to q = floor(x 2^f + 1/2) 2^-f. Backpropagation takes dq/dx = 1 (the straight-through gradient), and
dq/df = ln 2 (x - q), because the rounding error shrinks like 2^-f (Sun et al., arXiv:2405.00645).
"""

from __future__ import annotations

import math
from typing import Any

import torch

SMALLEST = 2.0**-60  # magnitudes below it count as 0


class _RoundToGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        scale = torch.exp2(bits)
        scaled = values * scale
        whole = torch.floor(scaled)
        whole += scaled - whole >= 0.5  # exact, where scaled + 0.5 might not be
        rounded = whole / scale
        ctx.save_for_backward(values - rounded)
        ctx.shape = bits.shape
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        (error,) = ctx.saved_tensors
        of_bits = None
        if ctx.needs_input_grad[1]:
            of_bits = (math.log(2) * gradients[0] * error).sum_to_size(ctx.shape)
        return gradients[0], of_bits


def round_to_grid(values: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Round values to multiples of 2^-bits, half upwards.

    Parameters
    ----------
    values : tensor, shape (..., n)
    bits : tensor, shape (n,)
        Whole numbers of fractional bits; they get gradients too.
    """
    rounded: torch.Tensor = _RoundToGrid.apply(values, bits)  # type: ignore[no-untyped-call]
    return rounded


def whole_bits(bits: torch.Tensor) -> torch.Tensor:
    """Return trained numbers of bits as whole numbers, with a straight-through gradient."""
    return bits + (bits.round() - bits).detach()


def leading_bits(magnitudes: torch.Tensor) -> torch.Tensor:
    """Return the bits before the point that each magnitude takes, floor(log2) + 1; -59 for 0."""
    return torch.floor(torch.log2(magnitudes.detach().clamp(min=SMALLEST))) + 1


def widths(bits: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    """Return the bits between the highest bit of each magnitude and its grid, at least 0; gradients go to the grid alone."""
    return torch.relu(leading_bits(magnitudes) + bits)
