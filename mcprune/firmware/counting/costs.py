"""What a fixed-point network costs in firmware, counted on its integers; nothing here is synthesised.

Multiplying by a constant is adding shifted copies of the input, one for each nonzero signed digit of the constant. A dot product of d
digits in all therefore takes d - 1 adders before common parts are shared, and an adder is about as many look-up tables as it has bits.

- digits: nonzero canonical signed digits of all weights.
- digit_bits: each digit times the bits of its input, and for the bias of a unit that reads something the width of its accumulator:
  about proportional to look-up tables.
- ebops: enclosed bits of each weight times the bits of its input (HGQ's effective bit operations, of the weights alone).
- adders: sum over dot products of digits - 1. Solvers that share common parts need fewer; this is a bound that needs no solver.
- luts: look-up tables of these adders and of the ReLUs (mcprune/firmware/counting/tables.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mcprune.firmware.counting.tables import layer_luts
from mcprune.firmware.csd import bit_length, count_digits, enclosed_bits
from mcprune.firmware.network import FixedNetwork
from mcprune.types import IntArray

Unit = Literal["digits", "digit-bits", "ebops", "adders", "luts"]
UNITS: tuple[Unit, ...] = ("digits", "digit-bits", "ebops", "adders", "luts")


class Costs(NamedTuple):
    """Costs of a layer, or of all layers together."""

    weights: int  # that are not 0
    digits: int
    digit_bits: int
    ebops: int
    adders: int
    luts: int

    def of(self, unit: Unit) -> int:
        """Return the cost in a unit by its name on the command line."""
        return int(getattr(self, unit.replace("-", "_")))


def layer_costs(network: FixedNetwork) -> list[Costs]:
    """Return the costs of each layer; dead units count as they stand (see `dead.remove_dead`)."""
    rows = []
    for number, layer in enumerate(network.layers):
        bits = network.formats[number].bits
        digits = count_digits(layer.weight)
        widths = accumulator_bits(network, number) * ((layer.bias != 0) & (digits.sum(axis=1) > 0))
        rows.append(
            Costs(
                weights=int((layer.weight != 0).sum()),
                digits=int(digits.sum()),
                digit_bits=int((digits * bits).sum() + widths.sum()),
                ebops=int((enclosed_bits(layer.weight) * bits).sum()),
                adders=int(np.maximum(digits.sum(axis=1) - 1, 0).sum()),
                luts=sum(layer_luts(network, number)),
            )
        )
    return rows


def costs(network: FixedNetwork) -> Costs:
    """Return the costs of all layers together."""
    return Costs(*(sum(column) for column in zip(*layer_costs(network), strict=True)))


def accumulator_bits(network: FixedNetwork, number: int) -> IntArray:
    """Return the width of each accumulator of a layer: from its lowest bit that can be set to its highest, the sign left out.

    Parameters
    ----------
    network : FixedNetwork
    number : int
        Of the layer.

    Returns
    -------
    ndarray of int64, shape (outputs,)
        0 where the layer reads nothing and its bias is 0.
    """
    layer, source = network.layers[number], network.formats[number]
    reach = np.abs(layer.weight) @ source.reach + np.abs(layer.bias)
    steps = np.where(source.bits > 0, layer.weight << source.shift, 0)
    low = np.bitwise_or.reduce(np.where(steps != 0, steps & -steps, 0), axis=1) | (layer.bias & -layer.bias)
    return np.where(reach > 0, bit_length(reach) - bit_length(low & -low) + 1, 0)
