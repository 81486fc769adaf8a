"""`mcprune export`: the small model of a run as a file for another program."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mcprune.cli.parser import MODEL_HELP, Parser, own_model
from mcprune.report.terminal import choose
from mcprune.report.text import wrapped

if TYPE_CHECKING:
    from mcprune.exporters.writers import Export

BIT_EXACT = ("c", "alkaid", "hls4ml", "qonnx")

DESCRIPTION = (
    "Write the small model of a run for another program, read it back in that program's runtime and compare it on rows of the run's "
    "data: outputs that differ by more than 1e-5 are an error. Formats: safetensors (with JSON), torch (a torch.export program), onnx "
    "(needs the extra onnx), c (a header of integers, for perceptrons with ReLU). Its time is measured beside the whole model's. "
    "For firmware: alkaid (Verilog), hls4ml and qonnx (need the extra firmware), of a perceptron, which is rounded, or of a folder of "
    "mcprune quantize; all logits are then compared bit for bit in the tool's own emulation."
)


def export(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    parser = Parser("mcprune export", DESCRIPTION)
    parser.option("folder", metavar="FOLDER", help="the run's folder, such as runs/digits")
    parser.option(
        "--to",
        default="onnx",
        metavar="FORMAT",
        help="safetensors, torch, onnx, c, alkaid, hls4ml or qonnx (default: onnx)",
    )
    parser.option(
        "--out",
        metavar="FILE",
        help="what to write, for safetensors a folder (default: small with an ending, in FOLDER)",
    )
    parser.option(
        "--rows",
        metavar="FILE",
        help="rows to compare on, as mcprune predict takes them (default: 1,000 of the run's data)",
    )
    parser.option("--model", metavar="FILE.py:NAME", help=MODEL_HELP)
    parser.option("--scaled", action="store_true", help="leave the scaling out: inputs come scaled (default: no)")
    parser.option("--bits", type=int, default=8, metavar="8|16", help="bits of each weight of integers (default: 8)")
    parser.option("--no-times", action="store_true", help="do not time the small model and the whole one (default: no)")
    parser.option("--force", action="store_true", help="replace a file that exists (default: no)")
    options = parser.read(arguments)

    from mcprune.exporters.export import export as make

    written = make(
        options.folder,
        options.to,
        options.out,
        rows=options.rows,
        scaled=options.scaled,
        bits=options.bits,
        measure=not options.no_times,
        force=options.force,
        model=own_model(options.model),
    )
    output = choose(sys.stdout)
    output.lines([line for text in lines(written) for line in wrapped(text, output.width, "")])
    if written.seconds:
        output.lines([""])
        output.table(["rows at once", "whole", "small", "times faster"], table(written.seconds))
    return 0


def lines(written: Export) -> list[str]:
    """Return what was written and how it agrees."""
    if not written.seconds and written.worst == 0 and written.to in BIT_EXACT:
        return [
            f"written: {written.path}",
            f"compared on {written.rows:,} rows ({written.origin})",
            *written.words,
        ]
    is_rounded = written.to == "c"
    off = f"outputs within {written.worst:.1e}" + (" of the floats" if is_rounded else "")
    return [
        f"written: {written.path}",
        f"compared on {written.rows:,} rows ({written.origin}): {off}, {written.same:.2%} in the same class",
        *written.words,
    ]


def table(seconds: Mapping[int, tuple[float, float]]) -> list[list[str]]:
    """Return the rows of times: microseconds of a batch."""
    out = []
    for rows, (whole, small) in seconds.items():
        is_known = math.isfinite(whole)
        out.append(
            [
                f"{rows:,}",
                f"{1e6 * whole:,.2f} us" if is_known else "-",
                f"{1e6 * small:,.2f} us",
                f"{whole / small:.2f}" if is_known else "-",
            ]
        )
    return out
