"""The page of a comparison: verdict, table, curves; its pictures are in pictures.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from mcprune.report.page import COLOURS, Figure, Page, grid, layout, line, panel_title
from mcprune.storage.run_metrics import RunFigures, gates_over_time
from mcprune.studies.base import Results
from mcprune.studies.bench import table as bench_table
from mcprune.studies.bench.pictures import gate_maps, mask_pictures, overlaps
from mcprune.studies.bench.runs import Bench, MethodRow
from mcprune.studies.jobs import Jobs

Runs = Mapping[str, RunFigures]
# The palette of Okabe and Ito with black in place of yellow; further methods have it again, with other dashes and marks.
DISTINCT = (*COLOURS[:6], COLOURS[-1])
DASHES = (("solid", "diamond"), ("dash", "diamond-open"), ("dot", "square"))
LEGEND = {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"}
PANELS = (("classification_loss", "L_cla"), ("selection_loss", "L_sel"), ("rejection_loss", "L_rej"), ("loss", "L_tot"))


class Style(NamedTuple):
    """How a method is drawn: no two of them differ by a shade alone.

    Attributes
    ----------
    line, marker : dict
        As plotly takes them; the line with its colour by name.
    """

    line: Figure
    marker: Figure

    @classmethod
    def of(cls, place: int) -> Self:
        """Return the style of the method at a place."""
        again, place = divmod(place, len(DISTINCT))
        colour, (dash, symbol) = DISTINCT[place], DASHES[again % len(DASHES)]
        return cls(
            {"colour": colour, "line": {"color": colour, "width": 1.8, "dash": dash}},
            {"color": colour, "symbol": symbol},
        )


Styles = Mapping[str, Style]


def write_page(path: Path, bench: Bench, jobs: Jobs, runs: Runs, results: Results) -> None:
    """Write the page of what is finished.

    Parameters
    ----------
    path : Path
    bench : Bench
    jobs : Jobs
    runs : mapping of str to RunFigures
        By the job's name; at least one.
    results : mapping
        The content of results.json.
    """
    data = bench.shared.get("data", "digits")
    machine = results["machine"]
    page = Page(f"mcprune bench: {data}, n = {', '.join(map(str, bench.keeps))}")
    for one in results["ranking"]:
        if one["text"]:
            page.lead(one["text"])
    for text in [*results["misses"], *(f"failed: {name}: {message}" for name, message in results["failures"].items())]:
        page.callout(text)
    page.paragraph(
        f"{len(runs)} of {len(jobs.jobs)} runs; {bench.seconds:g} s for each search, seeds {', '.join(map(str, bench.seeds))}; "
        f"{machine['cores']} cores, mcprune {machine['mcprune']}, torch {machine['torch']}."
    )
    for text in bench_table.weights_line(results):
        page.paragraph(f"{text[0].upper()}{text[1:]}.", quiet=False)
    for keep in bench.keeps:
        rows = [row for row in results["table"] if row["n"] == keep]
        if not rows:
            continue
        page.heading(f"n = {keep}")
        order = next(one["order"] for one in results["ranking"] if one["n"] == keep)
        best = next((place for place, row in enumerate(rows) if row["method"] in order[:1]), None)
        page.table(bench_table.HEADER, [bench_table.cells(row) for row in rows], best)
        if reached := [row for row in rows if any(point["count"] for point in row["times"])]:
            page.paragraph(
                "Time and sample-forwards until a mask of exactly n sites first had the validation accuracy."
            )
            page.table(bench_table.time_header(reached), [bench_table.time_cells(row) for row in reached])
        if text := bench_table.never_line(rows):
            page.paragraph(text)
    with page.fold("What the columns are"):
        page.terms(bench_table.TERMS)
    styles = {method: Style.of(place) for place, method in enumerate(bench.methods)}
    keep = next(keep for keep in bench.keeps if any(run.n == keep for run in runs.values()))
    mine = {method: runs_of(jobs, runs, method, keep) for method in bench.methods}
    firsts = {method: of_method[0] for method, of_method in mine.items() if of_method}
    page.heading(f"Accuracy over the search, n = {keep}")
    page.paragraph(
        "Validation accuracy of a hard mask of exactly n sites with the classifier of the moment, one line a seed; the chain has such a "
        "mask when n(t) has come down to n. Diamonds: the end of the search at the test accuracy after retraining."
    )
    page.figure(accuracy_curves(mine, styles))
    page.heading("Accuracy against n")
    page.figure(accuracy_by_n(results["table"], bench.methods, styles))
    page.heading(f"Losses, n = {keep}, seed {bench.seeds[0]}")
    page.paragraph(
        "Of the chain on its evaluation batches with hard gates, of the gradient path on its training batches; zeros are not drawn. "
        "L_tot = L_cla + alpha (L_sel + L_rej), and alpha differs."
    )
    page.figure(loss_curves(firsts, styles))
    if (alphas := alpha_curves(firsts, styles)) is not None:
        page.heading(f"alpha over the epochs, n = {keep}, seed {bench.seeds[0]}")
        page.figure(alphas)
    with_gates = {method: run for method, run in firsts.items() if len(gates_over_time(run)[0])}
    if with_gates:  # a run of very many sites does not record them
        page.heading(f"Gates over the epochs, n = {keep}, seed {bench.seeds[0]}")
        page.paragraph(
            "A row is a site, dark where its gate is open; the sites are in the order of how long they were open."
        )
        page.figure(gate_maps(with_gates))
    page.heading(f"Masks, n = {keep}")
    page.paragraph("Dark: kept by every seed; white: by none.")
    page.figure(mask_pictures(mine))
    page.heading(f"Overlap of the masks of two methods, n = {keep}")
    page.paragraph("Mean Jaccard overlap over all pairs of runs; on the diagonal over pairs of seeds.")
    page.figure(overlaps(mine))
    page.write(path)


def runs_of(jobs: Jobs, runs: Runs, method: str, keep: int) -> list[RunFigures]:
    """Return a method's finished runs at n, in the order of the seeds."""
    names = [job.name for job in jobs.jobs if job.about["method"] == method and job.about["n"] == keep]
    return [runs[name] for name in names if name in runs]


def accuracy_curves(mine: Mapping[str, Sequence[RunFigures]], styles: Styles) -> Figure:
    """Return validation accuracy against wall time (left) and sample-forwards (right)."""
    data = []
    for method, runs in mine.items():
        for number, run in enumerate(runs):
            for side, (axis, unit) in enumerate((("seconds", 1.0), ("forwards", 1e6))):
                x = [getattr(point, axis) / unit for point in run.curve]
                own = {"xaxis": f"x{side + 1}", "yaxis": f"y{side + 1}"}
                is_shown = side == 0 and number == 0
                data.append(
                    line(
                        x,
                        [point.accuracy for point in run.curve],
                        method,
                        showlegend=is_shown,
                        opacity=0.75,
                        **styles[method].line,
                        **own,
                    )
                )
                end = {"size": 9, **styles[method].marker}
                data.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "x": [getattr(run, axis) / unit],
                        "y": [run.retrained],
                        "name": method,
                        "legendgroup": method,
                        "showlegend": False,
                        "marker": end,
                        **own,
                    }
                )
    ends = [run.retrained for runs in mine.values() for run in runs]
    lowest = max(0.0, min(ends) - 0.12)
    y = {"title": "accuracy", "range": [lowest, min(1.0, max(ends) + 0.02)]}
    return {
        "data": data,
        "layout": layout(
            height=520,
            margin={"l": 60, "r": 20, "t": 20, "b": 120},
            legend=LEGEND,
            xaxis={"title": "seconds of search", "domain": [0, 0.47]},
            xaxis2={"title": "millions of sample-forwards", "domain": [0.53, 1], "anchor": "y2", "type": "log"},
            yaxis={**y, "domain": [0, 1]},
            yaxis2={**y, "title": "", "anchor": "x2", "matches": "y", "domain": [0, 1]},
        ),
    }


def accuracy_by_n(table: Sequence[MethodRow], methods: Iterable[str], styles: Styles) -> Figure:
    """Return retrained accuracy against n, a line a method, bars of one standard deviation."""
    data = []
    for method in methods:
        rows = sorted((row for row in table if row["method"] == method), key=lambda row: row["n"])
        if rows:
            bars = {"type": "data", "array": [row["retrained_spread"] or 0.0 for row in rows], "thickness": 1.2}
            trace = line(
                [row["n"] for row in rows],
                [row["retrained"] for row in rows],
                method,
                error_y=bars,
                **styles[method].line,
            )
            data.append({**trace, "mode": "lines+markers", "marker": {"size": 8, **styles[method].marker}})
    counts = sorted({row["n"] for row in table})
    x = {"title": "n, sites kept", "type": "log", "tickvals": counts, "ticktext": list(map(str, counts))}
    if len(counts) == 1:  # side by side instead of on top of each other
        x = {"title": f"method, at n = {counts[0]}"}
        for one in data:
            one["x"] = [one["name"]]
    title = {"title": "test accuracy after retraining"}
    return {"data": data, "layout": layout(xaxis=x, yaxis=title, showlegend=len(counts) > 1)}


def loss_curves(firsts: Mapping[str, RunFigures], styles: Styles) -> Figure:
    """Return L_cla, L_sel, L_rej and L_tot over the epochs."""
    domains = grid(len(PANELS), 2, gap_x=0.08, gap_y=0.16)
    data: list[Figure] = []
    axes: Figure = {}
    for place, (key, _) in enumerate(PANELS):
        suffix = "" if place == 0 else str(place + 1)
        for method, run in firsts.items():
            x = [event.epoch for event in run.progress]
            y = [
                value if (value := getattr(event, key)) is not None and value > 1e-7 else None for event in run.progress
            ]
            data.append(
                line(x, y, method, showlegend=place == 0, xaxis=f"x{suffix}", yaxis=f"y{suffix}", **styles[method].line)
            )
        x_domain, y_domain = domains[place]
        axes[f"xaxis{suffix}"] = {"domain": x_domain, "anchor": f"y{suffix}", "title": "epoch" if place > 1 else ""}
        axes[f"yaxis{suffix}"] = {"domain": y_domain, "anchor": f"x{suffix}", "type": "log", "exponentformat": "power"}
    titles = [panel_title(title, domain) for (_, title), domain in zip(PANELS, domains, strict=True)]
    bottom = {"l": 60, "r": 20, "t": 20, "b": 120}
    return {"data": data, "layout": layout(height=710, margin=bottom, legend=LEGEND, annotations=titles, **axes)}


def alpha_curves(firsts: Mapping[str, RunFigures], styles: Styles) -> Figure | None:
    """Return alpha over the epochs, of the methods that have one; None where none has."""
    data = [
        line(
            [event.epoch for event in run.progress],
            [event.alpha for event in run.progress],
            method,
            **styles[method].line,
        )
        for method, run in firsts.items()
        if any(event.alpha for event in run.progress)
    ]
    if not data:
        return None
    return {
        "data": data,
        "layout": layout(xaxis={"title": "epoch"}, yaxis={"title": "alpha", "type": "log", "exponentformat": "power"}),
    }
