"""Training and evaluation rows: which rows are which, and their batches."""

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

COPIED = 4_096  # rows at a time


def split_evaluation_rows(targets: IntArray, eval_on: str, fraction: float, seed: int) -> tuple[IntArray, IntArray]:
    """Return the indices of the training rows and of the evaluation rows.

    Parameters
    ----------
    targets : ndarray of int64, shape (rows,)
    eval_on : str
        With `train` both are all rows. With `held-out` a share of each class is left out of training for the evaluation; at least one
        row of each class trains.
    fraction : float
        That share.
    seed : int
    """
    rows = np.arange(len(targets))
    if eval_on == "train":
        return rows, rows
    draw = generator(seed, Stream.EVALUATION_SPLIT)
    chosen = []
    for label in np.unique(targets):
        members = draw.permutation(rows[targets == label])
        chosen.append(members[: min(members.size - 1, max(1, round(fraction * members.size)))])
    evaluation = np.sort(np.concatenate(chosen))
    if not evaluation.size:  # one row a class: there is nothing to hold out
        return rows, rows
    return np.setdiff1d(rows, evaluation), evaluation


@dataclass
class OrderState:
    """The next batch of rows; updated in place.

    Attributes
    ----------
    draw : Generator
        Its state before the order of this epoch was drawn.
    place : int or None
        Rows of this epoch that were used; None before the first epoch.
    """

    draw: np.random.Generator
    place: int | None


class RowOrder:
    """Batches of row numbers, each epoch in a new order; rows that do not fill a batch at its end are left out.

    Parameters
    ----------
    rows, batch_size : int
        batch_size <= rows.
    device : torch.device
    """

    # The order of an epoch, which follows from the state.
    recomputed = ("_order", "_after", "_of")

    def __init__(self, rows: int, batch_size: int, device: torch.device) -> None:
        self.rows, self.batch_size, self._device = rows, batch_size, device
        self._order = torch.empty(0, dtype=torch.int64)
        self._after: Mapping[str, Any] = {}  # the state of the generator after the order was drawn
        self._of: Mapping[str, Any] = {}  # and before

    def init(self, draw: np.random.Generator) -> OrderState:
        """Return the state before the first epoch; `draw` draws the orders."""
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
        """Draw the order of the state's epoch, unless it was the last one drawn."""
        before = state.draw.bit_generator.state
        if before == self._of:
            return
        draw = copy.deepcopy(state.draw)
        self._order = torch.from_numpy(draw.permutation(self.rows)).to(self._device)
        self._of, self._after = before, draw.bit_generator.state


@dataclass
class EvaluationState:
    """The next and the last evaluation batch; updated in place.

    Attributes
    ----------
    draw : Generator
        Draws where the batches begin.
    before : Generator
        The same before the last batch was drawn.
    rows : int
        Rows of the last batch; 0 before the first.
    """

    draw: np.random.Generator
    before: np.random.Generator
    rows: int


class EvaluationRows:
    """Evaluation batches: slices of one shuffled copy, so that on a CPU a batch is not copied.

    The copy is transposed, (N, rows): the values of one input are contiguous, as the fused evaluator reads them.

    Parameters
    ----------
    features : ndarray of float32, shape (all rows, N)
    targets : ndarray of int64, shape (all rows,)
    device : torch.device
    seed : int
    rows : ndarray of int, optional
        The rows to evaluate on; by default all.
    input_noise : float
        Standard deviation of normal noise on the copy, the same for all batches. A classifier may remember its training rows, but not
        these, so a mask is evaluated as on new rows.
    weights : ndarray of float64, shape (all rows,), optional
    groups : ndarray of int64, shape (all rows,), optional
        For objectives that compare groups of rows.
    """

    def __init__(
        self,
        features: Float32Array,
        targets: IntArray,
        *,
        device: torch.device,
        seed: int,
        rows: IntArray | None = None,
        input_noise: float = 0.0,
        weights: FloatArray | None = None,
        groups: IntArray | None = None,
    ) -> None:
        rows = np.arange(len(targets)) if rows is None else rows
        order = rows[generator(seed, Stream.EVALUATION_ORDER).permutation(len(rows))]
        columns = np.empty((features.shape[1], len(order)), np.float32)
        for start in range(0, len(order), COPIED):  # in parts, so that there is no second copy of all rows
            columns[:, start : start + COPIED] = features[order[start : start + COPIED]].T
        if input_noise:
            draw = generator(seed, Stream.EVALUATION_NOISE)
            for column in columns:
                column += np.float32(input_noise) * draw.standard_normal(column.size, dtype=np.float32)
        self.features = torch.from_numpy(columns).to(device)
        self.targets = torch.from_numpy(targets[order]).to(device)
        self._row_data = [None if one is None else torch.from_numpy(one[order]).to(device) for one in (weights, groups)]
        self.seed = seed

    def init(self) -> EvaluationState:
        """Return the state before the first batch."""
        draws = [generator(self.seed, Stream.EVALUATION_BATCHES) for _ in range(2)]
        return EvaluationState(draws[0], draws[1], 0)

    def batch(self, state: EvaluationState, rows: int) -> Batch:
        """Return `rows` rows from a random place on, or all rows where there are not more; the state is updated in place."""
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
        weights, groups = (None if one is None else one[part] for one in self._row_data)
        return None if weights is None and groups is None else Rows(weights, groups)
