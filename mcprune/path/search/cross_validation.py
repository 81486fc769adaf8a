"""Fresh classifiers score masks of different sizes by cross-validation, all trained at once on the same batches.

Training and validation rows are scored, each by classifiers that have not been trained on it. Validation rows, which no search has used,
are a fold of their own with as much weight as all training rows together, as in the playoff of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.data.prepare import Splits
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import Stream, generator
from mcprune.training.cross_validation.out_of_fold import (
    FOLDS,
    FRESH_ROWS,
    LEAST_STEPS,
    MOST_ROWS,
    STEPS,
    STEPS_A_ROW,
    Scores,
    balanced_folds,
    draw_batches,
    padded_columns,
    row_shares,
    score_out_of_fold,
)
from mcprune.types import AnyArray, BoolArray, Float32Array, FloatArray, IntArray

# Masks of a group have at most so many times the sites of its smallest one, and values in all rows.
SPREAD, MOST_VALUES = 1.6, 2**25


class Rows(NamedTuple):
    """The rows on which masks are scored.

    Attributes
    ----------
    features : ndarray of float32, shape (rows, N)
    targets : ndarray of int64, shape (rows,), or of float32, shape (rows, T)
    weights : ndarray of float64, shape (rows,), or None
        In training.
    share : ndarray of float64, shape (rows,)
        Of each row in a mean; the sum is 1.
    is_fresh : ndarray of bool, shape (rows,)
        No search has used the row.
    entities : ndarray of int64, shape (rows,), or None
        Rows of one number stay in one fold.
    row_loss : RowLoss
    """

    features: Float32Array
    targets: AnyArray
    weights: FloatArray | None
    share: FloatArray
    is_fresh: BoolArray
    entities: IntArray | None = None
    row_loss: RowLoss = CROSS_ENTROPY


def scored_rows(splits: Splits, seed: int, row_loss: RowLoss) -> Rows:
    """Return the training and validation rows, at most `MOST_ROWS` of them."""
    parts = [splits.train]
    if len(splits.validation.targets) >= FRESH_ROWS:
        parts.append(splits.validation)
    x = np.concatenate([part.features for part in parts])
    y = np.concatenate([part.targets for part in parts])
    is_fresh = np.arange(len(y)) >= len(splits.train.targets)
    weights = None
    if splits.train.weights is not None:
        weights = np.concatenate([np.asarray(part.weights, np.float64) for part in parts])
    rows = None
    if len(y) > MOST_ROWS:
        rows = np.sort(generator(seed, Stream.PATH_ROWS).choice(len(y), MOST_ROWS, replace=False))
        x, y, is_fresh = x[rows], y[rows], is_fresh[rows]
        weights = None if weights is None else weights[rows]
    entities = None
    if splits.train.entities is not None:
        entities = np.concatenate([np.asarray(part.entities, np.int64) for part in parts])
        entities = entities if rows is None else entities[rows]
    return Rows(x, y, weights, row_shares(weights, is_fresh), is_fresh, entities, row_loss)


def cross_validate(rows: Rows, masks: Sequence[BoolArray], *, seed: int, number: int, effort: float = 1.0) -> Scores:
    """Judge masks (N,) once; the folds, batches, dropped units and their order are the same for all masks of a number.

    Parameters
    ----------
    rows : Rows
    masks : sequence of ndarray of bool, shape (N,)
        Of any sizes.
    seed : int
    number : int
        Of the round: others have other folds and initial weights.
    effort : float
        Times the usual number of steps.
    """
    draw = generator(seed, Stream.PATH_FOLDS, number)
    fold = balanced_folds(rows.targets, draw, rows.entities)
    fold[rows.is_fresh] = FOLDS
    steps = round(effort * max(LEAST_STEPS, min(STEPS, STEPS_A_ROW * len(rows.targets))))
    batches = draw_batches(fold, rows.weights, steps, draw)
    of_nets = int(draw.integers(2**31))
    losses, right = np.empty((len(masks), len(rows.targets))), np.empty((len(masks), len(rows.targets)))
    for places in _groups(masks, len(rows.targets)):
        columns = padded_columns([masks[place] for place in places])
        scores, _ = score_out_of_fold(
            rows.features, rows.targets, columns, fold, batches, seed=of_nets, row_loss=rows.row_loss
        )
        losses[places], right[places] = scores
    return Scores(losses, right)


def _groups(masks: Sequence[BoolArray], rows: int) -> Iterator[list[int]]:
    """Give the places of masks of nearly one size, which are trained at once."""
    sizes = [int(mask.sum()) for mask in masks]
    group: list[int] = []
    for place in sorted(range(len(masks)), key=lambda place: sizes[place]):
        too_large = group and (len(group) + 1) * sizes[place] * rows > MOST_VALUES
        if group and (sizes[place] > SPREAD * max(4, sizes[group[0]]) or too_large):
            yield group
            group = []
        group.append(place)
    if group:
        yield group
