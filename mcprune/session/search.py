"""The search: alternate steps of backprop and blocks of the method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.errors import ConfigError
from mcprune.methods.base import AnyMethod, Batch, BlockInfo, Finalist, whole
from mcprune.session.build.plan import Plan
from mcprune.session.finish.latency import within_latency
from mcprune.session.guard import Guard
from mcprune.session.interrupt import Interrupt
from mcprune.session.playoff.compare import play_finalists
from mcprune.session.ranks import end_block_together
from mcprune.session.search_parts import make_rows, make_trainer
from mcprune.session.search_state import Clock, Crossings, Reported, SearchState, Totals
from mcprune.session.search_status import SearchStatus
from mcprune.session.steering.callbacks import Callbacks
from mcprune.session.steering.controller import Controller
from mcprune.session.time_budget import Pace
from mcprune.state import Saved, deserialize
from mcprune.storage.answer import ON_VALIDATION
from mcprune.storage.events import Event, Hardened, KnobChanged, Note, Playoff, Replanned, Stage, Stopped
from mcprune.types import BoolArray, JsonObject

# The largest numbers of progress events, of those with validation accuracies and with the gates; of steps under an adopted mask.
PROGRESS_EVENTS, LOOKS, GATES, ADOPTED = 400, 40, 60, 400
RENEW = 8  # blocks of a frozen classifier that are evaluated on the same rows


class Saver(NamedTuple):
    """The folder of the run, and what writes a checkpoint into it at once."""

    path: Path
    save: Callable[[], None]


class Search(SearchStatus):
    """Alternates backprop and the method over the planned blocks; a method without blocks moves in the steps of backprop.

    Parameters
    ----------
    plan : Plan
    method : Method
    controller : Controller, optional
        Changes the knobs.
    """

    # What follows from the state, the classifier and the clock.
    recomputed = ("is_between", "is_stopping", "began", "_batch", "_times", "_is_compiled", "_reported")

    def __init__(self, plan: Plan, method: AnyMethod, controller: Controller | None = None) -> None:
        controller = Controller() if controller is None else controller
        trainer = make_trainer(plan)
        rows = make_rows(plan, plan.folds if method.uses_blocks else plan.folds.without_evaluation())
        settled = plan.evaluation.falls_until if plan.falls else 0.0
        pace = Pace(plan.train.blocks, controller.most_blocks(plan), settled=settled)
        start, guard = method.init(), Guard(plan)
        state = SearchState(
            blocks_done=0,
            trainer=trainer.init(),
            evaluation=rows.init(),
            method=start,
            pace=pace.state,
            knobs={},
            turned_at=None,
            totals=Totals(),
            crossings=Crossings(method.position(start) > 0, np.zeros(plan.sites.size, np.int64)),
            guard=guard.init(),
            last=None,
            reported=Reported(),
            replan=0,
            end_reason="",
            clock=Clock(),
        )
        super().__init__(plan, method, trainer, rows, pace, state, controller, guard)
        self.callbacks = Callbacks()
        self.phase: Callable[[float], float] = float  # of the learning rate, by the share of the run that is done
        self.saver: Saver | None = None
        self.looks = LOOKS
        self.playoff: Playoff | None = None  # of several finalists, once the mask is hardened
        self._batch: Batch | None = None

    def run(self, interrupt: Interrupt, began: float) -> Iterator[Event]:
        """Yield events until the planned blocks are done, the time is up, or an interrupt or the controller stops the search.

        Parameters
        ----------
        interrupt : Interrupt
        began : float
            When the run began, by time.monotonic; for a restored search as if it had not been stopped.
        """
        state, self.began = self.state, began
        began_search = began if state.last is None else time.monotonic() - state.clock.search
        self.callbacks.on_start(self)
        if state.last is not None and state.reported.blocks < state.blocks_done:  # restored before its report
            yield from self._report(state.last, state.end_reason)
        if self.is_over:
            return
        if not self.blocks_done:
            if self.plan.train.pretrain:
                yield Stage(
                    "pretrain", f"training the classifier with all sites for {self.plan.train.pretrain:,} epochs"
                )
            began_training = time.monotonic()
            if text := self.pretrain(lambda: interrupt.should_stop):
                yield Note(text)
            began_search += time.monotonic() - began_training  # not part of the time of the search
            self.start()
        is_loaded = not self.method.uses_blocks
        if not is_loaded:
            yield Stage("compile", "loading the engine (the first run on a machine compiles it, for up to a minute)")
        while not self.is_over:
            block, block_began = state.blocks_done, time.monotonic()
            if state.replan:
                yield from self._replan(block, state.replan)
            yield from self.steer(block, interrupt)
            began_search += time.monotonic() - block_began  # a pause is not part of it
            if text := self.method.announce(state.method, self.pace.progress(block + 1)):
                yield Stage("start", text)
            block_began, self.is_between = time.monotonic(), False
            info = yield from self._advance(block)
            self._time_block(time.monotonic() - block_began)
            if not block and self.method.uses_blocks:
                began_search = time.monotonic()  # the time to load and compile is not part of it
            state.clock.search = time.monotonic() - began_search
            stopping = self._end_block(interrupt)
            self.is_stopping = bool(stopping)
            self._reported = replace(state.reported)
            self.is_between = True
            self.callbacks.on_block(self, info)
            if not is_loaded:
                is_loaded = True
                yield Stage("search", f"searching: {self.pace.blocks:,} blocks of training and decisions")
            yield from self._report(info, stopping or state.end_reason)
            if stopping or self.is_over:
                return

    def advance(self, block: int) -> BlockInfo:
        """Train the classifier and advance the method by one block."""
        return whole(self._advance(block))

    def _advance(self, block: int) -> Generator[Event, None, BlockInfo]:
        """Advance as `advance` does, and yield the changes of knobs that are made within the block."""
        state, progress = self.state, self.pace.progress(block)
        is_frozen = self.plan.train.is_frozen
        if not is_frozen:
            self.train(self.plan.train.steps, self.phase(progress))
        # Candidates of a frozen classifier are compared on the same rows for some blocks.
        if self._batch is None or not is_frozen or block % RENEW == 0:
            self._batch = self.rows.batch(state.evaluation, self._batch_rows(progress))
        info: BlockInfo
        parts, part = self.method.parts(state.method, self._batch, self.pace.progress(block + 1)), 0
        while True:
            try:
                next(parts)
            except StopIteration as end:
                state.method, info = end.value
                break
            part += 1
            for change in self.controller.poll_within(block, part):
                yield from self._change(change, block, part)
        state.last, state.blocks_done = info, block + 1
        state.totals.add(info, len(self._batch.targets))
        state.crossings.note(self.position() > 0, state.trainer.steps)
        state.reported.decisions += info.decisions
        state.reported.accepted += info.accepted
        return info

    def train(self, count: int, progress: float) -> None:
        """Make `count` steps of backprop under the present gates; `progress` (0..1) is the phase of the learning rate."""
        hook = self.method.hook(self.state.method)
        gates, position = self.plan.seen(self.training_gates()), self.plan.seen(self.position())
        self.trainer.run(self.state.trainer, count, gates, position, progress, hook)

    def step(self, rows: int, progress: float) -> BlockInfo:
        """Advance the method alone by one block on so many rows, to measure its time."""
        batch = self.rows.batch(self.state.evaluation, rows)
        self.state.method, info = self.method.step(self.state.method, batch, progress)
        return info

    def finish(self, rows: int) -> BoolArray:
        """Return the mask of the method, which it chooses on so many evaluation rows."""
        self.state.method, mask = self.method.finish(self.state.method, self.rows.batch(self.state.evaluation, rows))
        return mask

    def harden(self, *, plays: bool = True) -> tuple[BoolArray, Hardened]:
        """Return the mask of the result and the event that describes it; with `plays` several finalists are compared."""
        self.is_between = False
        gates, kept = self.training_gates(), int((self.position() > 0).sum())
        mask = self.finish(self.plan.evaluation.rows)
        finalists = self.method.finalists(self.state.method) if plays and self.may_play else []
        best = self.state.guard.mask.copy()
        if finalists and best.any() and not any((best == one.mask).all() for one in finalists):
            finalists = [*finalists, Finalist(ON_VALIDATION, best)]
        elif self.state.guard.fallen and not finalists:
            mask = best
            self.method.adopt(self.state.method, mask)
        if len(finalists) > 1:
            self.playoff, mask = play_finalists(self.plan, finalists, self.controller.playoff_steps())
            self.method.adopt(self.state.method, mask)
        self.mask = mask = within_latency(self, self.settled(mask))
        self.final_gates = self.training_gates()
        return mask, self.hardened_event(mask, gates, kept)

    def adopt(self, sites: list[int]) -> tuple[BoolArray, Hardened]:
        """Take a mask that was not searched for, of these sites, train the classifier under it, and return what `harden` does."""
        self.mask = mask = np.isin(np.arange(self.plan.sites.size), sites)
        self.method.adopt(self.state.method, mask)
        self.train(min(ADOPTED, self.plan.train.blocks * self.plan.train.steps), 0.0)
        self.final_gates = self.training_gates()
        return mask, self.hardened_event(mask, self.final_gates, len(sites))

    def pretrain(self, should_stop: Callable[[], bool]) -> str:
        """Train the classifier with all sites kept, where the options say so, and return a note on it.

        Raises
        ------
        KeyboardInterrupt
            The user stopped the run; there is nothing to save yet.
        """
        plan = self.plan
        epochs = plan.train.pretrain
        if not epochs:
            return ""
        plan.spent_forwards += 3 * self.trainer.pretrain(epochs, plan.train.weight_decay, should_stop)
        right = self.validation.accuracy(np.ones(plan.sites.size, bool))
        return f"trained for {epochs:,} epochs with all sites kept" + (
            ""
            if right is None
            else f", {right:.4f} right on the validation part{' by weight' * plan.splits.is_weighted}"
        )

    def start(self) -> None:
        """Prepare the method, once the classifier is as the search starts with it."""
        if self.method.first_rows:
            batch = self.rows.batch(self.state.evaluation, self.method.first_rows)
            self.state.method = self.method.begin(self.state.method, batch)

    def restore(self, saved: Saved) -> None:
        """Continue from what `save` of a search of the same plan returned; the caller restores the controller.

        Raises
        ------
        KeyError, TypeError, ValueError
            The state is of another plan.
        """
        if saved["knobs"]:
            self.knobs.change(saved["knobs"])
        deserialize(saved, self.state, "search")
        self.method.validate(self.state.method)
        self.pace.resume()
        if self.blocks_done > self.pace.blocks:  # more than at the start may be planned
            raise ValueError(f"{self.blocks_done:,} of {self.pace.blocks:,} blocks are done")
        self._batch = self.rows.last(self.state.evaluation)

    def steer(self, block: int, interrupt: Interrupt) -> Iterator[Event]:
        """Carry out the commands of the controller before a block, and yield their events."""
        again = True
        while again:
            changes, checkpoint, again = self.controller.poll(block, lambda: interrupt.should_stop)
            for change in changes:
                self.is_between = False  # a checkpoint here would lack the events that follow
                if "blocks" in change:  # from a record
                    yield from self._replan(block, int(change["blocks"]))
                    continue
                yield from self._change(change, block)
            if checkpoint:
                yield from self._checkpoint(block)
            again = again and not interrupt.should_stop

    def _change(self, change: JsonObject, block: int, part: int = 0) -> Iterator[Event]:
        """Change knobs before a block, or after some parts of it."""
        try:
            knobs, before = self.knobs.change(change)
        except ConfigError as error:
            self.controller.on_refused(change, error)
            return
        self.state.turned_at = step = self.state.totals.proposals
        yield KnobChanged(block, step, knobs, before, part)

    def _end_block(self, interrupt: Interrupt) -> str:
        """Decide whether the search ends here and how many blocks are planned; return the reason of an interrupt, or ''."""
        state, limit = self.state, self.plan.runtime.search_time
        is_free = state.blocks_done > self.controller.repeats_until  # no clock changes what is repeated from a record
        is_late = is_free and state.clock.search >= limit
        state.replan = 0
        if is_free and math.isfinite(limit) and self.method.uses_blocks:
            state.replan = self.pace.blocks_in_time(state.blocks_done, state.clock.search, limit)
        stopping = interrupt.reason
        if self.plan.ranks is not None:  # their clocks differ, and signals do not come to all at once
            is_late, state.replan, stopping = end_block_together(
                self.plan.ranks, self.plan, state, interrupt, is_late=is_late, blocks=state.replan
            )
        if is_late and self.is_falling:  # one more block, at n
            is_late, state.replan = False, state.blocks_done + 1
        state.end_reason = self.controller.stop_reason(state.blocks_done) or ("max_time" if is_late else "")
        if (
            state.last is not None
            and state.blocks_done % max(1, self.pace.blocks // LOOKS) == 0
            and not self.is_falling
        ):
            self.guard.look(state.guard, self.position() > 0, state.last.cla, state.blocks_done)
        if state.guard.fallen and not self._has_chains_left:
            state.end_reason = state.end_reason or "validation"
        return stopping

    def _replan(self, block: int, blocks: int) -> Iterator[Event]:
        """Change the number of planned blocks."""
        self.state.replan = 0
        self.is_between = False
        before = self.pace.blocks
        try:
            self.pace.replan(block, blocks)
        except ValueError as error:
            raise ConfigError(f"The record of the run was changed: {error}. Give the folder of another run.") from None
        yield Replanned(block, blocks, before, self.pace.progress(block))

    def _report(self, info: BlockInfo, reason: str) -> Iterator[Event]:
        """Yield the progress after the last block if it is due, and the reason why the search ends early, if it does."""
        done, blocks = self.blocks_done, self.pace.blocks
        if self.plan.ranks is not None and not self.plan.ranks.is_first:
            return
        every = max(1, blocks // PROGRESS_EVENTS)
        look = max(every, blocks // self.looks // every * every)
        is_last = done == blocks or bool(reason)
        if done % every == 0 or is_last:
            shows = -(-blocks // (GATES * every)) * every
            is_look, is_shown = done % look == 0 or is_last, done % shows == 0 or is_last
            since, self.state.reported = self.state.reported, Reported(done)
            yield self.progress_event(info, since, is_look=is_look, is_shown=is_shown)
        self.state.reported.blocks = done
        if is_last and done < blocks:
            yield Stopped(reason, done)

    def _checkpoint(self, block: int) -> Iterator[Event]:
        """Write a checkpoint, where there is a folder and a block is done."""
        if self.saver is None or not block:
            yield Note(f"no checkpoint: {'no block is done yet' if self.saver else 'this run writes no folder'}")
            return
        # Written first, so that the checkpoint covers it.
        yield Note(f"checkpoint after block {block:,}: mcprune resume {self.saver.path} continues from here")
        self.saver.save()
