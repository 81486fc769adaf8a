"""A result as a card of HTML without scripts, for notebooks: the sentence, the kept sites, the table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mcprune.report import summary as table
from mcprune.report.page import COLOURS
from mcprune.storage.answer import OF_MODEL, score_of, sentences
from mcprune.storage.events import RunDone

NAMES = 60  # of kept sites on a card
# Notebooks are light or dark: borders and text take the colour of the page.
STYLE = "border:1px solid #8886;border-radius:6px;padding:.8em 1em;max-width:60em;font-family:system-ui,sans-serif"
CELL = "padding:.15em .7em;border-bottom:1px solid #8884"


def card(done: RunDone, note: str = "") -> str:
    """Return the card of a result.

    Parameters
    ----------
    done : RunDone
        The last event of a run.
    note : str
        What a reader should know besides.
    """
    result, *simpler = sentences(done.summary, done.simpler) or [""]
    parts = [f'<div style="font-size:1.15em;font-weight:600">{escape(result)}</div>']
    parts += [_line(text) for text in (*simpler, note) if text]
    parts.append(
        '<div style="display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start;margin-top:.7em">'
        f"{kept(done)}{_scores(done)}</div>"
    )
    where = f"; written to {escape(done.folder)}" if done.folder else ""
    sizes = f"parameters: {done.parameters.before:,} before, {done.parameters.after:,} after{where}"
    parts.append(_line(sizes))
    return f'<div class="mcprune-card" style="{STYLE}">{"".join(parts)}</div>'


def kept(done: RunDone) -> str:
    """Return the kept sites: a picture where all are pixels, else their names."""
    picture = None
    if len(done.sites) == 1 and done.sites[0].kind == "inputs":
        picture = pixels(done.indices, done.image_shape)
    return picture or names(done.names, done.n_sites)


def pixels(indices: Sequence[int], shape: Sequence[int] | None) -> str:
    """Return kept pixels as an SVG, a pixel for all of its channels; '' where the inputs are no image."""
    if shape is None:
        return ""
    height, width = shape[-2:]
    places = sorted({int(index) % (height * width) for index in indices})
    squares = "".join(f'<rect x="{place % width}" y="{place // width}" width="1" height="1"/>' for place in places)
    return (
        f'<svg role="img" aria-label="the kept pixels" viewBox="0 0 {width} {height}" width="200" '
        f'style="border:1px solid #888;background:#8882" fill="{COLOURS[0]}">{squares}</svg>'
    )


def names(kept_names: Sequence[str], n_sites: int) -> str:
    """Return the names of kept sites, not too many of them."""
    shown = ", ".join(escape(name) for name in kept_names[:NAMES])
    more = f" and {len(kept_names) - NAMES:,} more" if len(kept_names) > NAMES else ""
    return f'<div style="max-width:26em"><b>{len(kept_names):,} of {n_sites:,} sites kept</b>: {shown}{more}</div>'


def _scores(done: RunDone) -> str:
    if not any(score.accuracy is not None for score in done.scores):
        return ""
    model = score_of(done.scores, OF_MODEL)
    header = table.header(done.objective, done.task, is_weighted=done.is_weighted)
    rows = [(table.cells(score, done.objective, done.task), score is model) for score in done.scores]
    columns = [place for place in range(len(header)) if place == 0 or any(cells[place] != "-" for cells, _ in rows)]
    head = "".join(f'<th style="{CELL};text-align:{_side(place)}">{escape(header[place])}</th>' for place in columns)
    body = "".join(
        f'<tr style="font-weight:{600 if is_model else 400};background:none">'
        + "".join(f'<td style="{CELL};text-align:{_side(place)}">{escape(cells[place])}</td>' for place in columns)
        + "</tr>"
        for cells, is_model in rows
    )
    return f'<table style="color:inherit;border-collapse:collapse;margin:0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _side(place: int) -> str:
    return "right" if place else "left"


def _line(text: str) -> str:
    return f'<div style="opacity:.8;margin-top:.35em">{escape(text)}</div>'
