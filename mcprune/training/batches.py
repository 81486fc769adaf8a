"""Which rows train the classifier, which judge the candidates, and the evaluation batches drawn from the latter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mcprune.methods.base import Batch
from mcprune.objectives.base import Rows
from mcprune.random import Stream, generator
from mcprune.state import alike
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


class RowOrder:
    """Batches of row numbers, epoch after epoch, each epoch in a new order; what is over at its end is left out.

    Parameters
    ----------
    rows, batch_size : int
        batch_size <= rows.
    draw : Generator
        Draws the orders; nobody else's.
    device : torch.device
    """

    def __init__(self, rows: int, batch_size: int, draw: np.random.Generator, device: torch.device) -> None:
        self.rows, self.batch_size = rows, batch_size
        self._draw, self._device = draw, device
        self._drawn_from: Mapping[str, Any] | None = None  # the generator's state in front of the epoch's order
        self._order = torch.empty(0, dtype=torch.int64)
        self._place = rows

    def next(self) -> torch.Tensor:
        """Return the row numbers (batch_size,) of the next batch."""
        if self._place + self.batch_size > self.rows:
            self._drawn_from = self._draw.bit_generator.state
            self._order = torch.from_numpy(self._draw.permutation(self.rows)).to(self._device)
            self._place = 0
        first = self._place
        self._place += self.batch_size
        return self._order[first : first + self.batch_size]

    def save(self) -> dict[str, Any]:
        """Return where it stands: what the epoch's order was drawn from, and how far it is used."""
        drawn_from = None if self._drawn_from is None else dict(self._drawn_from)
        return {"drawn_from": drawn_from, "place": self._place, "rows": self.rows}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `save` gave; ValueError where it was of another number of rows."""
        if saved["rows"] != self.rows:
            raise ValueError(f"{saved['rows']:,} rows trained, not {self.rows:,}")
        if saved["drawn_from"] is not None:
            self._draw.bit_generator.state = saved["drawn_from"]
            self._place = self.rows
            self.next()
            self._place = alike(saved["place"], 0, "place")


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
        self._draw = generator(seed, Stream.EVALUATION_BATCHES)

    def save(self) -> dict[str, Any]:
        """Return the state of the stream that draws the places of the batches."""
        return {"draw": self._draw.bit_generator.state, "rows": len(self.targets)}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `save` gave; ValueError where it was of another number of rows."""
        if saved["rows"] != len(self.targets):
            raise ValueError(f"{saved['rows']:,} rows judged, not {len(self.targets):,}")
        self._draw.bit_generator.state = saved["draw"]

    def batch(self, rows: int) -> Batch:
        """Return a slice of `rows` rows at a random place, or all if there are not more."""
        total = len(self.targets)
        if rows >= total:
            return Batch(self.features.T, self.targets, self._rows(slice(None)))
        first = int(self._draw.integers(0, total - rows + 1))
        part = slice(first, first + rows)
        return Batch(self.features[:, part].T, self.targets[part], self._rows(part))

    def _rows(self, part: slice) -> Rows | None:
        weights, groups = (None if one is None else one[part] for one in self.told)
        return None if weights is None and groups is None else Rows(weights, groups)
