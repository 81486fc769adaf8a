"""Pixels in flat rows: whether the columns of a table are those of square images."""

from __future__ import annotations

import math

import numpy as np

from mcprune.types import AnyArray, FloatArray

# Rows and pixels of a side from which it is asked: the defaults of fewer rows are those of tables, and small images have few neighbours.
LEAST_ROWS, LEAST_SIDE = 4_000, 8
LOOKED_AT, FIRST_LOOK = 1_000, 50
# Grey levels; how alike neighbours are at least, as a correlation, and how much more than pixels that are half an image apart.
LEVELS, ALIKE, MORE_ALIKE = 256, 0.25, 0.2


def square_shape(features: AnyArray) -> tuple[int, int] | None:
    """Return the shape of the square images whose pixels the columns are, row by row; None where they are no such pixels.

    Pixels are grey levels: at most 256 different numbers, the lowest of them 0, the same for all columns. Each is like its neighbour to
    the right and like the one below, more than like a pixel half an image further. Counts of words have levels, but no neighbours;
    spectra and time series have neighbours in one direction alone.

    Parameters
    ----------
    features : ndarray, shape (rows, N)
    """
    rows, columns = features.shape
    side = math.isqrt(columns)
    if rows < LEAST_ROWS or side < LEAST_SIDE or side * side != columns:
        return None
    part = features[:: max(1, rows // LOOKED_AT)][:LOOKED_AT]
    if not (_has_levels(part[:FIRST_LOOK]) and _has_levels(part)):
        return None
    images = _standardised(part).reshape(-1, side, side)
    half = side // 2
    near = min(_likeness(images, 0, 1), _likeness(images, 1, 0))
    far = max(_likeness(images, 0, half), _likeness(images, half, 0))
    return (side, side) if near >= max(ALIKE, far + MORE_ALIKE) else None


def _has_levels(part: AnyArray) -> bool:
    """Whether the values are few, and 0 is the lowest."""
    levels = np.unique(part)
    return levels.size <= LEVELS and levels[0] == 0


def _standardised(part: AnyArray) -> FloatArray:
    """Return columns of mean 0 and deviation 1; 0 where a column is constant."""
    away = part.astype(np.float64)
    away -= away.mean(axis=0)
    deviation = away.std(axis=0)
    away /= np.where(deviation > 0, deviation, 1.0)
    return away


def _likeness(images: FloatArray, down: int, right: int) -> float:
    """Return the mean correlation of pixels that vary with those so far below and to the right, which vary too."""
    _, height, width = images.shape
    one, other = images[:, : height - down, : width - right], images[:, down:, right:]
    both = (one != 0).any(axis=0) & (other != 0).any(axis=0)
    return float((one * other).mean(axis=0)[both].mean()) if both.any() else 0.0
