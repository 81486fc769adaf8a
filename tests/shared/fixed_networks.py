"""Random fixed-point networks and rows, and the arithmetic of one value in Python's integers."""

from fractions import Fraction
from itertools import pairwise
from math import floor

import numpy as np

from mcprune.firmware.fixed_point import FixedFormat
from mcprune.firmware.network import FixedLayer, FixedNetwork, plain_origin


def random_format(rng, count, *, unsigned=False, overflow=None, rounding=None, zeros=0.1):
    """Return formats of 0 to 7 bits at steps of their own, written at a common step that may be finer."""
    bits = np.where(rng.random(count) < zeros, 0, rng.integers(1, 8, count))
    fraction = rng.integers(-2, 6, count)
    signed = rng.random(count) < (0 if unsigned else 0.7)
    common = int(fraction.max(initial=0)) + int(rng.integers(2))
    return FixedFormat(
        bits,
        fraction,
        signed,
        common,
        overflow or str(rng.choice(["wrap", "saturate"])),
        rounding or str(rng.choice(["nearest", "floor"])),
    )


def random_network(seed, widths=(6, 5, 4, 3), *, density=0.6, size=40, relu=None, **options):
    """Return a network with random sparse integer weights; options are those of `random_format`."""
    rng = np.random.default_rng(seed)
    layers, source = [], random_format(rng, widths[0], **options)
    inputs = source
    for number, (n_in, n_out) in enumerate(pairwise(widths)):
        weight = rng.integers(-size, size + 1, (n_out, n_in)) * (rng.random((n_out, n_in)) < density)
        is_last = number == len(widths) - 2
        source = None if is_last else random_format(rng, n_out, **options)
        is_rectified = bool(rng.random() < 0.7) if relu is None else relu
        bias = rng.integers(-200, 201, n_out)
        layers.append(FixedLayer(weight, int(rng.integers(0, 6)), bias, source, is_rectified and not is_last))
    return FixedNetwork(inputs, tuple(layers), 2.0**-6, plain_origin(widths[0], widths[-1]))


def random_rows(seed, rows, columns, spread=3.0):
    """Return rows of float32 around 0."""
    return (np.random.default_rng([seed, 1]).normal(size=(rows, columns)) * spread).astype(np.float32)


def round_value(value, form, place):
    """Return one Fraction in the format of one place, as a Fraction: the definition, without a shift or a mask."""
    bits, signed = int(form.bits[place]), bool(form.signed[place])
    if bits == 0:
        return Fraction(0)
    step = Fraction(1, 2) ** int(form.fraction[place])
    whole = floor(value / step + (Fraction(1, 2) if form.rounding == "nearest" else 0))
    low = -(2 ** (bits - 1)) if signed else 0
    high = low + 2**bits - 1
    whole = min(max(whole, low), high) if form.overflow == "saturate" else (whole - low) % 2**bits + low
    return whole * step


def reference_logits(network, row):
    """Return the logits of one row of floats as Fractions, computed from the network's real values."""
    values = [round_value(Fraction(float(value)), network.inputs, place) for place, value in enumerate(row)]
    for number, layer in enumerate(network.layers):
        step = Fraction(1, 2) ** layer.fraction
        fine = Fraction(1, 2) ** network.accumulator_fraction(number)
        sums = [
            sum((int(w) * step * value for w, value in zip(weights, values, strict=True)), int(bias) * fine)
            for weights, bias in zip(layer.weight, layer.bias, strict=True)
        ]
        if layer.activation is None:
            return sums
        values = [
            round_value(max(value, Fraction(0)) if layer.relu else value, layer.activation, place)
            for place, value in enumerate(sums)
        ]
    raise AssertionError
