"""Fixed-point networks as the arrays of the compiled chain, and back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mcprune.errors import ModelError
from mcprune.firmware.counting.costs import UNITS, Unit
from mcprune.firmware.csd import bit_length
from mcprune.firmware.fixed_point import FixedFormat
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.digit_kernels import Net, Rows, Scratch
from mcprune.types import Float32Array, IntArray

MOST_BIAS = 28  # largest power of two that a move adds to a bias
SPARE_POWERS = 1  # a weight may grow by so many bits beyond the largest of its layer, in each block,
MOST_POWER = 23  # up to this one: alkaid's solver takes weights in float32, below 2^24


class DigitState(NamedTuple):
    """A network and the state of all rows in it."""

    net: Net
    rows: Rows
    scratch: Scratch


def make_net(network: FixedNetwork) -> Net:
    """Return the arrays of a network alone."""
    widths = network.widths
    return Net(
        widths=np.array(widths, np.int64),
        layers=_layer_table(network),
        weights=np.concatenate([layer.weight.reshape(-1) for layer in network.layers]).astype(np.int32),
        biases=np.concatenate([layer.bias for layer in network.layers]).astype(np.int32),
        forms=np.concatenate([_forms(network, number) for number in range(len(network.layers))]),
        signals=np.concatenate([signal_table(form) for form in network.formats]),
        costs=np.zeros(sum(widths[1:]), np.int64),
        options=np.array([network.logit_scale]),
    )


def fast_cost(network: FixedNetwork, unit: Unit) -> int:
    """Return what `costs` counts in a unit, by compiled code; -1 where an accumulator might leave 32 bits."""
    return int(kernels.set_costs(make_net(network), UNITS.index(unit)))


def make_state(network: FixedNetwork, inputs: IntArray, targets: IntArray, weights: Float32Array | None) -> DigitState:
    """Return the arrays of a network; the state of the rows is computed by `digit_kernels.refresh`.

    Parameters
    ----------
    network : FixedNetwork
    inputs : ndarray of int64, shape (B, inputs)
    targets : ndarray of int64, shape (B,)
    weights : ndarray of float32, shape (B,), or None
        Sample weights.

    Raises
    ------
    ModelError
        Accumulators of more than 30 bits.
    """
    widths, count = network.widths, len(targets)
    net = make_net(network)
    for number, (reach, first) in enumerate(
        zip(network.accumulator_reach(), net.layers[:, kernels.UNIT_AT], strict=True)
    ):
        halves = net.forms[first : first + len(reach), kernels.HALF]
        widest = max((int(one) + int(half) for one, half in zip(reach, halves, strict=True)), default=0)
        if widest >= kernels.MOST_REACH:  # as the moves have it: what a chain leaves, the next one takes
            raise ModelError(
                f"accumulators of layer {number} can reach {widest}, and the chain over digits holds them in 30 bits. "
                "Choose coarser steps of the inputs, weights or activations."
            )
    n_signals, n_units = sum(widths[:-1]), sum(widths[1:])
    signals = np.zeros((n_signals, count), np.int32)
    signals[: widths[0]] = inputs.T
    share = (
        np.ones(count, np.float32)
        if weights is None
        else (weights / np.mean(weights, dtype=np.float64)).astype(np.float32)
    )
    rows = Rows(
        signals=signals,
        accumulators=np.zeros((n_units, count), np.int32),
        losses=np.zeros(count, np.float32),
        targets=targets.astype(np.int32),
        weights=share,
        override=np.zeros(count, np.int32),
    )
    bits = np.zeros(kernels.TILE, np.int32)
    scratch = Scratch(
        accumulators=np.zeros((n_units, kernels.TILE), np.int32),
        deltas=np.zeros((n_signals, kernels.TILE), np.int32),
        values=np.zeros(kernels.TILE, np.int32),
        floats=np.zeros((4, kernels.TILE), np.float32),
        bits=bits,
        powers=bits.view(np.float32),
        touched=np.zeros(n_units, np.uint8),
        dirty=np.zeros(n_signals, np.uint8),
        sums=np.zeros((2, kernels.TILE)),
    )
    return DigitState(net, rows, scratch)


def network_of(state: DigitState, network: FixedNetwork) -> FixedNetwork:
    """Return the network of a state: `network` with the state's weights, biases and logit scale."""
    net, layers = state.net, []
    for number, layer in enumerate(network.layers):
        at, unit = net.layers[number, kernels.WEIGHT_AT], net.layers[number, kernels.UNIT_AT]
        weight = net.weights[at : at + layer.weight.size].reshape(layer.weight.shape).astype(np.int64)
        layers.append(replace(layer, weight=weight, bias=net.biases[unit : unit + len(layer.bias)].astype(np.int64)))
    return network.but(layers=tuple(layers), logit_scale=float(net.options[0]))


def signal_table(form: FixedFormat) -> IntArray:
    """Return the formats of signals as `digit_kernels.Net` holds them, (signals, 4)."""
    return np.stack([form.bits, form.reach, form.shift, form.signed.astype(np.int64)], axis=1)


def _layer_table(network: FixedNetwork) -> IntArray:
    table, at, unit, signal = [], 0, 0, 0
    for layer, (inputs, outputs) in zip(network.layers, pairwise(network.widths), strict=True):
        largest = int(np.abs(layer.weight).max(initial=1))
        bits = int(bit_length(np.array([largest]))[0])
        powers = max(min(bits + SPARE_POWERS, MOST_POWER), bits)
        table.append([at, unit, signal, powers])
        at, unit, signal = at + inputs * outputs, unit + outputs, signal + inputs
    return np.array(table, np.int64)


def _forms(network: FixedNetwork, number: int) -> IntArray:
    """Return the formats of a layer's units as `digit_kernels.activate` reads them, (units, FORM)."""
    layer = network.layers[number]
    table = np.zeros((len(layer.bias), kernels.FORM), np.int64)
    form = layer.activation
    if form is None:
        # Of a logit a step of 1/8 to 8 in the softmax's exponent.
        middle = round(-np.log2(network.logit_scale))
        table[:, kernels.BIAS_LOW], table[:, kernels.BIAS_HIGH] = np.clip([middle - 3, middle + 3], 0, MOST_BIAS)
        return table
    fill_forms(table, form, network.accumulator_fraction(number), is_rectified=layer.relu)
    return table


def fill_forms(table: IntArray, form: FixedFormat, fraction: int, *, is_rectified: bool) -> None:
    """Write formats into a table (n, FORM), of accumulators with so many fractional bits."""
    drop = np.where(form.bits > 0, fraction - form.fraction, 0)
    down = np.maximum(drop, 0)
    table[:, kernels.RELU] = is_rectified
    table[:, kernels.HALF] = (1 << down) >> 1 if form.rounding == "nearest" else 0
    table[:, kernels.DOWN], table[:, kernels.LIFT] = down, np.maximum(-drop, 0)
    table[:, kernels.LOW], table[:, kernels.HIGH] = form.low, form.high
    table[:, kernels.SPAN] = np.where(form.bits > 0, (1 << form.bits) - 1, 0)
    table[:, kernels.SATURATES] = form.overflow == "saturate"
    table[:, kernels.UP] = form.shift
    # From a quarter of the activation's lowest bit to its highest.
    table[:, kernels.BIAS_LOW] = np.clip(down - 2, 0, MOST_BIAS)
    table[:, kernels.BIAS_HIGH] = np.clip(down + form.bits - 1, 0, MOST_BIAS)
