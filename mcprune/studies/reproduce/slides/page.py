"""The page of `reproduce slides`: each statement with its verdict and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcprune.report.page import COLOURS, Figure, Page, layout, line, panel_title
from mcprune.storage.run_metrics import RunFigures
from mcprune.studies.base import Results
from mcprune.studies.claims import add_claim, add_overview
from mcprune.studies.reproduce.slides.claims import Runs
from mcprune.studies.reproduce.slides.verdicts import alpha_means, halfway, slopes

HALVES = (([0.0, 0.46], [0.0, 1.0]), ([0.54, 1.0], [0.0, 1.0]))
SYMBOLS = ("circle", "diamond", "square")


def write_page(path: Path, runs: Runs, results: Results) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    runs : mapping
        Finished runs by name, then by seed.
    results : mapping
        The content of results.json.
    """
    page = Page("The deepPP slides of May 2023, measured", results["setting"]["description"])
    add_overview(page, results["rows"], "statement", results["failures"])
    for row in results["rows"]:
        add_claim(page, row, "the slides")
        firsts = {name: next(iter(runs[name].values())) for name in row["shown"] if runs.get(name)}
        figure = _figure(row["number"], firsts)
        if figure is not None:
            page.figure(figure)
    page.write(path)


def _figure(number: str, firsts: Mapping[str, RunFigures]) -> Figure | None:
    if number == "3a":
        return products()
    if not firsts:
        return None
    if number == "2b":
        return rises(firsts)
    if number == "7b":
        return bars(firsts)
    if number == "7a":
        return histories(firsts, "loss", "L_tot", "gate_sum", "sum of the gates")
    if number == "6":
        return histories(firsts, "schedule_lambda", "lambda", "kept", "gates above one half")
    if number == "3b":
        return histories(firsts, "rejection_loss", "L_rej or L_rej'", "gate_sum", "sum of the gates", marks=True)
    return histories(firsts, "alpha", "alpha", "kept", "gates above one half")


def histories(
    firsts: Mapping[str, RunFigures], left: str, left_title: str, right: str, right_title: str, *, marks: bool = False
) -> Figure:
    """Return two fields of the progress events over the epochs, the left one on a logarithmic axis, with n on the right."""
    data: list[Figure] = []
    for place, (name, run) in enumerate(firsts.items()):
        colour = COLOURS[place % len(COLOURS)]
        x = [event.epoch for event in run.progress]
        y = [value if (value := getattr(event, left)) is not None and value > 0 else None for event in run.progress]
        data.append(line(x, y, name, colour))
        data.append(
            line(
                x,
                [getattr(event, right) for event in run.progress],
                name,
                colour,
                showlegend=False,
                xaxis="x2",
                yaxis="y2",
            )
        )
        when = halfway(run) if marks else None
        if when is not None:
            middle = {
                "type": "scatter",
                "mode": "markers",
                "x": [when],
                "y": [(run.N + run.n) / 2],
                "showlegend": False,
            }
            data.append({**middle, "marker": {"color": colour, "size": 9}, "xaxis": "x2", "yaxis": "y2"})
    run = next(iter(firsts.values()))
    last = max(run.progress[-1].epoch for run in firsts.values())
    target = line([0, last], [run.n, run.n], f"n = {run.n}", "#5b6577", xaxis="x2", yaxis="y2")
    target["line"] = {"color": "#5b6577", "width": 1, "dash": "dash"}
    axes: Figure = {
        "xaxis": {"domain": HALVES[0][0], "title": "epoch"},
        "xaxis2": {"domain": HALVES[1][0], "title": "epoch", "anchor": "y2"},
        "yaxis": {"type": "log", "exponentformat": "power"},
        "yaxis2": {"anchor": "x2", "rangemode": "tozero"},
    }
    titles = [panel_title(left_title, HALVES[0]), panel_title(right_title, HALVES[1])]
    return {"data": [*data, target], "layout": layout(annotations=titles, height=380, **axes)}


def rises(firsts: Mapping[str, RunFigures]) -> Figure:
    """Return for each run how far alpha rose and how many sites were left."""
    x, y, data = [], [], []
    for place, (name, run) in enumerate(firsts.items()):
        means = alpha_means(run)
        x.append(means[-1] / means[0])
        y.append(max(run.kept_before, 0.5))
        marker = {
            "size": 10,
            "color": COLOURS[place % len(COLOURS)],
            "symbol": SYMBOLS[place // len(COLOURS) % len(SYMBOLS)],
        }
        data.append({"type": "scatter", "mode": "markers", "x": [x[-1]], "y": [y[-1]], "name": name, "marker": marker})
    run = next(iter(firsts.values()))
    target = line([min(x) / 2, max(x) * 2], [run.n, run.n], f"n = {run.n}", "#5b6577", showlegend=False)
    return {
        "data": [*data, target],
        "layout": layout(
            height=440,
            xaxis={
                "title": "alpha: mean over the last eighth of the run / over the first",
                "type": "log",
                "exponentformat": "power",
            },
            yaxis={"title": "gates above one half at the end", "type": "log"},
        ),
    }


def products() -> Figure:
    """Return the product of N gates at sigmoid(4), and the slopes of both losses there, against N."""
    gate = 1 / (1 + math.exp(-4.0))
    sizes = [round(2 ** (step / 4)) for step in range(4, 43)]
    figures = [slopes(size, gate) for size in sizes]
    data = [
        line(sizes, [product for product, _, _ in figures], "product of the gates", COLOURS[0]),
        line(sizes, [plain for _, plain, _ in figures], "slope of L_rej", COLOURS[1], xaxis="x2", yaxis="y2"),
        line(sizes, [modified for _, _, modified in figures], "slope of L_rej'", COLOURS[2], xaxis="x2", yaxis="y2"),
    ]
    axes: Figure = {
        "xaxis": {"domain": HALVES[0][0], "title": "N", "type": "log"},
        "xaxis2": {"domain": HALVES[1][0], "title": "N", "type": "log", "anchor": "y2"},
        "yaxis": {"type": "log", "exponentformat": "power"},
        "yaxis2": {"anchor": "x2"},
    }
    titles = [panel_title("product of N gates at .982", HALVES[0]), panel_title("N dL/ds there", HALVES[1])]
    return {"data": data, "layout": layout(annotations=titles, height=380, **axes)}


def bars(firsts: Mapping[str, RunFigures]) -> Figure:
    """Return the accuracy of every run, before and after retraining."""
    names: Sequence[str] = sorted(firsts, key=lambda name: firsts[name].retrained)
    data = [
        {"type": "scatter", "mode": "markers", "y": list(names), "x": [getattr(firsts[name], key) for name in names], "name": title,
         "marker": {"size": 10, "color": colour, "symbol": symbol}}
        for key, title, colour, symbol in (
            ("hardened", "hard mask, not retrained", COLOURS[5], "circle-open"),
            ("retrained", "hard mask, retrained", COLOURS[0], "diamond"),
        )
    ]  # fmt: skip
    return {"data": data, "layout": layout(height=120 + 24 * len(names), xaxis={"title": "test accuracy"})}
