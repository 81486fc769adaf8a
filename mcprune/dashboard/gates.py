"""What the page shows of the sites: a histogram of their gates, the mask, and how often each was kept lately."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np

from mcprune.methods.base import Sample
from mcprune.types import AnyArray, BoolArray, FloatArray, JsonObject

SHOWN = 65_536  # sites whose mask is sent; of more only the counts
BINS = 20
POINTS = 240  # of the weights in order
RECENT = 0.05  # weight of the latest look in each site's share


class Gates:
    """Follows the gates of `size` sites from one message to the next.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size: int) -> None:
        self.is_shown = size <= SHOWN
        self._share: FloatArray | None = None

    def message(self, position: FloatArray) -> JsonObject:
        """Return the part of a message on pruner weights, shape (size,)."""
        kept = position > 0
        if self.is_shown:
            share = kept.astype(np.float64) if self._share is None else self._share
            self._share = share + RECENT * (kept - share)
        some = position[:: max(1, position.size // SHOWN)]
        return message_of(1.0 / (1.0 + np.exp(-np.clip(some, -50, 50))), kept, self._share)


def message_of(gates: FloatArray, kept: BoolArray, share: FloatArray | None) -> JsonObject:
    """Return the histogram of gates (0..1), and the mask and the shares (0..1) as text; without shares the histogram alone."""
    message: JsonObject = {"histogram": np.histogram(gates, BINS, (0.0, 1.0))[0].tolist()}
    if share is not None:
        message["mask"] = _packed(np.packbits(kept))
        message["share"] = _packed(np.round(255 * share).astype(np.uint8))
    return message


def order_message(
    position: FloatArray, kept: BoolArray, delta: float, samples: Sequence[Sample] = ()
) -> JsonObject | None:
    """Return the pruner weights in order, the kept sites first, for the picture of the cut.

    Parameters
    ----------
    position : ndarray of float64, shape (N,)
    kept : ndarray of bool, shape (N,)
    delta : float
        Half-width of a proposal.
    samples : sequence of Sample
        Candidates to be shown.

    Returns
    -------
    dict or None
        None for more than `SHOWN` sites; else
        `ranks` and `weights` of at most `POINTS` sites, half of them next to the cut; `kept` and `size` in sites;
        `cut`, the middle between the lowest kept and the highest dropped weight, None where nothing is dropped;
        `reach`, the number of sites within delta of the cut, None where either is not known;
        `candidates`, each the rank of the site that it drops, of the one that it keeps instead (or None), and whether it was accepted.
    """
    size, count = position.size, int(kept.sum())
    if size > SHOWN:
        return None
    order = np.lexsort((-position, ~kept))
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size)
    near = np.arange(max(0, count - POINTS // 4), min(size, count + POINTS // 4))
    ranks = np.unique(np.concatenate([near, np.linspace(0, size - 1, min(size, POINTS // 2)).astype(np.int64)]))
    cut = None
    if 0 < count < size:
        cut = float(position[kept].min() + position[~kept].max()) / 2
    return {
        "ranks": ranks.tolist(),
        "weights": np.round(position[order[ranks]], 4).tolist(),
        "kept": count,
        "size": size,
        "cut": cut,
        "reach": None if cut is None or not math.isfinite(delta) else int((np.abs(position - cut) <= delta).sum()),
        "candidates": [
            [int(rank[one.dropped]), None if one.kept is None else int(rank[one.kept]), one.is_accepted]
            for one in samples
        ],
    }


def _packed(values: AnyArray) -> str:
    """Return the bytes of an array as text."""
    return base64.b64encode(values.tobytes()).decode("ascii")
