"""The table of docs/transformers.md: ways to a mask of heads and neurons, from benchmarks/results/transformers.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
WAYS = {
    "dense": "whole network",
    "chain from fisher": "chain by slopes, from Fisher's mask",
    "evopress from fisher": "evolutionary search, from Fisher's mask",
    "evopress": "evolutionary search, from a random mask",
    "fisher": "Fisher's mask with swaps",
    "magnitude": "largest weights",
    "random": "random mask",
}
NAMES = {"images": "images", "text": "text"}
Table = tuple[Sequence[str], list[list[str]]]


def way_rows() -> Table:
    """Return test accuracies of each way's masks, as they are and after a short retraining, for each network and share."""
    runs = json.loads((RESULTS / "transformers.json").read_text())["runs"]
    places = sorted({(run["task"], run["share"]) for run in runs}, key=lambda place: (place[0], -place[1]))
    head = ["mask", *(f"{NAMES[task]}, {share:.0%} kept" for task, share in places)]
    lines = []
    for way, name in WAYS.items():
        cells = []
        for place in places:
            own = [run for run in runs if (run["task"], run["share"]) == place and run["way"] == way]
            cells.append(" / ".join(_mean(own, figure) for figure in ("mask only", "retrained") if figure in own[0]))
        lines.append([name, *cells])
    return head, lines


def _mean(runs: list[dict[str, Any]], figure: str) -> str:
    values = [run[figure] for run in runs]
    spread = (
        f" ± {statistics.stdev(values):.3f}".replace("0.", ".") if len(values) > 1 and figure == "mask only" else ""
    )
    return f"{statistics.mean(values):.3f}".removeprefix("0") + spread


TABLES = {"ways": ("docs/transformers.md", way_rows)}
