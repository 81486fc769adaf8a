"""The page of a sweep: the best trials, the history, a slice for each option, the importances."""

from __future__ import annotations

from pathlib import Path

from mcprune.report.page import COLOURS, Figure, Page, grid, layout, panel_title
from mcprune.studies.base import Options, Results
from mcprune.studies.sweep import table as sweep

COLUMNS, PANEL = 3, 300


def write_page(path: Path, results: Results) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    results : mapping
        The content of results.json.
    """
    setting, machine = results["setting"], results["machine"]
    data, keep = setting["options"].get("data", "digits"), setting["options"].get("keep")
    page = Page(
        f"mcprune sweep: {data}" + (f", n = {keep}" if keep else ""),
        f"{machine['cores']} cores, mcprune {machine['mcprune']}, torch {machine['torch']}. No test row was looked at.",
    )
    for text in sweep.summary(results):
        page.paragraph(text, quiet=False)
    if results["best"] is not None:
        page.heading("Best trials")
        page.table(sweep.header(results), [sweep.cells(trial) for trial in sweep.best_trials(results)], 0)
        page.paragraph(
            "Spread: standard deviation over the seeds. The best options were chosen by validation rows; tested by"
        )
        page.paragraph(sweep.command(results), quiet=False)
        page.heading("History")
        page.paragraph(
            "Each trial, and the best so far; open circles: pruned, the mean of their first seeds; crosses at the bottom: failed."
        )
        page.figure(history(results))
        page.heading("Slices")
        page.paragraph("Accuracy against each option, over all values of the others; later trials are darker.")
        page.figure(slices(results))
    if results["importances"] is not None:
        page.heading("Importances")
        page.paragraph(
            "Share of the variance of the accuracy between complete trials that each option explains alone (fANOVA on a forest of trees)."
        )
        page.figure(importances(results))
    failed = [trial for trial in results["trials"] if trial["state"] == "failed"]
    if failed:
        page.heading("Failed trials")
        rows = [[str(trial["place"] + 1), _values(trial), trial["message"]] for trial in failed]
        page.table(["trial", "options", "message"], rows, left=True)
    page.write(path)


def history(results: Results) -> Figure:
    """Return the accuracy over the trials."""
    states = {
        name: [trial for trial in results["trials"] if trial["state"] == name]
        for name in ("complete", "pruned", "failed")
    }
    complete = sorted(states["complete"], key=lambda trial: trial["place"])
    best, so_far = [], 0.0
    for trial in complete:
        best.append(so_far := max(so_far, trial["score"]))
    bottom = min(trial["score"] for trial in [*complete, *states["pruned"]])
    traces = [_points(complete, "complete", COLOURS[0], "circle")]
    traces.append(
        {
            "type": "scatter", "mode": "lines", "name": "best so far", "x": [trial["place"] + 1 for trial in complete], "y": best,
            "line": {"color": COLOURS[1], "shape": "hv"},
        }
    )  # fmt: skip
    if states["pruned"]:
        traces.append(_points(states["pruned"], "pruned", COLOURS[7], "circle-open"))
    if states["failed"]:
        traces.append(_points([{**trial, "score": bottom} for trial in states["failed"]], "failed", COLOURS[9], "x"))
    axes: Figure = {
        "xaxis": {"title": "trial", **({"dtick": 1} if len(results["trials"]) <= 20 else {})},
        "yaxis": {"title": "validation accuracy"},
    }
    return {"data": traces, "layout": layout(**axes, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})}


def slices(results: Results) -> Figure:
    """Return a panel for each varied option."""
    complete = [trial for trial in results["trials"] if trial["state"] == "complete"]
    varied = results["setting"]["vary"]
    columns = min(COLUMNS, len(varied))
    rows = -(-len(varied) // columns)
    domains = grid(len(varied), columns, gap_x=0.07, gap_y=0.22 / rows)
    traces: list[Figure] = []
    axes: Figure = {}
    for place, ((name, kind), domain) in enumerate(zip(varied.items(), domains, strict=True)):
        end = "" if place == 0 else str(place + 1)
        traces.append(
            {
                "type": "scatter", "mode": "markers", "showlegend": False, "name": name, "xaxis": f"x{end}", "yaxis": f"y{end}",
                "x": [trial["values"][name] for trial in complete], "y": [trial["score"] for trial in complete],
                "text": [_label(trial) for trial in complete], "hovertemplate": "%{text}<extra></extra>",
                "marker": {
                    "color": [trial["place"] + 1 for trial in complete], "colorscale": [[0, "#9ecae1"], [1, "#08306b"]], "size": 8,
                    "line": {"color": "#fff", "width": 1},
                },
            }
        )  # fmt: skip
        scale = "category" if kind["kind"] == "choice" else "log" if kind["log"] else "linear"
        axes[f"xaxis{end}"] = {"domain": domain[0], "anchor": f"y{end}", "type": scale}
        axes[f"yaxis{end}"] = {"domain": domain[1], "anchor": f"x{end}", **({"matches": "y"} if place else {})}
    drawn = layout(**axes, height=PANEL * rows)
    drawn["annotations"] = [panel_title(name, domain) for name, domain in zip(varied, domains, strict=True)]
    return {"data": traces, "layout": drawn}


def importances(results: Results) -> Figure:
    """Return the options' shares as bars, the largest on top."""
    shares = dict(reversed(results["importances"].items()))
    bars = {
        "type": "bar", "orientation": "h", "x": list(shares.values()), "y": list(shares), "marker": {"color": COLOURS[0]},
        "text": [f"{share:.0%}" for share in shares.values()], "showlegend": False,
    }  # fmt: skip
    axes: Figure = {
        "xaxis": {"title": "share of the variance", "rangemode": "tozero", "tickformat": ".0%"},
        "yaxis": {"type": "category"},
    }
    return {"data": [bars], "layout": layout(**axes, height=120 + 40 * len(shares))}


def _points(trials: list[Options], name: str, colour: str, symbol: str) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [trial["place"] + 1 for trial in trials],
        "y": [trial["score"] for trial in trials], "text": [_label(trial) for trial in trials],
        "hovertemplate": "%{text}<extra></extra>", "marker": {"color": colour, "symbol": symbol, "size": 9},
    }  # fmt: skip


def _values(trial: Options) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial["values"].items()
    )


def _label(trial: Options) -> str:
    what = trial["message"] if trial["state"] == "failed" else f"{trial['score']:.4f}"
    # plotly reads tags in texts of points.
    return f"trial {trial['place'] + 1}: {what}; {_values(trial)}".replace("<", "&lt;")
