"""The parts and the state of a search, and what is measured between two blocks."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mcprune.methods.base import AnyMethod, BlockInfo
from mcprune.methods.columns import without_constants
from mcprune.session.build.plan import Plan
from mcprune.session.finish.mask_costs import mask_costs
from mcprune.session.guard import Guard
from mcprune.session.search_parts import adapted_event, coded, near_hard, refined_event
from mcprune.session.search_state import Reported, SearchState
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.knobs import Knobs
from mcprune.session.time_budget import Pace
from mcprune.session.validation import Validation
from mcprune.state import Saved, serialize
from mcprune.storage.events import Event, Hardened, Note, Progress, Refined
from mcprune.training.batches import EvaluationRows
from mcprune.training.stack import ClassifierStack
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

FEW = 0.1  # of the planned blocks: a note says that a search of fewer is too short
GRID = 1000  # steps in which the end of the fall of n(t) is looked for


class SearchStatus:
    """The parts of a search; all that changes is in its state.

    Parameters
    ----------
    plan : Plan
    method : Method
    trainer : ClassifierStack
    rows : EvaluationRows
    pace : Pace
    state : SearchState
    controller : Controller
        Changes the knobs.
    guard : Guard
        Remembers the best mask on the validation rows.

    Attributes
    ----------
    began : float
        When the run began, by time.monotonic.
    is_between : bool
        The search is between two blocks, where its state can be resumed.
    is_stopping : bool
        A signal has come.
    knobs : Knobs
    mask : ndarray of bool, shape (N,), or None
        The mask of the result; None before it is hardened.
    final_gates : ndarray of float32, shape (N,)
        The gates after that.
    refined : Refined or None
        The comparison with the mask that was refined, after that.
    """

    def __init__(
        self,
        plan: Plan,
        method: AnyMethod,
        trainer: ClassifierStack,
        rows: EvaluationRows,
        pace: Pace,
        state: SearchState,
        controller: Controller,
        guard: Guard,
    ) -> None:
        self.controller, self.guard = controller, guard
        self.plan, self.method, self.state = plan, method, state
        self.trainer, self.rows, self.pace = trainer, rows, pace
        self.validation = Validation(plan)
        self.began = 0.0
        self.is_between = False
        self.is_stopping = False
        self.knobs = Knobs(plan, method, state)
        self._reported = Reported()  # as of the end of the last block, before its report
        self._times: deque[float] = deque(maxlen=31)  # seconds of the last blocks
        # The first block of a process compiles the engine, so its time tells nothing of the others.
        self._is_compiled = False
        self.mask: BoolArray | None = None
        self.final_gates: Float32Array = np.empty(0, np.float32)
        self.refined: Refined | None = None

    @property
    def blocks_done(self) -> int:
        """Blocks that are done."""
        return self.state.blocks_done

    @property
    def planned_blocks(self) -> int:
        """Blocks that are planned now."""
        return self.pace.blocks

    @property
    def proposals(self) -> int:
        """Proposals consumed by all replicas."""
        return self.state.totals.proposals

    @property
    def is_over(self) -> bool:
        """Whether the search has ended, as planned or before; an interrupt does not count."""
        return self.blocks_done >= self.pace.blocks or bool(self.state.end_reason)

    @property
    def is_falling(self) -> bool:
        """Whether the budget, n(t) or cost(t), is still falling."""
        now, end = (self.pace.progress(block) for block in (self.blocks_done, self.pace.blocks))
        return self.method.is_falling(now, end)

    @property
    def block_seconds(self) -> float:
        """The usual time of a block; 0 before the first one."""
        return self.state.clock.block

    @property
    def may_play(self) -> bool:
        """Whether several finalists would be compared."""
        return not self.is_stopping and self.plan.facts.kinds == {"inputs"} and self.plan.is_plain_objective

    @property
    def _has_chains_left(self) -> bool:
        """Whether another chain is still to start."""
        return self.pace.progress(self.blocks_done) < max(self.plan.chain.start_shares, default=0.0)

    def blocks_to_fall(self, within: int) -> int:
        """Return how many blocks to plan in all so that the budget comes down to its end within so many blocks from now on."""
        done = self.blocks_done
        now = self.pace.progress(done)
        ahead = (now + (1.0 - now) * step / GRID for step in range(GRID + 1))
        end = next((share for share in ahead if not self.method.is_falling(share, 1.0)), 1.0)
        share = (end - now) / (1.0 - now) if now < 1.0 else 0.0
        return done + (max(1, math.floor(within / share)) if share > 0.0 else self.pace.blocks - done)

    @property
    def evaluator_name(self) -> str | None:
        """The evaluator of the candidates; None where there are none."""
        return self.method.description()["evaluator"] if self.method.uses_blocks else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the seconds to the end of the search; None until two blocks were timed after the first of the process."""
        if not self._is_compiled or len(self._times) < 2:
            return None
        return self.state.clock.block * (self.pace.blocks - self.blocks_done)

    def _time_block(self, seconds: float) -> None:
        """Record the time of a block; the usual time is the median of the last blocks."""
        if self._times and not self._is_compiled:
            self._times.clear()
            self._is_compiled = True
        self._times.append(seconds)
        self.state.clock.block = sorted(self._times)[len(self._times) // 2]

    def _batch_rows(self, progress: float) -> int:
        """Return the number of evaluation rows of the next block."""
        if self.knobs.rows is not None:
            return self.knobs.rows
        evaluation = self.plan.evaluation
        return evaluation.early_rows if progress < evaluation.falls_until else evaluation.rows

    def save(self) -> Saved:
        """Return a copy of the state; valid between two blocks only."""
        self.state.clock.total = time.monotonic() - self.began
        saved: Saved = serialize(self.state)
        return saved

    def discard_report(self) -> None:
        """Return to the end of the last block, before its report."""
        self.state.reported = replace(self._reported)

    def position(self) -> FloatArray:
        """Return the pruner weights, shape (N,)."""
        return self.method.position(self.state.method)

    def training_gates(self) -> Float32Array:
        """Return the gates (N,) under which the classifier is trained now."""
        return self.method.training_gates(self.state.method)

    def accuracies(self) -> tuple[float | None, float | None]:
        """Return the validation accuracy of the sites with a positive weight, and that of exactly n sites.

        The second takes the n largest weights on the gradient path. It is None while a method keeps more than n sites and does not rank
        them.
        """
        position, keep = self.position(), self.plan.keep
        now = self.validation.accuracy(position > 0)
        if not self.plan.space.is_count:
            return now, now if self.is_within() else None
        if self.plan.space.counted(position > 0) == keep:
            return now, now
        if not self.method.ranks_sites:
            return now, None
        return now, self.validation.accuracy(self.plan.space.enforce(position))

    def is_within(self) -> bool:
        """Return whether the kept sites are within the budget."""
        return self.plan.space.is_within(self.position() > 0)

    def settled(self, mask: BoolArray) -> BoolArray:
        """Return the mask (N,) of the result: never worse than the mask that it refines, or else without needless constants."""
        start = self.method.refined()
        if start is None:
            return self.without_constants(mask)
        batch = self.rows.batch(self.state.evaluation, len(self.rows.targets))
        masks = np.stack([start, mask])
        self.refined = refined_event(masks, self.method.mask_losses(self.state.method, batch, masks), batch)
        if self.refined.exchanged:
            return mask
        self.method.adopt(self.state.method, start)
        return start.copy()

    def without_constants(self, mask: BoolArray) -> BoolArray:
        """Return a mask (N,) with columns that vary in place of constants; the method adopts it where it differs."""
        plan = self.plan
        is_trained = plan.is_users_model or plan.train.is_frozen
        rows = plan.splits.train.features
        varied = without_constants(mask, self.position(), plan.space, rows, only_zeros=is_trained)
        if varied is not mask:
            self.method.adopt(self.state.method, varied)
        return varied

    def last_crossed(self) -> IntArray:
        """Return the training step (N,) after which each gate last crossed one half; 0 for never."""
        crossed = self.method.crossed(self.state.method)
        return self.state.crossings.last if crossed is None else crossed

    def forwards(self) -> int:
        """Return the work of the search in rows that went forward through the classifier; a row of backprop counts as three.

        A candidate counts all rows of its evaluation batch, though an evaluator may compute less.
        """
        return (
            3 * self.state.trainer.steps * self.trainer.step_rows
            + self.state.totals.evaluated_rows
            + self.plan.spent_forwards
            + self.method.forwards(self.state.method)
        )

    def cost(self) -> float:
        """Return the work of the search in rows that went through backprop; a forward pass counts as a third of one."""
        rows = min(self.plan.evaluation.rows, len(self.rows.targets))
        return self.state.trainer.steps * self.trainer.step_rows + self.state.totals.decisions * rows / 3 / 8

    def progress_event(self, info: BlockInfo, since: Reported, *, is_look: bool, is_shown: bool) -> Progress:
        """Return the event after the last block.

        Parameters
        ----------
        info : BlockInfo
            Of the last block.
        since : Reported
            The time since the last such event.
        is_look, is_shown : bool
            Whether validation accuracies are measured, and the gates are included.
        """
        on_validation, at_n = self.accuracies() if is_look else (None, None)
        plan, blocks, totals = self.plan, self.pace.blocks, self.state.totals
        gates = plan.shown.of(self.training_gates())
        return Progress(
            block=self.blocks_done,
            blocks=blocks,
            epoch=plan.train.epochs * self.blocks_done / plan.train.blocks,
            epochs=math.ceil(plan.train.epochs * blocks / plan.train.blocks),
            loss=info.loss,
            classification_loss=info.cla,
            selection_loss=info.sel,
            rejection_loss=info.rej,
            alpha=info.alpha,
            schedule_lambda=info.strength,
            delta=info.delta,
            temperature=info.temperature,
            gate_sum=info.gate_sum,
            near_hard=near_hard(gates),
            kept=info.kept,
            target=info.target,
            costs=info.costs,
            cost_targets=info.cost_targets,
            proposals=totals.proposals,
            decisions=totals.decisions,
            accepted=totals.accepted,
            acceptance=since.accepted / since.decisions if since.decisions else None,
            moves=totals.by_move(),
            nonfinite=totals.nonfinite,
            null_moves=totals.null_moves,
            rejected_by_bound=totals.rejected_by_bound,
            rejected_by_cost=totals.rejected_by_cost,
            adapted=adapted_event(info.adapted),
            decisions_per_second=info.decisions / max(self.state.clock.block, 1e-9),
            forwards=self.forwards(),
            validation_accuracy=on_validation,
            validation_at_n=at_n,
            validation_objective=self.validation.objective(self.position() > 0) if is_look else None,
            gates=coded(gates) if is_shown else None,
            seconds=time.monotonic() - self.began,
            seconds_left=self.seconds_left,
        )

    def hardened_event(self, mask: BoolArray, gates: Float32Array, kept: int) -> Hardened:
        """Return the event of the mask of the result, after the method has finished.

        Parameters
        ----------
        mask : ndarray of bool, shape (N,)
        gates, kept : ndarray of float32, shape (N,), and int
            Before that.
        """
        shown, count = self.plan.shown, self.plan.shown.count(mask)
        gate_sum = float(shown.of(gates).astype(np.float64).sum())
        return Hardened(
            kept=count,
            n_sites=shown.size,
            gate_sum=gate_sum,
            gate_sum_error=abs(gate_sum - count),
            costs=mask_costs(self.plan, mask),
            kept_before=kept,
            near_hard=near_hard(shown.of(gates)),
            last_crossed=tuple(shown.of(self.last_crossed()).tolist()),
            steps=self.state.trainer.steps,
            forwards=self.forwards(),
            validation_accuracy=self.validation.accuracy(mask),
            validation_objective=self.validation.objective(mask),
            evaluator_error=self.method.evaluator_error(self.state.method),
        )

    def notes(self) -> Iterator[Event]:
        """Yield notes on a time that was far too short, and on knobs that were changed at a temperature."""
        if self.pace.blocks < FEW * self.plan.train.blocks:
            option = "--max-time" if math.isfinite(self.plan.runtime.max_time) else "--search-time"
            yield Note(
                f"Only {self.pace.blocks:,} of {self.plan.train.blocks:,} blocks fitted into {option}, too few for a good mask. Give more "
                "time, or fewer --epochs."
            )
        if text := self.guard.note(self.state.guard):
            yield Note(text)
        last, turned_at = self.state.last, self.state.turned_at
        if turned_at is not None and last is not None and last.temperature > 0:
            yield Note(
                "Knobs were changed during the run. At a temperature above 0 the chain samples one distribution only while they do not "
                f"change: here from proposal {turned_at:,} of {self.state.totals.proposals:,} on."
            )
