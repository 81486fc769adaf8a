"""Look-up tables of the sums of a network that shares nothing: an estimate by counting, without any solver.

Each digit of a weight is a shifted copy of its input. The copies of a sum are added two at a time, those that end lowest first. An adder
takes a table for each bit from the higher of the two lowest bits to the top; what is below passes. A difference takes one for nearly each
bit of its result. Copies without a common bit are put side by side. A bias goes into the carries of an adder. A ReLU takes half a table
for each bit of its sum, where this can be negative. These are the rules by which alkaid 0.8 estimates an operation.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from mcprune.firmware.csd import signed_digits
from mcprune.firmware.network import FixedNetwork


class Term(NamedTuple):
    """A summand: its order, its lowest bit, its range, and whether it is added (1) or subtracted (-1)."""

    top: int
    start: int
    number: int
    low: int
    high: int
    sign: int


def layer_luts(network: FixedNetwork, number: int) -> list[int]:
    """Return the estimated look-up tables of each unit of a layer.

    Parameters
    ----------
    network : FixedNetwork
    number : int
        Of the layer.
    """
    layer, source = network.layers[number], network.formats[number]
    is_rectified = layer.relu and layer.activation is not None
    shift, is_live = source.shift, source.bits > 0
    counts = []
    for weights, bias in zip(signed_digits(layer.weight), layer.bias, strict=True):
        inputs, places = np.nonzero(weights * is_live[:, None])
        terms = []
        for order, (one, place) in enumerate(zip(inputs.tolist(), places.tolist(), strict=True)):
            start = int(shift[one]) + place
            low, high = int(source.low[one]) << start, int(source.high[one]) << start
            terms.append(Term(_top(low, high), start, order, low, high, int(weights[one, place])))
        counts.append(unit_luts(terms, int(bias), is_rectified=is_rectified))
    return counts


def unit_luts(terms: list[Term], bias: int, *, is_rectified: bool) -> int:
    """Return the estimated look-up tables of a sum.

    Parameters
    ----------
    terms : list of Term
        Used up.
    bias : int
    is_rectified : bool
        Whether a ReLU follows.
    """
    if not terms:
        return 0
    total, order = 0, len(terms)
    heapify(terms)
    while len(terms) > 1:
        one, other = heappop(terms), heappop(terms)
        start, bottom, top = max(one.start, other.start), min(one.start, other.start), max(one.top, other.top)
        is_apart = min(one.top, other.top) <= start
        if one.sign == other.sign:
            total += 0 if is_apart else top - start
            low, high, sign = one.low + other.low, one.high + other.high, one.sign
        else:
            total += 0 if is_apart else max(top - bottom - 1, 1)
            plus, minus = (one, other) if one.sign > 0 else (other, one)
            low, high, sign = plus.low - minus.high, plus.high - minus.low, 1
        heappush(terms, Term(_top(low, high), bottom, order, low, high, sign))
        order += 1
    last = terms[0]
    low, high = (last.low, last.high) if last.sign > 0 else (-last.high, -last.low)
    start = min(last.start, (bias & -bias).bit_length() - 1) if bias else last.start
    if is_rectified and low + bias < 0 < high + bias:
        total += ((high + bias).bit_length() - start + 1) // 2
    return total


def _top(low: int, high: int) -> int:
    """Return the bits of the integers from `low` to `high`, a sign included where `low` is negative."""
    return max(high, -low - 1).bit_length() + (low < 0)
