"""A fixed-point network from real numbers that lie on binary grids, as quantisation-aware training in any framework leaves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.errors import ModelError
from mcprune.firmware.fixed_point import OVERFLOWS, ROUNDINGS, FixedFormat
from mcprune.firmware.network import FixedLayer, FixedNetwork, Origin
from mcprune.types import AnyArray, FloatArray, IntArray

FINEST = 30  # bits behind the point, at most
CHUNK = 4096  # rows at a time


class Quantiser(NamedTuple):
    """Formats of the values before a layer.

    Attributes
    ----------
    signed, integer, fraction : ndarray, shape (n,), or one number for all
        Whether there is a sign, bits before the point without it, bits behind the point.
    overflow : "wrap" or "saturate"
    rounding : "nearest" (ties upwards) or "floor"
    """

    signed: AnyArray | int
    integer: AnyArray | int
    fraction: AnyArray | int
    overflow: str
    rounding: str


class QuantisedLayer(NamedTuple):
    """A linear layer of real numbers on grids.

    Attributes
    ----------
    inputs : Quantiser
        Of the values that it reads.
    weight : ndarray, shape (outputs, inputs)
    bias : ndarray, shape (outputs,)
    relu : bool
        Whether a ReLU follows.
    """

    inputs: Quantiser
    weight: AnyArray
    bias: AnyArray
    relu: bool


def assemble(layers: Sequence[QuantisedLayer], origin: Origin) -> FixedNetwork:
    """Return the fixed-point network of quantised layers.

    Raises
    ------
    ModelError
        Weights or biases that lie on no binary grid of at most 30 bits behind the point, formats that do not fit, or a ReLU
        behind the last layer.
    """
    if not layers:
        raise ModelError("A network has no layer. Give one at least.")
    if layers[-1].relu:
        raise ModelError("A ReLU follows the last layer, so its outputs are no logits. Take the ReLU away.")
    formats = [_format(layer.inputs, np.shape(layer.weight)[1]) for layer in layers]
    fixed = []
    for number, (layer, source) in enumerate(zip(layers, formats, strict=True)):
        weight, bias = np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64)
        fraction = max(
            _grid(weight, f"weight of layer {number}"), _grid(bias, f"bias of layer {number}") - source.common
        )
        activation = formats[number + 1] if number + 1 < len(layers) else None
        whole = np.ldexp(weight, fraction), np.ldexp(bias, fraction + source.common)
        fixed.append(FixedLayer(_round(whole[0]), fraction, _round(whole[1]), activation, layer.relu))
    point = fixed[-1].fraction + formats[-1].common
    return FixedNetwork(formats[0], tuple(fixed), 2.0**-point, origin)


def check_outputs(network: FixedNetwork, outputs: Callable[[AnyArray], AnyArray], rows: AnyArray, tool: str) -> None:
    """Compare a network with the outputs of the model that it comes from.

    Parameters
    ----------
    network : FixedNetwork
    outputs : callable
        Scaled rows (B, N) of float32 -> logits (B, C).
    rows : ndarray, shape (B, N)
        Scaled.
    tool : str
        Whose model it is, for the message.

    Raises
    ------
    ModelError
        A logit differs.
    """
    for first in range(0, len(rows), CHUNK):
        part = np.ascontiguousarray(rows[first : first + CHUNK], np.float32)
        expected = np.asarray(outputs(part), np.float64)
        own = network.forward(network.quantize_inputs(part)) * network.logit_scale
        if own.shape != expected.shape:
            raise ModelError(
                f"The {tool} model gives outputs of shape {expected.shape}, but its integers give {own.shape}. Import the layers up to "
                "the logits alone."
            )
        wrong = np.flatnonzero((own != expected).any(axis=1))
        if len(wrong):
            row = wrong[0]
            raise ModelError(
                f"The integers differ from the {tool} model on {len(wrong):,} of {len(part):,} rows: on row {first + row} they give "
                f"{_numbers(own[row])}, and the model {_numbers(expected[row])}. Give rows that are scaled as in its training."
            )


def _format(quantiser: Quantiser, width: int) -> FixedFormat:
    if quantiser.overflow not in OVERFLOWS or quantiser.rounding not in ROUNDINGS:
        raise ModelError(
            f"A quantiser has overflow {quantiser.overflow!r} and rounding {quantiser.rounding!r}. Choose among "
            f"{', '.join(OVERFLOWS)} and {', '.join(ROUNDINGS)}."
        )
    signed, integer, fraction = (np.broadcast_to(np.asarray(values, np.int64), (width,)) for values in quantiser[:3])
    is_live = signed + integer + fraction > 0
    bits = np.where(is_live, signed + integer + fraction, 0)
    common = int(fraction[is_live].max(initial=-FINEST)) if is_live.any() else 0
    return FixedFormat(
        bits,
        np.where(is_live, fraction, common),
        (signed > 0) & is_live,
        common,
        quantiser.overflow,
        quantiser.rounding,
    )


def _grid(values: FloatArray, name: str) -> int:
    """Return the fewest bits behind the point that hold all values."""
    if not np.isfinite(values).all():
        raise ModelError(f"A {name} is not finite. Train the model again.")
    for fraction in range(-FINEST, FINEST + 1):
        scaled = np.ldexp(values, fraction)
        if (scaled == np.rint(scaled)).all():
            return fraction if values.any() else 0
    raise ModelError(
        f"A {name} lies on no binary grid of at most {FINEST} bits behind the point. Give the quantised values."
    )


def _round(values: FloatArray) -> IntArray:
    return np.rint(values).astype(np.int64)


def _numbers(values: FloatArray) -> str:
    return ", ".join(f"{value:g}" for value in values[:4]) + (", ..." if len(values) > 4 else "")
