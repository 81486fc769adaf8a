"""The tables of docs/firmware.md, from benchmarks/results/firmware.json."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "firmware.json"
SETS = {"jets": "simulated jets", "satimage": "satimage"}
WAYS = {
    "own": "`quantize`",
    "own + chain": "`quantize`, then `polish`",
    "own + chain, no unit moves": "`quantize`, then `polish --drops 0`",
    "HGQ2 + chain": "HGQ2, then `polish`",
    "HGQ2 + greedy": "HGQ2, then greedy removal with moves of biases",
    "HGQ2, frozen bits": "HGQ2, trained on at frozen bits",
}
Row = dict[str, Any]


def read() -> Row:
    """Return the file of results."""
    content: Row = json.loads(RESULTS.read_text())
    return content


def points(data: str, way: str) -> dict[int, list[Row]]:
    """Return the networks of a way on a set, by seed."""
    return {one["seed"]: one["points"] for one in read()["records"] if (one["data"], one["way"]) == (data, way)}


def ratio(value: float | None) -> str:
    """Return a ratio without its leading zero."""
    if value is None:
        return "-"
    return f"{value:.2f}".removeprefix("0") if value < 1 else f"{value:.2f}"


def front_rows() -> list[list[str]]:
    """Return the cost of each way over the pooled front of HGQ2 at the same test loss: the median, and that of each seed."""
    lines = []
    for row in read()["summary"]:
        if row["way"] in WAYS and row["compared"]:
            cells = [
                f"{ratio(row[f'{name}_over_front'])} ({' '.join(map(ratio, row[f'{name}_by_seed']))})"
                for name in ("adders", "luts")
            ]
            lines.append(
                [SETS[row["data"]], WAYS[row["way"]], f"{row['compared']}", *cells, seconds(row["data"], row["way"])]
            )
    return lines


def seconds(data: str, way: str) -> str:
    """Return the median seconds of a network of a way, beyond those of its start."""
    return f"{statistics.median(one['seconds'] for group in points(data, way).values() for one in group):.0f}"


def rejection_rows() -> list[list[str]]:
    """Return the background that passes at the same adders by both objectives, for each seed."""
    ways = {name: points("jets", f"own + chain by {name}") for name in ("cross-entropy", "rejection")}
    lines = []
    for seed in sorted(ways["cross-entropy"].keys() & ways["rejection"].keys()):
        (loss,), (background,) = (ways[name][seed] for name in ("cross-entropy", "rejection"))
        cells = [share(one[f"{part}_background"]) for one in (loss, background) for part in ("train", "test")]
        lines.append([f"{seed}", f"{loss['budget']}", *cells])
    return lines


def share(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.2f}%"
