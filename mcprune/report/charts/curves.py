"""The curves of a report, with marks where a knob was turned: losses, sites and accuracy, knobs, work; autocorrelation."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.report.mixing import autocorrelation, mixing
from mcprune.report.page import COLOURS, Figure, Page, grid, layout, line, panel_title
from mcprune.report.text import number as figure_text
from mcprune.storage.answer import measure_name
from mcprune.storage.event_log import EventLog
from mcprune.types import FloatArray

Runs = Mapping[str, EventLog]
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
WIDE = 30.0  # a panel whose values span more than so many times the least of them is logarithmic
MARKS = 60  # more changes than these would hide the curves
HEIGHT, LOW = 240, 150  # of a row of panels; of the few panels beside something else


class Panel(NamedTuple):
    """A panel: its title, and its lines as (name, field)."""

    title: str
    lines: tuple[tuple[str, str], ...]


LOSSES = (
    Panel("L_tot", (("L_tot", "loss"),)),
    Panel("L_cla", (("L_cla", "classification_loss"),)),
    Panel("penalty alpha L_sel", (("alpha L_sel", "selection_loss"),)),
    Panel("penalty alpha L_rej", (("alpha L_rej", "rejection_loss"),)),
)
SEARCH = (
    Panel("loss on the evaluation rows", (("loss", "classification_loss"),)),
    Panel("validation accuracy", (("of the kept sites", "validation_accuracy"),)),
    Panel("kept sites", (("kept", "kept"),)),
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


def named(panels: Sequence[Panel], runs: Runs) -> list[Panel]:
    """Return the panels with what stands in place of accuracy: R2 of a regression."""
    task = next(iter(runs.values())).started.task
    return [panel._replace(title=panel.title.replace("accuracy", measure_name(task))) for panel in panels]


def of_search(runs: Runs) -> Figure | None:
    """Return the few curves that tell of a search: loss, validation accuracy, kept sites; None without a block."""
    return curves(runs, [panel for panel in named(SEARCH, runs) if not constants(runs, panel)], columns=1, height=LOW)


def all_curves(page: Page, runs: Runs) -> None:
    """Write the curves of all that was recorded; what did not change is named in a table."""
    if not any(run.progress for run in runs.values()):
        page.paragraph("No block is recorded yet, so there are none.")
        return
    turned = any(run.knob_changes for run in runs.values())
    words = "Dotted vertical lines: a knob was changed. " if turned else ""
    several = (
        "A colour is a run; lines of a panel differ in their dashes, in the order of its title: solid, dashed, dotted. "
        if len(runs) > 1
        else ""
    )
    hidden = max(len(run.knob_changes) for run in runs.values()) - MARKS
    cut = f"The first {MARKS} changes of a run are marked. " if hidden > 0 else ""
    objective = next(iter(runs.values())).started.objective
    start = next(iter(runs.values())).started
    spread = " of a row" if start.task != "regression" else " in units of the target's spread"
    of_loss = "cross-entropy in nats per row" if start.loss == "cross-entropy" else f"{start.loss}{spread}"
    unit = f"mean {of_loss}" if objective is None else objective
    still: list[list[str]] = []
    for title, panels, text in (
        (
            "Losses",
            LOSSES,
            f"L_tot = L_cla + alpha (L_sel + L_rej); L_cla: {unit}, each block on its own evaluation batch "
            "(on the gradient path: its training batches); L_sel and L_rej: shares of the sites, weighted by alpha. ",
        ),
        (
            f"Sites and {measure_name(start.task)}",
            named(BUDGET, runs),
            f"n(t), the sum of the gates and the kept sites; {measure_name(start.task, 'validation')} of hard masks. ",
        ),
        ("Knobs", KNOBS, "As they stood at each block. "),
        ("Work", work_panels(runs), "Acceptance since the progress event before; speed by the usual time of a block. "),
    ):  # fmt: skip
        still += [row for panel in panels for row in constants(runs, panel)]
        figure = curves(runs, [panel for panel in panels if not constants(runs, panel)])
        if figure is not None:
            page.heading(title)
            page.paragraph(
                f"{text}{words}{several}{cut}Axes are logarithmic where values span more than a factor of {WIDE:g}."
            )
            page.figure(figure)
    if still:
        page.heading("What did not change")
        page.table(["", *(["value"] if len(runs) == 1 else list(runs))], still, left=True)


def constants(runs: Runs, panel: Panel) -> list[list[str]]:
    """Return a row with the values of each line of a panel; empty where a line changes in a run, or none has a value."""
    rows: list[list[str]] = []
    for name, field in panel.lines:
        cells = []
        for run in runs.values():
            known = values(run, field)
            known = known[np.isfinite(known)]
            if len(known) and known.min() < known.max():
                return []
            cells.append(figure_text(float(known[0]), ".5g") if len(known) else "-")
        rows.append([name, *cells])
    return [row for row in rows if any(cell != "-" for cell in row[1:])]


def curves(runs: Runs, panels: Sequence[Panel], *, columns: int = 2, height: int = HEIGHT) -> Figure | None:
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
    columns = min(columns, len(shown))
    end = max(float(run.series("epoch").max()) for run in runs.values() if run.progress)
    rows = -(-len(shown) // columns)
    domains = grid(len(shown), columns, gap_x=0.09, gap_y=0.22 * HEIGHT / height / rows)
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
        axes[f"xaxis{suffix}"] = {
            **{"domain": x_domain, "anchor": f"y{suffix}", "title": "epoch" if last else ""},
            "range": [0, 1.01 * end],
        }
        axes[f"yaxis{suffix}"] = {"domain": y_domain, "anchor": f"x{suffix}", **scale}
    titles = [panel_title(_title(panel, len(runs)), domain) for panel, domain in zip(shown, domains, strict=True)]
    drawn = layout(height=90 + height * rows, annotations=titles, shapes=shapes, **axes)
    if len(runs) > 1:
        return {"data": data, "layout": {**drawn, "legend": below(0.0, 0.0, rows * height / HEIGHT, is_last=True)}}
    legends = {
        f"legend{place + 1 if place else ''}": below(
            x[0], y[0], rows * height / HEIGHT, is_last=place >= len(shown) - columns
        )
        for place, (x, y) in enumerate(domains)
    }
    return {"data": data, "layout": {**drawn, **legends}}


def below(left: float, bottom: float, rows: float, *, is_last: bool) -> Figure:
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
