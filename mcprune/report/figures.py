"""The figures of a report: curves with marks where a knob was turned, masks, autocorrelation."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.report.mixing import autocorrelation, mixing
from mcprune.report.page import BARE, COLOURS, CYCLE, Figure, bytes_array, grid, layout, line, panel_title
from mcprune.report.summary import group_title
from mcprune.storage.event_log import EventLog
from mcprune.types import FloatArray

Runs = Mapping[str, EventLog]
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
WIDE = 30.0  # a panel whose values span more than so many times the least of them is logarithmic
MARKS = 60  # more changes than these would hide the curves
BARS = 64
DROPPED = "#c3cad5"  # the colour of what is not kept


class Panel(NamedTuple):
    """A panel: its title, and its lines as (name, field)."""

    title: str
    lines: tuple[tuple[str, str], ...]


LOSSES = (
    Panel("L_tot", (("L_tot", "loss"),)),
    Panel("L_cla", (("L_cla", "classification_loss"),)),
    Panel("alpha L_sel", (("alpha L_sel", "selection_loss"),)),
    Panel("alpha L_rej", (("alpha L_rej", "rejection_loss"),)),
)
BUDGET = (
    Panel("gates", (("sum of gates", "gate_sum"), ("n(t)", "target"), ("kept", "kept"))),
    Panel("validation accuracy", (("of the kept sites", "validation_accuracy"), ("of exactly n", "validation_at_n"))),
)
KNOBS = (
    Panel("alpha", (("alpha", "alpha"),)),
    Panel("delta", (("delta", "delta"),)),
    Panel("temperature", (("temperature", "temperature"),)),
    Panel("lambda", (("lambda", "schedule_lambda"),)),
)


def work_panels(runs: Runs) -> list[Panel]:
    """Return the panels of acceptance, in all and by move, and of speed."""
    moves = list(dict.fromkeys(name for run in runs.values() for event in run.progress for name in event.moves))
    return [
        Panel("acceptance", (("all moves", "acceptance"),)),
        *([Panel("acceptance by move", tuple((name, f"move {name}") for name in moves))] if len(moves) > 1 else []),
        Panel("decisions a second", (("decisions a second", "decisions_per_second"),)),
        Panel("millions of sample-forwards", (("forwards", "forwards"),)),
    ]


def values(run: EventLog, field: str) -> FloatArray:
    """Return what a panel shows of a run, shape (progress events,); NaN where it is not known."""
    if field in ("selection_loss", "rejection_loss"):
        return run.series("alpha") * run.series(field)
    if field == "forwards":
        return run.series(field) / 1e6
    if field == "decisions_per_second" and not run.series("proposals").any():
        return np.full(len(run.progress), np.nan)  # nothing is proposed on the gradient path
    if field.startswith("move "):
        counts = np.array([event.moves.get(field[5:], (0, 0, 0)) for event in run.progress], np.float64).reshape(-1, 3)
        _, decided, accepted = np.diff(counts, axis=0, prepend=np.zeros((1, 3))).T
        shares = np.full(len(counts), np.nan)
        np.divide(accepted, decided, out=shares, where=decided > 0)
        return shares
    return run.series(field)


def curves(runs: Runs, panels: Sequence[Panel]) -> Figure | None:
    """Return panels over the epochs, without those of which no run has a value; None if that is all of them.

    A run alone has a colour for each line; of several each has a colour, and the lines of a panel differ in their dashes.
    """
    shown = [
        panel
        for panel in panels
        if any(np.isfinite(values(run, field)).any() for run in runs.values() for _, field in panel.lines)
    ]
    if not shown:
        return None
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    domains = grid(len(shown), columns, gap_x=0.09, gap_y=0.22 / rows)
    data: list[Figure] = []
    axes: Figure = {}
    shapes: list[Figure] = []
    for place, panel in enumerate(shown):
        suffix = "" if place == 0 else str(place + 1)
        own = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        drawn_values: list[FloatArray] = []
        for number, (label, run) in enumerate(runs.items()):
            x = run.series("epoch")
            for dash, (name, field) in enumerate(panel.lines):
                y = values(run, field)
                known = np.isfinite(y)
                if not known.any():
                    continue
                drawn_values.append(y[known])
                alone = len(runs) == 1
                trace = line(
                    x[known].tolist(),
                    y[known].tolist(),
                    html.escape(name if alone else label),
                    COLOURS[(dash if alone else number) % len(COLOURS)],
                    showlegend=len(panel.lines) > 1 if alone else place == 0 and dash == 0,
                    legend=f"legend{suffix}" if alone else "legend",  # one for all panels of several runs
                    hovertemplate="%{x:.1f}: %{y:.5g}<extra>" + html.escape(f"{label}: {name}") + "</extra>",
                    **own,
                )
                trace["line"]["dash"] = DASHES[dash % len(DASHES)]
                if alone and len(panel.lines) > 1:  # so that each is seen where they lie on each other
                    trace["line"]["width"] = max(1.4, 3.6 - dash)
                if panel in KNOBS:
                    trace["line"]["shape"] = "vh"  # a value holds for the block that ends there
                if known.sum() <= 60:
                    trace["mode"], trace["marker"] = "lines+markers", {"size": 4}
                data.append(trace)
            shapes += marks(run, suffix, COLOURS[number % len(COLOURS)] if len(runs) > 1 else "#8b95a5")
        x_domain, y_domain = domains[place]
        all_values = np.concatenate(drawn_values)
        is_log = all_values.min() > 0 and all_values.max() > WIDE * all_values.min()
        scale = {"type": "log", "exponentformat": "power"} if is_log else {"type": "linear"}
        last = place >= len(shown) - columns
        axes[f"xaxis{suffix}"] = {"domain": x_domain, "anchor": f"y{suffix}", "title": "epoch" if last else ""}
        axes[f"yaxis{suffix}"] = {"domain": y_domain, "anchor": f"x{suffix}", **scale}
    titles = [panel_title(_title(panel, len(runs)), domain) for panel, domain in zip(shown, domains, strict=True)]
    drawn = layout(height=90 + 240 * rows, annotations=titles, shapes=shapes, **axes)
    if len(runs) > 1:
        return {"data": data, "layout": {**drawn, "legend": below(0.0, 0.0, rows, is_last=True)}}
    legends = {
        f"legend{place + 1 if place else ''}": below(x[0], y[0], rows, is_last=place >= len(shown) - columns)
        for place, (x, y) in enumerate(domains)
    }
    return {"data": data, "layout": {**drawn, **legends}}


def below(left: float, bottom: float, rows: int, *, is_last: bool) -> Figure:
    """Return a legend below a panel, and below the title of its axis if it has one."""
    return {
        "orientation": "h",
        "x": left,
        "y": bottom - (0.29 if is_last else 0.12) / rows,
        "yanchor": "top",
    }


def _title(panel: Panel, runs: int) -> str:
    """Return a panel's title; where colours are runs it names the lines too, in the order of their dashes."""
    names = ", ".join(name for name, _ in panel.lines)
    return html.escape(f"{panel.title}: {names}" if runs > 1 and len(panel.lines) > 1 else panel.title)


def marks(run: EventLog, suffix: str, colour: str) -> list[Figure]:
    """Return a thin line at each of the first changes of a knob."""
    return [
        {
            "type": "line", "xref": f"x{suffix}", "yref": f"y{suffix} domain", "x0": x, "x1": x, "y0": 0, "y1": 1,
            "line": {"color": colour, "width": 1, "dash": "dot"},
        }
        for x in sorted({run.epoch_of(change.block) for change in run.knob_changes[:MARKS]})
    ]  # fmt: skip


def settled(run: EventLog, field: str = "loss") -> FloatArray:
    """Return a field since n(t) is n and the knobs rest, without what is not known."""
    values_at_rest = run.series(field)[run.settled_from() :]
    return values_at_rest[np.isfinite(values_at_rest)]


def correlations(runs: Runs) -> Figure | None:
    """Return the autocorrelation of L_tot and of L_cla over lags in progress events; None where no run has enough values."""
    data: list[Figure] = []
    for number, (label, run) in enumerate(runs.items()):
        for dash, (field, name) in enumerate((("loss", "L_tot"), ("classification_loss", "L_cla"))):
            series = settled(run, field)
            shares = autocorrelation(series)
            if shares is None:
                continue
            shown = int(np.clip(10 * mixing(series).autocorrelation_time, 20, len(series) // 2 + 1))
            colour = COLOURS[(dash if len(runs) == 1 else number) % len(COLOURS)]
            title = html.escape(name if len(runs) == 1 else f"{label}: {name}")
            trace = line(list(range(shown)), shares[:shown].tolist(), title, colour)
            trace["line"]["dash"] = DASHES[dash]
            data.append(trace)
    if not data:
        return None
    return {
        "data": data,
        "layout": layout(
            height=300, showlegend=True, xaxis={"title": "lag, progress events"}, yaxis={"title": "autocorrelation"}
        ),
    }


def mean_gates(run: EventLog) -> FloatArray | None:
    """Return the mean of each gate over the moments at which the gates were recorded, shape (n_sites,), 0..1; None without any."""
    gates = run.gates()
    return gates.mean(axis=0, dtype=np.float64) / 255 if len(gates) else None


def masks(runs: Runs, shapes: Mapping[str, Sequence[int] | None]) -> Figure | None:
    """Return the kept pixels of the runs on images, and of a run alone the mean gates; None where no run has an image.

    Channels stand below each other.
    """
    panels: list[tuple[str, FloatArray]] = []
    for label, run in runs.items():
        shape, indices = shapes[label], run.indices()
        first = run.started.sites[0]
        size = first.size if first.kind == "inputs" else 0
        if shape is None or indices is None or int(np.prod(shape)) != size:
            continue
        flat = (-1, shape[-1])
        kept = np.isin(np.arange(size), indices).astype(np.float64)
        panels.append(("kept" if len(runs) == 1 else html.escape(label), kept.reshape(flat)))
        share = mean_gates(run)
        if len(runs) == 1 and share is not None:
            panels.append(("mean gate over the search", share[:size].reshape(flat)))
    if not panels:
        return None
    columns = max(2, min(4, len(panels)))
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
    titles = [panel_title(title, domain) for (title, _), domain in zip(panels, domains, strict=True)]
    return {"data": data, "layout": layout(height=70 + 300 * -(-len(panels) // columns), annotations=titles, **axes)}


def bars(run: EventLog, names: Sequence[str]) -> Figure | None:
    """Return a bar for each site, kept ones first, then by the mean of their gates; at most `BARS` of them."""
    indices = run.indices()
    if indices is None:
        return None
    kept = np.isin(np.arange(run.started.n_sites), indices)
    share = mean_gates(run)
    lengths: FloatArray = kept.astype(np.float64) if share is None else share
    order = np.lexsort((np.arange(len(kept)), -lengths, ~kept))[:BARS]
    text = [html.escape(names[site][:40]) for site in order]
    places = list(range(len(order)))
    bar = {
        "type": "bar", "orientation": "h", "x": lengths[order].tolist(), "y": places,
        "marker": {"color": [COLOURS[0] if kept[site] else DROPPED for site in order]}, "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }  # fmt: skip
    axis = {"tickvals": places, "ticktext": text, "autorange": "reversed"}
    x = {"title": "mean gate over the search" if share is not None else "kept", "range": [0, 1.02]}
    return {"data": [bar], "layout": layout(height=110 + 18 * len(order), xaxis=x, yaxis=axis, bargap=0.25)}


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
