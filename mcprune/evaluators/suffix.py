"""The suffix evaluator: what runs before a candidate's first changed site is computed once for all candidates.

The operations are those of the canonical evaluator, one candidate at a time, so on a CPU a batch that is run whole gives the same bits.
A batch whose activations are larger than the processor's caches is cut into parts, those with the highest losses first: a candidate
that cannot be accepted any more after some of them is rejected there. On request one that will hardly be accepted is, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.compiled import mlp_kernels
from mcprune.evaluators.early_rejection import looks_of, quantile_of
from mcprune.evaluators.full import activation_width
from mcprune.evaluators.replay import Recording, Replay
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective
from mcprune.objectives.classification import CrossEntropy
from mcprune.objectives.losses import MeanLoss, RowLoss, loss_of
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, FloatArray

# Numbers in the widest output of a part of the rows: 2 MB, about a core's second cache.
WIDEST = 2**19
# A part has so many rows at least: fewer cost their calls, not their products.
FEWEST = 16
# Parts of a batch, and passes over stacked candidates, round otherwise than the batch by itself.
ROUNDING = {"parts": 1e-5, "stacks": 2e-5}
# A candidate must be above its limit by so many errors to be rejected before its last row.
CLEAR = 4.0


class _Seen(NamedTuple):
    """Sums over the rows that a candidate has passed: of the changes of their losses, of the squares, and how many rows."""

    drift: float = 0.0
    spread: float = 0.0
    rows: int = 0


class SuffixEvaluator:
    """Start each candidate at the first call that it changes; for any model that calls modules, and any objective, on CPU or GPU.

    Parameters
    ----------
    gated : GatedModel
        The calls that end before the sites act are replayed: of a chain of layers those before a layer, of a transformer the
        blocks before a block, and within it what runs before the sites. Candidates that change inputs run whole, as in `full`.
    objective : Objective
    max_memory : int
        Bytes for the recorded outputs of all replicas; what does not fit is computed again. On a GPU also for the stacked
        activations of the candidates of one chunk.
    stacks : bool, optional
        Whether to evaluate candidates that start at the same call as one batch; by default on a GPU only.
    widest : int
        Numbers in the widest output of a part of the rows; a batch of at most two parts is run whole.
    early_reject : float, optional
        Probability of rejecting a candidate early that the whole batch would accept, as for `FusedEvaluator`; rows stay in their
        order. None: a candidate is rejected early only where this is certain.

    Attributes
    ----------
    error : float
        0 for a batch that is run whole on a CPU, where the bits are those of the canonical evaluator. 1e-5 for one that is cut
        into parts, and 2e-5 on a GPU, where candidates are stacked: products of another size round differently.

    Raises
    ------
    ModelError
        At the first `begin`: the model cannot be replayed; the message says why. With `early_reject`: the objective is no mean over
        rows.

    Notes
    -----
    A batch is not cut where rows depend on each other (batch-norm without running statistics), which the first `begin` tries.
    A candidate with a limit is rejected early where the objective is a mean of losses of rows that are not negative, and its loss
    would be above the limit even with a loss of 0 on all rows to come: no decision changes. Not tested on a GPU so far.
    """

    name = "suffix"

    def __init__(
        self,
        gated: GatedModel,
        objective: Objective,
        *,
        max_memory: int = 2**30,
        stacks: bool | None = None,
        widest: int = WIDEST,
        early_reject: float | None = None,
    ) -> None:
        self.gated, self.objective, self.max_memory, self.widest = gated, objective, max_memory, widest
        self.error, self.early_reject = 0.0, early_reject
        loss = loss_of(objective)
        is_mean = isinstance(objective, CrossEntropy | MeanLoss)
        self._is_bounded = is_mean and objective.lower_bound is not None and objective.lower_bound >= 0.0
        self._row_loss: RowLoss | None = loss if self._is_bounded or (is_mean and early_reject is not None) else None
        if early_reject is not None and self._row_loss is None:
            raise ModelError(
                f"the objective {objective.name!r} is no mean over rows, so some of them say nothing of all"
            )
        self._quantile = quantile_of(early_reject)
        self._stacks = stacks
        self._replay: Replay | None = None
        self._can_cut: bool | None = None
        self._cut: torch.Tensor | None = None  # the features that the parts belong to

    @property
    def replay(self) -> Replay:
        """What is replayed, after the first `begin`."""
        assert self._replay is not None
        return self._replay

    @torch.no_grad()
    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        if self._replay is None:
            self._replay = Replay(self.gated, features)
            groups = zip(self.gated.sites.groups, self._replay.starts, strict=True)
            self.start = np.concatenate([np.full(group.size, start) for group, start in groups])
        self.features, self.targets, self.sharpness = features, targets, sharpness
        self.stacks = features.is_cuda if self._stacks is None else self._stacks
        # The rows of a stack share their weights.
        self.stacks = self.stacks and self._replay.can_stack and not self.gated.sites.weights
        self._replay.limit(len(targets), self.max_memory // len(position))
        gates = [self._tensor(gates_of(weights, sharpness)) for weights in position]
        self._lay_out(gates[0])
        is_rounded = "stacks" if self.stacks or features.is_cuda else "parts" if len(self.parts) > 1 else ""
        self.error = ROUNDING.get(is_rounded, 0.0)
        self.recordings = [[Recording() for _ in self.parts] for _ in position]
        self._loss = np.empty(len(position))
        self._base: dict[int, list[torch.Tensor]] = {}  # what each row of each part adds to a replica's loss
        for replica, own in enumerate(gates):
            self._record(replica, 0, own)

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return self._loss.copy()

    @torch.no_grad()
    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`. The loss of a candidate that is rejected early is that of a part of its rows, above its limit."""
        out = np.full(moves.size.shape, np.nan)
        with evaluating(self.gated.model), self.replay.attached():
            for replica in range(moves.size.shape[0]):
                base = gates_of(state.position[replica], self.sharpness)
                for start, few in self._by_start(moves, replica):
                    gates = np.repeat(base[None], few.size, axis=0)
                    for row, k in enumerate(few):
                        sites = moves.sites[replica, k, : moves.size[replica, k]]
                        gates[row, sites] = gates_of(moves.weights[replica, k, : sites.size], self.sharpness)
                    if few.size > 1:
                        out[replica, few] = self._stack(replica, start, gates)
                    else:
                        limit = np.inf if limits is None else float(limits[replica, few[0]])
                        out[replica, few] = self._evaluate(replica, start, self._tensor(gates[0]), limit)
        return out

    @torch.no_grad()
    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`: what runs from the first changed site on is computed again."""
        for replica in np.flatnonzero(index >= 0).tolist():
            k = int(index[replica])
            if moves.size[replica, k]:
                gates = self._tensor(gates_of(position[replica], self.sharpness))
                self._record(replica, self._first(moves, replica, k), gates)

    def _by_start(self, moves: Moves, replica: int) -> Iterator[tuple[int, np.ndarray]]:
        """Give the candidates of a replica that change something, those that start at the same call together as far as they are stacked."""
        changed = np.flatnonzero(moves.size[replica] > 0)
        first = np.array([self._first(moves, replica, int(k)) for k in changed], np.int64)
        chunk = self._chunk(moves.sites.shape[2]) if self.stacks else 1
        for start in np.unique(first).tolist():
            part = changed[first == start]
            for begin in range(0, part.size, chunk):
                yield start, part[begin : begin + chunk]

    def _first(self, moves: Moves, replica: int, k: int) -> int:
        return int(self.start[moves.sites[replica, k, : moves.size[replica, k]]].min())

    def _tensor(self, gates: Float32Array) -> torch.Tensor:
        return torch.from_numpy(gates).to(self.features)

    def _lay_out(self, gates: torch.Tensor) -> None:
        """Cut the batch into parts, the rows with the highest losses first, or leave it whole."""
        rows = len(self.targets)
        most = max(FEWEST, self.widest // max(1, self.replay.width))
        self._looks = looks_of(self.early_reject, rows)
        is_short = rows <= 2 * most and not self._looks
        if self._can_cut is False or self.stacks or self.features.is_cuda or is_short:
            self._order, self.parts, self._cut = None, [self.features], None
            return
        if self.features is not self._cut:
            cut = list(_slices([0, *self._looks, rows], most))
            with evaluating(self.gated.model):
                logits = self._in_parts(cut, gates)
            if logits is None:
                self._can_cut = False
                self._lay_out(gates)
                return
            order = torch.arange(rows)
            if self.early_reject is None and self._row_loss is not None:
                order = torch.argsort(self._row_losses(logits, order), descending=True, stable=True)
            self._order, self._cut = order, self.features
            self._rows = [order[part] for part in cut]
            self.parts = [self.features[part] for part in self._rows]
        assert self._order is not None
        self._place = torch.empty_like(self._order)
        self._place[self._order] = torch.arange(rows)

    def _in_parts(self, cut: list[slice], gates: torch.Tensor) -> torch.Tensor | None:
        """Return the outputs of the batch, computed in parts; None where that changes them."""
        try:
            logits = torch.cat([self.gated(self.features[part], gates) for part in cut])
        except Exception:
            if self._can_cut:
                raise
            return None  # a model for batches of one size
        if self._can_cut is None:
            whole = self.gated(self.features, gates)
            if not torch.allclose(logits, whole, rtol=1e-4, atol=1e-4, equal_nan=True):
                return None
            self._can_cut = True
        return logits

    def _record(self, replica: int, start: int, gates: torch.Tensor) -> None:
        """Compute a replica's outputs from a start on at its own gates, and record what its calls return."""
        with evaluating(self.gated.model), self.replay.attached():
            outputs = [
                self.replay.run(recording, gates, rows, start, records=True)
                for recording, rows in zip(self.recordings[replica], self.parts, strict=True)
            ]
        self._loss[replica] = self._whole_loss(outputs)
        if self._looks and self._order is not None:
            pairs = zip(outputs, self._rows, strict=True)
            self._base[replica] = [self._row_losses(logits, rows) for logits, rows in pairs]

    def _whole_loss(self, outputs: list[torch.Tensor]) -> float:
        """Return the loss from the outputs of all parts."""
        logits = outputs[0] if self._order is None else torch.cat(outputs)[self._place]
        return float(self.objective.losses(logits[None], self.targets)[0])

    def _evaluate(self, replica: int, start: int, gates: torch.Tensor, limit: float) -> float:
        """Return L_cla of a candidate, or a number above its limit."""
        outputs: list[torch.Tensor] = []
        loss, seen = 0.0, _Seen()
        can_reject = np.isfinite(limit) and self._row_loss is not None and self._order is not None
        bound = limit + CLEAR * self.error * max(1.0, abs(limit))
        for number, (recording, rows) in enumerate(zip(self.recordings[replica], self.parts, strict=True)):
            outputs.append(self.replay.run(recording, gates, rows, start))
            if not can_reject:
                continue
            losses = self._row_losses(outputs[-1], self._rows[number])
            loss += float(losses.sum())
            if self._is_bounded and loss > bound:
                return loss
            if self._looks:
                seen = self._passed(seen, losses - self._base[replica][number])
                if seen.rows in self._looks and self._is_hopeless(seen, limit - self._loss[replica]):
                    return float(self._loss[replica] + seen.drift / seen.rows)
        return self._whole_loss(outputs)

    def _passed(self, seen: _Seen, changes: torch.Tensor) -> _Seen:
        """Return the sums with the rows of one more part, whose changes of what they add to the loss (B,) are given."""
        of_rows = changes * len(self.targets)  # the mean of all rows is the change of the loss
        sums = float(of_rows.sum()), float((of_rows * of_rows).sum())
        return _Seen(seen.drift + sums[0], seen.spread + sums[1], seen.rows + len(changes))

    def _is_hopeless(self, seen: _Seen, room: float) -> bool:
        rows, total = seen.rows, len(self.targets)
        return bool(mlp_kernels.is_hopeless(seen.drift, seen.spread, rows, total, room, self._quantile))

    def _row_losses(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return what rows add to the loss of the batch."""
        assert self._row_loss is not None
        losses: torch.Tensor = self._row_loss.rows(logits, self.targets[rows]).double()
        weights = getattr(self.objective, "weights", None)
        return (
            losses / len(self.targets)
            if weights is None
            else losses * (weights.double() / weights.double().sum())[rows]
        )

    def _stack(self, replica: int, start: int, gates: Float32Array) -> FloatArray:
        """Return L_cla of candidates (K, N) that start at the same call, run as one batch."""
        count, rows = len(gates), len(self.targets)
        stacked = self.features.repeat(count, *([1] * (self.features.dim() - 1)))
        spread = self._tensor(gates).repeat_interleave(rows, dim=0)
        logits = self.replay.run(self.recordings[replica][0], spread, stacked, start, copies=count)
        return self.objective.losses(logits.reshape(count, rows, *logits.shape[1:]), self.targets)

    def _chunk(self, sites: int) -> int:
        """Return how many candidates fit in `max_memory`, judged by what a row's outputs take together."""
        each = sum(self.replay.bytes(len(self.targets)).values())
        floats = 2 * self.features.numel() + len(self.targets) * (sites + activation_width(self.gated, self.features))
        return max(1, self.max_memory // max(4 * floats + each, 1))


def _slices(bounds: list[int], most: int) -> Iterator[slice]:
    """Give the rows of each part: those between two bounds, in parts of about the same size of at most `most` rows."""
    for first, last in pairwise(bounds):
        inner = np.linspace(first, last, -(-(last - first) // most) + 1).round().astype(int).tolist()
        yield from (slice(one, other) for one, other in pairwise(inner))
