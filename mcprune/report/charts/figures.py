"""The figures of the sites of a report: pictures of kept pixels, bars by name or by layer, how sure each site is."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np

from mcprune.report.charts.sureness import Sureness
from mcprune.report.page import BARE, COLOURS, CYCLE, Figure, bytes_array, grid, layout, panel_title
from mcprune.report.summary import group_title
from mcprune.storage.event_log import EventLog
from mcprune.types import FloatArray

Runs = Mapping[str, EventLog]
BARS = 64  # inner sites up to which each has a bar
SHOWN = 24  # bars beside something else
DROPPED = "#c3cad5"  # the colour of what is not kept


def mean_gates(run: EventLog) -> FloatArray | None:
    """Return the mean of each gate over the moments at which the gates were recorded, shape (n_sites,), 0..1; None without any."""
    gates = run.gates()
    return gates.mean(axis=0, dtype=np.float64) / 255 if len(gates) else None


def masks(runs: Runs, shapes: Mapping[str, Sequence[int] | None]) -> Figure | None:
    """Return the kept pixels of the runs on images, and of an unfinished run the mean gates; None where no run has an image.

    Channels stand below each other.
    """
    panels: list[tuple[str, FloatArray]] = []
    for label, run in runs.items():
        flat, indices = flat_shape(run, shapes[label]), run.indices()
        if flat is None or indices is None:
            continue
        size = run.started.sites[0].size
        kept = np.isin(np.arange(size), indices).astype(np.float64)
        panels.append(("" if len(runs) == 1 else html.escape(label), kept.reshape(flat)))
        share = mean_gates(run)
        if len(runs) == 1 and share is not None and run.done is None:
            panels[0] = ("kept", panels[0][1])
            panels.append(("mean gate over the search", share[:size].reshape(flat)))
    return pictures(panels)


def flat_shape(run: EventLog, shape: Sequence[int] | None) -> tuple[int, int] | None:
    """Return the shape of a picture of the inputs, its channels below each other; None where they are no image."""
    first = run.started.sites[0]
    size = first.size if first.kind == "inputs" else 0
    return None if shape is None or int(np.prod(shape)) != size else (-1, shape[-1])


def pictures(panels: Sequence[tuple[str, FloatArray]]) -> Figure | None:
    """Return titles with values 0..1 of pixels (h, w) as pictures beside each other; None of none."""
    if not panels:
        return None
    columns = min(2, len(panels))
    domains = grid(len(panels), columns, gap_x=0.03, gap_y=0.1)
    data: list[Figure] = []
    axes: Figure = {}
    bare = {**BARE, "constrain": "domain"}
    for place, (_, picture) in enumerate(panels):
        suffix = "" if place == 0 else str(place + 1)
        x_domain, y_domain = domains[place]
        axes[f"xaxis{suffix}"] = {"domain": x_domain, "anchor": f"y{suffix}", "linecolor": "#8b95a5", **bare}
        axes[f"yaxis{suffix}"] = {
            "domain": y_domain, "anchor": f"x{suffix}", "linecolor": "#8b95a5", "autorange": "reversed",
            "scaleanchor": f"x{suffix}", **bare,
        }  # fmt: skip
        gap = 1 if max(picture.shape) <= 64 else 0
        data.append(
            {
                "type": "heatmap", "z": bytes_array(np.rint(255 * picture)), "zmin": 0, "zmax": 255, "showscale": False,
                "xgap": gap, "ygap": gap, "hovertemplate": "row %{y}, column %{x}<extra></extra>",
                "xaxis": f"x{suffix}", "yaxis": f"y{suffix}", **CYCLE,
            }
        )  # fmt: skip
    margin = {"l": 10, "r": 10, "t": 30, "b": 10}
    titles = [panel_title(title, domain) for (title, _), domain in zip(panels, domains, strict=True) if title]
    return {
        "data": data,
        "layout": layout(height=60 + 280 * -(-len(panels) // columns), annotations=titles, margin=margin, **axes),
    }


def bars(run: EventLog, names: Sequence[str], size: int) -> Figure | None:
    """Return a bar for each of the first `size` sites, kept ones first, then by the mean of their gates; at most `SHOWN` of them."""
    indices = run.indices()
    if indices is None:
        return None
    kept = np.isin(np.arange(size), indices)
    share = mean_gates(run)
    lengths: FloatArray = kept.astype(np.float64) if share is None else share[:size]
    order = np.lexsort((np.arange(size), -lengths, ~kept))[:SHOWN]
    text = [html.escape(names[site][:28]) for site in order]
    places = list(range(len(order)))
    bar = {
        "type": "bar", "orientation": "h", "x": lengths[order].tolist(), "y": places,
        "marker": {"color": [COLOURS[0] if kept[site] else DROPPED for site in order]}, "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }  # fmt: skip
    axis = {"tickvals": places, "ticktext": text, "autorange": "reversed"}
    x = {"title": "mean gate over the search" if share is not None else "kept", "range": [0, 1.02]}
    return {"data": [bar], "layout": layout(height=110 + 18 * len(order), xaxis=x, yaxis=axis, bargap=0.25)}


def sureness(run: EventLog, sure: Sureness, names: Sequence[str]) -> Figure | None:
    """Return the shares of finalists and of moments that keep each site: pictures of an image, else bars of the most kept sites."""
    shares = [("share of the finalists", sure.shared), ("share of the recorded moments", sure.kept)]
    known = [(title, share) for title, share in shares if share is not None]
    indices, flat = run.indices(), flat_shape(run, run.started.image_shape)
    if not known or indices is None:
        return None
    if flat is not None:
        size = run.started.sites[0].size
        return pictures([(title, share[:size].reshape(flat)) for title, share in known])
    first = run.started.sites[0]
    if first.kind != "inputs" and first.size > BARS:
        return None  # thousands of names say nothing
    kept = np.isin(np.arange(first.size), indices)
    known = [(title, share[: first.size]) for title, share in known]
    if all((share == kept).all() for _, share in known):
        return None  # the sentence has said it
    order = np.lexsort((np.arange(len(kept)), -np.mean([share for _, share in known], axis=0), ~kept))
    order = np.array([site for site in order if kept[site] or any(share[site] > 0 for _, share in known)][:SHOWN])
    places = list(range(len(order)))
    data = [
        {
            "type": "bar", "orientation": "h", "name": title, "x": share[order].tolist(), "y": places,
            "marker": {"color": COLOURS[4 * number]}, "hovertemplate": "%{x:.0%}<extra>" + title + "</extra>",
        }
        for number, (title, share) in enumerate(known)
    ]  # fmt: skip
    text = [html.escape(names[site][:28]) if kept[site] else f"({html.escape(names[site][:28])})" for site in order]
    axis = {"tickvals": places, "ticktext": text, "autorange": "reversed"}
    x = {"range": [0, 1.02], "tickformat": ".0%", "title": "in brackets: not kept"}
    drawn = layout(height=130 + 20 * len(order), xaxis=x, yaxis=axis, bargap=0.3)
    return {"data": data, "layout": {**drawn, "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom"}}}


def by_layer(run: EventLog) -> Figure | None:
    """Return a bar for each group of sites, as kept and dropped shares of it; None without a mask."""
    indices = run.indices()
    if indices is None:
        return None
    groups = run.started.sites
    sizes = np.array([group.size for group in groups])
    kept = np.histogram(indices, np.concatenate([[0], np.cumsum(sizes)]))[0]
    places = list(range(len(sizes)))
    parts = (("kept", kept, COLOURS[0]), ("dropped", sizes - kept, DROPPED))
    data = [
        {
            "type": "bar", "orientation": "h", "name": name, "x": (counts / sizes).tolist(), "y": places, "marker": {"color": colour},
            "customdata": [f"{count:,} of {size:,} {name}" for count, size in zip(counts.tolist(), sizes.tolist(), strict=True)],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
        for name, counts, colour in parts
    ]  # fmt: skip
    alike = len({group.kind for group in groups}) == 1
    titles = [
        f"{html.escape(group.layer if alike and group.layer else group_title(group))}: {count:,} of {group.size:,}"
        for group, count in zip(groups, kept.tolist(), strict=True)
    ]
    axis = {"tickvals": places, "ticktext": titles, "autorange": "reversed", "automargin": True}
    x = {"range": [0, 1.01], "tickformat": ".0%", "nticks": 6, "tickangle": 0}
    drawn = layout(height=130 + 20 * len(places), xaxis=x, yaxis=axis, bargap=0.25, barmode="stack")
    return {
        "data": data,
        "layout": {**drawn, "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "traceorder": "normal"}},
    }


def site_names(run: EventLog, features: Sequence[str] | None) -> list[str]:
    """Return a name for each site: the kept ones' own, the inputs' from the data, else the group's and a number."""
    groups = run.started.sites
    names = [f"{group_title(group)} {index}" for group in groups for index in range(group.size)]
    if features is not None and groups[0].kind == "inputs" and len(features) == groups[0].size:
        names[: groups[0].size] = map(str, features)
    if run.done is not None:
        for site, name in zip(run.done.indices, run.done.names, strict=True):
            names[site] = name
    return names
