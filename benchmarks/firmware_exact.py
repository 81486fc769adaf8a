"""Fixed-point networks: rows whose logits differ between this package's integers and every other computation of them. All must be 0.

Networks of mcprune's own training on simulated jets, large and small, and of a chain over the digits of one; then random networks of all
formats (wrap and saturate, both roundings). Compared on all test rows: torch (the trained network), numba (the state that the chain keeps,
after its moves), C, alkaid's interpreter, verilator, hls4ml's C simulation and qonnx's executor, each where it is installed. Also counted:
chains in every unit of a budget whose result is above it.

    pip install 'mcprune[firmware]'
    python benchmarks/jets_simulation.py jets.csv --jets 30000
    python benchmarks/firmware_exact.py --jets jets.csv --out benchmarks/results/firmware_exact.json
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import firmware_ways as ways
import numpy as np
import torch
from common import machine, parser, write

from mcprune.data.prepare import Rows, Splits
from mcprune.errors import ModelError
from mcprune.exporters.c_header import compiler
from mcprune.exporters.firmware.alkaid import has_verilator, run_program, run_verilog, write_verilog
from mcprune.exporters.firmware.c_code import c_header, run_c
from mcprune.exporters.firmware.hls4ml import hls4ml_model, run_hls4ml
from mcprune.exporters.firmware.qonnx import run_qonnx, write_qonnx
from mcprune.exporters.firmware.rows import InputRows, rows_of_values
from mcprune.firmware.counting.costs import UNITS, costs
from mcprune.firmware.network import FixedNetwork, Origin
from mcprune.firmware.polish.engine.arrays import network_of
from mcprune.firmware.polish.engine.chain import Chain, Walk
from mcprune.firmware.polish.polish import polish
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.firmware.qat.convert import to_fixed
from mcprune.firmware.qat.fit import Training, train_rounded
from mcprune.types import IntArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "shared"))

Result = dict[str, Any]
Compared = Iterator[tuple[str, Callable[[], IntArray]]]
EPOCHS, MOVES, RANDOM, ROWS = 60, 2000, 4, 12_000


def differing(network: FixedNetwork, inputs: IntArray, logits: IntArray) -> int:
    """Return the rows with a logit that differs."""
    return int((network.forward(inputs) != logits).any(axis=1).sum())


def tools(network: FixedNetwork, rows: InputRows, folder: Path) -> Compared:
    """Yield each tool that is installed, with what returns its logits."""
    inputs = rows.inputs
    if compiler() is not None:
        yield "C", lambda: run_c(c_header(network), inputs, rows.floats, network.widths[-1])[0]
    if find_spec("alkaid") is not None:
        written = cache(lambda: write_verilog(network, folder / "verilog"))
        yield "alkaid's interpreter", lambda: run_program(network, written().program, inputs)
        if has_verilator():
            yield "verilator", lambda: run_verilog(network, written(), inputs)
    if find_spec("hls4ml") is not None:
        yield "hls4ml's C simulation", lambda: run_hls4ml(network, hls4ml_model(network, folder / "hls4ml"), inputs)
    if find_spec("qonnx") is not None:

        def by_qonnx() -> IntArray:
            write_qonnx(network, folder / "net.onnx")
            return run_qonnx(network, folder / "net.onnx", inputs)

        yield "qonnx's executor", by_qonnx


def compare(name: str, network: FixedNetwork, rows: InputRows) -> list[Result]:
    """Return the rows that differ in each tool; a tool that refuses a network is named with its reason."""
    out: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for tool, logits in tools(network, rows, Path(folder)):
            try:
                out.append(_row(name, tool, len(rows.inputs), differing(network, rows.inputs, logits())))
            except ModelError as error:
                out.append({"network": name, "tool": tool, "rows": 0, "differing": 0, "refused": str(error)})
    return out


def chain_rows(name: str, network: FixedNetwork, rows: Rows) -> list[Result]:
    """Return the rows that differ in the state which a compiled chain keeps over some thousand moves, in each unit of a budget."""
    out = []
    for unit in UNITS:
        chain = Chain(network, rows, unit, 0)
        chain.walk(Walk(MOVES, chain.cost, 0.9 * chain.cost, 1e-4))
        after = network_of(chain.arrays, chain.network)
        inputs = after.quantize_inputs(rows.features)
        out.append(
            _row(f"{name}, after moves in {unit}", "numba", len(inputs), differing(after, inputs, chain.logits().T))
        )
    return out


def trained(splits: Splits) -> Iterator[tuple[str, FixedNetwork, int]]:
    """Yield networks of a short training, the largest first, with the rows on which torch gives other outputs."""
    width = splits.n_inputs
    origin = Origin(np.arange(width), width, splits.names, splits.labels, splits.scaler)
    parts = ((rows.features, rows.targets) for rows in (splits.train, splits.validation))
    settings = Training(
        hidden=ways.HIDDEN, epochs=EPOCHS, batch_size=512, learning_rate=0.003, penalty=(1e-6, 1e-3), every=2
    )
    snapshots = train_rounded(*parts, settings, classes=splits.n_classes)
    features = np.asarray(splits.test.features, np.float64)
    for snapshot in sorted(snapshots, key=lambda one: -one.bit_operations):
        network = to_fixed(snapshot.model, origin)
        with torch.no_grad():
            expected = snapshot.model.double().eval()(torch.from_numpy(features)).numpy()
        outputs = network.forward(network.quantize_inputs(features)) * network.logit_scale
        yield f"trained, {costs(network).digits} digits", network, int((outputs != expected).any(axis=1).sum())


def budgets(network: FixedNetwork, splits: Splits) -> list[Result]:
    """Return what chains in each unit come to, beside their budgets."""
    rows = []
    for unit in UNITS:
        for part, seed in ((0.7, 0), (0.4, 1), (0.15, 2)):
            budget = max(round(part * costs(network).of(unit)), 1)
            result = polish(network, splits, PolishSettings(budget, unit, proposals=4000, blocks=8, seed=seed))
            used = costs(result.network).of(unit)
            rows.append({"unit": unit, "seed": seed, "budget": budget, "used": used, "is_within": used <= budget})
    return rows


def _row(name: str, tool: str, rows: int, wrong: int) -> Result:
    return {"network": name, "tool": tool, "rows": rows, "differing": wrong}


def random_ones() -> Iterator[tuple[str, FixedNetwork, InputRows]]:
    """Yield random networks of all formats, with random rows."""
    from fixed_networks import random_network, random_rows

    for seed in range(RANDOM):
        options = {"overflow": ("wrap", "saturate")[seed % 2], "rounding": ("nearest", "floor")[seed // 2 % 2]}
        network = random_network(seed, (6, 5, 4, 3), relu=True, **options)
        name = f"random {seed}, {options['overflow']}, {options['rounding']}"
        yield name, network, rows_of_values(network, random_rows(seed, ROWS // 4, 6), "random")


def main() -> None:
    """Compare, and write the counts after each network."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--jets", type=Path, required=True, help="csv of jets_simulation.py")
    asked = options.parse_args()
    splits = ways.splits_of("jets", asked.jets, 0)
    rows: list[Result] = []
    kept: list[Result] = []

    def store() -> None:
        by_tool = {
            tool: {key: sum(row[key] for row in rows if row.get("tool") == tool) for key in ("rows", "differing")}
            for tool in dict.fromkeys(row["tool"] for row in rows if "tool" in row)
        }
        content = {
            "machine": machine(1),
            "by_tool": by_tool,
            "differing": sum(each["differing"] for each in by_tool.values()),
            "refused": [row for row in rows if "refused" in row],
            "budgets": {"chains": len(kept), "within": sum(row["is_within"] for row in kept)},
            "comparisons": rows,
            "chains": kept,
        }
        print(content["by_tool"], content["budgets"], flush=True)
        if asked.out:
            write(asked.out, content)

    networks = list(trained(splits))
    for name, _, wrong in networks:
        rows.append(_row(name, "torch", len(splits.test.targets), wrong))
    store()
    medium = networks[len(networks) // 2][1]
    kept += budgets(medium, splits)
    store()
    rows += chain_rows("trained", medium, splits.train)
    store()
    smaller = polish(medium, splits, PolishSettings(80, "digits", proposals=20_000)).network
    for name, network in (("trained, medium", medium), ("the same, polished to 80 digits", smaller)):
        values = splits.test.features[:, network.origin.columns]
        plain = network.but(origin=network.origin._replace(scaler=None))
        rows += compare(name, plain, rows_of_values(plain, values, "test rows"))
        store()
    for name, network, of_network in random_ones():
        rows += compare(name, network, of_network)
        store()


if __name__ == "__main__":
    main()
