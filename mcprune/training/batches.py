"""Batches of training rows, and evaluation batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from mcprune.methods.base import Batch
from mcprune.objectives.base import Rows
from mcprune.random import Stream, generator
from mcprune.training.folds import Folds
from mcprune.types import AnyArray, Float32Array, FloatArray, IntArray

COPIED = 4_096  # rows at a time


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
        self._after: Mapping[str, object] = {}  # the state of the generator after the order was drawn
        self._of: Mapping[str, object] = {}  # and before

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
        self._order = torch.from_numpy(state.draw.permutation(self.rows)).to(self._device)
        self._of, self._after = before, state.draw.bit_generator.state
        state.draw.bit_generator.state = before  # a copy of the generator would take ten times as long


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
    targets : ndarray of int64, shape (all rows,), or of float32, shape (all rows, T)
    device : torch.device
    seed : int
    folds : Folds, optional
        Their evaluation rows are used; by default all rows. A batch holds the folds one after the other, each in proportion to its size.
    input_noise : float
        Standard deviation of normal noise on the copy, the same for all batches. A classifier may remember its training rows, but not
        these, so a mask is evaluated as on new rows.
    weights : ndarray of float64, shape (all rows,), optional
    groups : ndarray of int64, shape (all rows,), optional
        For objectives that compare groups of rows.
    with_inputs : bool
        The objective reads the inputs of the rows.
    """

    def __init__(
        self,
        features: Float32Array,
        targets: AnyArray,
        *,
        device: torch.device,
        seed: int,
        folds: Folds | None = None,
        input_noise: float = 0.0,
        weights: FloatArray | None = None,
        groups: IntArray | None = None,
        with_inputs: bool = False,
    ) -> None:
        self._with_inputs = with_inputs
        everything = np.arange(len(targets))
        self.folds = Folds((everything,), (everything,)) if folds is None else folds
        shuffle = generator(seed, Stream.EVALUATION_ORDER)
        order = np.concatenate([rows[shuffle.permutation(len(rows))] for rows in self.folds.evaluation])
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
        """Return `rows` rows, of each fold from a random place on, or all rows where there are not more.

        The state is updated in place. With a single fold nothing is copied.
        """
        state.before.bit_generator.state = state.draw.bit_generator.state
        state.rows = rows
        total = len(self.targets)
        if rows >= total:
            return Batch(self.features.T, self.targets, self._rows(slice(None)))
        sizes, starts = np.diff(self.folds.bounds(rows)).tolist(), self.folds.bounds(total).tolist()
        firsts = [
            start + int(state.draw.integers(0, end - start - size + 1))
            for (start, end), size in zip(pairwise(starts), sizes, strict=True)
        ]
        if len(sizes) == 1:
            part = slice(firsts[0], firsts[0] + rows)
            return Batch(self.features[:, part].T, self.targets[part], self._rows(part))
        places = [np.arange(first, first + size) for first, size in zip(firsts, sizes, strict=True)]
        chosen = torch.from_numpy(np.concatenate(places)).to(self.targets.device)
        return Batch(self.features[:, chosen].T, self.targets[chosen], self._rows(chosen))

    def last(self, state: EvaluationState) -> Batch | None:
        """Return the last batch again; None before the first."""
        draw = copy.deepcopy(state.before)
        return self.batch(EvaluationState(draw, copy.deepcopy(draw), 0), state.rows) if state.rows else None

    def _rows(self, part: slice | torch.Tensor) -> Rows | None:
        weights, groups = (None if one is None else one[part] for one in self._row_data)
        if self._with_inputs:
            return Rows(weights, groups, self.features[:, part].T)
        return None if weights is None and groups is None else Rows(weights, groups)
