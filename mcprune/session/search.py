"""The search: steps of backprop and blocks of the method in turns, told as progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from mcprune.chain.min_per_layer import hardened
from mcprune.errors import ConfigError
from mcprune.methods.base import Batch, Joint, MaskUpdate
from mcprune.methods.markov.method import Markov
from mcprune.session.build.plan import Plan
from mcprune.session.checkpoint_writer import Keeper
from mcprune.session.finalize import cost_of
from mcprune.session.interrupt import Interrupt
from mcprune.session.ranks import agreed
from mcprune.session.retrain import is_default
from mcprune.session.search_parts import counted, make_judges, make_trainer, near_hard, progress_event, told_update
from mcprune.session.steering import Knobs, Steering
from mcprune.session.time_budget import Pace
from mcprune.sites.weights import effects
from mcprune.state import Saved, alike, checked
from mcprune.storage.events import Event, Hardened, KnobChanged, Note, Replanned, Stopped
from mcprune.training.batches import judge_split
from mcprune.training.metrics import coded_groups, value_of
from mcprune.training.trainer import accuracy, fit
from mcprune.types import BoolArray, IntArray

# At most so many progress events, and so many looks at the validation part, whatever the length of the run.
PROGRESS_EVENTS, VALIDATIONS = 400, 40
GATES = 60  # the gates themselves are told so many times at most
GUESSED_ROWS = 2048  # on which the effects of the sites are guessed
FEW = 0.1  # of the planned blocks; a search that has had fewer was none
RENEW = 8  # blocks for which a frozen classifier is judged on the same rows
# What of a search is kept as it is.
PLAIN = (
    "blocks_done", "told", "over", "is_warm", "turned_at", "proposals", "accepted", "nonfinite", "null_moves", "by_bound", "walled",
    "judged_rows", "adapted", "searched", "seconds", "usual",
)  # fmt: skip


class Search:
    """Backprop and method in turns over the planned blocks; a joint method moves in the steps of backprop themselves."""

    def __init__(self, plan: Plan, method: Any, steering: Steering | None = None) -> None:
        config, data = plan.config, plan.prepared
        self.steering = steering or Steering()
        self.knobs = Knobs(plan, method)
        self.turned_at: int | None = None  # proposals at the last change of a knob
        falls = config.chain.keep_schedule.kind == "geometric" and plan.falls
        self.pace = Pace(
            plan.blocks,
            self.steering.most_blocks(plan),
            settled=(config.chain.keep_schedule.until or 0.5) if falls else 0.0,
        )
        self.looks = VALIDATIONS
        self._repaced = 0  # blocks that are to be planned from the next block on; 0: as they are
        self.plan = plan
        self.method = method
        self.joint: Joint | None = method if isinstance(method, Joint) else None
        fitted, judge = judge_split(data.y_train, plan.evaluation.on, plan.evaluation.fraction, config.runtime.seed)
        if self.joint is not None:
            judge = judge[:0]
        self.trainer = make_trainer(plan, fitted)
        self.judges = make_judges(plan, judge)
        self.x_validation = plan.rows(data.x_validation)
        self.y_validation = torch.from_numpy(data.y_validation).to(plan.device)
        self.blocks_done = 0
        self.is_warm = False  # at a temperature above 0
        self.proposals = self.accepted = self.nonfinite = self.null_moves = self.by_bound = self.walled = 0
        self.moves: dict[str, list[int]] = {}
        self.judged_rows = 0
        self._above = method.position() > 0
        self._crossed = np.zeros(plan.sites.size, np.int64)
        self.adapted: dict[str, Any] | None = None  # of the last block
        self._batch: Batch | None = None
        self._drawn: Saved | None = None  # where the batch was drawn, and its rows
        self.keeper: Keeper | None = None
        self.last: MaskUpdate | None = None
        self.told = 0  # blocks, when they were last told of
        self.over = ""  # why the search ends before its last block
        self.window = [0, 0]  # proposals and accepted ones since the last progress
        self.mask: BoolArray | None = None  # once it is hardened
        self.is_between = False  # between two blocks: `save` gives what can be gone on from
        self.searched = 0.0  # seconds, pauses left out
        self.seconds = 0.0  # since the data were loaded, when it was saved
        # The median of the last blocks: some of the first ones compile the engine.
        self._times: deque[float] = deque(maxlen=31)
        self.usual = 0.0
        self.began = 0.0  # when the data were being loaded, by the clock that never goes back
        self._not_told = (0, [0, 0])  # told and window behind the last block, before it was told of

    def run(self, interrupt: Interrupt, began: float, keeper: Keeper | None = None) -> Iterator[Event]:
        """Yield progress until the planned blocks are done, time is up, or an interrupt or who steers asks to stop.

        Parameters
        ----------
        interrupt : Interrupt
        began : float
            When the run began, by time.monotonic; of a search that was restored, as if it had never stopped.
        keeper : Keeper, optional
            Saves the search between two blocks.
        """
        plan, config = self.plan, self.plan.config
        self.began = began
        began_search = began if self.last is None else time.monotonic() - self.searched
        self.steering.begin(self.knobs)
        self.keeper = keeper
        if keeper is not None:
            keeper.begin(self.blocks_done)
        if self.last is not None and self.told < self.blocks_done:  # restored behind a block that was not told of
            yield from self._tell(self.last, self.over)
        if self.is_over:
            return
        if not self.blocks_done:
            if config.train.pretrain:
                began_training = time.monotonic()
                text = self.pretrain(lambda: interrupt.is_asked)
                began_search += time.monotonic() - began_training  # no time of the search
                yield Note(text)
            self.start()
        while not self.is_over:
            block = self.blocks_done
            block_began = time.monotonic()
            if self._repaced:
                yield from self._turn_pace(block, self._repaced)
            yield from self.steer(block, interrupt, keeper)
            began_search += time.monotonic() - block_began  # a pause is no time of the search
            block_began = time.monotonic()
            self.is_between = False
            self.last = update = self.advance(block)
            self.window[0] += update.proposals
            self.window[1] += update.accepted
            self.blocks_done = block + 1
            self._times.append(time.monotonic() - block_began)
            self.usual = sorted(self._times)[len(self._times) // 2]
            if not block and isinstance(self.method, Markov):
                began_search = time.monotonic()  # what was loaded and compiled up to here is no time of the search
            self.searched = time.monotonic() - began_search
            is_late = config.runtime.max_time is not None and self.searched >= config.runtime.max_time
            is_late = is_late and self.blocks_done > self.steering.repeats_until
            self._repaced = self._new_pace()
            if plan.ranks is not None:  # their clocks differ, and signals do not come to all at once
                is_late, self._repaced, stopping = agreed(
                    plan.ranks, self, interrupt, is_late=is_late, blocks=self._repaced
                )
            if is_late and self.is_falling:  # a block at n, or the mask was never searched for
                is_late, self._repaced = False, self.blocks_done + 1
            self.steering.observe(update, self.blocks_done, self.proposals)
            self.over = self.steering.ends(self.blocks_done) or ("max_time" if is_late else "")
            self._not_told = (self.told, list(self.window))
            self.is_between = True
            asked = interrupt.reason if plan.ranks is None else stopping
            if keeper is not None:
                keeper.after_block(self, is_asked=bool(asked))
            yield from self._tell(update, asked or self.over)
            if asked or self.is_over:
                return

    @property
    def is_over(self) -> bool:
        """Whether the search has come to its end, planned or not; an interrupt is none."""
        return self.blocks_done >= self.pace.blocks or bool(self.over)

    @property
    def is_falling(self) -> bool:
        """Whether a chain's budget, n(t) or cost(t), has not come to its end yet."""
        if not isinstance(self.method, Markov):
            return False
        now, end = (self.method.target(self.pace.progress(block)) for block in (self.blocks_done, self.pace.blocks))
        return now > end

    def _new_pace(self) -> int:
        """Return how many blocks must be planned for the schedules to end as the time does; 0 where they may stay."""
        limit = self.plan.config.runtime.max_time
        if limit is None or not isinstance(self.method, Markov) or self.blocks_done <= self.steering.repeats_until:
            return 0
        return self.pace.wanted(self.blocks_done, self.searched, limit)

    def _turn_pace(self, block: int, blocks: int) -> Iterator[Event]:
        """Plan so many blocks from here on, and tell of it."""
        self._repaced = 0
        self.is_between = False
        before = self.pace.blocks
        try:
            self.pace.turn(block, blocks)
        except ValueError as error:
            raise ConfigError(f"the pace cannot be repeated: {error}; the record was changed") from None
        yield Replanned(block, blocks, before, self.pace.progress(block))

    def _tell(self, update: MaskUpdate, reason: str) -> Iterator[Event]:
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
            on_validation, at_n = self.validation() if is_look else (None, None)
            window, self.window = self.window, [0, 0]
            self.told = self.blocks_done
            yield progress_event(self, update, window, on_validation, at_n, is_look=is_look, is_shown=is_shown)
        self.told = self.blocks_done
        if is_last and self.blocks_done < blocks:
            yield Stopped(reason, self.blocks_done)

    def save(self) -> Saved:
        """Return all that the search's future depends on, copied; between two blocks only."""
        return {
            **{name: getattr(self, name) for name in PLAIN},
            "seconds": time.monotonic() - self.began,
            "moves": self.moves,
            "window": self.window,
            "last": None if self.last is None else self.last._asdict(),
            "above": self._above.copy(),
            "crossed": self._crossed.copy(),
            "knobs": self.knobs.turned,
            "pace": self.pace.save(),
            "steering": self.steering.save(self.blocks_done),
            "trainer": self.trainer.save(),
            "judges": self.judges.save(),
            "batch": self._drawn,
            "method": self.method.save(),
        }

    def take_back(self) -> None:
        """Stand again behind the last block as if nothing of it had been told."""
        self.told, self.window = self._not_told[0], list(self._not_told[1])

    def restore(self, saved: Saved) -> None:
        """Go on from what `save` of a search of the same plan gave; who steers is the caller's to bring back.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is of another plan.
        """
        if saved["knobs"]:
            self.knobs.turn(saved["knobs"])
        if "pace" in saved:  # earlier versions kept none
            self.pace.restore(saved["pace"])
        self.trainer.restore(saved["trainer"])
        self._drawn = saved["batch"]
        if self._drawn is not None:
            self.judges.restore(self._drawn["judges"])
            self._batch = self.judges.batch(alike(self._drawn["rows"], 0, "rows"))
        self.judges.restore(saved["judges"])
        self.method.restore(saved["method"])
        for name in PLAIN:
            setattr(self, name, alike(saved[name], getattr(self, name), name))
        if self.blocks_done > self.pace.blocks:  # more than at the start may be planned
            raise ValueError(f"{self.blocks_done:,} of {self.pace.blocks:,} blocks are done")
        self.moves = {str(name): counted(pair, "moves") for name, pair in saved["moves"].items()}
        self.window = counted(saved["window"], "window")
        self.last = None if saved["last"] is None else told_update(saved["last"])
        self._above = checked(saved["above"], self._above, "above")
        self._crossed = checked(saved["crossed"], self._crossed, "crossed").copy()

    def evaluator_name(self) -> str | None:
        """Return which evaluator judges; None where nothing is judged."""
        return None if self.joint is not None else str(self.method.evaluator.name)

    def pretrain(self, is_asked: Callable[[], bool]) -> str:
        """Train the classifier with all sites kept, and return what to say of it.

        Raises
        ------
        KeyboardInterrupt
            The user wants to end: there is nothing to keep yet.
        """
        plan, config = self.plan, self.plan.config
        fit(
            plan.model,
            self.trainer.features,
            self.trainer.targets,
            epochs=config.train.pretrain or 0,
            batch_size=plan.batch_size,
            learning_rate=config.train.learning_rate,
            weight_decay=config.train.weight_decay,
            seed=config.runtime.seed,
            is_asked=is_asked,
            weights=self.trainer.weights,
            amp=config.train.amp,
        )
        plan.spent_forwards += 3 * (config.train.pretrain or 0) * len(self.trainer.targets)
        found = self._accuracy(np.ones(plan.sites.size, bool))
        met = "" if found is None else f", {found:.4f} right on the validation part"
        return f"trained for {config.train.pretrain:,} epochs with all sites kept{met}"

    def start(self) -> None:
        """Tell the chain what its sites may matter, now that the classifier is what the search begins with."""
        if isinstance(self.method, Markov) and self.method.trials is not None:
            self.method.trials.guess(effects(self.plan.gated, self.judges.batch(GUESSED_ROWS).features))

    def steer(self, block: int, interrupt: Interrupt, keeper: Keeper | None) -> Iterator[Event]:
        """Do what is ordered in front of a block, and tell of it."""
        again = True
        while again:
            changes, checkpoint, again = self.steering.orders(block, lambda: interrupt.is_asked)
            for change in changes:
                self.is_between = False  # what is told no longer stands where a rescue would begin
                if "blocks" in change:  # a record's
                    yield from self._turn_pace(block, int(change["blocks"]))
                    continue
                try:
                    knobs, before = self.knobs.turn(change)
                except ConfigError as error:
                    self.steering.refused(change, error)
                    continue
                self.turned_at = self.proposals
                yield KnobChanged(block, self.proposals, knobs, before)
            if checkpoint:
                yield from self._checkpoint_now(block, keeper)
            again = again and not interrupt.is_asked

    def _checkpoint_now(self, block: int, keeper: Keeper | None) -> Iterator[Event]:
        if keeper is None or not block:
            why = "this run writes no folder" if keeper is None else "the first block is not done yet"
            yield Note(f"no checkpoint: {why}")
            return
        # Told first, so that it stands in front of the checkpoint.
        text = f"checkpoint after block {block:,}: mcprune resume {keeper.folder.path} would go on from here"
        yield Note(text)
        keeper.save(self)

    def notes(self) -> Iterator[Event]:
        """Say what turning knobs at a temperature means, and what a time that is far too short does."""
        if self.pace.blocks < FEW * self.plan.blocks:
            yield Note(
                f"only {self.pace.blocks:,} of {self.plan.blocks:,} blocks fitted into --max-time: the mask was hardly "
                "searched for; give more time, or fewer --epochs"
            )
        if self.turned_at is not None and self.is_warm:
            text = (
                "tuned while it ran: at a temperature above 0 the visits follow one law only while the knobs rest, here"
            )
            yield Note(f"{text} from proposal {self.turned_at:,} of {self.proposals:,} on")

    def advance(self, block: int) -> MaskUpdate:
        """Train, and let the method work, for one block."""
        method, progress = self.method, self.pace.progress(block)
        is_frozen = self.plan.config.train.frozen
        if not is_frozen:
            self.trainer.run(
                self.plan.config.train.steps, method.training_gates(), method.position(), progress, self.joint
            )
        # What an evaluator knows of a frozen classifier on a batch stays true: the batch stays for a while.
        if self._batch is None or not is_frozen or block % RENEW == 0:
            rows = self._batch_rows(progress)
            self._drawn = {"rows": rows, "judges": self.judges.save()} if is_frozen else None
            self._batch = self.judges.batch(rows)
        batch = self._batch
        update: MaskUpdate = method.update(batch, self.pace.progress(block + 1))
        self.is_warm = update.temperature > 0
        self._count(update, len(batch.targets))
        return update

    def harden(self) -> tuple[BoolArray, Hardened]:
        """Return the hard mask and the event that describes it."""
        self.is_between = False
        gates = self.method.training_gates()
        gate_sum = float(gates.astype(np.float64).sum())
        kept = int((self.method.position() > 0).sum())
        mask = self.method.harden(self.judges.batch(self.plan.evaluation.rows))
        self.final_gates = self.method.training_gates()
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
            steps=self.trainer.steps,
            forwards=self.forwards(),
            validation_accuracy=self._accuracy(mask),
            validation_objective=self.objective(mask),
            evaluator_error=getattr(self.method, "measured_error", None),
        )

    def validation(self) -> tuple[float | None, float | None]:
        """Return the validation accuracy of the sites with a positive weight, and that of exactly n sites.

        The second is of the n largest weights on the gradient path. A chain that keeps more than n has not decided yet which of
        them go: None.
        """
        position, keep = self.method.position(), self.plan.keep
        now = self._accuracy(position > 0)
        if self.plan.cost is not None:
            return now, now if self.is_within() else None
        if int((position > 0).sum()) == keep:
            return now, now
        # Importance scores rank only in its rounds: its position names no n sites before the last one.
        is_ranked = self.joint is not None and getattr(self.joint, "ranks", True)
        return now, self._accuracy(hardened(position, keep, self.plan.sites.hard_floor)) if is_ranked else None

    def is_within(self) -> bool:
        """Return whether no more is kept than the budget allows."""
        kept = self.method.position() > 0
        if self.plan.cost is None:
            return int(kept.sum()) <= self.plan.keep
        return int(self.plan.cost.costs.of(self.plan.cost.costs.counts(kept))) <= self.plan.cost.limit

    def objective(self, mask: BoolArray | None = None) -> float | None:
        """Return the objective on the validation part, of a mask or of the sites kept now; None for plain cross-entropy."""
        plan = self.plan
        if is_default(plan) or not len(self.y_validation):
            return None
        chosen = self.method.position() > 0 if mask is None else mask
        groups = coded_groups(plan.objective, plan.prepared.x_validation)
        gates = plan.gated.hard_gates(chosen)
        return value_of(
            plan.objective, plan.gated, self.x_validation, self.y_validation, mask=chosen, gates=gates, groups=groups
        )

    def last_crossed(self) -> IntArray:
        """Return the training step (N,) after which each gate last crossed one half, 0 for never."""
        return self._crossed if self.joint is None else self.joint.crossed

    def forwards(self) -> int:
        """Return the search's work so far in rows that went forward through the classifier, a row of backprop counting three.

        A candidate counts the rows of its evaluation batch, though an evaluator may need only a part of that work for them.
        """
        return (
            3 * self.trainer.steps * self.trainer.batch_size
            + self.judged_rows
            + self.plan.spent_forwards
            + getattr(self.method, "forwards", 0)
        )

    def cost(self) -> float:
        """Return the search's work in rows that went through backprop, a forward pass counting a third of one."""
        rows = min(self.plan.evaluation.rows, len(self.judges.targets))
        return self.trainer.steps * self.plan.batch_size + self.proposals * rows / 3 / 8

    def _accuracy(self, mask: BoolArray) -> float | None:
        if not len(self.y_validation):
            return None
        return accuracy(self.plan.gated, self.x_validation, self.y_validation, self.plan.gated.hard_gates(mask))

    def _batch_rows(self, progress: float) -> int:
        config = self.plan.config
        if self.knobs.rows is not None:
            return self.knobs.rows
        early = config.chain.keep_schedule.kind == "geometric" and progress < (config.chain.keep_schedule.until or 0.5)
        return self.plan.evaluation.early_rows if early else self.plan.evaluation.rows

    def _count(self, update: MaskUpdate, rows: int) -> None:
        self.judged_rows += rows * update.judged
        above = self.method.position() > 0
        self._crossed[above != self._above] = self.trainer.steps
        self._above = above
        self.proposals += update.proposals
        self.accepted += update.accepted
        self.nonfinite += update.nonfinite
        self.null_moves += update.null_moves
        self.by_bound += update.rejected_by_bound
        self.walled += update.walled
        self.adapted = update.adapted
        for name, (proposed, accepted) in update.moves.items():
            total = self.moves.setdefault(name, [0, 0])
            total[0] += proposed
            total[1] += accepted
