"""Round a trained perceptron to fixed point after its training, by one stated rule.

- Weights of b bits, one step for each layer: the finest power of two at which the layer's largest weight fits.
- Inputs of s bits with their signs, one step: the finest at which the largest input of some rows fits. Larger ones saturate.
- Hidden signals of s bits, one step for each layer: the finest at which the largest signal of these rows fits, but no finer than the
  sums. They are rounded to the nearest and saturate.
- Biases at the step of the sums.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.firmware.fixed_point import FixedFormat, uniform_format
from mcprune.firmware.network import FixedLayer, FixedNetwork, Origin
from mcprune.firmware.stages import linear_stages
from mcprune.types import AnyArray, FloatArray

BITS = (2, 24)  # fewest and most
FINEST = 30  # bits behind the point, at most


def round_mlp(model: nn.Module, rows: AnyArray, origin: Origin, *, bits: int = 8, signal_bits: int = 8) -> FixedNetwork:
    """Return a perceptron in fixed point; see the rule above.

    Parameters
    ----------
    model : nn.Module
        An MLP or nn.Sequential of Linear layers, each but the last one followed by a ReLU or nothing.
    rows : ndarray, shape (B, inputs)
        Scaled: their largest values say where the points lie.
    origin : Origin
    bits, signal_bits : int
        Of each weight, its sign included; of each input (its sign included) and hidden signal.

    Raises
    ------
    ConfigError
        Numbers of bits out of range.
    ModelError
        A layer of another kind, or numbers that are not finite.
    """
    for name, value in (("bits", bits), ("signal_bits", signal_bits)):
        if not BITS[0] <= value <= BITS[1]:
            raise ConfigError(f"{name}={value} is out of range. Choose {BITS[0]} to {BITS[1]}.")
    signals: FloatArray = np.asarray(rows, np.float64)
    stages = linear_stages(model)
    width = signals.shape[1]
    inputs = uniform_format(width, signal_bits, _point(signals, signal_bits - 1), signed=True, overflow="saturate")
    source: FixedFormat = inputs
    layers = []
    for number, (linear, is_rectified) in enumerate(stages, start=1):
        weight = _numbers(linear.weight)
        bias = np.zeros(len(weight)) if linear.bias is None else _numbers(linear.bias)
        fraction = _point(weight, bits - 1)
        sums = fraction + source.common
        signals = signals @ weight.T + bias
        if is_rectified:
            signals = np.maximum(signals, 0)
        activation = None
        if number < len(stages):
            point = min(_point(signals, signal_bits - (not is_rectified)), sums)
            activation = uniform_format(len(bias), signal_bits, point, signed=not is_rectified, overflow="saturate")
        layers.append(
            FixedLayer(
                np.rint(np.ldexp(weight, fraction)),
                fraction,
                np.rint(np.ldexp(bias, sums)),
                activation,
                relu=is_rectified,
            )
        )
        source = activation or source
    return FixedNetwork(inputs, tuple(layers), 2.0**-sums, origin)


def _numbers(tensor: torch.Tensor) -> FloatArray:
    values: FloatArray = tensor.detach().double().cpu().numpy()
    return values


def _point(values: FloatArray, bits: int) -> int:
    """Return the bits behind the point with which the largest magnitude still fits into so many bits."""
    largest = float(np.abs(values).max(initial=0.0))
    if not math.isfinite(largest):
        raise ModelError("The model gives signals that are not finite, so they cannot be rounded. Train it again.")
    if largest == 0:
        return 0
    return max(-FINEST, min(FINEST, math.floor(math.log2((2**bits - 1) / largest))))
