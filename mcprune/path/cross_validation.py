"""Fresh classifiers score masks of different sizes by cross-validation, all trained at once on the same batches.

Training and validation rows are scored, each by classifiers that have not been trained on it. Validation rows, which no search has used,
are a fold of their own with as much weight as all training rows together, as in the playoff of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.data.prepare import Splits
from mcprune.random import Stream, generator, torch_seed
from mcprune.training.adam import AdamW
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

# The classifier: one hidden layer, trained by AdamW.
WIDTH, DROPOUT, RATE, DECAY, BATCH = 64, 0.3, 1e-2, 1e-2, 64
# Folds of the training rows; steps of a round for each row, and the least and the most of them.
FOLDS, STEPS_A_ROW, LEAST_STEPS, STEPS = 4, 0.6, 120, 600
# Validation rows from which they count, and their share of a loss; rows that take part at most.
FRESH_ROWS, FRESH_SHARE, MOST_ROWS = 30, 0.5, 8_000
# Masks of a group have at most so many times the sites of its smallest one, and values in all rows.
SPREAD, MOST_VALUES = 1.6, 2**25


class Rows(NamedTuple):
    """The rows on which masks are scored.

    Attributes
    ----------
    features : ndarray of float32, shape (rows, N)
    targets : ndarray of int64, shape (rows,)
    weights : ndarray of float64, shape (rows,), or None
        In training.
    share : ndarray of float64, shape (rows,)
        Of each row in a mean; the sum is 1.
    is_fresh : ndarray of bool, shape (rows,)
        No search has used the row.
    """

    features: Float32Array
    targets: IntArray
    weights: FloatArray | None
    share: FloatArray
    is_fresh: BoolArray


class Scores(NamedTuple):
    """Cross-entropy and whether the class is right, both (masks, rows), of classifiers that have not seen the row."""

    losses: FloatArray
    is_right: FloatArray


def scored_rows(splits: Splits, seed: int) -> Rows:
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
    if len(y) > MOST_ROWS:
        rows = np.sort(generator(seed, Stream.PATH_ROWS).choice(len(y), MOST_ROWS, replace=False))
        x, y, is_fresh = x[rows], y[rows], is_fresh[rows]
        weights = None if weights is None else weights[rows]
    counts = np.ones(len(y)) if weights is None else weights
    share = counts / counts.sum()
    if is_fresh.any():
        for part, of_part in ((is_fresh, FRESH_SHARE), (~is_fresh, 1.0 - FRESH_SHARE)):
            share[part] = of_part / counts[part].sum() * counts[part]
    return Rows(x, y, weights, share, is_fresh)


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
    fold = _folds(rows.targets, draw)
    fold[rows.is_fresh] = FOLDS
    folds = int(fold.max()) + 1
    steps = round(effort * max(LEAST_STEPS, min(STEPS, STEPS_A_ROW * len(rows.targets))))
    batches = np.stack([_batches(np.flatnonzero(fold != part), rows.weights, steps, draw) for part in range(folds)], 1)
    number_of_nets = int(draw.integers(2**31))
    losses, right = np.empty((len(masks), len(rows.targets))), np.empty((len(masks), len(rows.targets)))
    for places in _groups(masks, len(rows.targets)):
        columns = _padded([masks[place] for place in places])
        with torch_seed(number_of_nets):
            losses[places], right[places] = _train(rows, columns, fold, folds, batches)
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


def _padded(masks: Sequence[BoolArray]) -> IntArray:
    """Return the kept columns (masks, largest number of them); -1 where a mask has fewer."""
    widest = max(int(mask.sum()) for mask in masks)
    out = np.full((len(masks), widest), -1, np.int64)
    for place, mask in enumerate(masks):
        kept = np.flatnonzero(mask)
        out[place, : kept.size] = kept
    return out


def _folds(y: IntArray, draw: np.random.Generator) -> IntArray:
    """Return the fold (rows,) of each row, balanced over the classes."""
    order = np.lexsort((draw.random(len(y)), y))
    out = np.empty(len(y), np.int64)
    out[order] = np.arange(len(y)) % FOLDS
    return out


def _batches(rows: IntArray, weights: FloatArray | None, steps: int, draw: np.random.Generator) -> IntArray:
    """Return row numbers (steps, BATCH), drawn with replacement, in proportion to the weights."""
    chances = None if weights is None else weights[rows] / weights[rows].sum()
    return rows[draw.choice(len(rows), (steps, BATCH), p=chances)]


def _train(rows: Rows, columns: IntArray, fold: IntArray, folds: int, batches: IntArray) -> Scores:
    """Train a classifier for each mask (M, n) and fold, and return what those that have not seen a row say of it."""
    masks, n = columns.shape
    x = np.ascontiguousarray(rows.features[:, columns].transpose(1, 0, 2), np.float32)  # (masks, rows, n)
    x *= (columns >= 0)[:, None, :]
    features, targets = torch.from_numpy(x), torch.from_numpy(rows.targets)
    layers = _layers((columns >= 0).sum(axis=1), folds, n, int(rows.targets.max()) + 1)
    optimizer = AdamW(layers, RATE, DECAY)
    for step, chosen in enumerate(batches):
        optimizer.learning_rate = RATE * (1.0 - step / len(batches))
        batch = torch.from_numpy(chosen)
        # All masks drop the same hidden units, which pairs them, and draws less.
        scale = (torch.rand(folds, BATCH, WIDTH) >= DROPOUT).float().div_(1.0 - DROPOUT).repeat(masks, 1, 1)
        logits = _forward(features[:, batch].flatten(0, 1), layers, scale)
        goals = targets[batch].repeat(masks, 1).flatten()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), goals, reduction="sum")
        optimizer.zero_grad()
        torch.autograd.backward(loss / BATCH)
        optimizer.step()
    losses, right = np.empty((masks, len(targets))), np.empty((masks, len(targets)))
    with torch.no_grad():
        for part in range(folds):
            left_out = np.flatnonzero(fold == part)
            own = [layer.view(masks, folds, *layer.shape[1:])[:, part] for layer in layers]
            logits = _forward(features[:, torch.from_numpy(left_out)], own, None)
            goals = targets[left_out].expand(masks, -1)
            losses[:, left_out] = nn.functional.cross_entropy(logits.transpose(1, 2), goals, reduction="none").numpy()
            right[:, left_out] = (logits.argmax(2) == goals).numpy()
    return Scores(losses, right)


def _layers(sizes: IntArray, folds: int, n: int, classes: int) -> list[torch.Tensor]:
    """Return first and second weights and biases; those of a fold begin alike for all masks, but for the scale by their sizes (M,)."""
    scale = torch.from_numpy(np.repeat(sizes, folds).astype(np.float32)).rsqrt()[:, None, None]
    out = []
    for count, wide, inputs in ((n, WIDTH, None), (1, WIDTH, None), (WIDTH, classes, WIDTH), (1, classes, WIDTH)):
        start = (2.0 * torch.rand(folds, count, wide) - 1.0).repeat(len(sizes), 1, 1)
        start *= scale if inputs is None else inputs**-0.5
        out.append(start.requires_grad_())
    return out


def _forward(rows: torch.Tensor, layers: Sequence[torch.Tensor], scale: torch.Tensor | None) -> torch.Tensor:
    """Return logits (nets, rows, classes); hidden units are multiplied by a scale."""
    first, bias, second, bias2 = layers
    hidden = torch.relu(torch.baddbmm(bias, rows, first))
    return torch.baddbmm(bias2, hidden if scale is None else hidden * scale, second)
