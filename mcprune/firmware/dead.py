"""Units and inputs that a fixed-point network does without: removed exactly, the constants among them folded into biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcprune.firmware.fixed_point import FixedFormat, bits_for, requantize
from mcprune.firmware.network import FixedLayer, FixedNetwork
from mcprune.types import IntArray


def remove_dead(network: FixedNetwork) -> FixedNetwork:
    """Return a network of the same logits without dead units and inputs.

    A unit is dead if nothing reads it, or if it reads nothing: then it is a constant, which goes into the biases behind it. An input
    is dead if nothing reads it or if it has 0 bits. One input and one unit of each layer stay, dead or not.
    """
    layers = [
        replace(layer, weight=layer.weight * (source.bits > 0))
        for layer, source in zip(network.layers, network.formats, strict=True)
    ]
    for number in range(len(layers) - 1):
        _fold_constants(network, layers, number)
    lives = [np.ones(len(layers[-1].bias), bool)]
    for layer in reversed(layers):
        read = (layer.weight[lives[-1]] != 0).any(axis=0)
        if not read.any():
            read[:1] = True
        lives.append(read)
    places = [np.flatnonzero(live) for live in reversed(lives)]
    cut = tuple(
        replace(
            layer,
            weight=layer.weight[np.ix_(places[number + 1], places[number])],
            bias=layer.bias[places[number + 1]],
            activation=None if layer.activation is None else layer.activation.select(places[number + 1]),
        )
        for number, layer in enumerate(layers)
    )
    return FixedNetwork(network.inputs.select(places[0]), cut, network.logit_scale, network.origin.select(places[0]))


def _fold_constants(network: FixedNetwork, layers: list[FixedLayer], number: int) -> None:
    """Put the constant units of a layer into the biases of the next, and take their weights out."""
    layer, after = layers[number], layers[number + 1]
    assert layer.activation is not None
    is_constant = ~(layer.weight != 0).any(axis=1) | (layer.activation.bits == 0)
    total = np.maximum(layer.bias, 0) if layer.relu else layer.bias
    values = requantize(total[None], network.accumulator_fraction(number), layer.activation)[0]
    constants = np.where(is_constant, values, 0)
    layers[number + 1] = replace(
        after, weight=np.where(is_constant, 0, after.weight), bias=after.bias + after.weight @ constants
    )


def trim_formats(network: FixedNetwork, inputs: IntArray) -> FixedNetwork:
    """Return a network whose units have no more high bits than some rows need: on these rows it is the same.

    Parameters
    ----------
    network : FixedNetwork
    inputs : ndarray of int64, shape (B, inputs)
        Training rows. A row beyond their range wraps or saturates earlier than before.
    """
    signals = network.signals(inputs)
    layers = [
        layer
        if layer.activation is None
        else replace(layer, activation=_trimmed(layer.activation, signals[number + 1]))
        for number, layer in enumerate(network.layers)
    ]
    return network.but(layers=tuple(layers))


def _trimmed(form: FixedFormat, values: IntArray) -> FixedFormat:
    own = values >> form.shift
    low, high = own.min(axis=0, initial=0), own.max(axis=0, initial=0)
    signed = form.signed & (low < 0)
    return replace(form, bits=np.minimum(form.bits, bits_for(low, high)), signed=signed)
