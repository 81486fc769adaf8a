"""Adders and look-up tables by alkaid, which shares common parts of the sums; an optional package (LGPL), never needed.

alkaid traces a network symbolically, finds shared sums (distributed arithmetic) and estimates the look-up tables of what is left. Its
figures are estimates too: no vendor's tool was run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from math import ceil
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from mcprune.errors import ConfigError, ModelError, brief
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.fixed_point import FixedFormat, requantize
from mcprune.firmware.network import FixedLayer, FixedNetwork
from mcprune.random import Stream, generator
from mcprune.types import AnyArray, FloatArray, IntArray

PACKAGE = "alkaid"
ADDITIONS = (0, 1)  # opcodes of a sum and of a difference
DRAWN = 512  # rows that a program is checked on
MOST_WEIGHT = 1 << 24  # the solver takes float32


class Operation(Protocol):
    """An operation of alkaid's program."""

    opcode: int
    cost: float


class Program(Protocol):
    """alkaid's combinational program (its CombLogic), as far as it is used here."""

    ops: Iterable[Operation]
    cost: float
    latency: tuple[float, float]

    def predict(self, data: AnyArray, n_threads: int = ...) -> FloatArray:
        """Return the outputs (B, C) of rows (B, N), by alkaid's interpreter."""


class Solved(NamedTuple):
    """What alkaid makes of a layer or of a network.

    Attributes
    ----------
    adders : int
        Sums and differences of two values, after sharing.
    luts : float
        Estimated look-up tables, with ReLU, rounding and biases.
    latency : float
        Estimated delay of the combinational logic, in alkaid's unit (about 1 ns).
    """

    adders: int
    luts: float
    latency: float


def has_solver() -> bool:
    """Return whether alkaid is installed."""
    return find_spec(PACKAGE) is not None


def need_solver() -> None:
    """Raise a ConfigError unless alkaid can be imported."""
    try:
        import_module(PACKAGE)
    except ImportError as error:
        raise ConfigError(
            f"This needs the package {PACKAGE}, which cannot be imported ({brief(error)}). Install it: pip install 'mcprune[firmware]'."
        ) from None


def solve(network: FixedNetwork) -> Solved:
    """Return the adders and the estimated look-up tables of a whole network."""
    return summarize(trace_network(network))


def solve_layers(network: FixedNetwork) -> list[Solved]:
    """Return the same of each layer by itself; together about the whole network's."""
    programs = (
        trace_layers(source, [layer])
        for source, layer in zip(network.formats, floor_rounding(network).layers, strict=True)
    )
    return [summarize(program) for program in programs]


def counter(unit: Literal["adders", "luts"]) -> Callable[[FixedNetwork], int]:
    """Return the solver's count of a network's adders or look-up tables, layer by layer."""

    def count(network: FixedNetwork) -> int:
        try:
            layers = solve_layers(network)
        except ModelError:  # what the solver cannot take is counted without sharing, which is never less
            return costs(network).of(unit)
        return ceil(sum(solved.adders if unit == "adders" else solved.luts for solved in layers))

    return count


def summarize(program: Program) -> Solved:
    """Return the figures of a traced program."""
    adders = sum(operation.opcode in ADDITIONS and operation.cost > 0 for operation in program.ops)
    return Solved(adders, float(program.cost), float(program.latency[1]))


def trace_network(network: FixedNetwork) -> Program:
    """Return alkaid's program of a network: real inputs on the grids of its formats -> real logits.

    Raises
    ------
    ConfigError
        alkaid is not installed.
    ModelError
        Weights that its solver cannot hold.
    """
    return trace_layers(network.inputs, floor_rounding(network).layers)


def trace_layers(source: FixedFormat, layers: Sequence[FixedLayer]) -> Program:
    """Return alkaid's program of layers whose rounding is 'floor', compared with the integers on drawn rows."""
    need_solver()
    tools: Any = import_module(f"{PACKAGE}.trace")
    try:
        first, values = _symbolic(tools, source, layers)
    except AssertionError as error:  # alkaid 0.8.2 does not take some sums of several signals of one bit
        raise ModelError(
            f"{PACKAGE} cannot trace this network: {brief(error)}. Try another version of {PACKAGE}."
        ) from error
    drawn = generator(0, Stream.SOLVER_ROWS).random((DRAWN, len(source)))
    inputs = np.floor(source.low + drawn * (source.high - source.low + 1)).astype(np.int64) << source.shift
    point, expected = _integers(source, layers, inputs)
    # The optimiser of alkaid 0.8.2 loses a shift at some wraps to a single bit. Without its first pass the program is right, and larger.
    for make in (_optimized, _plain):
        program = make(tools, first, values)
        outputs = program.predict(np.ldexp(inputs.astype(np.float64), -source.common), n_threads=1)
        if np.array_equal(np.ldexp(outputs, point), expected):
            return program
    raise ModelError(f"{PACKAGE}'s program gives other integers than the network. Try another version of {PACKAGE}.")


def _symbolic(tools: Any, source: FixedFormat, layers: Sequence[FixedLayer]) -> tuple[Any, Any]:
    """Return alkaid's symbols of the inputs and of the outputs."""
    signed = source.signed.astype(np.int64)
    first = tools.FVArray.from_kif(
        signed, source.bits - signed - source.fraction, source.fraction, hwconf=tools.HWConfig(1, -1, -1)
    )
    values = first
    for layer in layers:
        if np.abs(layer.weight).max(initial=0) >= MOST_WEIGHT:
            raise ModelError(
                f"A weight of {np.abs(layer.weight).max()} steps is above 2**24, which {PACKAGE} cannot hold."
            )
        fraction = layer.fraction + source.common
        values = values @ np.ldexp(layer.weight.T.astype(np.float64), -layer.fraction)
        values = values + np.ldexp(layer.bias.astype(np.float64), -fraction)
        if layer.activation is None:
            break
        source = layer.activation
        if layer.relu:
            values = values.relu()
        signed = source.signed.astype(np.int64)
        overflow = "WRAP" if source.overflow == "wrap" else "SAT"
        values = values.quantize(signed, source.bits - signed - source.fraction, source.fraction, overflow, "TRN")
    return first, values


def _integers(source: FixedFormat, layers: Sequence[FixedLayer], values: IntArray) -> tuple[int, IntArray]:
    """Return the fractional bits of the outputs of layers, and the outputs."""
    for layer in layers:
        fraction = layer.fraction + source.common
        values = values @ layer.weight.T + layer.bias
        if layer.activation is None:
            return fraction, values
        source = layer.activation
        values = requantize(np.maximum(values, 0) if layer.relu else values, fraction, source)
    return source.common, values


def _optimized(tools: Any, first: Any, values: Any) -> Program:
    program: Program = tools.trace(first, values, keep_dead_inputs=True)
    return program


def _plain(tools: Any, first: Any, values: Any) -> Program:
    passes: Any = import_module(f"{PACKAGE}.trace.passes")
    program = tools.trace(first, values, optimize=False)
    program = passes.common_subexpr_elimin(passes.dead_code_elimin(program, keep_dead_inputs=True))
    shared: Program = passes.add_surrogate(passes.dead_code_elimin(program, keep_dead_inputs=True))
    return shared


def floor_rounding(network: FixedNetwork) -> FixedNetwork:
    """Return a network of the same logits whose hidden signals are cut off, with half a step in the biases before them.

    Rounding to the nearest then costs nothing in hardware. A ReLU between the two changes nothing: a sum that half a step lifts above 0
    is below half a step, and is cut off to 0.
    """
    layers = []
    for number, layer in enumerate(network.layers):
        form = layer.activation
        if form is None or form.rounding == "floor":
            layers.append(layer)
            continue
        drop = np.where(form.bits > 0, network.accumulator_fraction(number) - form.fraction, 0)
        half = (1 << np.maximum(drop, 0)) >> 1
        layers.append(replace(layer, bias=layer.bias + half, activation=replace(form, rounding="floor")))
    return network.but(layers=tuple(layers))
