"""Figures of samples of masks: P(kept) of each site with its error, traces and ranks of the losses."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from mcprune.report.charts.figures import DROPPED, SHOWN, flat_shape, pictures
from mcprune.report.page import COLOURS, Figure, grid, layout, line, panel_title
from mcprune.sampling.summary import SampleSummary
from mcprune.storage.event_log import EventLog

HEIGHT = 260


def probabilities(run: EventLog, summary: SampleSummary, names: Sequence[str]) -> Figure | None:
    """Return P(kept) as the shade of each pixel of an image, else as bars of the most probable sites with their errors.

    None where the samples are of another number of sites than the run.
    """
    if summary.probability.size != run.started.n_sites:
        return None
    flat = flat_shape(run, run.started.image_shape)
    if flat is not None and len(run.started.sites) == 1:
        return pictures([("", summary.probability.reshape(flat))])
    kept = np.zeros(summary.probability.size, bool)
    kept[run.indices() or []] = True
    order = np.lexsort((np.arange(kept.size), -summary.probability))
    order = order[summary.probability[order] > 0][:SHOWN]
    places = list(range(len(order)))
    bar = {
        "type": "bar", "orientation": "h", "x": summary.probability[order].tolist(), "y": places,
        "marker": {"color": [COLOURS[0] if kept[site] else DROPPED for site in order]},
        "error_x": {"array": summary.error[order].tolist(), "color": "#1d2433", "thickness": 1, "width": 3},
        "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
    }  # fmt: skip
    axis = {"tickvals": places, "ticktext": [html.escape(names[site][:28]) for site in order], "autorange": "reversed"}
    x = {"title": "P(kept)", "range": [0, 1.04]}
    return {"data": [bar], "layout": layout(height=110 + 18 * len(order), xaxis=x, yaxis=axis, bargap=0.25)}


def traces_and_ranks(summary: SampleSummary) -> Figure:
    """Return the losses of the draws of each chain, and beside them how the ranks of each chain spread over those of all."""
    domains = grid(2, 2, gap_x=0.12)
    data: list[Figure] = []
    step = max(1, summary.draws // max(1, summary.traces.shape[1]))
    bins = summary.ranks.shape[1]
    for chain in range(summary.chains):
        name, colour = f"chain {chain + 1}", COLOURS[chain % len(COLOURS)]
        trace, shares = summary.traces[chain], summary.ranks[chain]
        x = (step * np.arange(trace.size)).tolist()
        data.append({**line(x, trace.tolist(), name, colour), "line": {"color": colour, "width": 1}})
        edges = (np.arange(bins + 1) / bins).tolist()
        data.append(
            line(
                edges, [*shares.tolist(), float(shares[-1])], name, colour, showlegend=False, xaxis="x2", yaxis="y2",
            )
        )  # fmt: skip
        data[-1]["line"]["shape"] = "hv"
    data.append(
        line(
            [0, 1],
            [1 / bins, 1 / bins],
            "one law",
            "#8b95a5",
            showlegend=False,
            hoverinfo="skip",
            xaxis="x2",
            yaxis="y2",
        )
    )
    data[-1]["line"]["dash"] = "dot"
    titles = [
        panel_title(text, domain)
        for text, domain in zip(("loss of the draws", "ranks of the losses"), domains, strict=True)
    ]
    return {
        "data": data,
        "layout": layout(
            height=HEIGHT + 40,
            annotations=titles,
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"},
            xaxis={"domain": domains[0][0], "title": "draw"},
            yaxis={"domain": [0, 1]},
            xaxis2={
                "domain": domains[1][0],
                "anchor": "y2",
                "title": "rank among the losses of all chains",
                "range": [0, 1],
            },
            yaxis2={"domain": [0, 1], "anchor": "x2", "rangemode": "tozero", "title": "share"},
        ),
    }
