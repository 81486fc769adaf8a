"""Draw the pruner's losses for N = 2 as SVG, without a plotting library: the figures of docs/losses.md.

python benchmarks/loss_surfaces.py            # writes docs/figures/*.svg
"""

from __future__ import annotations

import argparse
import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

Surface = Callable[[np.ndarray, np.ndarray], np.ndarray]
SIZE, LEFT, TOP = 300, 46, 34  # pixels: of the square, and around it
GRID = 61
# A light-to-dark ramp (white, light blue, dark blue).
RAMP = np.array([[255, 255, 255], [158, 202, 225], [8, 48, 107]], float)


def rejection(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """L_rej of two gates."""
    return (x * (1 - x) + y * (1 - y)) / 2


def modified(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """L_rej' of two gates."""
    return rejection(x, y) + x * y


def pruning(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """L_pru = L_sel + L_rej of two gates at n = 1."""
    return np.abs(x + y - 1) / 2 + rejection(x, y)


def png(pixels: np.ndarray) -> bytes:
    """Return an RGB image (rows, columns, 3) of bytes as PNG."""
    height, width, _ = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + row.tobytes() for row in pixels.astype(np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def contour(z: np.ndarray, level: float) -> list[tuple[float, float, float, float]]:
    """Return the segments of a level line in units of the grid: two triangles a cell, so that no case is ambiguous."""
    found = []
    rows, columns = z.shape
    for i in range(rows - 1):
        for j in range(columns - 1):
            corners = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
            for triangle in ((0, 1, 2), (0, 2, 3)):
                cut = []
                for a, b in ((0, 1), (1, 2), (2, 0)):
                    (ia, ja), (ib, jb) = corners[triangle[a]], corners[triangle[b]]
                    za, zb = z[ia, ja], z[ib, jb]
                    if (za < level) != (zb < level):
                        share = (level - za) / (zb - za)
                        cut.append((ja + share * (jb - ja), ia + share * (ib - ia)))
                if len(cut) == 2:
                    found.append((*cut[0], *cut[1]))
    return found


def frame(title: str, x_label: str, y_label: str, body: list[str], ticks_y: list[tuple[float, str]]) -> str:
    """Return an SVG with a square plot: axes from 0 to 1 in x, ticks as given in y (place 0..1 from the bottom)."""
    width, height = LEFT + SIZE + 90, TOP + SIZE + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" fill="#1d2433">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT + SIZE / 2}" y="20" text-anchor="middle" font-size="14">{title}</text>',
        *body,
        f'<rect x="{LEFT}" y="{TOP}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#5b6577"/>',
        f'<text x="{LEFT + SIZE / 2}" y="{TOP + SIZE + 36}" text-anchor="middle">{x_label}</text>',
        f'<text x="12" y="{TOP + SIZE / 2}" text-anchor="middle" transform="rotate(-90 12 {TOP + SIZE / 2})">{y_label}</text>',
    ]
    for place in (0, 0.5, 1):
        parts.append(f'<text x="{LEFT + SIZE * place}" y="{TOP + SIZE + 16}" text-anchor="middle">{place:g}</text>')
    for place, text in ticks_y:
        parts.append(f'<text x="{LEFT - 6}" y="{TOP + SIZE * (1 - place) + 4:.1f}" text-anchor="end">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


def draw(surface: Surface, title: str, top: float) -> str:
    """Return the map of a surface on the unit square, 0 white and `top` dark, with nine level lines between."""
    axis = np.linspace(0, 1, 120)
    x, y = np.meshgrid(axis, axis[::-1])
    share = np.clip(surface(x, y) / top, 0, 1) * 2
    low = np.minimum(share.astype(int), 1)
    colours = RAMP[low] + (share - low)[..., None] * (RAMP[low + 1] - RAMP[low])
    data = base64.b64encode(png(np.rint(colours))).decode()
    body = [f'<image x="{LEFT}" y="{TOP}" width="{SIZE}" height="{SIZE}" href="data:image/png;base64,{data}"/>']
    axis = np.linspace(0, 1, GRID)
    x, y = np.meshgrid(axis, axis)
    z, unit = surface(x, y), SIZE / (GRID - 1)
    levels = np.arange(1, 10) * top / 10
    for number, level in enumerate(levels):
        path = "".join(
            f"M{LEFT + a * unit:.1f} {TOP + SIZE - b * unit:.1f}L{LEFT + c * unit:.1f} {TOP + SIZE - d * unit:.1f}"
            for a, b, c, d in contour(z, float(level))
        )
        weight = 1.1 if number == 4 else 0.6
        body.append(f'<path d="{path}" fill="none" stroke="#1d2433" stroke-opacity=".6" stroke-width="{weight}"/>')
    bar = LEFT + SIZE + 24
    for step in range(60):
        place = 2 * (step + 0.5) / 60
        one = int(place >= 1)
        colour = RAMP[one] + (place - one) * (RAMP[one + 1] - RAMP[one])
        fill = "#" + "".join(f"{round(part):02x}" for part in colour)
        body.append(
            f'<rect x="{bar}" y="{TOP + SIZE * (1 - (step + 1) / 60):.1f}" width="14" height="{SIZE / 60 + 0.4:.1f}" fill="{fill}"/>'
        )
    for place in (0.0, 0.5, 1.0):
        body.append(f'<text x="{bar + 19}" y="{TOP + SIZE * (1 - place) + 4:.1f}">{place * top:g}</text>')
    return frame(title, "gate s1", "gate s2", body, [(0, "0"), (0.5, "0.5"), (1, "1")])


def diagonal() -> str:
    """Return L_rej and L_rej' where all N gates are equal, for N = 2, 64 and 784."""
    s = np.linspace(0, 1, 241)
    lines = [("L_rej, any N", s * (1 - s), "#1d2433", "")]
    for sites, colour in ((2, "#D55E00"), (64, "#009E73"), (784, "#0072B2")):
        product = np.exp(sites * np.log(np.maximum(s, 1e-300)))
        lines.append((f"L_rej', N = {sites}", s * (1 - s) + product, colour, ' stroke-dasharray="6 3"'))
    body = []
    for number, (name, values, colour, dash) in enumerate(lines):
        points = " ".join(f"{LEFT + SIZE * a:.1f},{TOP + SIZE * (1 - b):.1f}" for a, b in zip(s, values, strict=True))
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        y = TOP + 24 + 18 * number
        body.append(
            f'<line x1="{LEFT + 14}" y1="{y - 4}" x2="{LEFT + 44}" y2="{y - 4}" stroke="{colour}" stroke-width="1.8"{dash}/>'
        )
        body.append(f'<text x="{LEFT + 52}" y="{y}">{name}</text>')
    start = 1 / (1 + np.exp(-4.0))
    x = LEFT + SIZE * start
    body.append(
        f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{TOP + SIZE}" stroke="#5b6577" stroke-dasharray="2 3"/>'
    )
    body.append(f'<text x="{x - 4:.1f}" y="{TOP + SIZE - 8}" text-anchor="end" fill="#5b6577">start: .982</text>')
    return frame("all gates equal", "gate s", "loss", body, [(0, "0"), (0.5, "0.5"), (1, "1")])


def main() -> None:
    """Write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "figures")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "loss_rejection.svg": draw(rejection, "L_rej, N = 2", 0.25),
        "loss_rejection_modified.svg": draw(modified, "L_rej', N = 2", 1.0),
        "loss_pruning.svg": draw(pruning, "L_pru = L_sel + L_rej, N = 2, n = 1", 0.5),
        "loss_diagonal.svg": diagonal(),
    }
    for name, text in figures.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{folder / name}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
