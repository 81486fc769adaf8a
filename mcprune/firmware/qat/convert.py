"""From a rounded perceptron to its integers, and the check that both give the same outputs."""

from __future__ import annotations

import copy

import numpy as np
import torch

from mcprune.errors import ModelError
from mcprune.firmware.fixed_point import FixedFormat, Overflow
from mcprune.firmware.network import FixedLayer, FixedNetwork, Origin
from mcprune.firmware.qat.grids import leading_bits
from mcprune.firmware.qat.network import Part, RoundedMLP
from mcprune.types import AnyArray, IntArray

CHUNK = 8192  # rows at a time


@torch.no_grad()
def to_fixed(model: RoundedMLP, origin: Origin) -> FixedNetwork:
    """Return the integers of a calibrated network.

    Parameters
    ----------
    model : RoundedMLP
        After `calibrate`.
    origin : Origin
        Of its inputs and classes.
    """
    inputs = _format(model, model.parts[0], "saturate")
    layers = []
    rounded = model.rounded_layers()
    for number, layer in enumerate(rounded, start=1):
        activation = None
        if number < len(rounded):
            activation = _format(model, model.parts[number], model.overflow, finest=layer.sum_bits)
        layers.append(
            FixedLayer(
                np.ldexp(layer.weight.double().numpy().T, layer.weight_bits),
                layer.weight_bits,
                np.ldexp(layer.bias.double().numpy(), layer.sum_bits),
                activation,
                relu=activation is not None,
            )
        )
    return FixedNetwork(inputs, tuple(layers), 2.0 ** -rounded[-1].sum_bits, origin)


def check_equal(model: RoundedMLP, network: FixedNetwork, rows: AnyArray) -> None:
    """Compare the outputs of the trained network and of its integers on rows.

    Parameters
    ----------
    model : RoundedMLP
    network : FixedNetwork
    rows : ndarray of float32, shape (B, inputs)
        Scaled.

    Raises
    ------
    ModelError
        An output differs.
    """
    exact = copy.deepcopy(model).double().eval()
    for first in range(0, len(rows), CHUNK):
        part = np.asarray(rows[first : first + CHUNK], np.float64)
        with torch.no_grad():
            expected = exact(torch.from_numpy(part)).numpy()
        outputs = network.forward(network.quantize_inputs(part)) * network.logit_scale
        if not np.array_equal(outputs, expected):
            wrong = np.flatnonzero((outputs != expected).any(axis=1))
            raise ModelError(
                f"The integers of the network differ from the trained network on {len(wrong):,} of {len(part):,} rows, first on row "
                f"{first + wrong[0]}. Report this as a fault of mcprune."
            )


def _format(model: RoundedMLP, part: Part, overflow: str, *, finest: int | None = None) -> FixedFormat:
    fraction: IntArray = model.signal_bits[part.inputs].round().numpy().astype(np.int64)
    if finest is not None:
        fraction = np.minimum(fraction, finest)
    width = np.maximum(leading_bits(model.tops[part.inputs]).numpy().astype(np.int64) + fraction, 0)
    signed = (model.signs[part.inputs].numpy() > 0) & (width > 0)
    kind: Overflow = "saturate" if overflow == "saturate" else "wrap"
    return FixedFormat(width + signed, fraction, signed, int(fraction.max()), kind)
