"""Small perceptrons in whole numbers: weights and signals rounded to fixed points, and the reference that a C header must equal.

Every number is an integer times a power of two, so that rescaling between layers is a shift: what a trigger's logic does. Weights
have 8 or 16 bits, signals 16. All of it is exact, so C and numpy give the same integers and not just close ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.firmware.stages import linear_stages
from mcprune.types import AnyArray, FloatArray, IntArray

SIGNAL_BITS = 16
BITS = (8, 16)
FINEST = 30  # bits behind the point, at most: a layer of tiny numbers needs no more


class IntegerLayer(NamedTuple):
    """A linear layer of integers.

    Attributes
    ----------
    weight : ndarray of int64, shape (outputs, inputs)
        Of `bits` bits.
    bias : ndarray of int64, shape (outputs,)
        In units of the accumulator, 2**-(weight_point + point in front).
    shift : int
        Bits that the accumulator is shifted down by to be the next layer's signal; 0 for the last layer, whose accumulators are
        the outputs.
    is_rectified : bool
        Whether a ReLU follows.
    """

    weight: IntArray
    bias: IntArray
    shift: int
    is_rectified: bool


class IntegerNet(NamedTuple):
    """A perceptron of integers.

    Attributes
    ----------
    layers : tuple of IntegerLayer
    bits : int
        Of each weight.
    in_point, out_point : int
        Bits behind the point of the inputs and of the outputs: value = integer * 2**-point.
    """

    layers: tuple[IntegerLayer, ...]
    bits: int
    in_point: int
    out_point: int

    def quantise(self, scaled: AnyArray) -> IntArray:
        """Return scaled inputs (B, n) as integers: to the nearest (ties to even), cut off at 16 bits."""
        return _clipped(np.rint(np.asarray(scaled, np.float64) * 2.0**self.in_point))

    def outputs(self, signals: IntArray) -> IntArray:
        """Return the accumulators of the last layer (B, C) for integer inputs (B, n)."""
        for layer in self.layers:
            sums = signals @ layer.weight.T + layer.bias
            if layer.is_rectified:
                sums = np.maximum(sums, 0)
            signals = _clipped(_halved(sums, layer.shift)) if layer is not self.layers[-1] else sums
        return signals

    def logits(self, signals: IntArray) -> FloatArray:
        """Return the outputs as real numbers (B, C)."""
        return np.asarray(self.outputs(signals) * 2.0**-self.out_point, np.float64)

    def widest(self) -> int:
        """Return the largest magnitude that any accumulator can reach: it says which integer type holds them all."""
        top = 2 ** (SIGNAL_BITS - 1)
        most = 0
        for layer in self.layers:
            sums = np.abs(layer.weight).sum(axis=1) * top + np.abs(layer.bias)
            most = max(most, int(sums.max()) + 2 ** max(layer.shift - 1, 0))  # half a step is added before a shift
        return most

    def bit_operations(self) -> float:
        """Return the bit operations of a row, with zero weights left out.

        Notes
        -----
        For each layer of m outputs and n inputs m n ((1 - f) b_w b_a + b_w + b_a + log2 n), f the share of weights that are
        zero after rounding, b_w and b_a the bits of weights and signals [1]_.

        References
        ----------
        .. [1] Hawks et al., Ps and Qs: quantization-aware pruning for efficient low latency neural network inference (2021),
           Frontiers in Artificial Intelligence 4, 676564.
        """
        total = 0.0
        for layer in self.layers:
            outputs, inputs = layer.weight.shape
            others = float(np.mean(layer.weight != 0)) * self.bits * SIGNAL_BITS
            total += outputs * inputs * (others + self.bits + SIGNAL_BITS + math.log2(inputs))
        return total


def integer_net(model: nn.Module, scaled: AnyArray, bits: int = 8) -> IntegerNet:
    """Round a perceptron.

    Parameters
    ----------
    model : nn.Module
        An MLP or nn.Sequential of Linear layers, each but the last one followed by a ReLU or nothing; dropout is passed over.
    scaled : ndarray, shape (B, n)
        Rows as the model takes them: their largest signals say where each layer's point lies. What is larger later is cut off.
    bits : 8 or 16
        Of each weight.

    Raises
    ------
    ConfigError
        Another number of bits.
    ModelError
        A layer of another kind, by its name; parameters or signals that are not finite.
    """
    if bits not in BITS:
        raise ConfigError(f"bits={bits}: the weights of an integer net have 8 or 16; choose one of them")
    signals = np.asarray(scaled, np.float64)
    in_point = point = _point(np.abs(signals).max(initial=0.0), SIGNAL_BITS)
    stages = linear_stages(model)
    layers = []
    for place, (linear, is_rectified) in enumerate(stages):
        weight = linear.weight.detach().double().cpu().numpy()
        bias = np.zeros(len(weight)) if linear.bias is None else linear.bias.detach().double().cpu().numpy()
        weight_point = _point(np.abs(weight).max(initial=0.0), bits)
        signals = signals @ weight.T + bias
        signals = np.maximum(signals, 0.0) if is_rectified else signals
        sums_point = weight_point + point
        is_last = place == len(stages) - 1
        point = sums_point if is_last else min(_point(np.abs(signals).max(initial=0.0), SIGNAL_BITS), sums_point)
        rounded = np.rint(weight * 2.0**weight_point).astype(np.int64)
        lifted = np.rint(bias * 2.0**sums_point)
        if np.abs(lifted).max(initial=0.0) >= 2.0**62:
            raise ModelError("a bias is too large for its layer's weights to be rounded; scale the inputs")
        layers.append(IntegerLayer(rounded, lifted.astype(np.int64), sums_point - point, is_rectified))
    return IntegerNet(tuple(layers), bits, in_point, point)


def _point(largest: float, bits: int) -> int:
    """Bits behind the point with which the largest magnitude still fits into so many bits."""
    if not math.isfinite(largest):
        raise ModelError("the model gives signals that are not finite, so they cannot be rounded; train it again")
    return FINEST if largest == 0 else max(-FINEST, min(FINEST, math.floor(math.log2((2 ** (bits - 1) - 1) / largest))))


def _clipped(values: AnyArray) -> IntArray:
    top = 2 ** (SIGNAL_BITS - 1) - 1
    return np.clip(values, -top, top).astype(np.int64)


def _halved(sums: IntArray, shift: int) -> IntArray:
    """Shifted down, to the nearest; half away from zero, so that no negative number is shifted (C leaves that open)."""
    if not shift:
        return sums
    return np.asarray(np.sign(sums) * ((np.abs(sums) + (1 << (shift - 1))) >> shift), np.int64)


def reference_logits(model: nn.Module, scaled: AnyArray) -> FloatArray:
    """Return a model's outputs (B, C) in its own floats."""
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(np.asarray(scaled, np.float32))).double().numpy()  # type: ignore[no-any-return]
