"""The tables of docs/firmware.md, from benchmarks/results/firmware.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SETS = {"jets": "simulated jets", "satimage": "satimage"}
WAYS = {
    "HGQ2 + chain": "HGQ2, then `polish`",
    "HGQ2 + chain, shared": "HGQ2, then `polish`, LUTs counted by alkaid",
    "HGQ2 + greedy": "HGQ2, then greedy removal with moves of biases",
    "HGQ2 + chain, noise": "HGQ2, then `polish --input-noise 0.3`",
    "HGQ2 + chain, noise, shared": "HGQ2, then `polish --input-noise 0.3`, LUTs counted by alkaid",
    "HGQ2 + greedy, noise": "HGQ2, then greedy removal with moves of biases and the noise",
    "HGQ2, frozen bits": "HGQ2, trained on at frozen bits",
}
ALONE = {
    "own": "`quantize`",
    "own + chain": "`quantize`, then `polish`",
    "own + chain, no unit moves": "`quantize`, then `polish --drops 0`",
}
OBJECTIVES = {
    "own + chain by cross-entropy": "cross-entropy",
    "own + chain by rejection": "background at half of the signal",
    "own + chain by both": "the one, then the other",
}
Row = dict[str, Any]
Cells = list[list[str]]
Table = tuple[Sequence[str], Cells]


def front_rows() -> Table:
    """Return each way against the front of HGQ2 at equal test loss."""
    head = (
        "set",
        "way",
        "networks compared",
        "adders",
        "by seed",
        "LUTs",
        "by seed",
        "seeds within .85 and .92",
        "seconds over HGQ2's",
    )
    lines = []
    for row in _summary(WAYS):
        figures = [cell for figure in ("adders", "luts") for cell in _ratio(row, figure, "loss")]
        compared = f"{row['compared_by_loss']} of {row['points']}"
        kept = [f"{row['seeds_within_bars']} of {row['seeds']}", f"{row['seconds_over_those_left']:.2f}"]
        lines.append([SETS[row["data"]], WAYS[row["way"]], compared, *figures, *kept])
    return head, lines


def control_rows() -> Table:
    """Return the chain beside its controls, pair by pair."""
    head = (
        "set",
        "way",
        "beside",
        "pairs",
        "lower loss in",
        "mean change of the test loss",
        "adders",
        "LUTs",
        "seconds",
    )
    lines = [
        [
            SETS[row["data"]],
            *(WAYS[row[name]].removeprefix("HGQ2, ").removeprefix("then ") for name in ("chain", "chain_beside")),
            f"{row['pairs']}",
            f"{row['better_in']}",
            f"{row['mean_change']:+.4f}",
            *(f"{row[name]:.2f}" for name in ("adders_ratio", "luts_ratio", "seconds_ratio")),
        ]
        for row in _content()["summary"]
        if "chain_beside" in row
    ]
    return head, lines


def alone_rows() -> Table:
    """Return mcprune's own training against the front of HGQ2, at equal test loss and at equal accuracy."""
    head = ("set", "way", "at equal", "networks compared", "adders", "by seed", "LUTs", "by seed")
    lines = []
    for row in _summary(ALONE):
        for quality, words in (("loss", "test loss"), ("error", "accuracy")):
            compared = f"{row[f'compared_by_{quality}']} of {row['points']}"
            figures = [cell for figure in ("adders", "luts") for cell in _ratio(row, figure, quality)]
            lines.append([SETS[row["data"]], ALONE[row["way"]], words, compared, *figures])
    return head, lines


def rejection_rows() -> Table:
    """Return networks of as many adders by each objective: the median over seeds, then each seed."""
    head = ("objective", "adders", "background that passes, test rows", "by seed", "test loss", "by seed", "seconds")
    lines = []
    for way, words in OBJECTIVES.items():
        points = [one["points"][0] for one in _records(way)]
        if points:
            adders = ", ".join(f"{point['used']:,}" for point in points)
            cells = [words, adders]
            for name, digits in (("test_background", 4), ("test_loss", 3)):
                values = [point[name] for point in points]
                cells += [f"{median(values):.{digits}f}", ", ".join(f"{value:.{digits}f}" for value in values)]
            lines.append([*cells, f"{median(point['seconds'] for point in points):.0f}"])
    return head, lines


def speed_rows() -> Table:
    """Return decisions a second."""
    head = ("network", "digits", "budget in", "rows", "decisions a second of the processor")
    lines = [
        [
            "-".join(map(str, point["widths"])),
            f"{point['digits']:,}",
            point["unit"],
            f"{point['rows']:,}",
            f"{point['decisions_a_second']:,}",
        ]
        for one in _records("speed")
        for point in one["points"]
    ]
    return head, lines


TABLES: dict[str, Callable[[], Table]] = {
    "front": front_rows,
    "controls": control_rows,
    "alone": alone_rows,
    "rejection": rejection_rows,
    "speed": speed_rows,
}


def _content() -> Row:
    return dict(json.loads((RESULTS / "firmware.json").read_text()))


def _records(way: str) -> list[Row]:
    return [one for one in _content()["records"] if one["way"] == way]


def _summary(ways: dict[str, str]) -> list[Row]:
    rows = [row for row in _content()["summary"] if row.get("way") in ways]
    order = list(ways)
    return sorted(rows, key=lambda row: (list(SETS).index(row["data"]), order.index(row["way"])))


def _ratio(row: Row, figure: str, quality: str) -> list[str]:
    """Return a median ratio, and the medians of the seeds."""
    name = f"{figure}_at_equal_{quality}"
    if row[name] is None:
        return ["-", "-"]
    return [f"{row[name]:.2f}", ", ".join(f"{value:.2f}" for value in row[f"{name}_by_seed"])]
