"""The parts and the state of a search, and what is measured between two blocks."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import replace

import numpy as np
import torch

from mcprune.methods.base import AnyMethod, BlockInfo
from mcprune.session.build.plan import Plan
from mcprune.session.finish.finalize import mask_costs
from mcprune.session.search_parts import adapted_event, coded, near_hard
from mcprune.session.search_state import Reported, SearchState
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.knobs import Knobs
from mcprune.session.time_budget import Pace
from mcprune.state import Saved, serialize
from mcprune.storage.events import Hardened, Progress
from mcprune.training.batches import EvaluationRows
from mcprune.training.metrics import accuracy, coded_groups, value_of
from mcprune.training.stack import ClassifierStack
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

GRID = 1000  # steps in which the end of the fall of n(t) is looked for


# Validation rows on which a search is looked at: of more an even sample, since it is looked at often.
MOST_ROWS = 20_000


class Validation:
    """The validation rows of a plan, or an even sample of very many.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    features, targets : tensor, shape (rows, N) and (rows,)
        Possibly of no rows.
    weights : ndarray of float64, shape (rows,), or None
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        rows = plan.splits.validation
        if len(rows.targets) > MOST_ROWS:
            places = np.linspace(0, len(rows.targets) - 1, MOST_ROWS).round().astype(np.int64)
            rows = rows._replace(
                features=rows.features[places],
                targets=rows.targets[places],
                weights=None if rows.weights is None else rows.weights[places],
            )
        self._rows = rows.features
        self.features = plan.rows(plan.seen(rows.features))
        self.targets = torch.from_numpy(rows.targets).to(plan.device)
        self.weights = rows.weights

    def accuracy(self, mask: BoolArray) -> float | None:
        """Return the accuracy under a mask (N,), by the rows' weights where they have any; None without rows."""
        if not len(self.targets):
            return None
        gated = self.plan.gated
        return accuracy(
            gated, self.features, self.targets, gated.hard_gates(self.plan.seen(mask)), weights=self.weights
        )

    def objective(self, mask: BoolArray) -> float | None:
        """Return the objective under a mask (N,); None for plain cross-entropy, and without rows."""
        plan = self.plan
        if plan.is_plain_objective or not len(self.targets):
            return None
        groups = coded_groups(plan.objective, self._rows)
        gates = plan.gated.hard_gates(plan.seen(mask))
        return value_of(
            plan.objective,
            plan.gated,
            self.features,
            self.targets,
            mask=mask,
            gates=gates,
            groups=groups,
            weights=self.weights,
        )


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
    ) -> None:
        self.controller = controller
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
        if int((position > 0).sum()) == keep:
            return now, now
        if not self.method.ranks_sites:
            return now, None
        return now, self.validation.accuracy(self.plan.space.enforce(position))

    def is_within(self) -> bool:
        """Return whether the kept sites are within the budget."""
        return self.plan.space.is_within(self.position() > 0)

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
            near_hard=near_hard(self.training_gates()),
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
            gates=coded(self.training_gates()) if is_shown else None,
            seconds=time.monotonic() - self.began,
            seconds_left=self.seconds_left,
        )

    def hardened_event(self, mask: BoolArray, gates: Float32Array, kept: int) -> Hardened:
        """Return the event of the mask of the result, after the method has finished.

        Parameters
        ----------
        mask : ndarray of bool, shape (N,)
        gates : ndarray of float32, shape (N,)
            Before that.
        kept : int
            Sites that were kept before that.
        """
        gate_sum = float(gates.astype(np.float64).sum())
        return Hardened(
            kept=int(mask.sum()),
            n_sites=mask.size,
            gate_sum=gate_sum,
            gate_sum_error=abs(gate_sum - int(mask.sum())),
            costs=mask_costs(self.plan, mask),
            kept_before=kept,
            near_hard=near_hard(gates),
            last_crossed=tuple(self.last_crossed().tolist()),
            steps=self.state.trainer.steps,
            forwards=self.forwards(),
            validation_accuracy=self.validation.accuracy(mask),
            validation_objective=self.validation.objective(mask),
            evaluator_error=self.method.evaluator_error(self.state.method),
        )
