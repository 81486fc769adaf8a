"""One self-contained HTML page: plotly.js inside, no network; figures are plain dictionaries in plotly's own format."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcprune.errors import FolderError
from mcprune.storage.events import plain
from mcprune.types import AnyArray

Figure = dict[str, Any]

STYLE = """
:root { color-scheme: light }
body { margin: 0 auto; padding: 1.5rem 2rem 4rem; max-width: 1280px; background: #fff }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2433 }
h1 { font-size: 1.6rem; margin: 0 0 .2rem }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; border-top: 1px solid #dde2ea; padding-top: 1.2rem }
h1, h2, p { overflow-wrap: anywhere } p { margin: .3rem 0 .8rem; max-width: 60rem } .quiet { color: #5b6577 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: .5rem 0 }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e6e9ef; white-space: nowrap }
th { color: #5b6577; font-weight: 600 } th:first-child, td:first-child { text-align: left }
.left th, .left td { text-align: left }
tr.first td { font-weight: 600; background: #f2f7ef }
dl { display: grid; grid-template-columns: 7rem 1fr; gap: .15rem .8rem; margin: .4rem 0 } dt { color: #5b6577 } dd { margin: 0 }
pre { font-size: 13px; background: #f4f6f9; padding: .6rem .8rem; margin: .3rem 0; width: fit-content }
.verdict { display: inline-block; padding: .05rem .6rem; border-radius: 1rem; font-weight: 600; background: #eceff4 }
.holds { background: #dcefd8 } .not { background: #f6dcd8 }
"""
# Nothing may be fetched: the page carries all that it shows.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
# A colour-blind-safe palette (Okabe & Ito), then darker and lighter ones for more than eight methods.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F", "#5254A3", "#AD494A", "#F781BF", "#000000",
)  # fmt: skip
FONT = {"family": "system-ui, sans-serif", "size": 12, "color": "#1d2433"}
# On a narrow screen panels that stand side by side go below each other, each as high as it was.
DRAW = """
const NARROW = matchMedia("(max-width: 640px)");
const GAP = 84;
function stacked(wide) {
  const layout = structuredClone(wide);
  const panels = Object.keys(wide).filter((x) => x.startsWith("xaxis") && wide[x].domain)
    .map((x) => ({ x, y: "yaxis" + String(wide[x].anchor || "y").slice(1) })).filter(({ y }) => wide[y] && wide[y].domain)
    .sort((one, other) => wide[other.y].domain[1] - wide[one.y].domain[1] || wide[one.x].domain[0] - wide[other.x].domain[0]);
  if (new Set(panels.map(({ x }) => wide[x].domain[0])).size < 2) return layout;
  const around = wide.margin.t + wide.margin.b, before = wide.height - around;
  const heights = panels.map(({ y }) => (wide[y].domain[1] - wide[y].domain[0]) * before);
  // A legend of a panel's own stands below it; one for all panels below the last.
  const hasOwn = Object.keys(wide).some((key) => /^legend\\d/.test(key));
  const owned = panels.map(({ x }) => (hasOwn && wide[`legend${x.slice(5)}`] ? `legend${x.slice(5)}` : ""));
  const gaps = owned.map((name) => GAP + (name ? 50 : 0));
  const after = heights.reduce((sum, height, place) => sum + height + (place + 1 < panels.length ? gaps[place] : 0), 0);
  let above = 0;
  panels.forEach(({ x, y }, place) => {
    const [left, right] = wide[x].domain, top = wide[y].domain[1];
    layout[x].domain = [0, 1];
    layout[y].domain = [Math.max(0, 1 - (above + heights[place]) / after), 1 - above / after];
    (wide.annotations || []).forEach((note, number) => {
      const isIts = note.xref === "paper" && Math.abs(note.x - (left + right) / 2) < 1e-6 && Math.abs(note.y - top) < 1e-6;
      if (isIts) Object.assign(layout.annotations[number], { x: 0.5, y: 1 - above / after });
    });
    above += heights[place];
    if (owned[place]) Object.assign(layout[owned[place]], { x: 0, y: 1 - (above + 58) / after });
    above += gaps[place];
  });
  layout.height = after + around;
  if (!hasOwn && layout.legend && layout.legend.y < 0) layout.legend.y *= before / after;
  return layout;
}
for (const [id, figure] of Object.entries(FIGURES)) {
  const box = document.getElementById(id);
  const draw = () => {
    const layout = NARROW.matches ? stacked(figure.layout) : structuredClone(figure.layout);
    box.style.height = `${layout.height || 420}px`;
    Plotly.react(box, figure.data, layout, {responsive: true, displaylogo: false, displayModeBar: false});
  };
  draw();
  NARROW.addEventListener("change", draw);
}
"""


CYCLE: Figure = {"colorscale": [[0, "#ffffff"], [0.5, "#9ecae1"], [1, "#08306b"]]}


class Page:
    """A page that grows from top to bottom."""

    def __init__(self, title: str, words: str = "") -> None:
        self.title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]
        self._figures: dict[str, Figure] = {}
        if words:
            self.words(words)

    def heading(self, text: str) -> None:
        """Add a heading."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def words(self, text: str, *, quiet: bool = True) -> None:
        """Add a paragraph."""
        self._parts.append(f'<p class="quiet">{html.escape(text)}</p>' if quiet else f"<p>{html.escape(text)}</p>")

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[str]], first: int | None = None, *, left: bool = False
    ) -> None:
        """Add a table; the row `first` stands out; with `left` it holds words, not figures."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(
            f"<tr{' class=first' if place == first else ''}>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            + "</tr>"
            for place, row in enumerate(rows)
        )
        self._parts.append(
            f'<div class="wide"><table{" class=left" if left else ""}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def code(self, text: str) -> None:
        """Add what is to be copied into a terminal, or a text whose lines stand as they are."""
        self._parts.append(f'<div class="wide"><pre>{html.escape(text)}</pre></div>')

    def claim(self, row: dict[str, Any], source: str = "the slides") -> None:
        """Add a statement with its verdict; `source` is whose it is."""
        kind = {"holds": "holds", "does not hold": "not"}.get(row["verdict"], "")
        self.heading(f"{row['number']} {row['claim']}")
        entries = "".join(
            f"<dt>{title}</dt><dd>{html.escape(str(row[key]))}</dd>"
            for title, key in (
                (source, "says"),
                ("run", "run"),
                ("measured", "measured"),
                ("threshold", "threshold"),
            )
        )
        verdict = f'<dt>verdict</dt><dd><span class="verdict {kind}">{html.escape(row["verdict"])}</span></dd>'
        self._parts.append(f"<dl>{entries}{verdict}</dl>")

    def figure(self, figure: Figure) -> None:
        """Add a figure, a dictionary with `data` and `layout`."""
        name = f"figure{len(self._figures)}"
        self._figures[name] = figure
        height = int(figure["layout"].get("height", 420))
        self._parts.append(f'<div id="{name}" style="height:{height}px"></div>')

    def write(self, path: Path) -> None:
        """Write the page.

        Raises
        ------
        FolderError
            It cannot be written.
        """
        from plotly.offline import get_plotlyjs

        # A closing tag inside of a text would end the script.
        figures = json.dumps(plain(self._figures), allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        text = "\n".join(
            [
                "<!DOCTYPE html>",
                '<html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{html.escape(self.title)}</title><style>{STYLE}</style>",
                f'<script id="plotly">{get_plotlyjs()}</script></head><body>',
                *self._parts,
                f'<script id="figures">const FIGURES = {figures};{DRAW}</script>',
                "</body></html>",
                "",
            ]
        )
        try:
            beside = path.with_name(path.name + ".new")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise FolderError(f"{str(path)!r} cannot be written: {error.strerror}; make room") from None


def layout(title: str = "", **more: Any) -> Figure:
    """Return a layout in the page's style."""
    axis = {"gridcolor": "#e6e9ef", "zerolinecolor": "#cbd2dc", "linecolor": "#cbd2dc", "automargin": True}
    base: Figure = {
        "font": FONT,
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "margin": {"l": 60, "r": 20, "t": 40 if title else 20, "b": 50},
        "height": 420,
        "hovermode": "closest",
        "legend": {"orientation": "v"},
    }
    if title:
        base["title"] = {"text": title, "x": 0, "font": {"size": 14}}
    for name, value in more.items():
        if name[1:].startswith("axis"):
            value = {**axis, **value, **({"title": {"text": value["title"]}} if "title" in value else {})}
        base[name] = value
    return base


def grid(
    count: int, columns: int, *, gap_x: float = 0.05, gap_y: float = 0.09
) -> list[tuple[list[float], list[float]]]:
    """Return the domains (x, y) of `count` panels, row by row from the top, in a figure's unit square."""
    rows = -(-count // columns)
    width, height = (1 - gap_x * (columns - 1)) / columns, (1 - gap_y * (rows - 1)) / rows
    found = []
    for place in range(count):
        row, column = divmod(place, columns)
        left, top = column * (width + gap_x), 1 - row * (height + gap_y)
        found.append(([left, left + width], [max(0.0, top - height), top]))
    return found


def panel_title(text: str, domain: tuple[list[float], list[float]]) -> Figure:
    """Return the annotation that stands over a panel."""
    (left, right), (_, top) = domain
    return {
        "text": text, "x": (left + right) / 2, "y": top, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom",
        "showarrow": False, "font": {"size": 12},
    }  # fmt: skip


def bytes_array(values: AnyArray) -> Figure:
    """Return an array of bytes (rows, columns) as plotly reads it: base64 instead of numbers."""
    data = np.ascontiguousarray(values, np.uint8)
    return {
        "dtype": "u1",
        "bdata": base64.b64encode(data.tobytes()).decode("ascii"),
        "shape": ", ".join(map(str, data.shape)),
    }


def line(x: Sequence[float], y: Sequence[float | None], name: str, colour: str, **more: Any) -> Figure:
    """Return a line."""
    return {
        "type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "name": name, "legendgroup": name,
        "line": {"color": colour, "width": 1.6}, **more,
    }  # fmt: skip
