"""The run: steps of backprop, a block of chain decisions, again; then hardening, shrinking, retraining, the record."""

from __future__ import annotations

import base64
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from mcprune.arrays import BoolArray, Float32Array, IntArray
from mcprune.chain import state
from mcprune.data.base import Dataset
from mcprune.data.load import load as load_data
from mcprune.errors import ConfigError, McpruneError
from mcprune.methods.base import Batch, Joint, MaskUpdate
from mcprune.methods.markov import Markov
from mcprune.pruning.weight_sites import effects
from mcprune.session import events, outcome
from mcprune.session.config import RunConfig
from mcprune.session.events import Event
from mcprune.session.folder import RunFolder
from mcprune.session.machine import use_threads, versions
from mcprune.session.options_gradient import check_options
from mcprune.session.pilots import in_time
from mcprune.session.plan import Plan, classifier_words, make_method, make_plan, site_groups
from mcprune.session.records import check_free
from mcprune.session.rows import EvaluationRows, judge_split
from mcprune.session.steering import Knobs, Steering
from mcprune.session.trainer import Trainer, accuracy, fit
from mcprune.version import VERSION

# At most so many progress events, and so many looks at the validation part, whatever the length of the run.
PROGRESS_EVENTS, VALIDATIONS = 400, 40
# The gates themselves are told so many times at most, and only where they are few: a line of text should stay one.
GATES, MOST_GATES = 60, 16_384
NEAR = 0.01
GUESSED_ROWS = 2048  # on which the effects of the sites are guessed
RENEW = 8  # blocks for which a frozen classifier is judged on the same rows


class Interrupt:
    """Ask the run to end after the current step: the first SIGINT is noted, the second one interrupts at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self._previous: Any = None
        self._is_installed = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Interrupt:
        if self._is_installed:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_installed and signal.getsignal(signal.SIGINT) == self._handle:
            with suppress(ValueError):  # closed in another thread
                signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


def run(config: RunConfig, steering: Steering | None = None) -> Iterator[Event]:
    """Run what the configuration says and tell of it; leaving the loop ends the run and keeps what is written.

    Parameters
    ----------
    config : RunConfig
    steering : Steering, optional
        Who turns the knobs of the run, such as a `Replay`.

    Yields
    ------
    Event
        As docs/events.md lists them. The last one is `done`.

    Raises
    ------
    McpruneError
        What the user can mend, before anything is written where that is possible.
    """
    check_options(config)
    path = folder_of(config)
    check_free(path, force=config.force)
    yield from run_on(config, load_data(config.data, target=config.target), path, steering=steering)


def folder_of(config: RunConfig) -> Path:
    """Return the run's folder: `out`, or runs/NAME of the data."""
    return Path(config.out) if config.out else Path("runs") / (Path(config.data).name.split(".")[0] or "data")


def run_on(
    config: RunConfig,
    dataset: Dataset,
    path: Path | None,
    model: torch.nn.Module | None = None,
    ends: list[outcome.Outcome] | None = None,
    steering: Steering | None = None,
) -> Iterator[Event]:
    """Run on a data set at hand; `path` None writes nothing. What came out is appended to `ends` for who wants it."""
    began = time.monotonic()
    searching = _searching(config, make_plan(config, dataset, model), began, steering)
    del dataset
    plan = searching.plan
    folder = RunFolder(path, plan.config, force=config.force) if path is not None else None
    try:
        for event in _events(plan, searching, folder, began, ends):
            if folder is not None:
                # A classifier that diverges at once leaves nothing, and an earlier run as it was.
                if searching.blocks_done:
                    folder.begin()
                folder.event(event)
            yield event
    except McpruneError:
        if folder is not None:
            folder.restore()
        raise
    finally:
        if folder is not None:
            folder.close()


def _events(
    plan: Plan, search: _Search, folder: RunFolder | None, began: float, ends: list[outcome.Outcome] | None
) -> Iterator[Event]:
    config = plan.config
    where = None if folder is None else str(folder.path)
    yield Event(
        events.START,
        {
            "version": VERSION,
            "versions": versions(),
            "name": plan.prepared.name,
            "rows": {part: len(getattr(plan.prepared, f"y_{part}")) for part in ("train", "validation", "test")},
            "N": plan.sites.size,
            "n": plan.keep,
            "cost": outcome.cost_of(plan),
            "sites": site_groups(plan.sites),
            "classifier": classifier_words(plan),
            "device": str(plan.device),
            "threads": config.threads,
            "folder": where,
            "epochs": plan.epochs,
            "blocks": plan.blocks,
            "config": config.model_dump(),
            **search.method.description(),
        },
    )
    for note in plan.notes:
        yield Event(events.NOTE, {"text": note})
    with Interrupt() as interrupt:
        yield from search.run(interrupt, began, folder)
        yield from search.notes()
        kept = int((search.method.position() > 0).sum())
        if search.blocks_done < plan.blocks and not search.is_within():
            text = f"ended while {kept} sites were kept: the rest is dropped at once, which costs accuracy"
            yield Event(events.NOTE, {"text": text + "; fewer --epochs plan a shorter run"})
        mask, away = search.harden()
        for note in getattr(search.method, "notes", list)():
            yield Event(events.NOTE, {"text": note})
        found = outcome.Outcome(mask, search.method.position().copy(), search.final_gates, search.cost())
        found.scores = getattr(search.method, "scores", None)
        if folder is not None:  # the last block's progress has made it
            outcome.write_mask(plan, found, folder)
        found.harden = away
        yield Event(events.HARDEN, away)
        found.is_cut_short = interrupt.is_asked
        found.adapted = search.adapted
        yield from outcome.conclude(plan, found, folder, began, lambda: interrupt.is_asked)
    if ends is not None:
        ends.append(found)


def search(
    config: RunConfig, dataset: Dataset, interrupt: Interrupt, *, split_seed: int | None = None
) -> tuple[Plan, BoolArray, float | None]:
    """Search alone: no test row is looked at, nothing is retrained or written.

    Parameters
    ----------
    config : RunConfig
    dataset : Dataset
    interrupt : Interrupt
        Entered by the caller.
    split_seed : int, optional
        Draws the parts of the data; by default `config.seed` does.

    Returns
    -------
    plan : Plan
    mask : ndarray of bool, shape (N,)
        Of exactly n sites.
    accuracy : float or None
        On the validation part, with the mask and the classifier of the search; None without such rows.

    Raises
    ------
    McpruneError
        What cannot be run, or diverged.
    KeyboardInterrupt
        The interrupt was asked for.
    """
    began = time.monotonic()
    searching = _searching(config, make_plan(config, dataset, split_seed=split_seed), began)
    for _ in searching.run(interrupt, began):
        pass
    if interrupt.is_asked:
        raise KeyboardInterrupt
    mask, away = searching.harden()
    return searching.plan, mask, away["validation_accuracy"]


def _searching(config: RunConfig, plan: Plan, began: float, steering: Steering | None = None) -> _Search:
    """Return the search of a plan, ready to run; on the gradient path pilots may settle the plan first."""
    use_threads(plan.config.threads or 1)
    if config.method == "gradient":
        plan = in_time(plan, config, began, lambda plan: _Search(plan, make_method(plan)))
    return _Search(plan, make_method(plan), steering)


def near_hard(gates: Float32Array) -> float:
    """Return the share of the gates within .01 of 0 or 1."""
    return float(((gates <= NEAR) | (gates >= 1.0 - NEAR)).mean())


def coded(gates: Float32Array) -> str | None:
    """Return gates (N,) as base64 of a byte each, 0..255 for 0..1; None where they are too many."""
    if gates.size > MOST_GATES:
        return None
    return base64.b64encode(np.rint(255.0 * gates.astype(np.float64)).astype(np.uint8).tobytes()).decode("ascii")


class _Search:
    """Backprop and method in turns over the planned blocks; a joint method moves in the steps of backprop themselves."""

    def __init__(self, plan: Plan, method: Any, steering: Steering | None = None) -> None:
        config, data = plan.config, plan.prepared
        self.steering = steering or Steering()
        self.knobs = Knobs(plan, method)
        self.turned_at: int | None = None  # proposals at the last change of a knob
        self.plan = plan
        self.method = method
        self.joint: Joint | None = method if isinstance(method, Joint) else None
        fit, judge = judge_split(data.y_train, config.judge_on, config.judge_share, config.seed)
        if self.joint is not None:
            judge = judge[:0]
        self.trainer = Trainer(
            plan.gated,
            plan.rows(data.x_train[fit]),
            torch.from_numpy(data.y_train[fit]).to(plan.device),
            batch_size=plan.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            perturb=config.perturb,
            jitter=config.jitter or 0.0,
            seed=config.seed,
        )
        self.judges = EvaluationRows(
            data.x_train[judge],
            data.y_train[judge],
            device=plan.device,
            seed=config.seed,
            jitter=config.jitter or 0.0,
        )
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

    def run(self, interrupt: Interrupt, began: float, folder: RunFolder | None = None) -> Iterator[Event]:
        """Yield progress until the planned blocks are done, time is up, or an interrupt or who steers asks to stop."""
        plan, config, method = self.plan, self.plan.config, self.method
        every = max(1, plan.blocks // PROGRESS_EVENTS)
        look = max(every, plan.blocks // VALIDATIONS // every * every)
        window, began_search = [0, 0], began
        # The median of the last blocks: some of the first ones compile the engine.
        times: deque[float] = deque(maxlen=31)
        self.steering.begin(self.knobs)
        if config.pretrain:
            began_training = time.monotonic()
            text = self.pretrain(lambda: interrupt.is_asked)
            began_search += time.monotonic() - began_training  # no time of the search
            yield Event(events.NOTE, {"text": text})
        self.start()
        for block in range(plan.blocks):
            block_began = time.monotonic()
            yield from self.steer(block, interrupt, folder)
            began_search += time.monotonic() - block_began  # a pause is no time of the search
            block_began = time.monotonic()
            update = self.advance(block)
            window[0] += update.proposals
            window[1] += update.accepted
            self.blocks_done = block + 1
            times.append(time.monotonic() - block_began)
            is_over = config.max_time is not None and time.monotonic() - began_search >= config.max_time
            self.steering.observe(update, self.blocks_done, self.proposals)
            steered = self.steering.ends(self.blocks_done)
            is_last = self.blocks_done == plan.blocks or interrupt.is_asked or is_over or bool(steered)
            if self.blocks_done % every == 0 or is_last:
                usual = sorted(times)[len(times) // 2]
                shows = -(-plan.blocks // (GATES * every)) * every
                is_look, is_shown = self.blocks_done % look == 0 or is_last, self.blocks_done % shows == 0 or is_last
                on_validation, at_n = self.validation() if is_look else (None, None)
                yield Event(
                    events.PROGRESS,
                    {
                        "block": self.blocks_done,
                        "blocks": plan.blocks,
                        "epoch": plan.epochs * self.blocks_done / plan.blocks,
                        "epochs": plan.epochs,
                        "loss": update.loss,
                        "cla": update.cla,
                        "sel": update.sel,
                        "rej": update.rej,
                        "alpha": update.alpha,
                        "lambda": update.strength,
                        "delta": update.delta,
                        "temperature": update.temperature,
                        "gate_sum": update.gate_sum,
                        "near_hard": near_hard(method.training_gates()),
                        "kept": update.kept,
                        "target": update.target,
                        "cost": update.cost,
                        "cost_target": update.cost_target,
                        "proposals": self.proposals,
                        "accepted": self.accepted,
                        "acceptance": window[1] / window[0] if window[0] else math.nan,
                        "moves": {name: list(total) for name, total in self.moves.items()},
                        "nonfinite": self.nonfinite,
                        "null_moves": self.null_moves,
                        "rejected_by_bound": self.by_bound,
                        "rejected_by_cost": self.walled,
                        "adapted": update.adapted,
                        "proposals_per_second": update.proposals / max(usual, 1e-9),
                        "forwards": self.forwards(),
                        "validation_accuracy": on_validation,
                        "validation_at_n": at_n,
                        "gates": coded(method.training_gates()) if is_shown else None,
                        "seconds": time.monotonic() - began,
                        "seconds_left": usual * (plan.blocks - self.blocks_done),
                    },
                )
                window = [0, 0]
            if is_last:
                if self.blocks_done < plan.blocks:
                    reason = "interrupt" if interrupt.is_asked else steered or "max_time"
                    yield Event(events.STOPPED, {"reason": reason, "block": self.blocks_done})
                return

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
            epochs=config.pretrain or 0,
            batch_size=plan.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            seed=config.seed,
            is_asked=is_asked,
        )
        plan.spent_forwards += 3 * (config.pretrain or 0) * len(self.trainer.targets)
        found = self._accuracy(np.ones(plan.sites.size, bool))
        met = "" if found is None else f", {found:.4f} right on the validation part"
        return f"trained for {config.pretrain:,} epochs with all sites kept{met}"

    def start(self) -> None:
        """Tell the chain what its sites may matter, now that the classifier is what the search begins with."""
        if isinstance(self.method, Markov) and self.method.trials is not None:
            self.method.trials.guess(effects(self.plan.gated, self.judges.batch(GUESSED_ROWS).features))

    def steer(self, block: int, interrupt: Interrupt, folder: RunFolder | None) -> Iterator[Event]:
        """Do what is ordered in front of a block, and tell of it."""
        again = True
        while again:
            changes, checkpoint, again = self.steering.orders(block, lambda: interrupt.is_asked)
            for change in changes:
                try:
                    knobs, before = self.knobs.turn(change)
                except ConfigError as error:
                    self.steering.refused(change, error)
                    continue
                self.turned_at = self.proposals
                data = {"block": block, "step": self.proposals, "knobs": knobs, "before": before}
                yield Event(events.KNOB, data)
            if checkpoint:
                text = outcome.write_checkpoint(
                    self.plan, self.method, self.knobs.values(), block, self.proposals, folder
                )
                yield Event(events.NOTE, {"text": text})
            again = again and not interrupt.is_asked

    def notes(self) -> Iterator[Event]:
        """Say what turning knobs at a temperature means."""
        if self.turned_at is not None and self.is_warm:
            text = (
                "tuned while it ran: at a temperature above 0 the visits follow one law only while the knobs rest, here"
            )
            yield Event(events.NOTE, {"text": f"{text} from proposal {self.turned_at:,} of {self.proposals:,} on"})

    def advance(self, block: int) -> MaskUpdate:
        """Train, and let the method work, for one block."""
        method, blocks = self.method, self.plan.blocks
        progress = block / blocks
        if not self.plan.config.frozen:
            self.trainer.run(
                self.plan.config.train_steps, method.training_gates(), method.position(), progress, self.joint
            )
        # What an evaluator knows of a frozen classifier on a batch stays true: the batch stays for a while.
        if self._batch is None or not self.plan.config.frozen or block % RENEW == 0:
            self._batch = self.judges.batch(self._batch_rows(progress))
        batch = self._batch
        update: MaskUpdate = method.update(batch, (block + 1) / blocks)
        self.is_warm = update.temperature > 0
        self._count(update, len(batch.targets))
        return update

    def harden(self) -> tuple[BoolArray, dict[str, Any]]:
        """Return the hard mask and what the harden event says of it."""
        gates = self.method.training_gates()
        gate_sum = float(gates.astype(np.float64).sum())
        kept = int((self.method.position() > 0).sum())
        mask = self.method.harden(self.judges.batch(self.plan.config.evaluation_rows))
        self.final_gates = self.method.training_gates()
        return mask, {
            "kept": int(mask.sum()),
            "N": mask.size,
            "gate_sum": gate_sum,
            "away": abs(gate_sum - int(mask.sum())),
            "cost": outcome.cost_of(self.plan, mask),
            "kept_before": kept,
            "near_hard": near_hard(gates),
            "last_crossed": self.last_crossed().tolist(),
            "steps": self.trainer.steps,
            "forwards": self.forwards(),
            "validation_accuracy": self._accuracy(mask),
            "evaluator_error": getattr(self.method, "measured_error", None),
        }

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
        return now, self._accuracy(state.mask(position, keep)) if is_ranked else None

    def is_within(self) -> bool:
        """Return whether no more is kept than the budget allows."""
        kept = self.method.position() > 0
        if self.plan.cost is None:
            return int(kept.sum()) <= self.plan.keep
        return int(self.plan.cost.costs.of(self.plan.cost.costs.counts(kept))) <= self.plan.cost.limit

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
        config = self.plan.config
        rows = min(config.evaluation_rows, len(self.judges.targets))
        return self.trainer.steps * self.plan.batch_size + self.proposals * rows / 3 / 8

    def _accuracy(self, mask: BoolArray) -> float | None:
        if not len(self.y_validation):
            return None
        return accuracy(self.plan.gated, self.x_validation, self.y_validation, self.plan.gated.hard_gates(mask))

    def _batch_rows(self, progress: float) -> int:
        config = self.plan.config
        if self.knobs.rows is not None:
            return self.knobs.rows
        early = config.budget == "geometric" and progress < (config.budget_until or 0.5)
        return config.evaluation_rows_early if early else config.evaluation_rows

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
