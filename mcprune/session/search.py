"""The search: steps of backprop and blocks of the method in turns, told as progress."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcprune.errors import ConfigError
from mcprune.methods.base import Batch, BlockInfo, Method
from mcprune.session.build.plan import Plan
from mcprune.session.finalize import cost_of
from mcprune.session.interrupt import Interrupt
from mcprune.session.ranks import agreed
from mcprune.session.search_parts import make_judges, make_trainer, near_hard, progress_event
from mcprune.session.search_state import Clock, Crossings, Reported, SearchState, Totals
from mcprune.session.steering.callbacks import Callbacks
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.knobs import Knobs
from mcprune.session.time_budget import Pace
from mcprune.session.validation import Validation
from mcprune.state import Saved, deserialize, serialize
from mcprune.storage.events import Event, Hardened, KnobChanged, Note, Replanned, Stopped
from mcprune.training.batches import judge_split
from mcprune.training.trainer import fit
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

# At most so many progress events, and so many looks at the validation part, whatever the length of the run.
PROGRESS_EVENTS, VALIDATIONS = 400, 40
GATES = 60  # the gates themselves are told so many times at most
FEW = 0.1  # of the planned blocks; a search that has had fewer was none
RENEW = 8  # blocks for which a frozen classifier is evaluated on the same rows


class Saver(NamedTuple):
    """Writes a checkpoint at once, into the run's folder."""

    path: Path
    save: Callable[[], None]


class Search:
    """Backprop and method in turns over the planned blocks; a method without blocks moves in the steps of backprop themselves.

    Parameters
    ----------
    plan : Plan
    method : Method
    controller : Controller, optional
        Who changes the knobs.

    Attributes
    ----------
    state : SearchState
        All that changes from block to block.
    """

    # What follows from the state, the classifier and the clock.
    recomputed = ("evaluation", "_batch", "_times", "_is_compiled", "_reported", "is_between", "is_stopping", "began")

    def __init__(self, plan: Plan, method: Method[Any], controller: Controller | None = None) -> None:
        data = plan.prepared
        self.controller = controller or Controller()
        self.callbacks = Callbacks()
        self.saver: Saver | None = None
        self.plan = plan
        self.method = method
        settled = plan.evaluation.falls_until if plan.falls else 0.0
        self.pace = Pace(plan.train.blocks, self.controller.most_blocks(plan), settled=settled)
        seed = plan.runtime.seed
        fitted, judge = judge_split(data.y_train, plan.evaluation.on, plan.evaluation.fraction, seed)
        self.trainer = make_trainer(plan, fitted)
        self.judges = make_judges(plan, judge if method.uses_blocks else judge[:0])
        self.validation = Validation(plan)
        start = method.init()
        self.state = SearchState(
            blocks_done=0,
            trainer=self.trainer.init(),
            evaluation=self.judges.init(),
            method=start,
            pace=self.pace.state,
            knobs={},
            turned_at=None,
            totals=Totals(),
            crossings=Crossings(method.position(start) > 0, np.zeros(plan.sites.size, np.int64)),
            last=None,
            reported=Reported(),
            replan=0,
            end_reason="",
            clock=Clock(),
        )
        self.knobs = Knobs(plan, method, self.state)
        self.looks = VALIDATIONS
        self.is_stopping = False  # a signal has asked to end
        self.mask: BoolArray | None = None  # once it is hardened
        self.is_between = False  # between two blocks: `save` gives what can be resumed
        self.began = 0.0  # when the data were being loaded, by the clock that never goes back
        self._batch: Batch | None = None
        self._times: deque[float] = deque(maxlen=31)  # seconds of the last blocks
        self._is_compiled = (
            False  # the first block of a process compiles the engine, so its time is not that of another
        )
        self._reported = Reported()  # after the last block, before it was reported

    @property
    def blocks_done(self) -> int:
        """Blocks done so far."""
        return self.state.blocks_done

    @property
    def proposals(self) -> int:
        """Proposals consumed so far, by all replicas."""
        return self.state.totals.proposals

    def position(self) -> FloatArray:
        """Return the pruner weights, shape (N,)."""
        return self.method.position(self.state.method)

    def training_gates(self) -> Float32Array:
        """Return the gates (N,) under which the classifier trains now."""
        return self.method.training_gates(self.state.method)

    def run(self, interrupt: Interrupt, began: float) -> Iterator[Event]:
        """Yield progress until the planned blocks are done, time is up, or an interrupt or the controller stops the search.

        Parameters
        ----------
        interrupt : Interrupt
        began : float
            When the run began, by time.monotonic; of a search that was restored, as if it had never stopped.
        """
        plan = self.plan
        self.began = began
        state = self.state
        began_search = began if state.last is None else time.monotonic() - state.clock.search
        self.callbacks.on_start(self)
        if state.last is not None and state.reported.blocks < state.blocks_done:  # restored before a report
            yield from self._tell(state.last, state.end_reason)
        if self.is_over:
            return
        if not self.blocks_done:
            if plan.train.pretrain:
                began_training = time.monotonic()
                text = self.pretrain(lambda: interrupt.is_asked)
                began_search += time.monotonic() - began_training  # no time of the search
                yield Note(text)
            self.start()
        while not self.is_over:
            block = state.blocks_done
            block_began = time.monotonic()
            if state.replan:
                yield from self._turn_pace(block, state.replan)
            yield from self.steer(block, interrupt)
            began_search += time.monotonic() - block_began  # a pause is no time of the search
            block_began = time.monotonic()
            self.is_between = False
            info = self.advance(block)
            self._time_block(time.monotonic() - block_began)
            if not block and self.method.uses_blocks:
                began_search = time.monotonic()  # what was loaded and compiled up to here is no time of the search
            state.clock.search = time.monotonic() - began_search
            stopping = self._end_block(interrupt)
            self.is_stopping = bool(stopping)
            self._reported = replace(state.reported)
            self.is_between = True
            self.callbacks.on_block(self, info)
            yield from self._tell(info, stopping or state.end_reason)
            if stopping or self.is_over:
                return

    def _time_block(self, seconds: float) -> None:
        """Take in the time of a block; the usual time of one is the median of the last ones."""
        if self._times and not self._is_compiled:
            self._times.clear()
            self._is_compiled = True
        self._times.append(seconds)
        self.state.clock.block = sorted(self._times)[len(self._times) // 2]

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the seconds to the end of the search; None until two blocks after the first of the process are timed."""
        if not self._is_compiled or len(self._times) < 2:
            return None
        return self.state.clock.block * (self.pace.blocks - self.blocks_done)

    def _end_block(self, interrupt: Interrupt) -> str:
        """Decide whether the search ends here, and whether more or fewer blocks are planned; return why a person wants to end."""
        state, limit = self.state, self.plan.runtime.search_time
        is_free = state.blocks_done > self.controller.repeats_until  # what is repeated from a record no clock changes
        is_late = is_free and state.clock.search >= limit
        state.replan = 0
        if is_free and math.isfinite(limit) and self.method.uses_blocks:
            state.replan = self.pace.wanted(state.blocks_done, state.clock.search, limit)
        stopping = interrupt.reason
        if self.plan.ranks is not None:  # their clocks differ, and signals do not come to all at once
            is_late, state.replan, stopping = agreed(
                self.plan.ranks, self, interrupt, is_late=is_late, blocks=state.replan
            )
        if is_late and self.is_falling:  # a block at n, or the mask was never searched for
            is_late, state.replan = False, state.blocks_done + 1
        state.end_reason = self.controller.stop_reason(state.blocks_done) or ("max_time" if is_late else "")
        return stopping

    @property
    def is_over(self) -> bool:
        """Whether the search has come to its end, planned or not; an interrupt is none."""
        return self.blocks_done >= self.pace.blocks or bool(self.state.end_reason)

    @property
    def is_falling(self) -> bool:
        """Whether the budget, n(t) or cost(t), has not come to its end yet."""
        now, end = (self.pace.progress(block) for block in (self.blocks_done, self.pace.blocks))
        return self.method.is_falling(now, end)

    def _turn_pace(self, block: int, blocks: int) -> Iterator[Event]:
        """Plan so many blocks from here on, and tell of it."""
        self.state.replan = 0
        self.is_between = False
        before = self.pace.blocks
        try:
            self.pace.turn(block, blocks)
        except ValueError as error:
            raise ConfigError(f"the pace cannot be repeated: {error}; the record was changed") from None
        yield Replanned(block, blocks, before, self.pace.progress(block))

    def _tell(self, info: BlockInfo, reason: str) -> Iterator[Event]:
        """Tell of the last block if it is due, and why the search ends early, if it does."""
        plan = self.plan
        if plan.ranks is not None and not plan.ranks.is_first:
            return
        blocks = self.pace.blocks
        every = max(1, blocks // PROGRESS_EVENTS)
        look = max(every, blocks // self.looks // every * every)
        is_last = self.blocks_done == blocks or bool(reason)
        if self.blocks_done % every == 0 or is_last:
            shows = -(-blocks // (GATES * every)) * every
            is_look, is_shown = self.blocks_done % look == 0 or is_last, self.blocks_done % shows == 0 or is_last
            on_validation, at_n = self.accuracies() if is_look else (None, None)
            since, self.state.reported = self.state.reported, Reported(self.blocks_done)
            yield progress_event(self, info, since, on_validation, at_n, is_look=is_look, is_shown=is_shown)
        self.state.reported.blocks = self.blocks_done
        if is_last and self.blocks_done < blocks:
            yield Stopped(reason, self.blocks_done)

    def save(self) -> Saved:
        """Return a copy of the state; between two blocks only."""
        self.state.clock.total = time.monotonic() - self.began
        saved: Saved = serialize(self.state)
        return saved

    def take_back(self) -> None:
        """Return to the end of the last block as if it had not been reported."""
        self.state.reported = replace(self._reported)

    def restore(self, saved: Saved) -> None:
        """Go on from what `save` of a search of the same plan gave; who steers is the caller's to bring back.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is of another plan.
        """
        if saved["knobs"]:
            self.knobs.change(saved["knobs"])
        deserialize(saved, self.state, "search")
        self.method.validate(self.state.method)
        self.pace.resume()
        if self.blocks_done > self.pace.blocks:  # more than at the start may be planned
            raise ValueError(f"{self.blocks_done:,} of {self.pace.blocks:,} blocks are done")
        self._batch = self.judges.last(self.state.evaluation)

    def evaluator_name(self) -> str | None:
        """Return which evaluator judges; None where nothing is judged."""
        return self.method.description()["evaluator"] if self.method.uses_blocks else None

    def pretrain(self, is_asked: Callable[[], bool]) -> str:
        """Train the classifier with all sites kept, and return what to say of it.

        Raises
        ------
        KeyboardInterrupt
            The user wants to end: there is nothing to keep yet.
        """
        plan = self.plan
        fit(
            plan.model,
            self.trainer.features,
            self.trainer.targets,
            epochs=plan.train.pretrain,
            batch_size=plan.train.batch_size,
            learning_rate=plan.train.learning_rate,
            weight_decay=plan.train.weight_decay,
            seed=plan.runtime.seed,
            is_asked=is_asked,
            weights=self.trainer.weights,
            amp=plan.train.amp,
        )
        plan.spent_forwards += 3 * plan.train.pretrain * len(self.trainer.targets)
        found = self.validation.accuracy(np.ones(plan.sites.size, bool))
        met = "" if found is None else f", {found:.4f} right on the validation part"
        return f"trained for {plan.train.pretrain:,} epochs with all sites kept{met}"

    def start(self) -> None:
        """Prepare the method, now that the classifier is what the search begins with."""
        if self.method.first_rows:
            batch = self.judges.batch(self.state.evaluation, self.method.first_rows)
            self.state.method = self.method.begin(self.state.method, batch)

    def steer(self, block: int, interrupt: Interrupt) -> Iterator[Event]:
        """Carry out the controller's commands before a block, and yield the events of that."""
        again = True
        while again:
            changes, checkpoint, again = self.controller.poll(block, lambda: interrupt.is_asked)
            for change in changes:
                self.is_between = False  # events follow that a checkpoint here would not have
                if "blocks" in change:  # a record's
                    yield from self._turn_pace(block, int(change["blocks"]))
                    continue
                try:
                    knobs, before = self.knobs.change(change)
                except ConfigError as error:
                    self.controller.on_refused(change, error)
                    continue
                self.state.turned_at = step = self.state.totals.proposals
                yield KnobChanged(block, step, knobs, before)
            if checkpoint:
                yield from self._checkpoint_now(block)
            again = again and not interrupt.is_asked

    def _checkpoint_now(self, block: int) -> Iterator[Event]:
        if self.saver is None or not block:
            why = "this run writes no folder" if self.saver is None else "the first block is not done yet"
            yield Note(f"no checkpoint: {why}")
            return
        # Written first, so that the checkpoint covers it.
        yield Note(f"checkpoint after block {block:,}: mcprune resume {self.saver.path} continues from here")
        self.saver.save()

    def notes(self) -> Iterator[Event]:
        """Say what turning knobs at a temperature means, and what a time that is far too short does."""
        if self.pace.blocks < FEW * self.plan.train.blocks:
            yield Note(
                f"only {self.pace.blocks:,} of {self.plan.train.blocks:,} blocks fitted into --max-time: the mask was hardly "
                "searched for; give more time, or fewer --epochs"
            )
        last, turned_at = self.state.last, self.state.turned_at
        if turned_at is not None and last is not None and last.temperature > 0:
            text = (
                "tuned while it ran: at a temperature above 0 the visits follow one law only while the knobs rest, here"
            )
            yield Note(f"{text} from proposal {turned_at:,} of {self.state.totals.proposals:,} on")

    def train(self, count: int, progress: float) -> None:
        """Make `count` steps of backprop under the gates of now, `progress` (0..1) of the run done."""
        hook = self.method.hook(self.state.method)
        self.trainer.run(self.state.trainer, count, self.training_gates(), self.position(), progress, hook)

    def advance(self, block: int) -> BlockInfo:
        """Train, and let the method work, for one block."""
        state, progress = self.state, self.pace.progress(block)
        is_frozen = self.plan.train.is_frozen
        if not is_frozen:
            self.train(self.plan.train.steps, progress)
        # Candidates of a frozen classifier are compared on the same rows for a while.
        if self._batch is None or not is_frozen or block % RENEW == 0:
            self._batch = self.judges.batch(state.evaluation, self._batch_rows(progress))
        state.method, info = self.method.step(state.method, self._batch, self.pace.progress(block + 1))
        state.last, state.blocks_done = info, block + 1
        state.totals.add(info, len(self._batch.targets))
        state.crossings.note(self.position() > 0, state.trainer.steps)
        state.reported.proposals += info.proposals
        state.reported.accepted += info.accepted
        return info

    def step(self, rows: int, progress: float) -> BlockInfo:
        """Let the method work for one block on so many rows, and nothing else; to measure its time."""
        batch = self.judges.batch(self.state.evaluation, rows)
        self.state.method, info = self.method.step(self.state.method, batch, progress)
        return info

    def finish(self, rows: int) -> BoolArray:
        """Return the mask of the method, chosen on so many evaluation rows."""
        batch = self.judges.batch(self.state.evaluation, rows)
        self.state.method, mask = self.method.finish(self.state.method, batch)
        return mask

    def harden(self) -> tuple[BoolArray, Hardened]:
        """Return the hard mask and the event that describes it."""
        self.is_between = False
        gates = self.training_gates()
        gate_sum = float(gates.astype(np.float64).sum())
        kept = int((self.position() > 0).sum())
        mask = self.finish(self.plan.evaluation.rows)
        self.final_gates = self.training_gates()
        self.mask = mask
        return mask, Hardened(
            kept=int(mask.sum()),
            n_sites=mask.size,
            gate_sum=gate_sum,
            gate_sum_error=abs(gate_sum - int(mask.sum())),
            cost=cost_of(self.plan, mask),
            kept_before=kept,
            near_hard=near_hard(gates),
            last_crossed=tuple(self.last_crossed().tolist()),
            steps=self.state.trainer.steps,
            forwards=self.forwards(),
            validation_accuracy=self.validation.accuracy(mask),
            validation_objective=self.validation.objective(mask),
            evaluator_error=self.method.evaluator_error(self.state.method),
        )

    def accuracies(self) -> tuple[float | None, float | None]:
        """Return the validation accuracy of the sites with a positive weight, and that of exactly n sites.

        The second is of the n largest weights on the gradient path. A method that keeps more than n may not have decided yet which of
        them go: None.
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
        """Return whether no more is kept than the budget allows."""
        return self.plan.space.is_within(self.position() > 0)

    def last_crossed(self) -> IntArray:
        """Return the training step (N,) after which each gate last crossed one half, 0 for never."""
        crossed = self.method.crossed(self.state.method)
        return self.state.crossings.last if crossed is None else crossed

    def forwards(self) -> int:
        """Return the search's work so far in rows that went forward through the classifier, a row of backprop counting three.

        A candidate counts the rows of its evaluation batch, though an evaluator may need only a part of that work for them.
        """
        return (
            3 * self.state.trainer.steps * self.trainer.batch_size
            + self.state.totals.evaluated_rows
            + self.plan.spent_forwards
            + self.method.forwards(self.state.method)
        )

    def cost(self) -> float:
        """Return the search's work in rows that went through backprop, a forward pass counting a third of one."""
        rows = min(self.plan.evaluation.rows, len(self.judges.targets))
        return self.state.trainer.steps * self.plan.train.batch_size + self.state.totals.proposals * rows / 3 / 8

    def _batch_rows(self, progress: float) -> int:
        if self.knobs.rows is not None:
            return self.knobs.rows
        early = progress < self.plan.evaluation.falls_until
        return self.plan.evaluation.early_rows if early else self.plan.evaluation.rows
