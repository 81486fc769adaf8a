"""A path on the screen and as a page: the answer in sentences, the table of levels, the curve."""

from __future__ import annotations

from pathlib import Path

from mcprune.report.page import COLOURS, Figure, Page, layout
from mcprune.storage.path_curve import Curve, Level

NOUNS = {"macs": "multiply-accumulates", "parameters": "parameters"}
SHOWN = 30  # names of kept sites in a line


def header(curve: Curve) -> tuple[str, ...]:
    """Return the titles of the table of levels."""
    return ("", curve.measure, "+-", "loss", "behind the best", "+-", "mask from")


def amount(curve: Curve, level: Level) -> str:
    """Return a level in words: 5 columns, or at most 500 multiply-accumulates."""
    if curve.unit == "sites":
        return f"{level.level:,} {curve.kind if level.level != 1 else curve.kind.removesuffix('s')}"
    return f"at most {level.level:,} {NOUNS[curve.unit]}"


def sentences(curve: Curve) -> list[str]:
    """Return the answer: how many are enough, where the best level and the knee are."""
    enough, best, knee = curve.enough, curve.best, curve.knee
    text = f"{amount(curve, enough)} are enough: {curve.measure} {enough.accuracy:.4f}"
    if enough is best:
        text += ", the best of all levels."
    else:
        text += (
            f", a loss {enough.behind:.4f} +- {enough.behind_error:.4f} above that of the best level, {amount(curve, best)} "
            f"({curve.measure} {best.accuracy:.4f})."
        )
    out = [text]
    if knee is not enough:
        out.append(f"The knee of the curve is at {amount(curve, knee)} ({curve.measure} {knee.accuracy:.4f}).")
    at_edge = enough is curve.levels[-1] and enough.kept < curve.n_sites
    if at_edge:
        out.append("The curve still rises at its end. Give a path with larger levels.")
    return out


def rows(curve: Curve) -> list[list[str]]:
    """Return the table of levels."""
    out = []
    for level in curve.levels:
        marks = [
            word for word, one in (("enough", curve.enough), ("knee", curve.knee), ("best", curve.best)) if one is level
        ]
        name = f"{level.level:,}" + (f"  {', '.join(marks)}" if marks else "")
        behind = [""] * 2 if level is curve.best else [f"{level.behind:.4f}", f"{level.behind_error:.4f}"]
        out.append(
            [name, f"{level.accuracy:.4f}", f"{level.accuracy_error:.4f}", f"{level.loss:.4f}", *behind, level.way]
        )
    return out


def method_line(curve: Curve) -> str:
    """Return how the figures were measured."""
    how = {
        "cross-validation": "by cross-validation: classifiers that have not been trained on a row classify it",
        "validation rows": "on validation rows, which neither search nor training has used",
    }[curve.scored]
    return f"{curve.measure[0].upper()}{curve.measure[1:]} and loss of {curve.rows:,} rows {how}. One run of {curve.seconds:.0f} s."


def names_line(level: Level) -> str:
    """Return the names of the kept sites."""
    more = len(level.names) - SHOWN
    return ", ".join(level.names[:SHOWN]) + (f" ... and {more:,} more" if more > 0 else "")


def path_figure(curve: Curve) -> Figure:
    """Return accuracy over the levels with error bars; a line marks the level that is enough, an open circle the knee."""
    x, marked = [level.level for level in curve.levels], (curve.enough, curve.knee)
    hover = [f"{amount(curve, level)}: {level.accuracy:.4f} +- {level.accuracy_error:.4f}" for level in curve.levels]
    points = {
        "type": "scatter", "mode": "lines+markers", "x": x, "y": [level.accuracy for level in curve.levels], "name": curve.measure,
        "error_y": {"array": [level.accuracy_error for level in curve.levels], "color": COLOURS[0], "thickness": 1},
        "line": {"color": COLOURS[0], "width": 1.6}, "hovertext": hover, "hoverinfo": "text",
    }  # fmt: skip
    marks = [
        {
            "type": "scatter", "mode": "markers", "x": [level.level], "y": [level.accuracy], "name": f"{word}: {level.level:,}",
            "marker": {"size": 13, "symbol": symbol, "color": colour, "line": {"width": 2}}, "hoverinfo": "skip",
        }
        for level, word, symbol, colour in zip(
            marked, ("enough", "knee"), ("circle-open", "diamond-open"), (COLOURS[1], COLOURS[2]), strict=True
        )
    ]  # fmt: skip
    title = {"sites": f"kept {curve.kind}"}.get(curve.unit, NOUNS.get(curve.unit, ""))
    axis = {"type": "log", "title": title, "tickvals": x, "ticktext": [f"{n:,}" for n in x]}
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom"}
    return {"data": [points, *marks], "layout": layout(xaxis=axis, yaxis={"title": curve.measure}, legend=legend)}


def write_path_page(path: Path, curve: Curve) -> None:
    """Write the page of a path."""
    page = Page(f"How many {curve.kind} of {curve.name}", method_line(curve))
    for text in sentences(curve):
        page.lead(text)
    page.figure(path_figure(curve))
    first = next(place for place, level in enumerate(curve.levels) if level is curve.enough)
    page.table(header(curve), rows(curve), first)
    page.heading("Kept at each level")
    page.table(["level", "kept"], [[f"{level.level:,}", names_line(level)] for level in curve.levels], first, left=True)
    page.write(path)
