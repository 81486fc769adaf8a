"""Figures for programs and notebooks: those of the report, as figures of plotly, which the report draws with too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from mcprune.errors import McpruneError
from mcprune.report.charts import curves
from mcprune.report.charts.figures import DROPPED, SHOWN, pictures
from mcprune.report.charts.quality import accuracies
from mcprune.report.page import COLOURS, Figure, layout
from mcprune.report.screens.choose import in_notebook
from mcprune.storage.event_log import EventLog
from mcprune.storage.events import Scored
from mcprune.types import BoolArray, FloatArray

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

GAP = 0.12  # between two figures beside each other
PLAIN = "plotly_mimetype+notebook_connected"  # where nobody has chosen another renderer


def drawn(figure: Figure | None, what: str) -> PlotlyFigure:
    """Return a figure of plotly.

    Raises
    ------
    McpruneError
        There is nothing to draw, or this notebook cannot show figures of plotly.
    """
    if figure is None:
        raise McpruneError(f"There is nothing to plot: {what}.")
    if in_notebook() and find_spec("nbformat") is None:
        raise McpruneError(
            "To show a figure in a notebook plotly needs nbformat, which is missing. pip install nbformat"
        )
    return _plot_class()(figure)


@cache
def _plot_class() -> type[PlotlyFigure]:
    """Return the class of the figures; plotly is loaded at the first one."""
    import plotly.io
    from plotly.graph_objects import Figure as PlotlyFigure

    class Plot(PlotlyFigure):  # type: ignore[misc]
        """A figure of plotly that also shows itself where a notebook does not know plotly, from the network."""

        def _ipython_display_(self) -> None:
            """Show the figure below a cell."""
            default = plotly.io.renderers.default
            plotly.io.show(self, renderer=PLAIN if default == "plotly_mimetype" else default)

    return Plot


def mask_figure(
    support: BoolArray, names: Mapping[int, str], weights: FloatArray, image_shape: Sequence[int] | None
) -> Figure | None:
    """Return kept pixels as a picture, or else the sites of the largest weights as bars.

    Parameters
    ----------
    support : ndarray of bool, shape (N,)
    names : mapping of int to str
        Of the kept sites.
    weights : ndarray, shape (N,)
        Of the pruner.
    image_shape : sequence of int, optional
        Where all sites are the inputs of an image.
    """
    if image_shape is not None and int(np.prod(image_shape)) == support.size:
        return pictures([("", support.astype(np.float64).reshape(-1, image_shape[-1]))])
    order = np.lexsort((np.arange(support.size), -weights, ~support))[:SHOWN]
    places = list(range(len(order)))
    bar = {
        "type": "bar", "orientation": "h", "x": weights[order].tolist(), "y": places, "showlegend": False,
        "marker": {"color": [COLOURS[0] if support[site] else DROPPED for site in order]}, "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
    }  # fmt: skip
    text = [names.get(int(site), f"site {site}")[:28] for site in order]
    axis = {"tickvals": places, "ticktext": text, "autorange": "reversed"}
    x = {"title": "pruner weight (blue: kept)"}
    return {"data": [bar], "layout": layout(height=110 + 18 * len(order), xaxis=x, yaxis=axis, bargap=0.25)}


def result_figure(
    mask: Figure | None, scores: Sequence[Scored], task: str = "classification", *, is_weighted: bool = False
) -> Figure | None:
    """Return the kept sites, and beside them the accuracies with their error bars."""
    right = accuracies(scores, task, is_weighted=is_weighted)
    if mask is None or right is None:
        return mask or right
    data = [*mask["data"], *({**trace, "xaxis": "x2", "yaxis": "y2"} for trace in right["data"])]
    half = (1.0 - GAP) / 2
    axes = {
        "xaxis": {**mask["layout"]["xaxis"], "domain": [0.0, half - 0.04]},
        "yaxis": {**mask["layout"]["yaxis"], "domain": [0.0, 1.0]},
        "xaxis2": {**right["layout"]["xaxis"], "domain": [half + GAP + 0.04, 1.0], "anchor": "y2"},
        "yaxis2": {**right["layout"]["yaxis"], "anchor": "x2"},
    }
    height = max(mask["layout"]["height"], right["layout"]["height"])
    return {"data": data, "layout": {**layout(height=height), **axes}}


def history_figure(log: EventLog) -> Figure | None:
    """Return the curves of a search; None without a block."""
    return curves.of_search({"": log}) if log.progress else None
