"""The unit of the temperature: the standard error of a paired difference of two losses on the evaluation rows.

Masks whose losses differ by less cannot be told apart by these rows, so a temperature of that size accepts what may be noise.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from mcprune.errors import ObjectiveError
from mcprune.evaluators.base import Canonical
from mcprune.methods.base import Batch
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective, losses_of
from mcprune.sites.gates import GatedModel
from mcprune.types import BoolArray, Float32Array, FloatArray

# Exchanges whose difference is measured, groups of rows that it is measured in, and the fewest rows of a group.
EXCHANGES, GROUPS, ROWS = 8, 64, 4


def exchanged(mask: BoolArray, count: int, draw: np.random.Generator) -> BoolArray:
    """Return `count` masks, each with one kept and one dropped place of `mask` (F,) exchanged, shape (count, F).

    Fewer than `count` or none where nothing can be exchanged.
    """
    kept, dropped = np.flatnonzero(mask), np.flatnonzero(~mask)
    if not (kept.size and dropped.size):
        return np.empty((0, mask.size), bool)
    masks = np.repeat(mask[None], count, axis=0)
    rows = np.arange(count)
    masks[rows, draw.choice(kept, count)] = False
    masks[rows, draw.choice(dropped, count)] = True
    return masks


def standard_error(differences: FloatArray, weights: FloatArray | None = None) -> float:
    """Return the root mean square standard error of the means of paired differences.

    Parameters
    ----------
    differences : ndarray of float64, shape (K, G)
        Of K pairs of masks in G disjoint groups of rows of equal size.
    weights : ndarray of float64, shape (G,), optional
        Of the groups: the sums of the sample weights of their rows.

    Returns
    -------
    float
        sqrt(mean over pairs of var_g / G), in the unit of the loss; NaN where no pair has two finite groups. With weights p_g of sum 1
        the variance of a weighted mean, G / (G - 1) sum_g p_g^2 (d_g - mean)^2.

    Notes
    -----
    With groups of one row each and the mean as the loss this is the usual standard error of a paired difference. A pair of masks
    that no row tells apart is left out: it says nothing about the others.
    """
    variances = []
    for one in differences:
        finite = one[np.isfinite(one)]
        if finite.size > 1 and finite.any():
            if weights is None:
                variances.append(float(finite.var(ddof=1)) / finite.size)
                continue
            share = weights[np.isfinite(one)] / weights[np.isfinite(one)].sum()
            away = finite - share @ finite
            variances.append(float(share**2 @ away**2) * finite.size / (finite.size - 1))
    return math.sqrt(sum(variances) / len(variances)) if variances else math.nan


@torch.no_grad()
def measure(canonical: Canonical, batch: Batch, gates: Float32Array) -> float:
    """Return the standard error of the difference between the loss under the first gates and that under each of the others.

    Parameters
    ----------
    canonical : Canonical
        Its objective has the rows of the batch again afterwards.
    batch : Batch
    gates : ndarray of float32, shape (1 + K, N)

    Returns
    -------
    float
        In the unit of the objective; NaN where it cannot be measured, such as with fewer than eight rows.
    """
    rows = int(batch.features.shape[0])
    count = min(GROUPS, rows // ROWS)
    pieces = canonical.pieces(rows)
    if count < 2 or len(gates) < 2 or not pieces:
        return math.nan
    size = rows // count  # equal groups; the few rows left over take no part
    differences = [
        _differences(gated, objective, _part(batch, piece), gates, size) for gated, objective, piece in pieces
    ]
    weights = None
    if batch.rows is not None:
        canonical.objective.begin(batch.rows)
        if batch.rows.weights is not None:
            of_rows = batch.rows.weights.double().cpu().numpy()
            parts = [of_rows[piece] for _, _, piece in pieces]
            weights = np.concatenate([part[: len(part) // size * size].reshape(-1, size).sum(axis=1) for part in parts])
    return standard_error(np.concatenate(differences, axis=1), weights)


def _differences(gated: GatedModel, objective: Objective, batch: Batch, gates: Float32Array, size: int) -> FloatArray:
    """Return the differences (K, G) of the losses in the groups of `size` rows that one classifier evaluates."""
    with evaluating(gated.model):
        logits = torch.stack([gated(batch.features, torch.from_numpy(one).to(batch.features)) for one in gates])
    count, masks = len(batch.targets) // size, gates > 0.5
    losses = np.empty((len(gates), count))
    for place in range(count):
        part = slice(place * size, (place + 1) * size)
        if batch.rows is not None:
            objective.begin(batch.rows.part(part))
        try:
            losses[:, place] = losses_of(objective, logits[:, part], batch.targets[part], masks)
        except ObjectiveError:  # not defined on so few rows, as an AUC without rows of a class
            losses[:, place] = math.nan
    differences: FloatArray = losses[1:] - losses[0]
    return differences


def _part(batch: Batch, piece: slice) -> Batch:
    rows = None if batch.rows is None else batch.rows.part(piece)
    return Batch(batch.features[piece], batch.targets[piece], rows)
