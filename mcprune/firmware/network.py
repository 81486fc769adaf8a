"""Networks whose inputs, weights, biases and activations are integers: the same bits in numpy, in the chain and in firmware."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mcprune.data.roles.targets import Label
from mcprune.data.scale import Scaler
from mcprune.errors import DataError, ModelError
from mcprune.firmware.csd import MOST
from mcprune.firmware.fixed_point import FixedFormat, quantize, requantize
from mcprune.types import AnyArray, FloatArray, IntArray

EXACT = 1 << 53  # below it float64 holds every integer, so that its matrix product is exact


@dataclass(frozen=True, eq=False)
class FixedLayer:
    """A linear layer of integers with its activation.

    Attributes
    ----------
    weight : ndarray of int64, shape (outputs, inputs)
        Integers times ``2**-fraction``.
    fraction : int
    bias : ndarray of int64, shape (outputs,)
        At the accumulator's step, ``2**-(fraction + common step of the inputs)``.
    activation : FixedFormat of the outputs, or None
        None for the last layer, whose accumulators are the logits.
    relu : bool
        Whether negative accumulators become 0 before they are rounded; never in the last layer.
    """

    weight: IntArray
    fraction: int
    bias: IntArray
    activation: FixedFormat | None = None
    relu: bool = True

    def __post_init__(self) -> None:
        """Make the arrays int64, and check their shapes."""
        object.__setattr__(self, "weight", _whole(self.weight, "weights"))
        object.__setattr__(self, "bias", _whole(self.bias, "biases"))
        object.__setattr__(self, "fraction", int(self.fraction))
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ModelError(
                f"a layer has weights of shape {self.weight.shape} and biases of shape {self.bias.shape}. Give (outputs, inputs) "
                "and (outputs,)."
            )
        if self.activation is not None and len(self.activation) != len(self.bias):
            raise ModelError(
                f"a layer of {len(self.bias)} outputs has formats for {len(self.activation)}. Give one for each output."
            )


class Origin(NamedTuple):
    """Where the numbers of a network come from: the columns of the data, their scaling, and the classes.

    Attributes
    ----------
    columns : ndarray of int64, shape (inputs,)
        The inputs' columns in a whole row.
    width : int
        Columns of a whole row.
    names : tuple of str
        Of the inputs.
    labels : tuple
        The classes' own values, by output.
    scaler : Scaler or None
        Of the inputs; None where rows come scaled.
    split_seed : int or None
        Seed of the split into training, validation and test rows; None where it is not known.
    """

    columns: IntArray
    width: int
    names: tuple[str, ...]
    labels: tuple[Label, ...]
    scaler: Scaler | None = None
    split_seed: int | None = None

    def select(self, places: IntArray) -> Origin:
        """Return the origin of some of the inputs."""
        scaler = None if self.scaler is None else self.scaler.select(places)
        names = tuple(self.names[place] for place in places)
        return self._replace(columns=self.columns[places], names=names, scaler=scaler)


def plain_origin(inputs: int, outputs: int) -> Origin:
    """Return the origin of scaled rows whose columns are all inputs, numbered."""
    return Origin(np.arange(inputs), inputs, tuple(f"x{place}" for place in range(inputs)), tuple(range(outputs)))


@dataclass(frozen=True, eq=False)
class FixedNetwork:
    """A classifier in fixed point.

    Attributes
    ----------
    inputs : FixedFormat
    layers : tuple of FixedLayer
        One at least.
    logit_scale : float
        The classes' probabilities are the softmax of ``logit_scale`` times the integer logits. Firmware has no need of it.
    origin : Origin

    Raises
    ------
    ModelError
        Layers that do not fit together, or accumulators that 62 bits cannot hold.
    """

    inputs: FixedFormat
    layers: tuple[FixedLayer, ...]
    logit_scale: float
    origin: Origin

    def __post_init__(self) -> None:
        """Check that the layers follow each other and that no accumulator can overflow."""
        if not self.layers:
            raise ModelError("a network has no layer. Give one at least.")
        if not (np.isfinite(self.logit_scale) and self.logit_scale > 0):
            raise ModelError(f"logit_scale is {self.logit_scale}. Choose a finite number above 0.")
        width = len(self.inputs)
        for number, layer in enumerate(self.layers):
            if layer.weight.shape[1] != width:
                raise ModelError(
                    f"layer {number} has weights for {layer.weight.shape[1]} inputs, but {width} come in. Give weights of shape "
                    f"({len(layer.bias)}, {width})."
                )
            is_last = number == len(self.layers) - 1
            if (layer.activation is None) != is_last:
                raise ModelError(
                    f"layer {number} of {len(self.layers)} has {'a' if is_last else 'no'} format of its activations. Every layer has "
                    "one but the last, whose outputs are the logits."
                )
            width = len(layer.bias)
        if (len(self.origin.columns), len(self.origin.names)) != (len(self.inputs),) * 2 or len(
            self.origin.labels
        ) != width:
            raise ModelError(
                f"{len(self.origin.columns)} columns, {len(self.origin.names)} names and {len(self.origin.labels)} labels for a "
                f"network of {len(self.inputs)} inputs and {width} outputs. Give one for each."
            )
        for number, reach in enumerate(self.accumulator_reach()):
            if max(map(int, reach), default=0) >= MOST:
                raise ModelError(f"an accumulator of layer {number} can overflow 60 bits. Choose coarser steps.")

    @property
    def formats(self) -> tuple[FixedFormat, ...]:
        """Formats of the values that each layer reads."""
        return (self.inputs, *(layer.activation for layer in self.layers[:-1] if layer.activation is not None))

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of inputs, of the units of each hidden layer, and of outputs."""
        return (len(self.inputs), *(len(layer.bias) for layer in self.layers))

    def accumulator_fraction(self, number: int) -> int:
        """Return the fractional bits of the accumulators of a layer."""
        return self.layers[number].fraction + self.formats[number].common

    def accumulator_reach(self) -> list[AnyArray]:
        """Return the largest magnitude that each accumulator can have, whatever the inputs: for each layer Python integers."""
        return [
            np.abs(layer.weight).astype(object) @ source.reach.astype(object) + np.abs(layer.bias).astype(object)
            for layer, source in zip(self.layers, self.formats, strict=True)
        ]

    def quantize_inputs(self, rows: AnyArray, *, scaled: bool = True) -> IntArray:
        """Return rows as the integers that the network reads.

        Parameters
        ----------
        rows : ndarray of float, shape (B, inputs) or (B, columns of a whole row)
        scaled : bool
            Whether they are scaled already.

        Returns
        -------
        ndarray of int64, shape (B, inputs)
            Times ``2**-inputs.common``.

        Raises
        ------
        DataError
            Another number of columns, or values that have no fixed-point value.
        """
        taken = np.asarray(rows)
        if taken.ndim == 2 and taken.shape[1] == self.origin.width != len(self.inputs):
            taken = taken[:, self.origin.columns]
        if not scaled and self.origin.scaler is not None:
            taken = self.origin.scaler.apply(taken)
        return quantize(taken, self.inputs)

    def signals(self, inputs: IntArray) -> list[IntArray]:
        """Return what each layer reads and, as the last, the logits: integers of shape (B, width) each.

        Parameters
        ----------
        inputs : ndarray of int64, shape (B, inputs)
            As `quantize_inputs` returns them.
        """
        signals = [np.asarray(inputs, np.int64)]
        if signals[0].ndim != 2 or signals[0].shape[1] != len(self.inputs):
            raise DataError(
                f"rows of shape {signals[0].shape}, but the network has {len(self.inputs)} inputs. Give rows of "
                f"{len(self.inputs)} columns."
            )
        reaches = self.accumulator_reach()
        for number, layer in enumerate(self.layers):
            if max(map(int, reaches[number]), default=0) < EXACT:
                product = (signals[-1].astype(np.float64) @ layer.weight.T.astype(np.float64)).astype(np.int64)
            else:
                product = signals[-1] @ layer.weight.T
            total = product + layer.bias
            if layer.activation is not None:
                total = requantize(
                    np.maximum(total, 0) if layer.relu else total, self.accumulator_fraction(number), layer.activation
                )
            signals.append(total)
        return signals

    def forward(self, inputs: IntArray) -> IntArray:
        """Return the integer logits (B, outputs) of integer inputs (B, inputs), exactly."""
        return self.signals(inputs)[-1]

    def predict_proba(self, rows: AnyArray, *, scaled: bool = True) -> FloatArray:
        """Return the classes' probabilities (B, outputs) of rows; see `quantize_inputs`."""
        values = self.forward(self.quantize_inputs(rows, scaled=scaled)) * self.logit_scale
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict(self, rows: AnyArray, *, scaled: bool = True) -> IntArray:
        """Return the class (its number) of each row; of equal logits the first. See `quantize_inputs`."""
        return np.asarray(self.forward(self.quantize_inputs(rows, scaled=scaled)).argmax(axis=1))

    def but(self, **changes: object) -> FixedNetwork:
        """Return a copy with other attributes."""
        return replace(self, **changes)  # type: ignore[arg-type]  # checked by __post_init__


def _whole(values: AnyArray, name: str) -> IntArray:
    whole = np.ascontiguousarray(values, dtype=np.int64)
    if not np.array_equal(whole, np.asarray(values)):
        raise ModelError(f"{name} are not whole numbers. Give integers and their fraction.")
    return whole
