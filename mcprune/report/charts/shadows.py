"""The figure of columns that compete with their shadows."""

from __future__ import annotations

import html

from mcprune.report.charts.figures import DROPPED, SHOWN
from mcprune.report.page import COLOURS, Figure, layout
from mcprune.storage.events import ErrorRate


def beside_shadows(event: ErrorRate) -> Figure:
    """Return the statistic of the strongest columns as bars, those of their shadows as points, and the threshold as a line."""
    shown = event.columns[:SHOWN]
    places = list(range(len(shown)))
    bars = {
        "type": "bar", "orientation": "h", "x": [one.statistic for one in shown], "y": places, "showlegend": False,
        "marker": {"color": [COLOURS[0] if one.is_kept else DROPPED for one in shown]},
        "hovertemplate": "%{x:.3f}<extra></extra>",
    }  # fmt: skip
    points = {
        "type": "scatter", "mode": "markers", "x": [one.shadow for one in shown], "y": places, "showlegend": False,
        "marker": {"color": "#1d2433", "size": 7, "symbol": "line-ns-open"},
        "hovertemplate": "its shadows: %{x:.3f}<extra></extra>",
    }  # fmt: skip
    shapes = []
    if event.threshold is not None:
        edge = {"color": "#8b95a5", "dash": "dot", "width": 1}
        shapes.append(
            {
                "type": "line",
                "x0": event.threshold,
                "x1": event.threshold,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": edge,
            }
        )
    names = [html.escape(one.name[:28]) for one in shown]
    axis = {"tickvals": places, "ticktext": names, "autorange": "reversed"}
    x = {"title": "share of the blocks", "range": [0, 1.04]}
    return {
        "data": [bars, points],
        "layout": layout(height=110 + 18 * len(shown), xaxis=x, yaxis=axis, bargap=0.25, shapes=shapes),
    }
