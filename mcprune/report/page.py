"""One self-contained HTML page: plotly.js inside, no network; figures are plain dictionaries in plotly's own format."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mcprune.errors import FolderError
from mcprune.report.text import UNKNOWN
from mcprune.storage.events import plain
from mcprune.types import AnyArray, JsonObject

if TYPE_CHECKING:
    from jinja2 import Environment

Figure = JsonObject
NOTHING = ("", UNKNOWN)
BARE = {"showticklabels": False, "ticks": "", "showgrid": False, "zeroline": False, "mirror": True}  # axes of pictures

# A colour-blind-safe palette (Okabe & Ito), then darker and lighter ones for more than eight methods.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F", "#5254A3", "#AD494A", "#F781BF", "#000000",
)  # fmt: skip
FONT = {"family": "system-ui, sans-serif", "size": 12, "color": "#1d2433"}
CYCLE: Figure = {"colorscale": [[0, "#ffffff"], [0.5, "#9ecae1"], [1, "#08306b"]]}


class Block(NamedTuple):
    """A part of a page: the macro of templates/blocks.html that draws it, and what that macro takes."""

    macro: str
    content: tuple[object, ...]


class Page:
    """A page that grows from top to bottom; every text on it is escaped.

    Parameters
    ----------
    title : str
    text : str
        The paragraph below the title; none where it is empty.
    """

    def __init__(self, title: str, text: str = "") -> None:
        self.title = title
        self._blocks: list[Block] = []
        self._figures: dict[str, Figure] = {}
        if text:
            self.paragraph(text)

    def heading(self, text: str) -> None:
        """Add a heading."""
        self._add("heading", text)

    def lead(self, text: str) -> None:
        """Add the sentence that a reader should see first."""
        self._add("lead", text)

    def callout(self, text: str) -> None:
        """Add a text that a reader should not overlook."""
        self._add("callout", text)

    @contextmanager
    def fold(self, title: str) -> Iterator[None]:
        """Fold what is added inside under its title."""
        yield from self._inside("fold", title)

    @contextmanager
    def row(self) -> Iterator[None]:
        """Put the cells that are added inside beside each other; below each other on a narrow screen."""
        yield from self._inside("row")

    @contextmanager
    def cell(self) -> Iterator[None]:
        """Add a cell of a row."""
        yield from self._inside("cell")

    def paragraph(self, text: str, *, quiet: bool = True) -> None:
        """Add a paragraph."""
        self._add("paragraph", text, quiet)

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[str]], first: int | None = None, *, left: bool = False
    ) -> None:
        """Add a table without what is unknown throughout; the row `first` stands out; with `left` it holds words, not figures."""
        head, body, first = _known(list(header), [list(row) for row in rows], first)
        self._add("table", head, body, first, left)

    def code(self, text: str) -> None:
        """Add what is to be copied into a terminal, or a text whose lines stand as they are."""
        self._add("code", text)

    def entries(self, pairs: Iterable[tuple[str, str]], verdict: str, kind: str) -> None:
        """Add titles with their texts, and a verdict; `kind` is "holds", "not" or empty and gives the verdict's colour."""
        self._add("entries", list(pairs), verdict, kind)

    def terms(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add terms with what they mean."""
        self._add("terms", list(pairs))

    def figure(self, figure: Figure) -> None:
        """Add a figure, a dictionary with `data` and `layout`."""
        name = f"figure{len(self._figures)}"
        self._figures[name] = figure
        self._add("figure", name, int(figure["layout"].get("height", 420)))

    def write(self, path: Path) -> None:
        """Write the page.

        Raises
        ------
        FolderError
            The file cannot be written.
        """
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs

        # A closing tag inside of a text would end the script.
        figures = json.dumps(plain(self._figures), allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        text = _templates().get_template("page.html").render(
            title=self.title, blocks=self._blocks, figures=Markup(figures), plotly=Markup(get_plotlyjs())
        )  # fmt: skip
        try:
            beside = path.with_name(path.name + ".new")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise FolderError(f"{str(path)!r} cannot be written: {error.strerror}. Make room") from None

    def _add(self, macro: str, *content: object) -> None:
        self._blocks.append(Block(macro, content))

    def _inside(self, name: str, *content: object) -> Iterator[None]:
        """Add what begins a part of the page, and what ends it; nothing where nothing was added between."""
        place = len(self._blocks)
        self._add(f"{name}_begin", *content)
        yield
        if len(self._blocks) == place + 1:
            self._blocks.pop()
        else:
            self._add(f"{name}_end")


def _known(
    header: list[str], rows: list[list[str]], first: int | None
) -> tuple[list[str], list[list[str]], int | None]:
    """Return a table without the columns and rows of which nothing is known, and the new place of the row `first`."""
    if not rows:
        return header, rows, first
    columns = [0, *(place for place in range(1, len(header)) if any(row[place] not in NOTHING for row in rows))]
    kept = [number for number, row in enumerate(rows) if len(row) < 2 or any(cell not in NOTHING for cell in row[1:])]
    first = kept.index(first) if first in kept else None
    return [header[place] for place in columns], [[rows[number][place] for place in columns] for number in kept], first


@cache
def _templates() -> Environment:
    """Return the templates of report/templates/; texts are escaped, and a name that is not set is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("mcprune.report"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )


def layout(title: str = "", /, **more: object) -> Figure:
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
        if name[1:].startswith("axis") and isinstance(value, dict):
            value = {**axis, **value, **({"title": {"text": value["title"]}} if "title" in value else {})}
        base[name] = value
    return base


def grid(
    count: int, columns: int, *, gap_x: float = 0.05, gap_y: float = 0.09
) -> list[tuple[list[float], list[float]]]:
    """Return the domains (x, y) of `count` panels, row by row from the top, in a figure's unit square."""
    rows = -(-count // columns)
    width, height = (1 - gap_x * (columns - 1)) / columns, (1 - gap_y * (rows - 1)) / rows
    domains = []
    for place in range(count):
        row, column = divmod(place, columns)
        left, top = column * (width + gap_x), 1 - row * (height + gap_y)
        domains.append(([left, left + width], [max(0.0, top - height), top]))
    return domains


def panel_title(text: str, domain: tuple[list[float], list[float]]) -> Figure:
    """Return the title annotation of a panel."""
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


def line(x: Sequence[float], y: Sequence[float | None], name: str, colour: str, **more: object) -> Figure:
    """Return a line."""
    return {
        "type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "name": name, "legendgroup": name,
        "line": {"color": colour, "width": 1.6}, **more,
    }  # fmt: skip
