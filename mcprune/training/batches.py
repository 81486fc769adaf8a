"""Which rows train the classifier, which judge the candidates, and the evaluation batches drawn from the latter."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mcprune.methods.base import Batch
from mcprune.objectives.base import Rows
from mcprune.random import Stream, generator
from mcprune.types import Float32Array, FloatArray, IntArray

# Below so many training rows a classifier remembers them, and then they judge wrongly.
HELD_OUT_BELOW = 20_000
LAID_OUT = 4_096  # rows that are copied at a time


def judge_split(targets: IntArray, judge_on: str, share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Return the indices of the rows that train and of those that judge; both are all rows for `train`.

    For `held-out` a share of every class judges and never trains; a class keeps at least one training row.
    """
    rows = np.arange(len(targets))
    if judge_on == "train":
        return rows, rows
    draw = generator(seed, Stream.EVALUATION_SPLIT)
    judges = []
    for label in np.unique(targets):
        members = draw.permutation(rows[targets == label])
        judges.append(members[: min(members.size - 1, max(1, round(share * members.size)))])
    judging = np.sort(np.concatenate(judges))
    if not judging.size:  # one row a class: there is nothing to hold out
        return rows, rows
    return np.setdiff1d(rows, judging), judging


@dataclass
class OrderState:
    """Where in which epoch's order the batches are; updated in place.

    Attributes
    ----------
    draw : Generator
        As it was before the order of this epoch was drawn.
    place : int or None
        Rows of this epoch that are used; None before the first epoch.
    """

    draw: np.random.Generator
    place: int | None


class RowOrder:
    """Batches of row numbers, epoch after epoch, each epoch in a new order; what is left over at its end is left out.

    Parameters
    ----------
    rows, batch_size : int
        batch_size <= rows.
    device : torch.device
    """

    # The order of an epoch is drawn again from the state, where it is not the last one that was drawn.
    recomputed = ("_order", "_after", "_of")

    def __init__(self, rows: int, batch_size: int, device: torch.device) -> None:
        self.rows, self.batch_size, self._device = rows, batch_size, device
        self._order = torch.empty(0, dtype=torch.int64)
        self._after: Mapping[str, Any] = {}  # the generator's state behind the order
        self._of: Mapping[str, Any] = {}  # and before it

    def init(self, draw: np.random.Generator) -> OrderState:
        """Return the state before the first epoch, whose orders `draw` draws."""
        return OrderState(draw, None)

    def next(self, state: OrderState) -> torch.Tensor:
        """Return the row numbers (batch_size,) of the next batch."""
        if state.place is None or state.place + self.batch_size > self.rows:
            if state.place is not None:
                self._draw(state)
                state.draw.bit_generator.state = self._after
            state.place = 0
        self._draw(state)
        first, state.place = state.place, state.place + self.batch_size
        return self._order[first : first + self.batch_size]

    def _draw(self, state: OrderState) -> None:
        """Draw the order of the state's epoch, unless it is at hand."""
        before = state.draw.bit_generator.state
        if before == self._of:
            return
        draw = copy.deepcopy(state.draw)
        self._order = torch.from_numpy(draw.permutation(self.rows)).to(self._device)
        self._of, self._after = before, draw.bit_generator.state


@dataclass
class EvaluationState:
    """Where the evaluation batches are drawn; updated in place.

    Attributes
    ----------
    draw : Generator
        Of the places of the batches.
    before : Generator
        The same before the last batch was drawn.
    rows : int
        Of the last batch; 0 before the first.
    """

    draw: np.random.Generator
    before: np.random.Generator
    rows: int


class EvaluationRows:
    """Evaluation batches: slices of one shuffled copy, so that on a CPU a batch costs no copying.

    The copy is transposed, (N, rows): the rows of one input lie together, as the fused evaluator reads them. With `jitter`
    it carries normal noise of that deviation, the same for all batches: a classifier that remembers its rows does not remember
    these, so a mask is judged by what it tells of rows that are new. `rows` are the rows of `features`, `targets`, `weights` and
    `groups` that judge; by default all.
    """

    def __init__(
        self,
        features: Float32Array,
        targets: IntArray,
        *,
        device: torch.device,
        seed: int,
        rows: IntArray | None = None,
        jitter: float = 0.0,
        weights: FloatArray | None = None,
        groups: IntArray | None = None,
    ) -> None:
        rows = np.arange(len(targets)) if rows is None else rows
        order = rows[generator(seed, Stream.EVALUATION_ORDER).permutation(len(rows))]
        columns = np.empty((features.shape[1], len(order)), np.float32)
        for start in range(0, len(order), LAID_OUT):  # no second copy of all rows at any time
            columns[:, start : start + LAID_OUT] = features[order[start : start + LAID_OUT]].T
        if jitter:
            draw = generator(seed, Stream.EVALUATION_NOISE)
            for column in columns:
                column += np.float32(jitter) * draw.standard_normal(column.size, dtype=np.float32)
        self.features = torch.from_numpy(columns).to(device)
        self.targets = torch.from_numpy(targets[order]).to(device)
        self.told = [None if one is None else torch.from_numpy(one[order]).to(device) for one in (weights, groups)]
        self.seed = seed

    def init(self) -> EvaluationState:
        """Return the state before the first batch."""
        draws = [generator(self.seed, Stream.EVALUATION_BATCHES) for _ in range(2)]
        return EvaluationState(draws[0], draws[1], 0)

    def batch(self, state: EvaluationState, rows: int) -> Batch:
        """Return a slice of `rows` rows at a random place, or all if there are not more; the state is updated in place."""
        state.before.bit_generator.state = state.draw.bit_generator.state
        state.rows = rows
        total = len(self.targets)
        if rows >= total:
            return Batch(self.features.T, self.targets, self._rows(slice(None)))
        first = int(state.draw.integers(0, total - rows + 1))
        part = slice(first, first + rows)
        return Batch(self.features[:, part].T, self.targets[part], self._rows(part))

    def last(self, state: EvaluationState) -> Batch | None:
        """Return the last batch again; None before the first."""
        draw = copy.deepcopy(state.before)
        return self.batch(EvaluationState(draw, copy.deepcopy(draw), 0), state.rows) if state.rows else None

    def _rows(self, part: slice) -> Rows | None:
        weights, groups = (None if one is None else one[part] for one in self.told)
        return None if weights is None and groups is None else Rows(weights, groups)
