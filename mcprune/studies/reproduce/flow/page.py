"""The page of `reproduce flow`: each observation with its verdict, the loss around pruning, the scatter, the accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from mcprune.report.page import COLOURS, Figure, Page, grid, layout, line, panel_title
from mcprune.studies.base import Results
from mcprune.studies.claims import add_claim, add_overview
from mcprune.studies.parts import Figures
from mcprune.studies.reproduce.flow.claims import accuracy_table
from mcprune.studies.reproduce.flow.setting import MEASURES, Unit

Line = tuple[list[float], list[float | None]]
Finished = Mapping[Unit, Figures]
PAPER = "the paper"
DENSE = "#1d2433"


def write_page(path: Path, finished: Finished, results: Results) -> None:
    """Write the page from the finished runs and the content of results.json."""
    page = Page("Gradient flow and pruning, measured", results["setting"]["description"])
    add_overview(page, results["rows"], "observation", results["failures"])
    if results["unfinished"]:
        page.paragraph(f"not finished: {', '.join(results['unfinished'])}", quiet=False)
    figures = {
        "1a": looks(finished), "1b": histories(finished), "2b": scatter(finished), "4b": accuracies(finished), "4a": grown(finished),
    }  # fmt: skip
    for row in results["rows"]:
        add_claim(page, row, PAPER)
        figure = figures.get(row["number"])
        if figure is not None:
            page.figure(figure)
    page.heading("Accuracy after training")
    page.paragraph(
        "Test accuracy of the cut network after its last epoch; the lowest and the highest of the seeds where there are several."
    )
    page.table(*accuracy_table(results))
    page.write(path)


def _colours() -> dict[str, str]:
    return dict(zip(MEASURES, COLOURS, strict=False))


def _first(finished: Finished) -> dict[tuple[str, int], dict[Unit, Figures]]:
    """Return the runs of each network's first seed."""
    seeds: dict[str, int] = {}
    for unit in finished:
        seeds.setdefault(unit.network, unit.seed)
    return {
        (network, seed): {unit: run for unit, run in finished.items() if (unit.network, unit.seed) == (network, seed)}
        for network, seed in seeds.items()
    }


def looks(finished: Finished) -> Figure | None:
    """Return, for each network's first seed, the loss right after so much was dropped at once, by measure."""
    panels = []
    for (network, seed), runs in _first(finished).items():
        run = runs.get(Unit(network, seed))
        if run is not None:
            lines = {
                measure: (
                    [0.0, *map(float, by)],
                    [run["loss"]["running"], *(losses["running"] for losses in by.values())],
                )
                for measure, by in run["losses"].items()
            }
            panels.append((f"{network}: loss right after, from its first epoch", lines))
    return _panels(panels, "fraction of the channels dropped", is_log=True)


def grown(finished: Finished) -> Figure | None:
    """Return the same with batch-norm by the statistics of the measured rows themselves."""
    panels = []
    for (network, seed), runs in _first(finished).items():
        run = runs.get(Unit(network, seed))
        if run is not None:
            lines = {
                measure: ([0.0, *map(float, by)], [run["loss"]["batch"], *(losses["batch"] for losses in by.values())])
                for measure, by in run["losses"].items()
            }
            panels.append((f"{network}: the same, batch-norm by the rows themselves", lines))
    return _panels(panels, "fraction of the channels dropped", is_log=True)


def histories(finished: Finished) -> Figure | None:
    """Return, for each network's first seed and each fraction, the training loss of every measure; the jumps are the rounds."""
    panels = []
    for (network, seed), runs in _first(finished).items():
        dense = runs.get(Unit(network, seed))
        for fraction in sorted({unit.fraction for unit in runs if unit.measure}):
            lines: dict[str, Line] = {}
            if dense is not None:
                lines["unpruned"] = _curve(dense)
            lines |= {
                unit.measure: _curve(run) for unit, run in runs.items() if unit.measure and unit.fraction == fraction
            }
            panels.append((f"{network}, {fraction:.0%}", lines))
    return _panels(panels, "epoch", is_log=True)


def _curve(run: Figures) -> tuple[list[float], list[float | None]]:
    """Return the training loss over the epochs, with the loss of the measured rows right after each round in between."""
    points = [(epoch, loss, 0) for epoch, loss in run["curve"]]
    points += [(round_["epoch"], round_["after"]["batch"], 1) for round_ in run.get("rounds", ())]
    points.sort(key=lambda point: (point[0], point[2]))
    return [epoch for epoch, _, _ in points], [loss for _, loss, _ in points]


def scatter(finished: Finished) -> Figure | None:
    """Return each network's channels: loss preservation against the change of |theta|^2 over ten steps."""
    data: list[Figure] = []
    for place, ((network, seed), runs) in enumerate(_first(finished).items()):
        run = runs.get(Unit(network, seed))
        if run is None or not run["scatter"]["change"]:
            continue
        pairs = [(a, b) for a, b in zip(run["scatter"]["score"], run["scatter"]["change"], strict=True) if a and b]
        marker = {"size": 4, "color": COLOURS[place % len(COLOURS)], "opacity": 0.6}
        x, y = [a for a, _ in pairs], [b for _, b in pairs]
        data.append({"type": "scatter", "mode": "markers", "x": x, "y": y, "name": network, "marker": marker})
    if not data:
        return None
    return {
        "data": data,
        "layout": layout(
            height=460,
            xaxis={"title": "|sum theta g| after the first epoch", "type": "log", "exponentformat": "power"},
            yaxis={
                "title": "change of |theta|^2 over the next 10 steps of SGD",
                "type": "log",
                "exponentformat": "power",
            },
        ),
    }


def accuracies(finished: Finished) -> Figure | None:
    """Return the accuracy after training against the fraction, for each network's first seed."""
    panels = []
    for (network, seed), runs in _first(finished).items():
        dense = runs.get(Unit(network, seed))
        lines: dict[str, Line] = {}
        for measure in MEASURES:
            mine = sorted((unit.fraction, run["accuracy"]) for unit, run in runs.items() if unit.measure == measure)
            start = [(0.0, dense["accuracy"])] if dense is not None else []
            if mine:
                lines[measure] = ([x for x, _ in [*start, *mine]], [y for _, y in [*start, *mine]])
        if lines:
            panels.append((f"{network}: test accuracy after training", lines))
    return _panels(panels, "fraction of the channels dropped", is_log=False)


def _panels(panels: list[tuple[str, dict[str, Line]]], x_title: str, *, is_log: bool) -> Figure | None:
    """Return one panel for each entry, three in a row, a line for each name."""
    if not panels:
        return None
    columns = min(3, len(panels))
    height = 340 * math.ceil(len(panels) / columns)
    domains = grid(len(panels), columns, gap_y=0.2 / math.ceil(len(panels) / columns))
    colours = {"unpruned": DENSE, **_colours()}
    data: list[Figure] = []
    axes: Figure = {}
    named: set[str] = set()
    for number, ((_, lines), domain) in enumerate(zip(panels, domains, strict=True), 1):
        tail = "" if number == 1 else str(number)
        axes[f"xaxis{tail}"] = {"domain": domain[0], "anchor": f"y{tail}", "title": x_title}
        axes[f"yaxis{tail}"] = {"domain": domain[1], "anchor": f"x{tail}"} | ({"type": "log"} if is_log else {})
        for name, (x, y) in lines.items():
            is_new = name not in named
            named.add(name)
            data.append(line(x, y, name, colours[name], showlegend=is_new, xaxis=f"x{tail}", yaxis=f"y{tail}"))
    titles = [panel_title(title, domain) for (title, _), domain in zip(panels, domains, strict=True)]
    return {"data": data, "layout": layout(annotations=titles, height=height, **axes)}
