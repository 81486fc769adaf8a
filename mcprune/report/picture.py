"""The kept sites of an image as a picture in text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcprune.types import BoolArray, IntArray

TALL = 28  # rows above which two of them share a line of text


@dataclass(frozen=True)
class Signs:
    """The characters of a picture: one pixel, two pixels above each other, shares of a coarse cell."""

    kept: str
    dropped: str
    upper: str
    lower: str
    shades: str  # up to a third, up to two thirds, more


BLOCKS = Signs(kept="█", dropped="·", upper="▀", lower="▄", shades="░▒█")
ASCII = Signs(kept="#", dropped=".", upper="^", lower="_", shades="-+#")


def picture(keep: Sequence[int], shape: Sequence[int], *, width: int, unicode: bool = True) -> list[str]:
    """Draw which pixels are kept.

    A pixel is two characters wide, so that it looks square; half-height blocks are used where that is too
    wide or the image has more than 28 rows; an image that is wider than the text even so is drawn in coarse
    cells, shaded by the share that is kept, and the last line says so. An image of several channels shows how
    many of them each pixel keeps (from ten on: +).

    Parameters
    ----------
    keep : sequence of int
        Flat indices of the kept inputs, in the order of the flattened image.
    shape : sequence of 2 or 3 int
        (h, w) or (c, h, w).
    width : int
        Characters that fit into a line.
    unicode : bool
        False draws in ASCII.

    Raises
    ------
    ValueError
        A shape of another length, or an index outside of it.
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"a picture needs the shape (h, w) or (c, h, w), but got {tuple(shape)}")
    size = int(np.prod(shape))
    if keep and not 0 <= min(keep) <= max(keep) < size:
        raise ValueError(f"kept indices must lie in 0..{size - 1}, but got {min(keep)}..{max(keep)}")
    flags = np.zeros(size, dtype=np.bool_)
    flags[np.asarray(keep, dtype=np.int64)] = True
    signs = BLOCKS if unicode else ASCII
    channels = 1 if len(shape) == 2 else shape[0]
    counts = flags.reshape(channels, *shape[-2:]).sum(axis=0)
    if counts.shape[1] > width:
        return _coarse(counts, channels, signs, width)
    if channels > 1:
        return _channels(counts, signs, width)
    kept = counts > 0
    return _halves(kept, signs) if kept.shape[0] > TALL or 2 * kept.shape[1] > width else _whole(kept, signs)


def _whole(kept: BoolArray, signs: Signs) -> list[str]:
    return ["".join(signs.kept * 2 if pixel else signs.dropped + " " for pixel in row).rstrip() for row in kept]


def _halves(kept: BoolArray, signs: Signs) -> list[str]:
    faces = (signs.dropped, signs.lower, signs.upper, signs.kept)  # by 2 * upper + lower
    padded = np.pad(kept, ((0, kept.shape[0] % 2), (0, 0)))
    return ["".join(faces[code] for code in row) for row in 2 * padded[::2] + padded[1::2]]


def _channels(counts: IntArray, signs: Signs, width: int) -> list[str]:
    gap = " " if 2 * counts.shape[1] <= width else ""
    return [gap.join(signs.dropped if n == 0 else str(n) if n < 10 else "+" for n in row) for row in counts]


def _coarse(counts: IntArray, channels: int, signs: Signs, width: int) -> list[str]:
    side = -(-counts.shape[1] // width)
    # A character is about twice as high as wide, so a cell covers 2 * side rows of pixels.
    tall = 2 * side
    rows, wide = -(-counts.shape[0] // tall), -(-counts.shape[1] // side)
    padded = np.pad(counts, ((0, rows * tall - counts.shape[0]), (0, wide * side - counts.shape[1])))
    shares = padded.reshape(rows, tall, wide, side).sum(axis=(1, 3)) / (tall * side * channels)
    lines = [
        "".join(signs.dropped if share == 0 else signs.shades[min(int(3 * share), 2)] for share in row)
        for row in shares
    ]
    return [*lines, f"(a sign covers {tall} x {side} pixels; the darker, the more of them are kept)"[:width]]
