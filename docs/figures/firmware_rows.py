"""The table of docs/firmware.md at equal time, from benchmarks/results/firmware_equal_time.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "firmware_equal_time.json"
SETS = {"jets": "simulated jets", "satimage": "satimage"}
WAYS = {
    "HGQ2": "HGQ2 alone",
    "HGQ2 + chain": "HGQ2, then `polish`",
    "HGQ2 + greedy": "HGQ2, then greedy removal with moves of biases",
    "HGQ2, frozen bits": "HGQ2, trained on at frozen bits",
    "own": "`quantize`",
    "own + chain": "`quantize`, then `polish`",
    "own + chain, no unit moves": "the same without unit moves",
}
HEAD = ("set, seed", "way", "adders", "LUTs", "training loss", "test loss", "seconds in all", "of HGQ2's")
Row = dict[str, Any]


def equal_time_rows() -> list[list[str]]:
    """Return the networks of each way: what they cost, their losses, and the seconds that led to them."""
    records = json.loads(RESULTS.read_text())["records"]
    totals = {(one["data"], one["seed"]): one["points"][0]["seconds"] for one in records if one["way"] == "HGQ2"}
    order = {way: place for place, way in enumerate(WAYS)}
    known = [one for one in records if one["way"] in order]
    lines = []
    for one in sorted(known, key=lambda one: (list(SETS).index(one["data"]), one["seed"], order[one["way"]])):
        total = totals.get((one["data"], one["seed"]))
        for point, spent in _points(one, total):
            cells = [
                f"{point['adders']}",
                f"{point['luts']:,.0f}",
                *(f"{point[f'{part}_loss']:.3f}" for part in ("train", "test")),
            ]
            whole = "-" if total is None or one["way"].startswith("own") else f"{total:.0f}"
            lines.append([f"{SETS[one['data']]}, {one['seed']}", WAYS[one["way"]], *cells, f"{spent:.0f}", whole])
    return lines


def _points(record: Row, total: float | None) -> Iterator[tuple[Row, float]]:
    """Yield the networks with the seconds of the processor of all that led to them."""
    for point in record["points"]:
        before = (
            0.0
            if record["way"] in ("HGQ2", "own") or total is None or "seconds_left" not in point
            else total - point["seconds_left"]
        )
        yield point, before + point["seconds"]
