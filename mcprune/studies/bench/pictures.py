"""The pictures of a comparison: gates over time, masks, and how far the masks of two methods overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mcprune.report.page import BARE, CYCLE, Figure, bytes_array, grid, layout, panel_title
from mcprune.storage.run_metrics import RunFigures, gates_over_time, jaccard

COLUMNS = 4


def gate_maps(firsts: Mapping[str, RunFigures]) -> Figure:
    """Return a heat map of the gates over the epochs for each method."""
    columns = min(COLUMNS, len(firsts))
    domains = grid(len(firsts), columns, gap_x=0.045, gap_y=0.075)
    data: list[Figure] = []
    axes: Figure = {}
    for place, run in enumerate(firsts.values()):
        suffix = "" if place == 0 else str(place + 1)
        epochs, gates = gates_over_time(run)
        open_for = gates.astype(np.float64).mean(axis=0)
        order = np.lexsort((open_for, np.isin(np.arange(run.N), run.keep)))
        x_domain, y_domain = domains[place]
        axes[f"xaxis{suffix}"] = {"domain": x_domain, "anchor": f"y{suffix}"}
        axes[f"yaxis{suffix}"] = {"domain": y_domain, "anchor": f"x{suffix}", "showticklabels": False, "ticks": ""}
        data.append(
            {
                "type": "heatmap",
                "x": epochs,
                "z": bytes_array(gates[:, order].T),
                "zmin": 0,
                "zmax": 255,
                "showscale": place == 0,
                "xaxis": f"x{suffix}",
                "yaxis": f"y{suffix}",
                "hoverinfo": "x",
                **CYCLE,
                "colorbar": {
                    "tickvals": [0, 127.5, 255],
                    "ticktext": ["0", "½", "1"],
                    "thickness": 10,
                    "title": {"text": "gate"},
                },
            }
        )
    titles = [panel_title(method, domain) for method, domain in zip(firsts, domains, strict=True)]
    return {"data": data, "layout": layout(height=70 + 235 * -(-len(firsts) // columns), annotations=titles, **axes)}


def picture_shape(run: RunFigures) -> tuple[int, int]:
    """Return rows and columns of the picture of a mask: the image's (channels below each other), else a row of all sites."""
    shape = run.image_shape
    if shape is None or int(np.prod(shape)) != run.N:
        return 1, run.N
    return (shape[0], shape[1]) if len(shape) == 2 else (shape[0] * shape[1], shape[2])


def mask_pictures(mine: Mapping[str, Sequence[RunFigures]]) -> Figure:
    """Return for each method the share of its seeds that keep a site."""
    shown = {method: runs for method, runs in mine.items() if runs}
    columns = min(6, len(shown))
    domains = grid(len(shown), columns, gap_x=0.02, gap_y=0.1)
    data: list[Figure] = []
    axes: Figure = {}
    for place, runs in enumerate(shown.values()):
        suffix = "" if place == 0 else str(place + 1)
        share = np.mean([np.isin(np.arange(run.N), run.keep) for run in runs], axis=0)
        x_domain, y_domain = domains[place]
        is_image = picture_shape(runs[0])[0] > 1
        bare = {**BARE, "linecolor": "#8b95a5"}
        axes[f"xaxis{suffix}"] = {"domain": x_domain, "anchor": f"y{suffix}", "constrain": "domain", **bare}
        axes[f"yaxis{suffix}"] = {
            "domain": y_domain,
            "anchor": f"x{suffix}",
            "autorange": "reversed",
            "constrain": "domain",
            **bare,
            **({"scaleanchor": f"x{suffix}"} if is_image else {}),
        }
        data.append(
            {
                "type": "heatmap",
                "z": bytes_array(np.rint(255 * share).reshape(picture_shape(runs[0]))),
                "zmin": 0,
                "zmax": 255,
                "showscale": False,
                "xaxis": f"x{suffix}",
                "yaxis": f"y{suffix}",
                "xgap": 1,
                "ygap": 1,
                "hoverinfo": "x+y",
                **CYCLE,
            }
        )
    titles = [panel_title(method, domain) for method, domain in zip(shown, domains, strict=True)]
    return {"data": data, "layout": layout(height=60 + 215 * -(-len(shown) // columns), annotations=titles, **axes)}


def overlaps(mine: Mapping[str, Sequence[RunFigures]]) -> Figure:
    """Return the mean overlap of the masks of each pair of methods."""
    shown = {method: runs for method, runs in mine.items() if runs}
    names = list(shown)
    values: list[list[float | None]] = []
    for one in names:
        row: list[float | None] = []
        for other in names:
            pairs = [
                jaccard(first.keep, second.keep)
                for place, first in enumerate(shown[one])
                for number, second in enumerate(shown[other])
                if one != other or place < number
            ]
            row.append(sum(pairs) / len(pairs) if pairs else None)
        values.append(row)
    text = [["" if value is None else f"{value:.2f}" for value in row] for row in values]
    data = {
        "type": "heatmap", "x": names, "y": names, "z": values, "text": text, "texttemplate": "%{text}", "zmin": 0, "zmax": 1,
        "colorbar": {"thickness": 10}, **CYCLE,
    }  # fmt: skip
    axes = {"xaxis": {"tickangle": -40}, "yaxis": {"autorange": "reversed"}}
    return {"data": [data], "layout": layout(height=180 + 34 * len(names), **axes)}
