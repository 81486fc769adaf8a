"""Exports of every built-in network: how far ONNX, torch.export and the shrunken model are from the masked original, and their speed.

A random mask keeps a quarter of the units (perceptrons) or channels (convolutional networks). Outputs are compared on 1,000 rows:
MNIST's or digits' for perceptrons, CIFAR-10's where MCPRUNE_DATA has it, else drawn ones. Latency: onnxruntime on one thread, whole
and small in turns.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, report, row

from mcprune.data.load import load
from mcprune.errors import McpruneError
from mcprune.exporters.footprint import in_turns
from mcprune.exporters.graphs import program_of, write_onnx, write_torch
from mcprune.models.registry import build
from mcprune.sites.gates import GatedModel, hard_gates
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink

NETWORKS = {
    "mlp": ("units", {"hidden": (256, 128)}),
    "lenet-300-100": ("units", {}),
    "vgg13": ("channels", {"width": 0.125}),
    "mobilenet_v1": ("channels", {"width": 0.25}),
    "resnet56": ("channels", {"width": 0.25}),
}
QUICK = ("mlp", "lenet-300-100", "vgg13")
ROWS, CHUNK, SHARE, BOUND = 1000, 100, 0.25, 1e-5


def rows_of(kind: str, count: int) -> tuple[Any, tuple[int, ...], str]:
    """Return real rows scaled to 0..1, the shape of one, and what they are."""
    names = ("mnist", "digits") if kind == "units" else ("cifar-10",)
    for name in names:
        try:
            data = load(name)
        except McpruneError:
            continue
        rows = data.features[:count].reshape(len(data.features[:count]), -1).astype(np.float32)
        return rows / max(float(rows.max()), 1.0), data.image_shape, name
    return np.random.default_rng(0).random((count, 3072), np.float32), (3, 32, 32), "drawn"


def masked_quarter(sites: Any, seed: int) -> Any:
    """Return a random mask that keeps a quarter of each group, one at least."""
    draw = np.random.default_rng(seed)
    mask = np.zeros(sites.size, bool)
    for group in sites.groups:
        mask[group.start + draw.permutation(group.size)[: max(1, round(SHARE * group.size))]] = True
    return mask


def in_parts(run: Any, rows: Any) -> Any:
    """Return outputs chunk by chunk: the maps of a thousand rows need not fit into memory."""
    return np.concatenate([np.asarray(run(rows[at : at + CHUNK])) for at in range(0, len(rows), CHUNK)])


def one(name: str, count: int, folder: Path) -> list[dict[str, Any]]:
    """Mask, shrink, export, compare and time a network."""
    kind, options = NETWORKS[name]
    rows, shape, origin = rows_of(kind, count)
    width = rows.shape[1]
    model = build(name, width, 10, image_shape=shape, seed=1, **options).eval()
    with torch.no_grad():  # batch-norms that have seen rows, as in a trained network
        model.train()(torch.from_numpy(rows[:CHUNK]))
        model.eval()
    sites = site_map(model, kind, width)
    mask = masked_quarter(sites, 3)
    gated, gates = GatedModel(model, sites), hard_gates(mask)
    small = shrink(model, sites, mask, input_shape=(width,)).eval()

    def eager(module: Any, *more: Any) -> Any:
        def run(part: Any) -> Any:
            with torch.inference_mode():
                return module(torch.from_numpy(part), *more).numpy()

        return run

    wanted = in_parts(eager(gated, gates), rows)
    program = program_of(small, width)
    as_onnx = write_onnx(program, folder / "small.onnx", {})
    as_torch = write_torch(program, folder / "small.pt2", {})
    whole = write_onnx(program_of(model, width), folder / "whole.onnx", {})
    figures = []
    for form, run in (("shrunken", eager(small)), ("torch.export", as_torch), ("ONNX", as_onnx)):
        worst = float(np.abs(in_parts(run, rows) - wanted).max())
        figures.append(
            row(f"{name}, {form}: largest difference", worst, "", BOUND, "lower", f"{len(rows)} rows, {origin}")
        )
    # Control: another mask gives other outputs.
    other = float(
        np.abs(in_parts(eager(gated, hard_gates(masked_quarter(sites, 4))), rows[:CHUNK]) - wanted[:CHUNK]).max()
    )
    figures.append(row(f"{name}, control: another mask differs by", other, "", BOUND, "higher"))
    for batch in (1, 64):
        part = rows[:batch]
        slow, fast = in_turns([lambda p=part: whole(p), lambda p=part: as_onnx(p)])
        note = f"onnxruntime, {batch} row(s): {1e6 * slow:,.0f} -> {1e6 * fast:,.0f} us"
        figures.append(row(f"{name}: times faster at a quarter of the {kind}", slow / fast, "x", 1.0, "higher", note))
    return figures


def main() -> None:
    """Run all networks and report."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--networks", default="", help="names with commas (default: all; --quick: three)")
    given = options.parse_args()
    torch.set_num_threads(1)
    names = [name for name in given.networks.split(",") if name] or list(QUICK if given.quick else NETWORKS)
    figures = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            figures += one(name, 200 if given.quick else ROWS, Path(folder))
        print(f"{name} done", flush=True)
    report(figures, 1, given.out)


if __name__ == "__main__":
    main()
