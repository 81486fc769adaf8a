"""Fresh classifiers of several masks and folds, trained at once: each row is scored by classifiers that were not trained on it.

All masks meet the same folds, batches, dropped units and initial values, so that differences of losses are paired row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mcprune.data.parts.entities import fold_entities
from mcprune.data.roles.tasks import strata_of
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import hash_seeds, torch_seed
from mcprune.training.adam import BETAS, AdamW
from mcprune.training.compiled.nets import PackedNets, rule_of, steps_at_once
from mcprune.types import AnyArray, BoolArray, Float32Array, FloatArray, IntArray

# Folds of the rows that a search has used; rows that no search has used, fresh ones, are a fold of their own.
FOLDS = 4
# The classifier: one hidden layer, trained by AdamW to the end: half of these steps still tell columns of little use from noise badly.
WIDTH, DROPOUT, RATE, DECAY, BATCH, STEPS, LEAST_STEPS = 64, 0.3, 1e-2, 1e-2, 64, 600, 120
# Steps of a round for each row: few rows are learned soon, and then by heart.
STEPS_A_ROW = 0.6
# Fresh rows from which they have their full share of a loss; fewer have less. Rows that take part at most.
FRESH_ROWS, FRESH_SHARE, MOST_ROWS = 30, 0.5, 8_000
# The step after which a round may be shortened.
TIMED = 10


class Scores(NamedTuple):
    """Loss and score, 1 where the class is right or a part of R2, both (masks, rows), of classifiers that have not seen the row."""

    losses: FloatArray
    is_right: FloatArray


def fresh_share_of(rows: int) -> float:
    """Return the share of a loss that so many fresh rows have: each the same, up to half for all."""
    return FRESH_SHARE * min(1.0, rows / FRESH_ROWS)


def row_shares(weights: FloatArray | None, is_fresh: BoolArray) -> FloatArray:
    """Return the share (rows,) of each row in a mean, of sum 1; fresh rows of weight 0 alone have none."""
    counts = np.full(len(is_fresh), 1.0) if weights is None else weights
    share: FloatArray = counts / counts.sum()
    if counts[is_fresh].sum() > 0:
        fresh_share = fresh_share_of(int(is_fresh.sum()))
        for part, of_part in ((is_fresh, fresh_share), (~is_fresh, 1.0 - fresh_share)):
            share[part] = of_part / counts[part].sum() * counts[part]
    return share


def balanced_folds(targets: AnyArray, draw: np.random.Generator, entities: IntArray | None = None) -> IntArray:
    """Return the fold (rows,) of each row, balanced over the classes or the quantiles of numbers; entities stay whole."""
    if entities is not None:
        return fold_entities(entities, strata_of(targets), FOLDS, draw.random(len(targets)))
    order = np.lexsort((draw.random(len(targets)), strata_of(targets)))
    out = np.empty(len(targets), np.int64)
    out[order] = np.arange(len(targets)) % FOLDS
    return out


def draw_batches(fold: IntArray, weights: FloatArray | None, steps: int, draw: np.random.Generator) -> IntArray:
    """Return row numbers (steps, folds, BATCH) of rows outside of each fold, drawn with replacement, in proportion to the weights."""
    out = []
    for part in range(int(fold.max()) + 1):
        rows = np.flatnonzero(fold != part)
        chances = None if weights is None else weights[rows] / weights[rows].sum()
        out.append(rows[draw.choice(len(rows), (steps, BATCH), p=chances)])
    return np.stack(out, axis=1)


def padded_columns(masks: Sequence[BoolArray]) -> IntArray:
    """Return the kept columns (masks, largest number of them); -1 where a mask has fewer."""
    widest = max(int(mask.sum()) for mask in masks)
    out = np.full((len(masks), widest), -1, np.int64)
    for place, mask in enumerate(masks):
        kept = np.flatnonzero(mask)
        out[place, : kept.size] = kept
    return out


def score_out_of_fold(
    features: Float32Array,
    targets: AnyArray,
    columns: IntArray,
    fold: IntArray,
    batches: IntArray,
    *,
    seed: int,
    pace: Callable[[int], int] | None = None,
    row_loss: RowLoss = CROSS_ENTROPY,
) -> tuple[Scores, int]:
    """Train a classifier for each mask and fold in one batched product; return the scores of all rows, and the number of steps.

    Parameters
    ----------
    features : ndarray of float32, shape (rows, N)
    targets : ndarray of int64, shape (rows,), or of float32, shape (rows, T)
    columns : ndarray of int64, shape (masks, n)
        What each mask keeps; -1 where it keeps fewer than n.
    fold : ndarray of int64, shape (rows,)
    batches : ndarray of int64, shape (steps, folds, BATCH)
        See `draw_batches`.
    seed : int
        Of the initial values and the dropped units.
    pace : callable, optional
        Called once, at step `TIMED`, with the number of steps; returns how many of them are made.
    row_loss : RowLoss
        What is minimised and scored.
    """
    masks, n = columns.shape
    steps, folds = batches.shape[:2]
    x = np.ascontiguousarray(features[:, columns].transpose(1, 0, 2), np.float32)  # (masks, rows, n)
    if (columns < 0).any():
        x *= (columns >= 0)[:, None, :]
    kept, goals = torch.from_numpy(x), torch.from_numpy(targets)
    outputs = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    with torch_seed(seed):
        layers = _layers((columns >= 0).sum(axis=1), folds, n, outputs)
        if rule_of(row_loss) is None:
            steps = _train(layers, kept, goals, batches, row_loss, pace)
        else:
            steps = _train_compiled(layers, x, targets, batches, row_loss, pace, seed)
    losses, right = np.empty((masks, len(targets))), np.empty((masks, len(targets)))
    predicted = torch.empty(masks, len(targets) if targets.ndim > 1 else 0, outputs)
    with torch.no_grad():
        for part in range(folds):
            rows = np.flatnonzero(fold == part)
            own = [layer.view(masks, folds, *layer.shape[1:])[:, part] for layer in layers]
            logits = _forward(kept[:, torch.from_numpy(rows)], own, None)
            loss = row_loss.stacked(logits, goals[rows])
            losses[:, rows] = loss.numpy()
            if targets.ndim == 1:
                right[:, rows] = row_loss.scores(logits, goals[rows])
            else:
                predicted[:, rows] = logits
    if targets.ndim > 1:  # R2 is relative to the variance of all rows
        right = row_loss.scores(predicted, goals)
    return Scores(losses, right), steps


def _train(
    layers: Sequence[torch.Tensor],
    kept: torch.Tensor,
    goals: torch.Tensor,
    batches: IntArray,
    row_loss: RowLoss,
    pace: Callable[[int], int] | None,
) -> int:
    """Train the classifiers of all masks and folds on their columns (masks, rows, n), in place; return the number of steps."""
    masks, folds, step, steps = len(kept), batches.shape[1], 0, len(batches)
    optimizer = AdamW(layers, RATE, DECAY)
    while step < steps:
        if step == TIMED and pace is not None:
            steps = pace(steps)
        optimizer.learning_rate = RATE * (1.0 - step / steps)
        batch = torch.from_numpy(batches[step])
        # All masks drop the same hidden units, which pairs them, and draws less.
        scale = (torch.rand(folds, BATCH, WIDTH) >= DROPOUT).float().div_(1.0 - DROPOUT).repeat(masks, 1, 1)
        logits = _forward(kept[:, batch].flatten(0, 1), layers, scale)
        repeated = goals[batch].repeat(masks, *(1,) * goals.dim()).flatten(0, 1)
        loss = row_loss.total(logits.flatten(0, 1), repeated)
        optimizer.zero_grad()
        torch.autograd.backward(loss / BATCH)
        optimizer.step()
        step += 1
    return steps


def _train_compiled(
    layers: Sequence[torch.Tensor],
    x: Float32Array,
    targets: AnyArray,
    batches: IntArray,
    row_loss: RowLoss,
    pace: Callable[[int], int] | None,
    seed: int,
) -> int:
    """Train as `_train` does, but for which units are dropped, in compiled code and on all of numba's threads."""
    masks, _, n = x.shape
    folds, step, steps = batches.shape[1], 0, len(batches)
    parts = [layer.detach().numpy() for layer in layers]
    nets = PackedNets(masks * folds, (n, WIDTH, parts[2].shape[2]), row_loss, DECAY)
    views = [
        view for layer in (0, 1) for view in (nets.weights(nets.parameters, layer), nets.bias(nets.parameters, layer))
    ]
    for view, part in zip(views, parts, strict=True):
        view[:] = part.reshape(view.shape)
    at_once = steps_at_once(masks * folds, BATCH, n)
    seeds = hash_seeds(seed, folds)  # all masks drop the same units, which pairs them
    while step < steps:
        if step == TIMED and pace is not None:
            steps = pace(steps)
        end = min(steps, step + at_once, TIMED if step < TIMED else steps)
        part = np.ascontiguousarray(batches[step:end].transpose(1, 0, 2))  # (folds, steps, BATCH)
        nets.train(
            x[:, part].reshape(masks * folds, end - step, BATCH, n),
            targets[part],
            dropout=DROPOUT,
            seeds=seeds,
            rates=RATE * (1.0 - np.arange(step, end) / steps),
            betas=np.full(end - step, BETAS[0]),
        )
        step = end
    for view, part in zip(views, parts, strict=True):
        part[:] = view.reshape(part.shape)
    return steps


def _layers(sizes: IntArray, folds: int, n: int, classes: int) -> list[torch.Tensor]:
    """Return first and second weights and biases; those of a fold begin alike for all masks, but for the scale by their sizes (masks,)."""
    of_mask = torch.from_numpy(np.repeat(np.sqrt(sizes), folds).astype(np.float32))[:, None, None]
    out = []
    for count, wide, scale in ((n, WIDTH, of_mask), (1, WIDTH, of_mask), (WIDTH, classes, None), (1, classes, None)):
        start = (2.0 * torch.rand(folds, count, wide) - 1.0).repeat(len(sizes), 1, 1)
        out.append((start / (WIDTH**0.5 if scale is None else scale)).requires_grad_())
    return out


def _forward(rows: torch.Tensor, layers: Sequence[torch.Tensor], scale: torch.Tensor | None) -> torch.Tensor:
    """Return logits (nets, rows, classes); hidden units are multiplied by a scale."""
    first, bias, second, bias2 = layers
    hidden = torch.relu(torch.baddbmm(bias, rows, first))
    return torch.baddbmm(bias2, hidden if scale is None else hidden * scale, second)
