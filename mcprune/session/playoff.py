"""The playoff: which of several masks fresh classifiers do best on, by cross-validation on training and validation rows.

Every mask meets the same folds, batches and initial scales, so that differences of losses are paired row by row. Successive halving: each
round trains the better half once more on new folds. Test rows have no say.

The search has used the training rows, so columns of noise that suit them lead there too, all the more the fewer rows and the more columns
there are. Validation rows show it, but are few. So they are a fold of their own with as much weight as all training rows together, or in
proportion less where they are very few.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcprune.data.prepare import Rows
from mcprune.methods.base import Finalist
from mcprune.methods.columns import best_columns
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import Stream, generator
from mcprune.session.build.plan import Plan
from mcprune.storage.result_events import Playoff, Standing
from mcprune.training.compiled.nets import load_kernels
from mcprune.training.cross_validation.out_of_fold import (
    FRESH_ROWS,
    LEAST_STEPS,
    MOST_ROWS,
    STEPS,
    STEPS_A_ROW,
    TIMED,
    balanced_folds,
    draw_batches,
    fresh_share_of,
    padded_columns,
    row_shares,
    score_out_of_fold,
)
from mcprune.training.cross_validation.ridge import ridge_losses
from mcprune.training.metrics import weighted_mean
from mcprune.types import AnyArray, BoolArray, Float32Array, FloatArray, IntArray

ROUNDS = 2
# A round takes no more steps than the search, and at least a few.
SHORTEST = 20
# Random masks beside the finalists; standard errors by which one must differ.
RANDOM_MASKS, ERRORS = 3, 2.0
# Columns by which it is tested whether any tell the classes apart.
TESTED = 256
# Fewer rows where the columns of all masks together would have more values than this.
LEAST_ROWS, MOST_VALUES = 200, 2**26
# Of the time of the search, where that is limited.
TIME_SHARE, LEAST_SECONDS = 0.15, 0.2


def play_finalists(
    plan: Plan, finalists: Sequence[Finalist], recorded: Sequence[int] = ()
) -> tuple[Playoff, BoolArray]:
    """Rank the finalists of a plan's search on its rows; return their standings, and the mask (N,) of the winner.

    `recorded` are the steps of each round of a run that is repeated: no clock shortens them.
    """
    data, seed = plan.splits, plan.runtime.seed
    draw = generator(seed, Stream.PLAYOFF_MASKS)
    random_masks = [plan.space.enforce(draw.random(plan.sites.size)) for _ in range(RANDOM_MASKS)]
    steps = plan.train.blocks * plan.train.steps
    event, mask = play(
        finalists,
        random_masks,
        data.train.features,
        data.train.targets,
        data.train.weights,
        seed=seed,
        most_steps=steps,
        seconds=max(LEAST_SECONDS, TIME_SHARE * plan.runtime.search_time),
        recorded=recorded,
        fresh=data.validation if len(data.validation.targets) else None,
        entities=data.train.entities,
        row_loss=plan.row_loss,
    )
    masks = {one.name: one.mask for one in finalists}
    standings = tuple(replace(one, indices=tuple(plan.shown.places(masks[one.name]))) for one in event.finalists)
    return replace(event, finalists=standings), mask


def play(
    finalists: Sequence[Finalist],
    random_masks: Sequence[BoolArray],
    x: Float32Array,
    y: AnyArray,
    weights: FloatArray | None,
    *,
    seed: int,
    most_steps: int = STEPS,
    seconds: float = math.inf,
    recorded: Sequence[int] = (),
    fresh: Rows | None = None,
    entities: IntArray | None = None,
    row_loss: RowLoss = CROSS_ENTROPY,
) -> tuple[Playoff, BoolArray]:
    """Rank finalists; return their standings, and the mask (N,) of the winner.

    Parameters
    ----------
    finalists : sequence of Finalist
        Two or more with different masks.
    random_masks : sequence of ndarray of bool, shape (N,)
    x : ndarray of float32, shape (rows, N)
        Scaled training rows.
    y : ndarray of int64, shape (rows,), or of float32, shape (rows, T)
    weights : ndarray, shape (rows,), optional
    seed : int
    most_steps : int
        Of backprop in a round, but not below a few.
    seconds : float
        That it may take; a shorter time means fewer steps.
    recorded : sequence of int
        Steps of each round, in place of those that the time allows.
    fresh : Rows, optional
        Rows that no search has used, with weights and entities if the others have some.
    entities : ndarray of int64, shape (rows,), optional
        Rows of one number stay in one fold.
    row_loss : RowLoss
        By which masks are compared.
    """
    load_kernels()
    began = time.monotonic()
    is_fresh = np.zeros(len(y), bool)
    if fresh is not None:
        is_fresh = np.r_[is_fresh, np.ones(len(fresh.targets), bool)]
        x, y = np.concatenate([x, fresh.features]), np.concatenate([y, fresh.targets])
        if weights is not None:
            assert fresh.weights is not None
            weights = np.r_[weights, fresh.weights]
        if entities is not None:
            assert fresh.entities is not None
            entities = np.r_[entities, fresh.entities]
    draw = generator(seed, Stream.PLAYOFF_ROWS)
    masks = len(finalists) + len(random_masks)
    most = min(MOST_ROWS, max(LEAST_ROWS, MOST_VALUES // max(1, masks * max(int(one.mask.sum()) for one in finalists))))
    if len(y) > most:
        rows = np.sort(draw.choice(len(y), most, replace=False))
        x, y, weights = x[rows], y[rows], None if weights is None else weights[rows]
        is_fresh = is_fresh[rows]
        entities = None if entities is None else entities[rows]
    share = row_shares(weights, is_fresh)
    columns = padded_columns([*(one.mask for one in finalists), *random_masks])
    losses: dict[int, list[FloatArray]] = {place: [] for place in range(len(columns))}
    right: dict[int, list[FloatArray]] = {place: [] for place in range(len(columns))}
    playing = list(range(len(columns)))
    steps_of_rounds = []
    for number in range(ROUNDS):
        of_round, correct, steps = _out_of_fold(
            x, y, weights, columns[playing], is_fresh, seed=seed, number=number, most=most_steps, seconds=seconds / ROUNDS,
            recorded=recorded[number] if number < len(recorded) else None, entities=entities, row_loss=row_loss,
        )  # fmt: skip
        steps_of_rounds.append(steps)
        for place, loss, is_right in zip(playing, of_round, correct, strict=True):
            losses[place].append(loss)
            right[place].append(is_right)
        playing = [place for place in playing if place < len(finalists)]
        playing.sort(key=lambda place: float(share @ np.mean(losses[place], axis=0)))
        playing = playing[: max(2, -(-len(playing) // 2))]
    mean = {place: float(share @ np.mean(rows, axis=0)) for place, rows in losses.items()}
    # One more round than a rival counts: those that went out were behind on the rounds they had.
    order = sorted(range(len(finalists)), key=lambda place: (-len(losses[place]), mean[place]))
    best = order[0]

    def paired(place: int) -> tuple[float, float]:
        both = len(losses[place])
        change = np.mean(losses[place], axis=0) - np.mean(losses[best][:both], axis=0)
        return weighted_mean(change, share)

    standings = tuple(
        Standing(
            finalists[place].name,
            mean[place],
            float(share @ np.mean(right[place], axis=0)),
            *(paired(place) if place != best else (0.0, 0.0)),
            len(losses[place]),
            tuple(np.flatnonzero(finalists[place].mask).tolist()),
        )
        for place in order
    )
    others = range(len(finalists), len(columns))
    change = np.mean([losses[place][0] for place in others], axis=0) - losses[best][0]
    lead, lead_error, is_random = *weighted_mean(change, share), True
    if lead >= ERRORS * lead_error:
        # The training rows would say so of noise that suits them.
        alone, error = (
            weighted_mean(change, np.where(is_fresh, share, 0.0) / fresh_share_of(int(is_fresh.sum())))
            if is_fresh.sum() >= FRESH_ROWS
            else (0.0, 1.0)
        )
        is_random = alone < ERRORS * error and not _has_signal(
            x,
            y,
            weights,
            columns[len(finalists) :],
            seed=seed,
            entities=entities,
        )
    event = Playoff(
        finalists=standings,
        random_loss=float(np.mean([mean[place] for place in others])),
        random_accuracy=float(np.mean([share @ right[place][0] for place in others])),
        lead=lead,
        lead_error=lead_error,
        is_random=is_random,
        rows=len(y),
        steps=tuple(steps_of_rounds),
        seconds=time.monotonic() - began,
    )
    return event, finalists[best].mask


def _has_signal(
    x: Float32Array,
    y: AnyArray,
    weights: FloatArray | None,
    others: IntArray,
    *,
    seed: int,
    entities: IntArray | None = None,
) -> bool:
    """Whether the n columns of the highest F on the rows outside of each fold do better than random masks (R, n) on the fold.

    A linear model compares them: what F tells of a column is linear too.
    """
    folds = balanced_folds(y, generator(seed, Stream.PLAYOFF, ROUNDS), entities)
    count = np.ones(len(y)) if weights is None else weights
    change = np.empty(len(y))
    for part in range(int(folds.max()) + 1):
        is_fresh = folds == part
        rest = ~is_fresh
        own = best_columns(x[rest], y[rest], None if weights is None else weights[rest], others.shape[1])
        losses = [ridge_losses(x[:, columns[columns >= 0][:TESTED]], y, count, is_fresh) for columns in (own, *others)]
        change[is_fresh] = np.mean(losses[1:], axis=0) - losses[0]
    lead, error = weighted_mean(change, count / count.sum())
    return lead >= ERRORS * error


def _out_of_fold(
    x: Float32Array,
    y: AnyArray,
    weights: FloatArray | None,
    columns: IntArray,
    is_fresh: BoolArray,
    *,
    seed: int,
    number: int,
    most: int,
    seconds: float,
    recorded: int | None,
    row_loss: RowLoss,
    entities: IntArray | None = None,
) -> tuple[FloatArray, FloatArray, int]:
    """Return losses and whether the class is right, (masks, rows) each, of classifiers that have not seen the row; and the steps.

    Fresh rows are a fold.
    """
    began, draw = time.monotonic(), generator(seed, Stream.PLAYOFF, number)
    fold = balanced_folds(y, draw, entities)
    fold[is_fresh] = fold.max() + 1
    steps = max(SHORTEST, min(STEPS, most, max(LEAST_STEPS, int(STEPS_A_ROW * len(y)))))
    batches = draw_batches(fold, weights, steps, draw)

    def pace(steps: int) -> int:
        if recorded is not None:
            return min(steps, recorded)
        if seconds == math.inf:
            return steps
        return max(SHORTEST, min(steps, int(TIMED * seconds / max(time.monotonic() - began, 1e-9))))

    scores, steps = score_out_of_fold(
        x, y, columns, fold, batches, seed=int(draw.integers(2**31)), pace=pace, row_loss=row_loss
    )
    return *scores, steps
