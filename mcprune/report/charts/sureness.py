"""How sure each site of a result is, as far as its run knows: finalists that share it, and time in which the chain kept it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.storage.event_log import EventLog
from mcprune.types import FloatArray


class Sureness(NamedTuple):
    """How sure the sites of a run are.

    Attributes
    ----------
    finalists : int
        Masks that took part in the playoff; 0 where there was none.
    shared : ndarray, shape (N,), or None
        Share of the finalists that keep a site.
    times : int
        Moments since n(t) is n and the knobs rest at which the gates were recorded.
    kept : ndarray, shape (N,), or None
        Share of these moments at which a site was kept.
    """

    finalists: int
    shared: FloatArray | None
    times: int
    kept: FloatArray | None


def sureness(run: EventLog) -> Sureness:
    """Return how sure the sites of a run are."""
    size = run.started.n_sites
    masks = [one.indices for one in run.playoff.finalists] if run.playoff is not None else []
    masks = [mask for mask in masks if mask and max(mask) < size]
    shared = None
    if len(masks) > 1:
        shared = np.zeros(size)
        for mask in masks:
            shared[list(mask)] += 1.0 / len(masks)
    first = run.settled_from()
    gates = run.gates_of(run.progress[first:])
    kept = (gates > 127).mean(axis=0) if len(gates) > 1 else None
    return Sureness(len(masks) if shared is not None else 0, shared, len(gates) if kept is not None else 0, kept)


def sentence(sure: Sureness, indices: list[int], noun: str) -> str:
    """Return how many kept sites all finalists share, and how many were kept all the time; empty where neither is known."""
    chosen = np.asarray(indices, np.int64)
    parts = []
    if sure.shared is not None:
        count = int((sure.shared[chosen] > 1.0 - 1e-9).sum())
        parts.append(f"{count:,} of the {len(indices):,} kept {noun} are in all {sure.finalists} finalists")
    if sure.kept is not None:
        count = int((sure.kept[chosen] > 1.0 - 1e-9).sum())
        parts.append(
            f"{count:,} of {len(indices):,} were kept at each of the {sure.times} moments recorded since n(t) reached n"
        )
    return "; ".join(parts)
