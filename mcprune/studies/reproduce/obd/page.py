"""The page of `reproduce obd`: accuracy against the percentage of weights pruned, and each statement with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcprune.report.page import COLOURS, Figure, Page, layout, panel_title
from mcprune.studies.base import Results
from mcprune.studies.claims import add_claim, add_overview
from mcprune.studies.reproduce.obd.claims import LIGHT
from mcprune.studies.reproduce.obd.curves import DROPOUT, HOW, NAMES, PLAIN, Curve, Curves

HALVES = (([0.0, 0.46], [0.0, 1.0]), ([0.54, 1.0], [0.0, 1.0]))
COLOUR = dict(zip(("magnitude", "obd", "signed", "obd-row-sum", "chain"), COLOURS, strict=False))
DASH = {"layerwise": "dot", "global": "solid"}


def write_page(path: Path, results: Results, curves: Curves) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    results : mapping
        The content of results.json.
    curves : Curves
    """
    page = Page("Optimal Brain Damage tried on MNIST, measured", results["setting"]["description"])
    page.paragraph(f"{results['source']}. {results['summary']}.", quiet=False)
    add_overview(page, results["rows"], "statement", results["failures"])
    if curves.accuracy:
        page.heading("Accuracy against the percentage of weights pruned")
        page.paragraph(
            "Test accuracy without retraining, means over the seeds, with a standard deviation where there are several. Dotted: each "
            "layer loses the percentage; drawn through: one ranking of all layers. A click on a name hides its curve."
        )
        for net, title in ((PLAIN, "without dropout"), (DROPOUT, "trained with dropout")):
            mine = [curve for curve in curves.accuracy if curve[0] == net]
            if mine:
                page.paragraph(title, quiet=False)
                page.figure(panels(curves, mine))
        page.table(["net", "unpruned", "seeds"], _dense(curves))
    for row in results["rows"]:
        add_claim(page, row, "the post")
        mine = [curve for text in row["shown"] if (curve := _curve(text)) in curves.accuracy]
        if mine:
            page.figure(one_panel(curves, mine, row["span"]))
    page.write(path)


def panels(curves: Curves, names: Sequence[Curve]) -> Figure:
    """Return the curves twice: up to 19%, where accuracies lie close together, and over all percentages."""
    data = []
    for curve in names:
        data.append(trace(curves, curve, LIGHT[0], LIGHT[-1], showlegend=False))
        data.append(trace(curves, curve, 0, 100, xaxis="x2", yaxis="y2"))
    axes: Figure = {
        "xaxis": {"domain": HALVES[0][0], "title": "% pruned"},
        "xaxis2": {"domain": HALVES[1][0], "title": "% pruned", "anchor": "y2"},
        "yaxis": {},
        "yaxis2": {"anchor": "x2"},
    }
    titles = [
        panel_title("test accuracy, 1 to 19%", HALVES[0]),
        panel_title("test accuracy, all percentages", HALVES[1]),
    ]
    return {"data": data, "layout": layout(annotations=titles, height=440, **axes)}


def one_panel(curves: Curves, names: Sequence[Curve], percents: Sequence[int]) -> Figure:
    """Return curves between two percentages."""
    data = [trace(curves, curve, percents[0], percents[-1]) for curve in names]
    return {"data": data, "layout": layout(height=360, xaxis={"title": "% pruned"}, yaxis={"title": "test accuracy"})}


def trace(curves: Curves, curve: Curve, low: int, high: int, **more: object) -> Figure:
    """Return the mean of a curve over its seeds, with the standard deviation."""
    net, measure, how = curve
    by_seed = curves.accuracy[curve]
    percents = sorted({percent for points in by_seed.values() for percent in points if low <= percent <= high})
    values = [[points[percent] for points in by_seed.values() if percent in points] for percent in percents]
    name = NAMES[measure] + ("" if measure == "chain" else f", {HOW[how]}") + (", dropout" if net == DROPOUT else "")
    drawn: Figure = {
        "type": "scatter", "mode": "lines+markers", "x": percents, "y": [float(np.mean(value)) for value in values], "name": name,
        "legendgroup": name, "line": {"color": COLOUR[measure], "width": 1.8, "dash": "dash" if net == DROPOUT else DASH[how]},
        "marker": {"size": 5, "symbol": "diamond-open" if net == DROPOUT else "circle"}, **more,
    }  # fmt: skip
    if any(len(value) > 1 for value in values):
        spreads = [float(np.std(value, ddof=1)) if len(value) > 1 else 0.0 for value in values]
        drawn["error_y"] = {"type": "data", "array": spreads, "thickness": 1, "width": 2}
    return drawn


def _dense(curves: Curves) -> list[list[str]]:
    return [
        [
            net,
            f"{np.mean(list(by_seed.values())):.4f}",
            ", ".join(f"{seed}: {value:.4f}" for seed, value in by_seed.items()),
        ]
        for net, by_seed in curves.dense.items()
    ]


def _curve(text: str) -> Curve:
    net, measure, how = text.split(" ")
    return net, measure, how
