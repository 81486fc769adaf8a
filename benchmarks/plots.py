"""Plots of the benchmarks: one HTML file of inline SVG, with no script, font or file from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LABELS, HEIGHT = 1100, 520, 420
INK, GRID, GOOD, BAD, NEUTRAL = "#222", "#ddd", "#2a7", "#c53", "#57a"
COLOURS = ("#57a", "#c53", "#2a7", "#a3a", "#b80", "#555", "#0aa", "#d59")
STYLE = "body{font:15px sans-serif;margin:2em;color:#222} svg{display:block;margin:1em 0} text{font-family:sans-serif;font-size:13px}"


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}" {more}>{escape(words)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}">{"".join(parts)}</svg>'


def bars(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Return bars of the measured rows, a block for each unit; a line marks the bar that a row must reach.

    Parameters
    ----------
    rows : as `common.row` makes them
    """
    out = [f"<h2>{escape(title)}</h2>"]
    for unit in dict.fromkeys(row["unit"] for row in rows):
        mine = [row for row in rows if row["unit"] == unit and row["value"] is not None]
        if not mine:
            continue
        values = [abs(v) for row in mine for v in (row["value"], row["bar"]) if v is not None]
        # Shares and accuracies that lie close together are seen only without the empty part below them.
        low = 0.9 * min(values) if unit == "" and min(values) > 0.3 else 0.0
        scale = (WIDTH - LABELS - 110) / max(max(values) - low, 1e-12)
        parts = [_text(0, 16, f"in {unit}" if unit else f"from {low:.3g}", more='font-weight="bold"')]
        for number, row in enumerate(mine):
            y, value, bar = 28 + 24 * number, row["value"], row["bar"]
            kept = bar is None or (value >= bar if row["better"] == "higher" else value <= bar)
            colour = NEUTRAL if bar is None else GOOD if kept else BAD
            long = max(0.0, value - low) * scale
            name = row["name"] if len(row["name"]) <= 72 else row["name"][:71] + "…"
            parts.append(_text(LABELS - 8, y + 13, name, "end"))
            parts.append(f'<rect x="{LABELS}" y="{y}" width="{long:.1f}" height="17" fill="{colour}"/>')
            if row.get("spread"):
                half = row["spread"] * scale
                parts.append(_line(LABELS + long - half, y + 8, LABELS + long + half, y + 8, INK))
            if bar is not None:
                x = LABELS + max(0.0, bar - low) * scale
                if long < x - LABELS < long + 70:
                    long = x - LABELS  # the number stands clear of the line
                parts.append(_line(x, y - 3, x, y + 20, INK, 2))
            parts.append(_text(LABELS + long + 6, y + 13, f"{value:,.4g}"))
        out.append(_svg(36 + 24 * len(mine), parts))
    return "".join(out)


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _place(value: float, low: float, high: float, first: float, last: float, logarithmic: bool) -> float:
    if logarithmic:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return first + (value - low) / max(high - low, 1e-12) * (last - first)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], title: str, x: str, y: str, *, logarithmic: tuple[bool, bool]
) -> str:
    """Return lines with points, a colour for each series; `logarithmic` of the two axes."""
    points = [point for one in series.values() for point in one]
    if not points:
        return ""
    left, right, top, bottom = 90.0, WIDTH - 270.0, 20.0, HEIGHT - 50.0
    ranges = [(min(values), max(values)) for values in zip(*points, strict=True)]

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return (
            _place(point[0], *ranges[0], left, right, logarithmic[0]),
            _place(point[1], *ranges[1], bottom, top, logarithmic[1]),
        )

    parts = [_line(left, bottom, right, bottom, INK), _line(left, top, left, bottom, INK)]
    for value in _ticks(*ranges[0], logarithmic[0]):
        spot, _ = at((value, ranges[1][0]))
        parts += [_line(spot, top, spot, bottom, GRID), _text(spot, bottom + 18, f"{value:,.4g}", "middle")]
    for value in _ticks(*ranges[1], logarithmic[1]):
        _, spot = at((ranges[0][0], value))
        parts += [_line(left, spot, right, spot, GRID), _text(left - 8, spot + 4, f"{value:,.3g}", "end")]
    for number, (name, one) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        spots = [at(point) for point in one]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in spots]
        parts += [
            f'<rect x="{right + 20}" y="{top + 22 * number}" width="14" height="14" fill="{colour}"/>',
            _text(right + 40, top + 12 + 22 * number, name),
        ]
    parts += [_text((left + right) / 2, HEIGHT - 8, x, "middle"), _text(left, top - 6, y)]
    return f"<h2>{escape(title)}</h2>{_svg(HEIGHT, parts)}"


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    if logarithmic:
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        return [10.0**power for power in powers] if len(powers) > 1 else [low, high]
    return [low + (high - low) * k / 4 for k in range(5)] if high > low else [low]


def write(path: Path, title: str, machine: Mapping[str, Any], *figures: str) -> None:
    """Write the figures as one page."""
    told = ", ".join(f"{key} {value}" for key, value in machine.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(told)}</p>{''.join(figures)}</html>\n",
        encoding="utf-8",
    )
    print(f"plot written to {path}")
