"""A fixed-point network as a Verilog project by alkaid, compared in alkaid's interpreter and, where it is installed, in verilator."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcprune.errors import ModelError, brief
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.solver import Program, need_solver, summarize, trace_network
from mcprune.types import FloatArray, IntArray

TOP = "mcprune_net"  # the top module
STAGE = 5.0  # delay of a pipeline stage at most, in alkaid's unit


class Verilog(NamedTuple):
    """A written project.

    Attributes
    ----------
    path : Path
        Its folder; the sources are in `src`.
    program : Program
        alkaid's, which was written.
    model : object
        alkaid's RTLModel.
    """

    path: Path
    program: Program
    model: Any


def write_verilog(network: FixedNetwork, folder: Path, *, stage: float = STAGE) -> Verilog:
    """Write a pipelined Verilog project.

    Parameters
    ----------
    network : FixedNetwork
    folder : Path
    stage : float
        Longest delay of a pipeline stage, in alkaid's unit (about 1 ns); 0 writes combinational logic.

    Raises
    ------
    ConfigError
        alkaid is not installed.
    ModelError
        alkaid cannot write the network.
    """
    need_solver()
    codegen: Any = import_module("alkaid.codegen")
    program = trace_network(network)
    try:
        model = codegen.RTLModel(
            program, folder, prj_name=TOP, flavor="verilog", latency_cutoff=stage or -1, print_latency=False
        )
        model.write()
    except Exception as error:  # alkaid raises assertions and others
        raise ModelError(f"alkaid could not write Verilog: {brief(error)}. Export with --to c or hls4ml.") from error
    return Verilog(folder, program, model)


def describe_verilog(written: Verilog) -> tuple[str, ...]:
    """Return alkaid's estimates in words."""
    solved = summarize(written.program)
    words = [f"{solved.adders:,} adders, about {solved.luts:,.0f} LUTs (alkaid's estimate; nothing was synthesised)"]
    cycles = written.model.latency
    if cycles:
        words.append(f"{cycles:g} clock cycles, {written.model.reg_bits:,} register bits")
    return tuple(words)


def run_program(network: FixedNetwork, program: Program, inputs: IntArray) -> IntArray:
    """Return the integer logits of alkaid's interpreter for integer inputs (B, n)."""
    return _whole(network, program.predict(_real(network, inputs), n_threads=1))


def has_verilator() -> bool:
    """Return whether verilator and make are installed."""
    return shutil.which("verilator") is not None and shutil.which("make") is not None


def run_verilog(network: FixedNetwork, written: Verilog, inputs: IntArray) -> IntArray:
    """Compile the Verilog with verilator and return its integer logits for integer inputs (B, n).

    Raises
    ------
    ModelError
        verilator is not installed or refuses the sources.
    """
    if not has_verilator():
        raise ModelError("There is no verilator to run the Verilog. Install it: apt-get install verilator make g++.")
    try:
        written.model.compile(nproc=1, openmp=False)
        outputs = written.model.predict(_real(network, inputs), n_threads=1)
    except Exception as error:
        raise ModelError(f"verilator could not run the Verilog: {brief(error)}.") from error
    return _whole(network, np.asarray(outputs).reshape(len(inputs), -1))


def _real(network: FixedNetwork, inputs: IntArray) -> FloatArray:
    return np.ldexp(np.ascontiguousarray(inputs, np.float64), -network.inputs.common)


def _whole(network: FixedNetwork, outputs: FloatArray) -> IntArray:
    point = network.accumulator_fraction(len(network.layers) - 1)
    return np.rint(np.ldexp(np.asarray(outputs, np.float64), point)).astype(np.int64)
