"""The suffix evaluator: what runs before a candidate's first changed site is computed once for all candidates.

The operations are those of the canonical evaluator, one candidate at a time, so on a CPU a batch that is run whole gives the same bits.
A batch whose activations are larger than the processor's caches is cut into parts, those with the highest losses first: a candidate
that cannot be accepted any more after some of them is rejected there. On request one that will hardly be accepted is, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.early_rejection import Seen, looks_of, quantile_of
from mcprune.evaluators.full import activation_width
from mcprune.evaluators.replay.calls import FEW
from mcprune.evaluators.replay.narrow_passes import NarrowReplay
from mcprune.evaluators.replay.narrow_trial import narrowed
from mcprune.evaluators.replay.passes import Replay
from mcprune.evaluators.replay.recording import Recording
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
# Number types in which recorded outputs may be stored, by the option's values.
STORES = {"same": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Places from which the position itself is run again on stored outputs, and the error in multiples of the largest change of its loss.
TRIED, WIDER = 3, 8.0
# A candidate must be above its limit by so many errors to be rejected before its last row.
CLEAR = 4.0


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
    store : "same", "bfloat16" or "float16"
        Number type in which recorded outputs are stored.

    Attributes
    ----------
    error : float
        0 for a batch that is run whole on a CPU, where the bits are those of the canonical evaluator. 1e-5 for one that is cut
        into parts, and 2e-5 on a GPU, where candidates are stacked: products of another size round differently. With a shorter
        number type it is measured at each `begin`: eight times the largest change of the position's own loss.

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

    name: str = "suffix"

    def __init__(
        self,
        gated: GatedModel,
        objective: Objective,
        *,
        max_memory: int = 2**30,
        stacks: bool | None = None,
        widest: int = WIDEST,
        early_reject: float | None = None,
        store: str = "same",
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
        self._quantile, self._store = quantile_of(early_reject), STORES[store]
        if store != "same":
            self.name = f"suffix-{store}"
        self._stacks = stacks
        # That of this batch: `_whole`, or `_narrow` where the batch is cut into parts.
        self._replay: Replay | None = None
        self._whole: Replay | None = None
        self._narrow: Replay | None = None
        self._is_narrow: bool | None = None  # whether layers can be narrow; None: not tried so far
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
        if self._whole is None:
            self._whole = Replay(self.gated, features)
        self._replay = self._whole
        self.features, self.targets, self.sharpness = features, targets, sharpness
        self.stacks = features.is_cuda if self._stacks is None else self._stacks
        # The rows of a stack share their weights.
        self.stacks = self.stacks and self._replay.can_stack and not self.gated.sites.weights
        gates = [gates_of(weights, sharpness) for weights in position]
        self._lay_out(self._tensor(gates[0]))
        if len(self.parts) > 1:
            self._replay = self._narrowed() or self._whole
        sizes = [group.size for group in self.gated.sites.groups]
        self.start = np.repeat(self._replay.starts, sizes)
        self._replay.limit(len(targets), self.max_memory // len(position), self._store)
        self._kept = [self._replay.keep(own) for own in gates]
        is_rounded = "stacks" if self.stacks or features.is_cuda else "parts" if len(self.parts) > 1 else ""
        self.error = ROUNDING.get(is_rounded, 0.0)
        self.recordings = [[Recording(self._store) for _ in self.parts] for _ in position]
        self._loss = np.empty(len(position))
        self._base: dict[int, list[torch.Tensor]] = {}  # what each row of each part adds to a replica's loss
        for replica, own in enumerate(gates):
            self._record(replica, 0, own)
        if self._store is not None:
            self.error = max(self.error, WIDER * self._stored_error(gates[0]))

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
                        own = self.recordings[replica]
                        self.replay.use(
                            self._kept[replica], sites=sites, gates=(base, gates[0]), start=start, recordings=own
                        )
                        out[replica, few] = self._evaluate(replica, start, self._tensor(gates[0]), limit)
        return out

    @torch.no_grad()
    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`: what runs from the first changed site on is computed again."""
        for replica in np.flatnonzero(index >= 0).tolist():
            k = int(index[replica])
            if moves.size[replica, k]:
                gates = gates_of(position[replica], self.sharpness)
                sites = moves.sites[replica, k, : moves.size[replica, k]]
                self._kept[replica] = self.replay.keep(gates, self._kept[replica], sites)
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

    def _narrowed(self) -> Replay | None:
        """Return the replay of the model without what is dropped; None where that is not shown to be equal."""
        if self._is_narrow is None:
            with contextlib.suppress(ModelError):
                narrow = narrowed(self.gated, self.features[:FEW])
                self._narrow = None if narrow is None else NarrowReplay(self.gated, narrow, self.features)
            self._is_narrow = self._narrow is not None
        return self._narrow

    def _record(self, replica: int, start: int, gates: Float32Array) -> None:
        """Compute a replica's outputs from a start on at its own gates, and record what its calls return."""
        own = self._tensor(gates)
        with evaluating(self.gated.model), self.replay.attached():
            self.replay.use(self._kept[replica])
            outputs = [
                self.replay.run(recording, own, rows, start, records=True)
                for recording, rows in zip(self.recordings[replica], self.parts, strict=True)
            ]
        self._loss[replica] = self._whole_loss(outputs)
        if self._looks and self._order is not None:
            pairs = zip(outputs, self._rows, strict=True)
            self._base[replica] = [self._row_losses(logits, rows) for logits, rows in pairs]

    def _stored_error(self, gates: Float32Array) -> float:
        """Return the largest change of the first replica's loss, relative to max(1, loss), where it is run on stored outputs."""
        starts = np.unique(self.start)
        own, changes = self._tensor(gates), [0.0]
        with evaluating(self.gated.model), self.replay.attached():
            self.replay.use(self._kept[0])
            for place in np.unique(np.linspace(0, len(starts) - 1, TRIED).round().astype(int)):
                start, pairs = int(starts[place]), zip(self.recordings[0], self.parts, strict=True)
                loss = self._whole_loss([self.replay.run(recording, own, rows, start) for recording, rows in pairs])
                changes.append(abs(loss - self._loss[0]) / max(1.0, abs(self._loss[0])))
        return max(changes)

    def _whole_loss(self, outputs: list[torch.Tensor]) -> float:
        """Return the loss from the outputs of all parts."""
        logits = outputs[0] if self._order is None else torch.cat(outputs)[self._place]
        return float(self.objective.losses(logits[None], self.targets)[0])

    def _evaluate(self, replica: int, start: int, gates: torch.Tensor, limit: float) -> float:
        """Return L_cla of a candidate, or a number above its limit."""
        outputs: list[torch.Tensor] = []
        loss, seen = 0.0, Seen()
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
                seen = seen.passed(losses - self._base[replica][number], len(self.targets))
                room = limit - self._loss[replica]
                if seen.rows in self._looks and seen.is_hopeless(len(self.targets), room, self._quantile):
                    return float(self._loss[replica] + seen.drift / seen.rows)
        return self._whole_loss(outputs)

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
        each = sum(self.replay.bytes(len(self.targets), self._store).values())
        floats = 2 * self.features.numel() + len(self.targets) * (sites + activation_width(self.gated, self.features))
        return max(1, self.max_memory // max(4 * floats + each, 1))


def _slices(bounds: list[int], most: int) -> Iterator[slice]:
    """Give the rows of each part: those between two bounds, in parts of about the same size of at most `most` rows."""
    for first, last in pairwise(bounds):
        inner = np.linspace(first, last, -(-(last - first) // most) + 1).round().astype(int).tolist()
        yield from (slice(one, other) for one, other in pairwise(inner))
