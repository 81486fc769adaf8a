"""Draw the figures of README.md and of the site: the digits run, the chain, the logo; each for light and dark pages.

The tables that follow benchmarks/results are written too (rows.py).

python docs/figures/make.py                        # draws from benchmarks/results/digits_run.json
python docs/figures/make.py --record runs/digits   # writes that file from a run of `mcprune run --threads 1` first
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import NamedTuple

import rows

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUN = ROOT / "benchmarks" / "results" / "digits_run.json"
COMMAND = "python -m mcprune run --threads 1"
EXAMPLES = (2, 4, 6)  # images of scikit-learn's digits: one of each of these classes
CELL = 13  # pixels of a pixel
FONT = "font-family='system-ui,-apple-system,Segoe UI,Roboto,sans-serif'"


class Theme(NamedTuple):
    """The colours of a page."""

    name: str
    ink: str
    quiet: str
    line: str
    empty: str
    kept: str
    other: str
    candidate: str


THEMES = (
    Theme("light", "#1f2328", "#59636e", "#8c959f", "#e6eaef", "#0550ae", "#8c959f", "#bc4c00"),
    Theme("dark", "#e6edf3", "#9198a1", "#6e7681", "#21262d", "#58a6ff", "#6e7681", "#f0883e"),
)
# Rows of the final table, and how they are named beside their bars.
BARS = {
    "all sites": "all 64 pixels",
    "hard mask, retrained": "the 16 kept by mcprune",
    "first-layer magnitude": "16 by first-layer weights",
    "random masks": "16 at random, mean of 5",
}


def text(
    x: float, y: float, content: str, fill: str, *, size: int = 14, anchor: str = "start", weight: int = 400
) -> str:
    """Return a line of text."""
    return (
        f"<text x='{x:g}' y='{y:g}' fill='{fill}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}' {FONT}>{escape(content)}</text>"
    )


def box(x: float, y: float, width: float, height: float, fill: str, *, radius: float = 0, more: str = "") -> str:
    """Return a rectangle."""
    return f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='{radius:g}' fill='{fill}' {more}/>"


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    """Return a drawing."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img'><title>{escape(title)}</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def digit(pixels: list[list[float]], shown: set[int], x: float, y: float, theme: Theme) -> list[str]:
    """Return an image of 8 x 8 pixels of which some are shown; the others are empty fields."""
    parts = [box(x, y, 8 * CELL, 8 * CELL, theme.empty, radius=3)]
    for row, line in enumerate(pixels):
        for column, value in enumerate(line):
            place = 8 * row + column
            if place not in shown:
                continue
            kept_only = len(shown) < 64
            colour = theme.kept if kept_only else theme.ink
            parts.append(
                box(
                    x + column * CELL + 0.5,
                    y + row * CELL + 0.5,
                    CELL - 1,
                    CELL - 1,
                    colour,
                    radius=2,
                    more=f"fill-opacity='{0.12 + 0.88 * value / 16:.2f}'"
                    if kept_only
                    else f"fill-opacity='{value / 16:.2f}'",
                )
            )
    return parts


def digits(run: dict, theme: Theme) -> str:
    """Return the picture of the run: three digits with all pixels, with the kept ones, and the accuracies."""
    from sklearn.datasets import load_digits

    images = load_digits().images
    kept = set(run["result"]["indices"])
    step = 8 * CELL + 14
    parts = [
        text(0, 16, "all 64 pixels", theme.ink, weight=600),
        text(0, 166, f"the {len(kept)} that are kept", theme.kept, weight=600),
    ]
    for place, index in enumerate(EXAMPLES):
        pixels = images[index].tolist()
        parts += digit(pixels, set(range(64)), place * step, 28, theme)
        parts += digit(pixels, kept, place * step, 178, theme)
    left, width = 410, 330
    parts.append(text(left, 16, "accuracy on 359 test images", theme.ink, weight=600))
    scores = {score["name"]: score for score in run["result"]["scores"]}
    for place, (name, label) in enumerate(BARS.items()):
        score, top = scores[name], 40 + 62 * place
        is_ours = name == "hard mask, retrained"
        value = f"{score['accuracy']:.3f}".lstrip("0")
        if score["spread"]:
            value += f" ± {score['spread']:.3f}".replace("0.", ".")
        parts += [
            text(left, top + 12, label, theme.kept if is_ours else theme.ink),
            box(left, top + 20, width, 14, theme.empty, radius=3),
            box(left, top + 20, width * score["accuracy"], 14, theme.kept if is_ours else theme.other, radius=3),
            text(left + width + 10, top + 32, value, theme.ink, weight=600),
        ]
    title = f"{len(kept)} of 64 pixels of handwritten digits keep an accuracy of {scores['hard mask, retrained']['accuracy']:.3f}"
    return svg(850, 290, title, parts)


# Weights of the sites in the picture of the chain, and how far a proposal reaches.
WEIGHTS = (0.92, 0.81, 0.66, 0.52, 0.41, 0.24, 0.08, -0.1, -0.22, -0.4, -0.55, -0.68, -0.8, -0.93)
N_KEPT, REACH = 5, 0.3


def arrow(x: float, y: float, dx: float, dy: float, colour: str) -> str:
    """Return a straight arrow."""
    length = (dx * dx + dy * dy) ** 0.5
    ux, uy = dx / length, dy / length
    x2, y2 = x + dx, y + dy
    head = " ".join(f"{x2 - 9 * ux + side * 5 * uy:.1f},{y2 - 9 * uy - side * 5 * ux:.1f}" for side in (1, -1))
    return (
        f"<path d='M{x:g} {y:g}L{x2 - 7 * ux:.1f} {y2 - 7 * uy:.1f}' stroke='{colour}' stroke-width='2' fill='none'/>"
        f"<polygon points='{x2:g},{y2:g} {head}' fill='{colour}'/>"
    )


def chain(theme: Theme) -> str:
    """Return the diagram of the method: training and the chain in turns, and the sorted weights with the cut."""
    parts: list[str] = []
    for left, heading, line, colour in (
        (0, "1  Backprop", "trains the classifier", theme.ink),
        (222, "2  Chain", "a block of proposals", theme.kept),
        (444, "3  Mask", "exactly n sites", theme.ink),
        (666, "4  Small model", "cut out, then retrained", theme.ink),
    ):
        parts += [
            box(left + 1, 21, 172, 62, "none", radius=8, more=f"stroke='{theme.line}' stroke-width='1.5'"),
            text(left + 14, 46, heading, colour, weight=600, size=15),
            text(left + 14, 68, line, theme.quiet, size=13),
        ]
        if left:
            parts.append(arrow(left - 46, 52, 44, 0, theme.line))
    parts.append(
        f"<path d='M308 20V8H87V12' stroke='{theme.line}' stroke-width='2' fill='none'/>"
        + arrow(87, 8, 0, 12, theme.line)
    )
    parts.append(text(198, 26, "repeat", theme.quiet, size=12, anchor="middle"))
    # The weights, sorted: a step across the cut is a decision, any other one is free.
    left, middle, width, scale = 20, 222, 44, 82
    cut_weight = (WEIGHTS[N_KEPT - 1] + WEIGHTS[N_KEPT]) / 2
    top, bottom = middle - (cut_weight + REACH) * scale, middle - (cut_weight - REACH) * scale
    parts.append(box(left - 6, top, 14 * width + 8, bottom - top, theme.kept, radius=4, more="fill-opacity='.12'"))
    parts.append(f"<path d='M{left - 12} {middle}H{left + 14 * width + 6}' stroke='{theme.line}' stroke-width='1'/>")
    for place, weight in enumerate(WEIGHTS):
        height = abs(weight) * scale
        y = middle - height if weight > 0 else middle
        parts.append(
            box(left + place * width, y, width - 10, height, theme.kept if place < N_KEPT else theme.other, radius=2)
        )
    cut = left + N_KEPT * width - 5
    parts.append(f"<path d='M{cut} 122V316' stroke='{theme.ink}' stroke-width='2' stroke-dasharray='5 4'/>")
    candidate = left + 6 * width + (width - 10) / 2
    parts.append(arrow(candidate, middle - WEIGHTS[6] * scale, 0, -(0.42 * scale), theme.candidate))
    side = 660
    parts += [
        text(left, 332, "kept", theme.kept, weight=600),
        text(cut, 332, "the cut: the n largest weights are kept", theme.ink, anchor="start", size=13),
        text(side, 148, "w' = w + delta · U[-1, 1]", theme.candidate, weight=600, size=13),
        text(side, 172, "across the cut: a decision,", theme.ink, size=13),
        text(side, 190, "accepted if the loss falls", theme.ink, size=13),
        text(side, 208, "(or by temperature);", theme.ink, size=13),
        text(side, 226, "on its own side: free.", theme.ink, size=13),
        text(side, 262, "The shade is the reach", theme.quiet, size=13),
        text(side, 280, "of delta around the cut.", theme.quiet, size=13),
    ]
    return svg(850, 342, "Backprop and the chain take turns; the n sites of the largest weights are kept", parts)


LOGO = ((0, 1), (1, 1), (1, 2), (2, 0), (3, 3))


def logo(size: int, kept: str, empty: str) -> str:
    """Return the logo: sixteen sites, five of which are kept."""
    cell = size / 4
    parts = [
        box(
            column * cell + cell * 0.09,
            row * cell + cell * 0.09,
            cell * 0.82,
            cell * 0.82,
            kept if (row, column) in LOGO else empty,
            radius=cell * 0.2,
        )
        for row in range(4)
        for column in range(4)
    ]
    return svg(size, size, "mcprune", parts)


def drawings() -> dict[str, str]:
    """Return the content of every file that this script writes."""
    run = json.loads(RUN.read_text())
    files = {"logo.svg": logo(64, "#ffffff", "#ffffff55"), "favicon.svg": logo(32, "#3f51b5", "#c5cae9")}
    for theme in THEMES:
        files[f"digits-{theme.name}.svg"] = digits(run, theme)
        files[f"chain-{theme.name}.svg"] = chain(theme)
    return files


def record(folder: Path) -> None:
    """Write the result of a finished run, with its machine and versions, to benchmarks/results."""
    start = json.loads((folder / "events.jsonl").read_text().split("\n", 1)[0])
    result = json.loads((folder / "result.json").read_text())
    machine = {**json.loads(RUN.read_text())["machine"], **start["versions"]}
    entry = {
        "machine": machine,
        "command": COMMAND,
        "seed": start["config"]["seed"],
        "result": {**result, "folder": None},
    }
    RUN.write_text(json.dumps(entry, indent=1) + "\n")


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="a finished run of the digits to take the figures from"
    )
    folder = parser.parse_args().record
    if folder is not None:
        record(folder)
    for name, content in drawings().items():
        (HERE / name).write_text(content)
        print(f"docs/figures/{name}: {len(content) / 1024:.1f} KiB")
    rows.write()


if __name__ == "__main__":
    main()
