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
from mcprune.session.playoff.rounds import MaskRounds
from mcprune.storage.result_events import Playoff, Standing
from mcprune.training.compiled.nets import load_kernels
from mcprune.training.cross_validation.out_of_fold import (
    FRESH_ROWS,
    STEPS,
    balanced_folds,
    fresh_share_of,
    padded_columns,
)
from mcprune.training.cross_validation.ridge import ridge_losses
from mcprune.training.metrics import weighted_mean
from mcprune.types import BoolArray, IntArray

ROUNDS = 2
# Random masks beside the finalists; standard errors by which one must differ.
RANDOM_MASKS, ERRORS = 3, 2.0
# Columns by which it is tested whether any tell the classes apart.
TESTED = 256
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
    event, mask = play(
        finalists,
        random_masks,
        data.train,
        seed=seed,
        most_steps=plan.train.blocks * plan.train.steps,
        seconds=max(LEAST_SECONDS, TIME_SHARE * plan.runtime.search_time),
        recorded=recorded,
        fresh=data.validation if len(data.validation.targets) else None,
        row_loss=plan.row_loss,
    )
    masks = {one.name: one.mask for one in finalists}
    standings = tuple(replace(one, indices=tuple(plan.shown.places(masks[one.name]))) for one in event.finalists)
    return replace(event, finalists=standings), mask


def play(
    finalists: Sequence[Finalist],
    random_masks: Sequence[BoolArray],
    rows: Rows,
    *,
    seed: int,
    most_steps: int = STEPS,
    seconds: float = math.inf,
    recorded: Sequence[int] = (),
    fresh: Rows | None = None,
    row_loss: RowLoss = CROSS_ENTROPY,
) -> tuple[Playoff, BoolArray]:
    """Rank finalists; return their standings, and the mask (N,) of the winner.

    Parameters
    ----------
    finalists : sequence of Finalist
        Two or more with different masks.
    random_masks : sequence of ndarray of bool, shape (N,)
    rows : Rows
        Scaled training rows. Those of one entity stay in one fold.
    seed : int
    most_steps : int
        Of backprop in a round, but not below a few.
    seconds : float
        That it may take; a shorter time means fewer steps.
    recorded : sequence of int
        Steps of each round, in place of those that the time allows.
    fresh : Rows, optional
        Rows that no search has used, with weights and entities if the others have some.
    row_loss : RowLoss
        By which masks are compared.
    """
    load_kernels()
    began = time.monotonic()
    masks = [one.mask for one in finalists]
    rounds = MaskRounds(
        [*masks, *random_masks],
        rows,
        seed=seed,
        rounds=ROUNDS,
        most_steps=most_steps,
        seconds=seconds,
        recorded=recorded,
        fresh=fresh,
        row_loss=row_loss,
    )
    playing = list(range(len(rounds.masks)))
    for number in range(ROUNDS):
        rounds.train(playing, number)
        playing = sorted((place for place in playing if place < len(masks)), key=rounds.loss)
        playing = playing[: max(2, -(-len(playing) // 2))]
    # One more round than a rival counts: those that went out were behind on the rounds they had.
    order = sorted(range(len(masks)), key=lambda place: (-rounds.count(place), rounds.loss(place)))
    others = range(len(masks), len(rounds.masks))
    best = order[0]
    standings = tuple(
        Standing(
            finalists[place].name,
            rounds.loss(place),
            rounds.accuracy(place),
            *rounds.behind(place, best),
            rounds.count(place),
            tuple(np.flatnonzero(rounds.masks[place]).tolist()),
        )
        for place in order
    )
    lead, lead_error, is_random = _against_random(rounds, best, others)
    event = Playoff(
        finalists=standings,
        random_loss=float(np.mean([rounds.loss(place) for place in others])),
        random_accuracy=float(np.mean([rounds.accuracy(place) for place in others])),
        lead=lead,
        lead_error=lead_error,
        is_random=is_random,
        rows=len(rounds.targets),
        steps=tuple(rounds.steps[number] for number in range(ROUNDS)),
        seconds=time.monotonic() - began,
    )
    return event, rounds.masks[best]


def _against_random(rounds: MaskRounds, best: int, others: Sequence[int]) -> tuple[float, float, bool]:
    """Return the mean loss of random masks above that of the best one, its standard error, and whether the best is one of them."""
    change = np.mean([rounds.losses[place][0] for place in others], axis=0) - rounds.losses[best][0]
    lead, error = weighted_mean(change, rounds.share)
    if lead < ERRORS * error:
        return lead, error, True
    # The training rows would say so of noise that suits them.
    is_fresh, alone, fresh_error = rounds.is_fresh, 0.0, 1.0
    if is_fresh.sum() >= FRESH_ROWS:
        share = np.where(is_fresh, rounds.share, 0.0) / fresh_share_of(int(is_fresh.sum()))
        alone, fresh_error = weighted_mean(change, share)
    has_signal = alone >= ERRORS * fresh_error or _has_signal(
        rounds, padded_columns([rounds.masks[place] for place in others])
    )
    return lead, error, not has_signal


def _has_signal(rounds: MaskRounds, others: IntArray) -> bool:
    """Whether the n columns of the highest F on the rows outside of each fold do better than random masks (R, n) on the fold.

    A linear model compares them: what F tells of a column is linear too.
    """
    x, y, weights = rounds.features, rounds.targets, rounds.weights
    folds = balanced_folds(y, generator(rounds.seed, Stream.PLAYOFF, ROUNDS), rounds.entities)
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
