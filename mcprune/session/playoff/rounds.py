"""MaskRounds of cross-validation on masks: losses of fresh classifiers row by row, paired between the masks."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from mcprune.data.prepare import Rows
from mcprune.objectives.losses import RowLoss
from mcprune.random import Stream, generator
from mcprune.training.cross_validation.out_of_fold import (
    LEAST_STEPS,
    MOST_ROWS,
    STEPS,
    STEPS_A_ROW,
    TIMED,
    balanced_folds,
    draw_batches,
    padded_columns,
    row_shares,
    score_out_of_fold,
)
from mcprune.training.metrics import weighted_mean
from mcprune.types import BoolArray, FloatArray

# A round takes no more steps than the search, and at least a few.
SHORTEST = 20
# Fewer rows where the columns of all masks together would have more values than this.
LEAST_ROWS, MOST_VALUES = 200, 2**26


class MaskRounds:
    """Masks, the rows that compare them, and what each mask lost on each row in each of its rounds.

    Parameters
    ----------
    masks : sequence of ndarray of bool, shape (N,)
    rows : Rows
        Scaled training rows.
    seed : int
    rounds : int
        Planned; they share the seconds.
    most_steps : int
        Of backprop in a round, but not below a few.
    seconds : float
        That all rounds may take; a shorter time means fewer steps.
    recorded : sequence of int
        Steps of each round, in place of those that the time allows.
    fresh : Rows, optional
        Rows that no search has used, with weights and entities if the others have some. They are a fold of their own.
    row_loss : RowLoss

    Attributes
    ----------
    features, targets, weights, entities, is_fresh : ndarray
        The rows that take part, and which of them are fresh.
    share : ndarray, shape (rows,)
        Of each row in a mean loss.
    losses, right : list of list of ndarray, shape (rows,)
        By mask and round: the losses of the rows, and whether the class is right.
    steps : dict of int to int
        Steps of backprop by round.
    """

    def __init__(
        self,
        masks: Sequence[BoolArray],
        rows: Rows,
        *,
        seed: int,
        rounds: int,
        most_steps: int,
        seconds: float,
        recorded: Sequence[int],
        fresh: Rows | None,
        row_loss: RowLoss,
    ) -> None:
        self.masks = masks
        self.seed, self.row_loss = seed, row_loss
        self._most_steps, self._seconds = most_steps, seconds / rounds
        self.steps = dict(enumerate(recorded))
        self.is_fresh = np.zeros(len(rows.targets), bool)
        self.features, self.targets, self.weights, self.entities = (
            rows.features,
            rows.targets,
            rows.weights,
            rows.entities,
        )
        if fresh is not None:
            self._add_fresh(fresh)
        columns = max(int(mask.sum()) for mask in masks)
        self._thin_out(min(MOST_ROWS, max(LEAST_ROWS, MOST_VALUES // max(1, len(masks) * columns))))
        self.share = row_shares(self.weights, self.is_fresh)
        self.losses: list[list[FloatArray]] = [[] for _ in masks]
        self.right: list[list[FloatArray]] = [[] for _ in masks]

    def train(self, places: Sequence[int], number: int) -> None:
        """Train and score fresh classifiers of some masks in a round: the folds, batches and initial values of a round are fixed."""
        began, draw = time.monotonic(), generator(self.seed, Stream.PLAYOFF, number)
        fold = balanced_folds(self.targets, draw, self.entities)
        fold[self.is_fresh] = fold.max() + 1
        steps = max(SHORTEST, min(STEPS, self._most_steps, max(LEAST_STEPS, int(STEPS_A_ROW * len(self.targets)))))
        batches = draw_batches(fold, self.weights, steps, draw)

        def pace(steps: int) -> int:
            if number in self.steps:
                return min(steps, self.steps[number])
            if self._seconds == math.inf:
                return steps
            return max(SHORTEST, min(steps, int(TIMED * self._seconds / max(time.monotonic() - began, 1e-9))))

        scores, self.steps[number] = score_out_of_fold(
            self.features,
            self.targets,
            padded_columns([self.masks[place] for place in places]),
            fold,
            batches,
            seed=int(draw.integers(2**31)),
            pace=pace,
            row_loss=self.row_loss,
        )
        for place, loss, is_right in zip(places, scores.losses, scores.is_right, strict=True):
            self.losses[place].append(loss)
            self.right[place].append(is_right)

    def count(self, place: int) -> int:
        """Return how many rounds a mask has been in."""
        return len(self.losses[place])

    def loss(self, place: int) -> float:
        """Return the mean loss of a mask over its rounds."""
        return float(self.share @ np.mean(self.losses[place], axis=0))

    def accuracy(self, place: int) -> float:
        """Return the share of the rows whose class is right, or R2."""
        return float(self.share @ np.mean(self.right[place], axis=0))

    def behind(self, place: int, best: int) -> tuple[float, float]:
        """Return the mean loss of a mask above that of another one in the rounds of both, and its standard error over the rows."""
        if place == best:
            return 0.0, 0.0
        both = min(self.count(place), self.count(best))
        change = np.mean(self.losses[place][:both], axis=0) - np.mean(self.losses[best][:both], axis=0)
        return weighted_mean(change, self.share)

    def _add_fresh(self, fresh: Rows) -> None:
        self.is_fresh = np.r_[self.is_fresh, np.ones(len(fresh.targets), bool)]
        self.features = np.concatenate([self.features, fresh.features])
        self.targets = np.concatenate([self.targets, fresh.targets])
        if self.weights is not None:
            assert fresh.weights is not None
            self.weights = np.r_[self.weights, fresh.weights]
        if self.entities is not None:
            assert fresh.entities is not None
            self.entities = np.r_[self.entities, fresh.entities]

    def _thin_out(self, most: int) -> None:
        """Draw as many rows as may take part, if there are more."""
        if len(self.targets) <= most:
            return
        draw = generator(self.seed, Stream.PLAYOFF_ROWS)
        rows = np.sort(draw.choice(len(self.targets), most, replace=False))
        self.features, self.targets, self.is_fresh = self.features[rows], self.targets[rows], self.is_fresh[rows]
        self.weights = None if self.weights is None else self.weights[rows]
        self.entities = None if self.entities is None else self.entities[rows]
