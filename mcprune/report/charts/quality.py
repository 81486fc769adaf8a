"""The figures of how good a result is: accuracies beside comparisons, curves of true over false positives, confused classes."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from mcprune.report.charts.roc import Curve, confusion, macro, one_vs_rest
from mcprune.report.page import BARE, COLOURS, CYCLE, Figure, layout, line
from mcprune.report.text import number
from mcprune.storage.answer import OF_MODEL, measure_name, score_of
from mcprune.storage.events import Scored
from mcprune.storage.predictions import Predictions

OTHERS = "#8b95a5"  # of what the result is compared with
NUMBERED = 12  # classes up to which each cell of the confusion matrix has its number
MOST_CLASSES = 60  # of a confusion matrix that can be read


def accuracies(scores: Sequence[Scored], task: str = "classification", *, is_weighted: bool = False) -> Figure | None:
    """Return a dot for each row of the final table, with its error bar; None where nothing was measured."""
    shown = [score for score in scores if score.accuracy is not None]
    if not shown:
        return None
    model = score_of(shown, OF_MODEL)
    places = list(range(len(shown)))
    errors = [score.spread if score.count > 1 else score.error for score in shown]
    colours = [COLOURS[0] if score is model else OTHERS for score in shown]
    texts = [
        f"{number(score.accuracy, '.4f')} +- {number(error, '.4f')}, {score.kept:,} sites"
        for score, error in zip(shown, errors, strict=True)
    ]
    dots = [
        {
            "type": "scatter", "mode": "markers", "x": [score.accuracy], "y": [place], "showlegend": False,
            "marker": {"color": colour, "size": 11, "symbol": "diamond" if score is model else "circle"},
            "error_x": {"type": "data", "array": [error or 0.0], "color": colour, "thickness": 2, "width": 5},
            "text": [text], "hovertemplate": "%{text}<extra></extra>",
        }
        for place, score, error, colour, text in zip(places, shown, errors, colours, texts, strict=True)
    ]  # fmt: skip
    names = [f"<b>{html.escape(score.name)}</b>" if score is model else html.escape(score.name) for score in shown]
    axis = {"tickvals": places, "ticktext": names, "range": [len(shown) - 0.4, -0.6], "zeroline": False}
    title = measure_name(task, "test", is_weighted=is_weighted)
    drawn = layout(height=90 + 34 * len(shown), xaxis={"title": title, "zeroline": False}, yaxis=axis)
    return {"data": dots, "layout": drawn}


def rocs(predictions: Predictions, classes: Sequence[str]) -> Figure | None:
    """Return the curves of the pruned model and of the one with all sites: of several classes the mean of one against the rest."""
    data: list[Figure] = []
    for name, probabilities, colour, dash in (
        ("kept sites", predictions.pruned, COLOURS[0], "solid"),
        ("all sites", predictions.whole, COLOURS[1], "dash"),
    ):
        if probabilities is None:
            continue
        curve = macro(one_vs_rest(probabilities.astype(np.float64), predictions.targets, predictions.weights))
        if curve is not None:
            data.append(curve_line(curve, name, colour, dash))
    if not data:
        return None
    several = predictions.pruned.shape[1] > 2
    positive = f"positive: {html.escape(classes[1])[:20]}" if len(classes) == 2 else ""
    return roc_figure(data, "mean over classes" if several else positive)


def rocs_of_classes(predictions: Predictions, classes: Sequence[str]) -> Figure | None:
    """Return the curve of each of several classes against the rest, by the pruned model; None of two classes, or of too many."""
    count = predictions.pruned.shape[1]
    if not 2 < count <= len(COLOURS):
        return None
    curves = one_vs_rest(predictions.pruned.astype(np.float64), predictions.targets, predictions.weights)
    data = [
        curve_line(curve, html.escape(classes[place]) if place < len(classes) else str(place), COLOURS[place], "solid")
        for place, curve in enumerate(curves)
        if curve is not None
    ]
    return roc_figure(data, "class against rest") if data else None


def confusions(predictions: Predictions, classes: Sequence[str]) -> Figure | None:
    """Return the confusion matrix of the pruned model; None of too many classes to be read."""
    counts = confusion(predictions.pruned.astype(np.float64), predictions.targets, predictions.weights)
    is_weighted = predictions.weights is not None
    unit, form = ("of weight", ",.4g") if is_weighted else ("rows", ",")
    if len(counts) > MOST_CLASSES:
        return None
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300 if is_weighted else 1)
    names = [html.escape(str(name))[:20] for name in classes[: len(counts)]]
    places = list(range(len(counts)))
    every = max(1, len(places) // 12)
    axis = {**BARE, "showticklabels": True, "tickvals": places[::every], "ticktext": names[::every]}
    has_numbers = len(counts) <= NUMBERED
    heat: Figure = {
        "type": "heatmap", "z": shares.tolist(), "zmin": 0, "zmax": 1, "showscale": False, "xgap": 1, "ygap": 1,
        "customdata": counts.tolist(), **CYCLE,
        "hovertemplate": "true %{y}, predicted %{x}: %{customdata} " + unit + ", %{z:.1%} of the class<extra></extra>",
    }  # fmt: skip
    if has_numbers:
        heat |= {"text": [[f"{count:{form}}" if count else "" for count in row] for row in counts.tolist()]}
        heat |= {"texttemplate": "%{text}", "textfont": {"size": 12}}
    drawn = layout(
        height=400,
        margin={"l": 60, "r": 20, "t": 10, "b": 60},
        xaxis={**axis, "title": "predicted", "constrain": "domain", "tickangle": 0},
        yaxis={**axis, "title": "true class", "autorange": "reversed", "scaleanchor": "x", "constrain": "domain"},
    )
    return {"data": [heat], "layout": drawn}


def curve_line(curve: Curve, name: str, colour: str, dash: str) -> Figure:
    """Return the line of a curve of true over false positives, named with its area."""
    trace = line(
        curve.false_positive.tolist(),
        curve.true_positive.tolist(),
        f"{name}: {number(curve.area, '.4f')}",
        colour,
        hovertemplate="%{x:.3f}: %{y:.3f}<extra>" + name + "</extra>",
    )
    trace["line"] |= {"dash": dash, "width": 2.2}
    return trace


def roc_figure(data: list[Figure], title: str) -> Figure:
    """Return a figure of such lines beside that of chance."""
    chance = line([0, 1], [0, 1], "chance", "#cbd2dc", hoverinfo="skip", showlegend=False)
    drawn = layout(
        height=400,
        margin={"l": 60, "r": 20, "t": 10, "b": 60},
        showlegend=True,
        xaxis={"title": "false positives" + (f" ({title})" if title else ""), "range": [-0.01, 1.01]},
        yaxis={"title": "true positives", "range": [-0.01, 1.01]},
        legend={
            "x": 0.98,
            "xanchor": "right",
            "y": 0.04,
            "yanchor": "bottom",
            "title": {"text": "area below the curve"},
        },
    )
    return {"data": [chance, *data], "layout": drawn}
