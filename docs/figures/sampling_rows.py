"""The tables of docs/how-sure.md and docs/how-many.md, from sampling, substitutes and path in benchmarks/results."""

from __future__ import annotations

import json
import statistics
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
METHODS = {"path": "path", "RFE": "RFE", "LassoNet": "LassoNet", "LassoNet, steps of 10%": "LassoNet, steps of 10%"}
SETS = {"breast-cancer": "breast-cancer, 1:20", "isolet": "Isolet, 5:150"}
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
        "the same, 29 other tables": [content["calibration_fresh"]["laws"]["P"]],
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
        triples = f"{_total('triples_found', tables)} of {6 * len(tables)}"
        groups, pairs = (f"{_total(f'{kind}_false', tables)} of {_total(kind, tables)}" for kind in ("groups", "pairs"))
        reported = f"{_total('pairs', controls)} of {_total('pairs_tested', controls)} tested"
        lines.append([f"{content['options']['rows']:,}", triples, groups, pairs, reported])
    return ("rows", "triples found", "false groups", "false pairs", "pairs reported of independent columns"), lines


def _total(figure: str, rows: list[Row]) -> int:
    return sum(one[figure] for one in rows)


def auto_rows() -> Table:
    """Return the numbers of informative columns, and those that `keep="auto"` keeps."""
    runs = [run for run in _read("path")["known"] if run["seed"] == 0]
    head = ["informative columns", *(f"{run['informative']}" for run in runs)]
    lines = [["`auto`", *(f"{run['enough']}" for run in runs)]]
    return head, [*lines, ["informative of them", *(f"{run['of them informative']}" for run in runs)]]


def area_rows() -> Table:
    """Return the areas under the curves, with seconds of the processor."""
    lines = []
    for name, title in SETS.items():
        cells = [title]
        for method in METHODS:
            runs = [run for run in _read("path")["curves"] if (run["set"], run["method"]) == (name, method)]
            area = _share(statistics.mean(run["area"] for run in runs), 3)
            if len(runs) > 1:
                area += f" ± {_share(statistics.stdev(run['area'] for run in runs), 3)}"
            cpu = statistics.median(run["cpu"] for run in runs)
            cells.append(f"{area} ({cpu:.{0 if cpu >= 1 else 2}f} s)")
        lines.append(cells)
    return ["table, levels", *METHODS.values()], lines


def mnist_rows() -> Table:
    """Return the test accuracies of a path on MNIST, and of dedicated runs of its levels."""
    runs = [run for run in _read("path")["mnist"] if run["seed"] == 0]
    path = {run["n"]: run["accuracy"] for run in runs if run["way"] == "level"}
    alone = {run["n"]: run["accuracy"] for run in runs if run["way"] == "run"}
    lines = [
        [f"{n}", _share(value, 4), *((_share(alone[n], 4), f"{value - alone[n]:+.4f}") if n in alone else ("", ""))]
        for n, value in sorted(path.items())
    ]
    return ("pixels", "path", "single run", "path minus single run"), lines


def _share(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if value < 1 else text


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


TABLES: dict[str, tuple[str, Callable[[], Table]]] = {
    "truth": ("docs/how-sure.md", truth_rows),
    "calibration": ("docs/how-sure.md", calibration_rows),
    "copies": ("docs/how-sure.md", substitutes_rows),
    "auto": ("docs/how-many.md", auto_rows),
    "areas": ("docs/how-many.md", area_rows),
    "mnist": ("docs/how-many.md", mnist_rows),
}
