"""A perceptron that rounds its weights, biases and signals while it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from mcprune.firmware.qat.grids import leading_bits, round_to_grid, whole_bits, widths
from mcprune.random import weights_generator

LEAST_BITS, MOST_WEIGHT_BITS, MOST_SIGNAL_BITS = -8, 10, 8  # behind the point: sums stay exact in float32
FADING = 0.99  # of the largest signal, in each step of training


class Bits(NamedTuple):
    """Fractional bits of a network at the start of its training.

    Attributes
    ----------
    inputs, weights, signals : int
        Of the inputs, of the weights and biases, and of the hidden signals.
    is_trained : bool
        Whether each input, weight, bias and unit gets a number of bits of its own by its gradient.
    """

    inputs: int = 4
    weights: int = 6
    signals: int = 4
    is_trained: bool = True


class Part(NamedTuple):
    """Where a layer's numbers stand among those of all layers."""

    shape: tuple[int, int]  # inputs, outputs
    weight: slice
    bias: slice
    inputs: slice  # of its inputs among all signals


class RoundedLayer(NamedTuple):
    """Rounded numbers of a layer.

    Attributes
    ----------
    weight : tensor, shape (inputs, outputs)
    bias : tensor, shape (outputs,)
    weight_bits, sum_bits : int
        Fractional bits of the finest weight, and of the sums.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    weight_bits: int
    sum_bits: int


class RoundedMLP(nn.Module):
    """A perceptron with ReLU whose inputs, weights, biases and hidden signals are rounded to binary grids.

    The numbers of all layers stand in one vector, so that a step of training takes few operations.

    Parameters
    ----------
    layers : sequence of int
        Inputs, hidden units, outputs.
    bits : Bits
    ranges : tensor, shape (inputs,)
        Largest magnitude of each input.
    is_signed : tensor of bool, shape (inputs,)
        Which inputs can be negative.
    overflow : "wrap" or "saturate"
        What a hidden signal does beyond the largest one that `calibrate` has seen; while it is trained nothing overflows.
    seed : int

    Attributes
    ----------
    numbers : nn.Parameter
        Weights and biases.
    number_bits, signal_bits : nn.Parameter
        Their fractional bits, and those of the inputs and hidden units, before rounding to whole numbers.
    tops : tensor
        Largest signal of each input and hidden unit: a running maximum while it is trained, exact after `calibrate`.
    """

    tops: torch.Tensor
    signs: torch.Tensor

    def __init__(
        self,
        layers: Sequence[int],
        bits: Bits,
        ranges: torch.Tensor,
        is_signed: torch.Tensor,
        *,
        overflow: str = "wrap",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.overflow = overflow
        self.parts = list(_parts(layers))
        draw = weights_generator(seed)
        drawn = [
            (2 * torch.rand((inputs + 1) * outputs, generator=draw) - 1) / math.sqrt(inputs)
            for inputs, outputs in pairwise(layers)
        ]
        self.numbers = nn.Parameter(torch.cat(drawn))
        trained = bits.is_trained
        self.number_bits = nn.Parameter(torch.full((len(self.numbers),), float(bits.weights)), requires_grad=trained)
        hidden = sum(layers[1:-1])
        starts = torch.tensor([float(bits.inputs)] * layers[0] + [float(bits.signals)] * hidden)
        self.signal_bits = nn.Parameter(starts, requires_grad=trained)
        self.register_buffer("tops", torch.cat([ranges, torch.zeros(hidden)]))
        self.register_buffer("signs", torch.cat([is_signed.float(), torch.zeros(hidden)]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the outputs (B, C) for scaled rows (B, N)."""
        return self._outputs(rows, self.rounded_layers())

    def outputs_and_operations(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the outputs (B, C), and the bit operations of a row, whose gradient goes to the numbers of bits alone."""
        layers = self.rounded_layers()
        return self._outputs(rows, layers), self._operations(layers)

    def bit_operations(self) -> torch.Tensor:
        """Return the bits of each weight times the bits of its input, summed, plus the bits of the biases."""
        return self._operations(self.rounded_layers())

    def rounded_layers(self) -> list[RoundedLayer]:
        """Return the rounded numbers of all layers; no bias is finer than the sums of its layer."""
        bits = whole_bits(self.number_bits)
        plain, signals = bits.detach(), self.signal_bits.detach().round()
        finest: list[tuple[int, int]] = []
        caps = torch.full_like(plain, math.inf)
        point = int(signals[self.parts[0].inputs].max())
        for place, part in enumerate(self.parts):
            if place:
                point = min(int(signals[part.inputs].max()), finest[-1][1])
            of_weights = int(plain[part.weight].max())
            finest.append((of_weights, point + of_weights))
            caps[part.bias] = point + of_weights
        rounded = round_to_grid(self.numbers, torch.minimum(bits, caps))
        return [
            RoundedLayer(rounded[part.weight].view(part.shape), rounded[part.bias], *both)
            for part, both in zip(self.parts, finest, strict=True)
        ]

    def round_inputs(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows (B, N) on the grids of the inputs, within their ranges."""
        part = self.parts[0].inputs
        bits, leading = whole_bits(self.signal_bits[part]), leading_bits(self.tops[part])
        step, high = torch.exp2(-bits.detach()), torch.exp2(leading)
        rounded = torch.minimum(round_to_grid(rows, bits), high - step)
        rounded = torch.maximum(rounded, -high * self.signs[part])
        return rounded * (high > step)

    @torch.no_grad()
    def calibrate(self, rows: torch.Tensor) -> None:
        """Set the largest signal of each hidden unit to that of these rows: none of them overflows."""
        signal = self.round_inputs(rows)
        for layer, part in zip(self.rounded_layers(), self.parts[1:], strict=False):
            sums = torch.relu(signal @ layer.weight + layer.bias)
            signal = round_to_grid(sums, self._signal_grid(part, layer))
            self.tops[part.inputs] = signal.max(dim=0).values

    @torch.no_grad()
    def clip_bits(self) -> None:
        """Bring all numbers of bits between their bounds, after a step of the optimizer."""
        self.number_bits.clamp_(LEAST_BITS, MOST_WEIGHT_BITS)
        self.signal_bits.clamp_(LEAST_BITS, MOST_SIGNAL_BITS)

    def _outputs(self, rows: torch.Tensor, layers: list[RoundedLayer]) -> torch.Tensor:
        signal = self.round_inputs(rows)
        for layer, part in zip(layers, self.parts[1:], strict=False):
            signal = self._round_signals(torch.relu(torch.addmm(layer.bias, signal, layer.weight)), part, layer)
        return torch.addmm(layers[-1].bias, signal, layers[-1].weight)

    def _round_signals(self, signal: torch.Tensor, part: Part, layer: RoundedLayer) -> torch.Tensor:
        bits = self._signal_grid(part, layer)
        rounded = round_to_grid(signal, bits)
        top = self.tops[part.inputs]
        if self.training:
            torch.maximum(FADING * top, rounded.detach().amax(dim=0), out=top)
            return rounded
        high = torch.exp2(leading_bits(top))
        if self.overflow == "wrap":
            return torch.remainder(rounded, high)
        return torch.minimum(rounded, (high - torch.exp2(-bits)).clamp(min=0))

    def _signal_grid(self, part: Part, layer: RoundedLayer) -> torch.Tensor:
        return whole_bits(self.signal_bits[part.inputs]).clamp(max=layer.sum_bits)

    def _operations(self, layers: list[RoundedLayer]) -> torch.Tensor:
        of_signals = widths(whole_bits(self.signal_bits), self.tops)
        of_signals = of_signals + self.signs * (of_signals.detach() > 0)
        flat = torch.cat([torch.cat([layer.weight.detach().reshape(-1), layer.bias.detach()]) for layer in layers])
        of_numbers = widths(whole_bits(self.number_bits), flat.abs())
        total = torch.zeros((), dtype=of_numbers.dtype)
        for part in self.parts:
            total = total + of_signals[part.inputs] @ of_numbers[part.weight].view(part.shape).sum(dim=1)
            total = total + of_numbers[part.bias].sum()
        return total


def _parts(layers: Sequence[int]) -> Iterator[Part]:
    number = signal = 0
    for inputs, outputs in pairwise(layers):
        weight = slice(number, number + inputs * outputs)
        bias = slice(weight.stop, weight.stop + outputs)
        yield Part((inputs, outputs), weight, bias, slice(signal, signal + inputs))
        number, signal = bias.stop, signal + inputs
