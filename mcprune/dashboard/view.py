"""What the page shows of a run: figures, curves, the mask, the log of changes; and the messages to open pages.

The run's thread writes, at most ten times a second; the server's threads read.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable

from mcprune.config.knobs import knob_meaning, unused_knobs
from mcprune.dashboard.gates import SHOWN, Gates, order_message
from mcprune.dashboard.series import Series, Stream
from mcprune.dashboard.window import COMPARED, HINTED, ChangeLog, Window, hints
from mcprune.errors import McpruneError
from mcprune.methods.base import BlockInfo, Sample
from mcprune.session.build.markov import most_evaluation_rows
from mcprune.session.search_parts import near_hard
from mcprune.session.steering.callbacks import Callback, SearchView
from mcprune.session.steering.knobs import KNOBS, Knobs
from mcprune.storage.answer import sentences
from mcprune.storage.events import (
    Event,
    Hardened,
    KnobChanged,
    Note,
    Progress,
    Replanned,
    RunDone,
    RunStarted,
    Scored,
    Stage,
    Stopped,
    plain,
)
from mcprune.storage.path_events import PathProgress
from mcprune.types import JsonObject

SAMPLES = 24  # candidates of a message
EVERY = 0.1  # seconds between two messages with figures
NOTES = 50
# Why a run has no knobs.
NO_KNOBS = {
    "gradient": "This run trains its gates by backprop (--method gradient). Nothing is proposed, so there are no knobs of a chain to turn; "
    "alpha follows its schedule.",
    "importance": "This run scores its sites by an importance measure and drops the lowest (--method importance). There are no knobs of a "
    "chain to turn.",
}
STILL = "Pause, One step, Checkpoint and Stop now work all the same."
# What the page shows of the event `run_started`.
OF_START = (
    "version", "name", "rows", "n_sites", "keep", "sites", "classifier", "device", "threads", "folder", "epochs", "blocks", "objective",
    "is_weighted", "task",
)  # fmt: skip
AVERAGED = {"loss": "loss", "classification_loss": "cla", "selection_loss": "sel", "rejection_loss": "rej"}


def hardened_figures(event: Hardened) -> dict[str, float | None]:
    """Return the figures of the hard mask."""
    kept = float(event.kept)
    figures: dict[str, float | None] = {"kept": kept, "gate_sum": kept, "target": kept}
    if event.validation_accuracy is not None:
        figures["validation_accuracy"] = event.validation_accuracy
    return figures


class RunView(Callback):
    """See the module.

    Attributes
    ----------
    is_endless : bool
        The chain goes on at n until somebody ends the run.
    stream : Stream
        Messages to open pages.
    status : str
        starting, running, paused, testing, done, failed; of a recorded run unfinished or done.
    knobs : Knobs or None
        None before the search starts.
    latest : dict
        The figures of the last message.
    """

    def __init__(self, *, is_endless: bool = False) -> None:
        self.is_endless = is_endless
        self.stream = Stream()
        self.status = "starting"
        self.knobs: Knobs | None = None
        self._search: SearchView | None = None
        self.latest: JsonObject = {}
        self.series = Series()
        self.changes = ChangeLog(lambda entry: self.stream.publish("compared", plain(entry)))
        self.notes: deque[str] = deque(maxlen=NOTES)
        self.block = 0
        self._run: JsonObject = {}
        self._scores: list[JsonObject] = []
        self._recent = Window(HINTED)
        self._sums: dict[str, float] = {}
        self._blocks = 0  # since the last message
        self._proposals = 0
        self._update: BlockInfo | None = None
        self._moves: dict[str, list[int]] = {}
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)  # since the last message
        self._published, self._counted = 0.0, (0.0, 0)
        self._seconds = 0.0  # of the search, pauses left out
        self._gates: Gates | None = None
        self._validation: float | None = None
        self._constant = (math.nan, math.nan, 0)  # delta, temperature, and the proposal since which they are so
        self._seconds_left: float | None = None

    # -- the run's thread --------------------------------------------------------------------------------------------------

    def on_start(self, search: SearchView) -> None:
        """See `Callback.on_start`."""
        plan, knobs = search.plan, search.knobs
        size, image, rows = plan.shown.size, plan.splits.image_shape, most_evaluation_rows(plan)
        method = plan.method
        self._run |= {
            "method": method,
            "image_shape": list(image) if image else None,
            "names": list(plan.shown.names(plan.splits.names)) if size <= SHOWN else None,
            "evaluation_rows_limit": rows,
            "evaluation_rows_configured": [
                min(one, rows) for one in (plan.evaluation.early_rows, plan.evaluation.rows)
            ],
            "limits": {name: knobs.limits(name) for name in KNOBS},
            "meanings": {name: knob_meaning(name) for name in KNOBS},
            "is_chain": bool(knobs.names),
            "is_by_rank": bool(knobs.names) and plan.chain.is_by_rank,
            "is_endless": self.is_endless and bool(knobs.names),
            "no_knobs": "" if knobs.names else f"{NO_KNOBS[method]} {STILL}",
        }
        if self._search is not None:  # a path searches twice; its proposals are counted again from 0
            self.series, self._seconds = Series(), 0.0
        self._gates = Gates(size)
        self._counted = (time.monotonic(), 0)
        self._search, self.knobs = search, knobs
        self.become("running")
        self.stream.publish("state", self.state())

    def on_block(self, search: SearchView, update: BlockInfo) -> None:
        """See `Callback.on_block`."""
        block, proposals = search.blocks_done, search.proposals
        self._recent.add(update)
        self.changes.add_block(update, block)
        self._blocks += 1
        for name, field in AVERAGED.items():
            self._sums[name] = self._sums.get(name, 0.0) + getattr(update, field)
        for name, counts in update.moves.items():
            total = self._moves.setdefault(name, [0, 0])
            total[0] += counts.decided
            total[1] += counts.accepted
        if (update.delta, update.temperature) != self._constant[:2]:
            self._constant = (update.delta, update.temperature, proposals - update.proposals)
        self._samples.extend(one.on_sites(search.plan.shown.owner) for one in update.samples)
        self.block, self._proposals, self._update = block, proposals, update
        if time.monotonic() - self._published >= EVERY:
            self.publish_figures()

    def on_event(self, event: Event) -> None:
        """See `Callback.on_event`."""
        if isinstance(event, RunStarted):
            content = event.to_dict()
            self._run |= {name: content[name] for name in OF_START}
        elif isinstance(event, Note):
            self.note(event.text)
        elif isinstance(event, Stage):
            self._show_stage("" if event.name == "search" else event.text)
        elif isinstance(event, Progress):
            if event.validation_accuracy is not None:
                self._validation = event.validation_accuracy
            self._seconds_left = event.seconds_left
        elif isinstance(event, KnobChanged):
            self._on_knob_changed(event)
        elif isinstance(event, PathProgress):
            self._show_path(event)
        elif isinstance(event, Replanned):
            self._run["blocks"] = event.blocks
        elif isinstance(event, Hardened):
            self.publish_figures()
            self.changes.close()
            self._publish_hardened(event)
            self.become("testing")
            self._show_stage("")
        elif isinstance(event, Stopped):
            self._run["stopped"] = event.to_dict()
            self.stream.publish(event.kind, self._run["stopped"])
        elif isinstance(event, Scored):
            self._scores.append(event.to_dict())
            self.stream.publish(event.kind, self._scores[-1])
        elif isinstance(event, RunDone):
            self._scores = plain(event.scores)
            self._run["answer"] = sentences(event.summary, event.simpler)
            self._show_stage("")
            self.become("done")
            self.stream.publish(event.kind, {"scores": self._scores, "answer": self._run["answer"]})

    def on_end(self, error: BaseException | None) -> None:
        """See `Callback.on_end`."""
        if error is not None and isinstance(error, Exception):
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Show that the run has ended in an error."""
        if self.status != "failed":
            self._show_stage("")
            self.note(str(error) if isinstance(error, McpruneError) else f"{type(error).__name__}: {error}")
            self.become("failed")

    def become(self, status: str) -> None:
        """Change the status."""
        self.status = status
        self.stream.publish("status", {"status": status})

    def note(self, text: str) -> None:
        """Show a sentence of the run."""
        self.notes.append(text)
        self.stream.publish("note", {"text": text})

    def _show_stage(self, text: str) -> None:
        """Show what the run does that may take long; the search, in which figures follow each other, needs no such sentence."""
        if text != self._run.get("stage", ""):
            self._run["stage"] = text
            self.stream.publish("stage", {"text": text})

    def _show_path(self, event: PathProgress) -> None:
        """Show the curve of a path as far as it is known."""
        self._run["path"] = event.to_dict()
        self.stream.publish("path", self._run["path"])
        if event.way == "score":
            self.become("testing")
        elif event.answer:
            self._show_stage("")
            self.become("done")

    def skip_time(self) -> None:
        """Leave out the time since the last message: a pause does not slow the rate."""
        self._counted = (time.monotonic(), self._counted[1])

    def publish_figures(self) -> None:
        """Publish the figures since the last time."""
        now, update, blocks = time.monotonic(), self._update, self._blocks
        if update is None or not blocks or self._search is None or self.knobs is None or self._gates is None:
            return
        plan, seconds = self.knobs.plan, max(now - self._counted[0], 1e-6)
        mean = {name: total / blocks for name, total in self._sums.items()}
        alpha = update.alpha if math.isfinite(update.alpha) else 0.0
        self._seconds += seconds
        decided, accepted = (sum(pair[side] for pair in self._moves.values()) for side in (0, 1))
        figures: dict[str, float | None] = {
            "seconds": round(self._seconds, 3),
            "acceptance": accepted / decided if decided else None,
            "decision_rate": decided / seconds,
            "x": float(self._proposals),
            "rate": (self._proposals - self._counted[1]) / seconds,
            **mean,
            "selection_loss": alpha * mean["selection_loss"],
            "rejection_loss": alpha * mean["rejection_loss"],
            "gate_sum": update.gate_sum,
            "target": float(update.target),
            "kept": float(update.kept),
            "validation_accuracy": self._validation,
        }
        if not self._run["is_chain"]:  # the axis is steps of backprop
            steps = plan.train.steps
            figures |= {"x": float(self.block * steps), "rate": steps * blocks / seconds}
            figures |= {"alpha": update.alpha, "schedule_lambda": update.strength}
        for name, (decided, accepted) in self._moves.items():
            figures[f"move {name}"] = accepted / decided if decided else None
        self.series.add(plain(figures))
        delta, temperature, since = self._constant
        position, recent = plan.shown.of(self._search.position()), Window(COMPARED, self._recent.updates).shares()
        self.latest = {
            "figures": figures,
            "block": self.block,
            "blocks": self._run.get("blocks"),
            **recent,
            "one_se": update.standard_error,
            "delta": delta,
            "temperature": temperature,
            "alpha": update.alpha,
            "constant_since": since,
            "seconds_left": self._seconds_left,
            "near_hard": near_hard(plan.shown.of(self._search.training_gates())),
            "hints": hints(self._recent, self.knobs.values(), plan.shown.size, is_by_rank=plan.chain.is_by_rank),
            "unused": self._unused(self.knobs.names),
            **self._gates.message(position),
            "order": order_message(position, position > 0, delta, tuple(self._samples)),
        }
        self.stream.publish("figures", self.latest)
        self._published, self._counted = now, (now, self._proposals)
        self._sums, self._moves, self._blocks = {}, {}, 0
        self._samples.clear()

    def _on_knob_changed(self, event: KnobChanged) -> None:
        values = self.knobs.values() if self.knobs is not None else {}
        entry = self.changes.add_change(event, self._unused(event.knobs))
        self._recent = Window(HINTED)
        self._constant = (*self._constant[:2], event.proposals)
        if self.latest:  # the hints are out of date, and while the run is paused no figures follow
            numbers = {
                name: values[name] for name in ("delta", "temperature", "alpha") if isinstance(values.get(name), float)
            }
            self.latest = {**self.latest, **numbers, "hints": [], "constant_since": event.proposals}
        message = {
            "entry": plain(entry),
            "knobs": values,
            "can_undo": self.changes.can_undo,
            "unused": self._unused(values),
        }
        self.stream.publish(event.kind, message)

    def _unused(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of some knobs that change nothing now, each with the reason."""
        knobs, search = self.knobs, self._search
        if knobs is None or search is None or not knobs.names:
            return {}
        is_at_target = not search.is_falling
        moves, is_by_rank = knobs.values()["moves"], knobs.plan.chain.is_by_rank
        return unused_knobs(names, moves, is_by_rank=is_by_rank, is_at_target=is_at_target)

    def _publish_hardened(self, event: Hardened) -> None:
        """Publish the hard mask: a search that was stopped early had kept other sites before."""
        if self._search is None or self._gates is None or not self.latest:
            return
        position = self._search.plan.shown.of(self._search.position())
        self.latest = {
            **self.latest, "figures": self.latest["figures"] | hardened_figures(event), "seconds_left": None, "hints": [],
            **self._gates.message(position), "order": order_message(position, position > 0, math.nan),
        }  # fmt: skip
        self.stream.publish(event.kind, self.latest)

    # -- the server's threads ----------------------------------------------------------------------------------------------

    def state(self) -> JsonObject:
        """Return all that a page needs when it opens."""
        return {
            "run": dict(self._run),
            "status": self.status,
            "knobs": self.knobs.values() if self.knobs is not None else {},
            "unused": self._unused(self.knobs.names if self.knobs is not None else ()),
            "series": self.series.copy(),
            "latest": self.latest,
            "changes": [plain(entry) for entry in list(self.changes.entries)],
            "can_undo": self.changes.can_undo,
            "notes": list(self.notes),
            "scores": list(self._scores),
        }
