"""The tables of docs/how-sure.md and docs/how-many.md, from sampling, substitutes and path in benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
# What the masks are retrained by, and the figures that compare P with the best of them.
RETRAINED = {
    "networks": "networks like those of the run, its training rows",
    "logistic regression": "logistic regression on squares and products, its training rows",
    "logistic regression on all rows": "the same on all 569 rows",
}
Row = dict[str, Any]
Table = tuple[Sequence[str], list[list[str]]]


def truth_rows() -> Table:
    """Return how P agrees with the best hundredth of the retrained masks, by what they are retrained with."""
    rows = _read("sampling")["truth"]["rows"]
    head = (
        "retrained by",
        "rank correlation of P",
        "of P by retraining",
        "correlation of P",
        "place of the best drawn mask",
    )
    lines = []
    for kind, name in RETRAINED.items():
        own = [row[kind] for row in rows]
        places = ", ".join(f"{round(one['best_percent'] * 40.6)}" for one in own)
        figures = ("rank_correlation", "rank_correlation_of_retraining", "correlation")
        lines.append([name, *(", ".join(_share(one[figure], 2) for one in own) for figure in figures), places])
    return head, lines


def calibration_rows() -> Table:
    """Return how many columns of each tenth of P are informative, at the default temperature and at lower ones."""
    content = _read("sampling")
    colder = content["calibration_cold"]["laws"]
    laws = {
        "default temperature": [content[part]["laws"]["P"] for part in ("calibration", "calibration_weak")],
        "T = 2 / rows": [colder["P of all masks at T = 2 / rows"]],
        "T = 1 / rows": [colder["P"]],
    }
    lines = []
    for place in range(10):
        counts = [_informative([one["tenths"][place] for one in law], "sites") for law in laws.values()]
        lines.append([f"{_share(place / 10, 1)} to {_share((place + 1) / 10, 1)}", *counts])
    band = [_informative(law, "sites_in_the_band") for law in laws.values()]
    return ("P", *laws), [*lines, ["**.8 to .9, both ends**", *(f"**{count}**" for count in band)]]


def _informative(parts: list[Row], among: str) -> str:
    count, columns = (sum(one[name] for one in parts) for name in ("informative", among))
    return f"{count} of {columns} ({count / max(1, columns):.0%})"


def substitutes_rows() -> Table:
    """Return what is found of known copies, by the rows of a table."""
    lines = []
    for name in ("substitutes", "substitutes_1000"):
        content = _read(name)
        tables, controls = content["tables"], content["controls"]

        def total(figure: str, of: list[Row]) -> int:
            return sum(one[figure] for one in of)

        triples = f"{total('triples_found', tables)} of {6 * len(tables)}"
        false = f"{total('pairs_false', tables)} of {total('pairs', tables)}"
        lines.append([f"{content['options']['rows']:,}", triples, false, f"{total('pairs', controls)}"])
    return ("rows", "triples found", "false pairs", "pairs reported in the controls"), lines


def _share(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if value < 1 else text


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


TABLES: dict[str, tuple[str, Callable[[], Table]]] = {
    "truth": ("docs/how-sure.md", truth_rows),
    "calibration": ("docs/how-sure.md", calibration_rows),
    "copies": ("docs/how-sure.md", substitutes_rows),
}
