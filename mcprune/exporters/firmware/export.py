"""Write a fixed-point network for another tool, and compare all rows bit for bit in that tool's own emulation."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mcprune.errors import ConfigError, FolderError, ModelError
from mcprune.exporters.c_header import compiler
from mcprune.exporters.firmware.alkaid import (
    describe_verilog,
    has_verilator,
    run_program,
    run_verilog,
    write_verilog,
)
from mcprune.exporters.firmware.c_code import c_header, run_c
from mcprune.exporters.firmware.hls4ml import hls4ml_model, run_hls4ml
from mcprune.exporters.firmware.qonnx import run_qonnx, write_qonnx
from mcprune.exporters.firmware.rows import InputRows
from mcprune.exporters.writers import Export
from mcprune.firmware.network import FixedNetwork
from mcprune.storage.layout import check_writable, free_file
from mcprune.types import IntArray

ENDINGS = {"c": ".h", "alkaid": "-verilog", "hls4ml": "-hls4ml", "qonnx": ".qonnx.onnx"}
FORMATS = tuple(ENDINGS)
PROJECTS = {"alkaid": "metadata.json", "hls4ml": "hls4ml_config.yml"}  # formats that are folders: a file that each has

Writer = Callable[[FixedNetwork, Path, InputRows], tuple[str, ...]]


def export_network(
    network: FixedNetwork, to: str, target: Path, rows: InputRows, *, force: bool = False, notes: tuple[str, ...] = ()
) -> Export:
    """Write a network and compare it.

    Parameters
    ----------
    network : FixedNetwork
    to : str
        "c" (a header), "alkaid" (a Verilog project), "hls4ml" (an HLS project) or "qonnx" (a file).
    target : Path
        The file; the folder for alkaid and hls4ml.
    rows : InputRows
        All of them are compared.
    force : bool
        Replace what exists.
    notes : tuple of str
        Lines that stand before the others in the result.

    Raises
    ------
    ConfigError
        Another format, or a package that it needs is not installed.
    FolderError
        The target exists or cannot be written.
    ModelError
        The tool refuses the network, or one of its logits differs: then nothing is left behind.
    """
    if to not in FORMATS:
        raise ConfigError(f"to={to!r} is no format of fixed-point networks; choose one of {', '.join(FORMATS)}")
    with _replaced(to, target, force=force) as part:
        words = WRITERS[to](network, part, rows)
    return Export(to, target, len(rows.inputs), rows.origin, 0.0, 1.0, (*notes, *words), {})


def compare_bits(network: FixedNetwork, rows: InputRows, logits: IntArray, tool: str) -> str:
    """Return a line that says that no logit differs.

    Raises
    ------
    ModelError
        One does.
    """
    expected = network.forward(rows.inputs)
    wrong = np.flatnonzero((logits != expected).any(axis=1))
    if len(wrong):
        raise ModelError(
            f"{tool} gives other logits than the network on {len(wrong):,} of {len(expected):,} rows, first on row {wrong[0]}; "
            "nothing was written. Try another version of the tool, or another format."
        )
    return f"all {expected.size:,} logits of {len(expected):,} rows are equal bit for bit in {tool}"


def _write_c(network: FixedNetwork, path: Path, rows: InputRows) -> tuple[str, ...]:
    text = c_header(network)
    path.write_text(text, encoding="utf-8")
    program = compiler()
    if program is None:
        return ("not compiled: this machine has no cc",)
    logits, _ = run_c(text, rows.inputs, rows.floats, network.widths[-1])
    return (compare_bits(network, rows, logits, f"C, compiled with {program}"),)


def _write_alkaid(network: FixedNetwork, path: Path, rows: InputRows) -> tuple[str, ...]:
    written = write_verilog(network, path)
    words = [compare_bits(network, rows, run_program(network, written.program, rows.inputs), "alkaid's interpreter")]
    if has_verilator():
        words.append(compare_bits(network, rows, run_verilog(network, written, rows.inputs), "verilator"))
    else:
        words.append("the Verilog itself was not run: this machine has no verilator")
    return (*words, *describe_verilog(written))


def _write_hls4ml(network: FixedNetwork, path: Path, rows: InputRows) -> tuple[str, ...]:
    model = hls4ml_model(network, path)
    words = compare_bits(network, rows, run_hls4ml(network, model, rows.inputs), "hls4ml's C simulation")
    return words, "for Vitis HLS; nothing was synthesised"


def _write_qonnx(network: FixedNetwork, path: Path, rows: InputRows) -> tuple[str, ...]:
    write_qonnx(network, path)
    return (compare_bits(network, rows, run_qonnx(network, path, rows.inputs), "qonnx's executor"),)


WRITERS: dict[str, Writer] = {
    "c": _write_c,
    "alkaid": _write_alkaid,
    "hls4ml": _write_hls4ml,
    "qonnx": _write_qonnx,
}


@contextmanager
def _replaced(to: str, target: Path, *, force: bool) -> Iterator[Path]:
    """Yield a name in a new folder beside the target; what stands there replaces the target at the end of the block."""
    _check_free(to, target, force=force)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
            part = Path(name) / target.name
            yield part
            if target.is_dir():
                shutil.rmtree(target)
            part.replace(target)
    except OSError as error:
        raise FolderError(
            f"{str(target)!r} cannot be written: {error.strerror or error}; choose another --out"
        ) from None


def _check_free(to: str, target: Path, *, force: bool) -> None:
    """Refuse a target that exists (without `force`), cannot be written, or is a folder that no such export wrote."""
    if to not in PROJECTS or not target.is_dir():
        free_file(target, f"network{ENDINGS[to]}", force=force)
        return
    check_writable(target.resolve().parent)
    if not (target / PROJECTS[to]).is_file():
        raise FolderError(
            f"{str(target)!r} is a folder that --to {to} did not write. Choose another --out, such as "
            f"{str(target / f'network{ENDINGS[to]}')!r}."
        )
    if not force:
        raise FolderError(f"{str(target)!r} exists already. Choose another --out, or add --force to replace it.")
