"""The figures of predicted numbers: predicted over true, and residuals; the curves of several labels."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from mcprune.report.charts.quality import curve_line, roc_figure
from mcprune.report.charts.roc import roc
from mcprune.report.page import COLOURS, Figure, layout, line
from mcprune.report.text import number
from mcprune.storage.predictions import Predictions

MOST_TARGETS, MOST_POINTS, BINS = 4, 2_000, 40


def predicted_over_true(predictions: Predictions, place: int, name: str) -> Figure:
    """Return a dot for each row of one target, with the line of equal numbers."""
    rows = _shown(len(predictions.targets))
    true, predicted = predictions.targets[rows, place], predictions.pruned[rows, place]
    low, high = (
        float(of([true.min(), predicted.min()] if of is min else [true.max(), predicted.max()])) for of in (min, max)
    )
    dots = _dots(true, predicted, "true %{x:.5g}, predicted %{y:.5g}<extra></extra>")
    equal = line([low, high], [low, high], "equal", "#8b95a5", hoverinfo="skip", showlegend=False)
    equal["line"] |= {"dash": "dash"}
    text = html.escape(name)[:40]
    drawn = layout(height=400, xaxis={"title": f"true {text}"}, yaxis={"title": f"predicted {text}"})
    return {"data": [equal, dots], "layout": drawn}


def residuals(predictions: Predictions, place: int, name: str) -> Figure:
    """Return the residual of each row of one target over its predicted number, and their histogram at the side."""
    rows = _shown(len(predictions.targets))
    predicted = predictions.pruned[rows, place]
    away = predicted - predictions.targets[rows, place]
    dots = _dots(predicted, away, "predicted %{x:.5g}, residual %{y:.5g}<extra></extra>")
    counts, edges = np.histogram(predictions.pruned[:, place] - predictions.targets[:, place], BINS)
    bars: Figure = {
        "type": "bar", "orientation": "h", "x": counts.tolist(), "y": ((edges[1:] + edges[:-1]) / 2).tolist(), "xaxis": "x2",
        "marker": {"color": COLOURS[0], "opacity": 0.6}, "showlegend": False, "hovertemplate": "%{y:.4g}: %{x} rows<extra></extra>",
    }  # fmt: skip
    nothing = line(
        [float(predicted.min()), float(predicted.max())], [0.0, 0.0], "0", "#8b95a5", hoverinfo="skip", showlegend=False
    )
    nothing["line"] |= {"dash": "dash"}
    spread = number(float(np.std(predictions.pruned[:, place] - predictions.targets[:, place])), ".4g")
    drawn = layout(
        height=400,
        bargap=0,
        xaxis={"title": f"predicted {html.escape(name)[:40]}", "domain": [0.0, 0.78]},
        yaxis={"title": f"residual (spread {spread})"},
    )
    drawn["xaxis2"] = {
        "domain": [0.82, 1.0],
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
        "title": "rows",
    }
    return {"data": [nothing, dots, bars], "layout": drawn}


def rocs_of_labels(predictions: Predictions, names: Sequence[str]) -> Figure | None:
    """Return the curve of each label against its absence; None where no label is both there and not."""
    data = []
    for place, name in enumerate(names[: len(COLOURS)]):
        scores = predictions.pruned[:, place].astype(np.float64)
        curve = roc(scores, predictions.targets[:, place] > 0.5, predictions.weights)
        if curve is not None:
            data.append(curve_line(curve, html.escape(name), COLOURS[place], "solid"))
    return roc_figure(data, "label against its absence") if data else None


def _shown(rows: int) -> np.ndarray:
    """Return which rows are drawn: all, or some at equal distances."""
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_POINTS)).round().astype(np.int64))


def _dots(x: np.ndarray, y: np.ndarray, template: str) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "x": x.astype(float).tolist(), "y": y.astype(float).tolist(), "showlegend": False,
        "marker": {"color": COLOURS[0], "size": 6, "opacity": 0.6}, "hovertemplate": template,
    }  # fmt: skip
