"""The desk between a run and its page: it takes what the page orders to the run, and what the run does to the page.

The run's thread is never waited on: orders are taken at the boundaries of blocks, and figures are told at most ten times a second.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from mcprune.config.knobs import knob_meaning
from mcprune.dashboard.changes import Changes
from mcprune.dashboard.gates import SHOWN, Gates
from mcprune.dashboard.series import Series, Stream
from mcprune.dashboard.window import HINT, Window, hints
from mcprune.errors import ConfigError
from mcprune.methods.base import MaskUpdate
from mcprune.session.build.markov import judging_rows
from mcprune.session.search_parts import near_hard
from mcprune.session.steering import KNOBS, Knobs, Orders, Steering
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
    Stopped,
    plain,
)

EVERY = 0.1  # seconds between two messages with figures
PENDING = 64  # orders that wait for the end of a block
# Why a run has no knobs.
WITHOUT = {
    "gradient": "This run trains its gates by backprop (--method gradient): nothing is proposed, so there is no chain whose knobs could be "
    "turned; alpha follows its schedule.",
    "other": "This run ranks its sites by a measure and drops the lowest (--method importance): there is no chain whose knobs could be "
    "turned.",
}
MEANWHILE = "The page watches it all the same; pause, one step, checkpoint and stop serve."  # while it runs
ACTIONS = ("pause", "resume", "step", "checkpoint", "stop", "undo")
AVERAGED = ("loss", "cla", "sel", "rej")
# What the page shows of the event `run_started`.
OF_START = (
    "version", "name", "rows", "n_sites", "keep", "sites", "classifier", "device", "threads", "folder", "epochs", "blocks", "objective",
)  # fmt: skip


def hardened_row(event: Hardened) -> dict[str, float | None]:
    """Return the figures of the hard mask."""
    kept = float(event.kept)
    row: dict[str, float | None] = {"kept": kept, "gate_sum": kept, "target": kept}
    if event.validation_accuracy is not None:
        row["validation"] = event.validation_accuracy
    return row


class Desk(Steering):
    """See the module. `orders` to `hear` are the run's, `post` to `state` the server's.

    Parameters
    ----------
    is_paused : bool
        The run waits in front of its first block.
    """

    def __init__(self, is_paused: bool = False) -> None:
        self.stream = Stream()
        self.knobs: Knobs | None = None
        self.status = "starting"
        self._turn = threading.Condition()
        self._is_paused = is_paused
        self._steps = 0
        self._is_stopped = self._checkpoint = False
        self._ordered: deque[tuple[dict[str, Any], str]] = deque()
        self._origins: deque[str] = deque()
        self._changes = Changes(lambda entry: self.stream.publish("effect", dict(entry)))
        self._notes: deque[str] = deque(maxlen=50)
        self._rows: list[dict[str, Any]] = []
        self._run: dict[str, Any] = {}
        self._done: dict[str, Any] | None = None
        self._series = Series()
        self._latest: dict[str, Any] = {}
        self._lately = Window(HINT)
        self._sums: dict[str, float] = {}
        self._blocks = 0  # since the last message
        self._block = self._proposals = 0
        self._update: MaskUpdate | None = None
        self._moves: dict[str, list[int]] = {}
        self._told, self._counted = 0.0, (0.0, 0)
        self._gates: Gates | None = None
        self._validation: float | None = None
        self._rest = (math.nan, math.nan, 0)  # delta, temperature, and the proposal from which they have been so
        self._seconds_left: float | None = None

    # --- the run's thread -------------------------------------------------------------------------------------------

    def begin(self, knobs: Knobs) -> None:
        """See `Steering.begin`."""
        plan = knobs.plan
        size = plan.sites.size
        image = plan.prepared.image_shape
        judging = judging_rows(plan)
        self._run |= {
            "image_shape": list(image) if image else None,
            "names": list(plan.sites.names(plan.prepared.feature_names)) if size <= SHOWN else None,
            "judging_rows": judging,
            "rows_configured": [min(rows, judging) for rows in (plan.evaluation.early_rows, plan.evaluation.rows)],
            "limits": {name: knobs.limits(name) for name in KNOBS},
            "meanings": {name: knob_meaning(name) for name in KNOBS},
            "is_chain": bool(knobs.names),
            "without": "" if knobs.names else WITHOUT.get(plan.config.method, WITHOUT["other"]),
            "meanwhile": "" if knobs.names else MEANWHILE,
        }
        self._gates = Gates(size)
        self._counted = (time.monotonic(), 0)
        self.knobs = knobs
        self._become("running")
        self.stream.publish("state", self.state())

    def orders(self, block: int, is_asked: Callable[[], bool]) -> Orders:
        """See `Steering.orders`."""
        with self._turn:
            while True:
                is_held = self._is_paused and not self._steps and not self._is_stopped and not is_asked()
                if self._ordered or self._checkpoint:
                    orders = Orders(tuple(values for values, _ in self._ordered), self._checkpoint, is_held)
                    self._origins.extend(origin for _, origin in self._ordered)
                    self._ordered.clear()
                    self._checkpoint = False
                    if not is_held:
                        self._steps = max(0, self._steps - 1)
                    return orders
                if not is_held:
                    self._steps = max(0, self._steps - 1)
                    if self.status == "paused" and not self._is_paused:
                        self._become("running")
                    return Orders()
                if self.status != "paused":
                    self._tell(time.monotonic())
                    self._become("paused")
                self._turn.wait(0.1)
                self._counted = (time.monotonic(), self._counted[1])  # a pause does not slow the rate

    def refused(self, changes: Mapping[str, Any], error: ConfigError) -> None:
        """See `Steering.refused`."""
        if self._origins:
            self._origins.popleft()
        self._note(f"refused: {error}")

    def observe(self, update: MaskUpdate, block: int, proposals: int) -> None:
        """See `Steering.observe`; cheap but for ten times a second."""
        self._lately.add(update)
        self._changes.add(update, block)
        self._blocks += 1
        for name in AVERAGED:
            self._sums[name] = self._sums.get(name, 0.0) + getattr(update, name)
        for name, (proposed, accepted) in update.moves.items():
            total = self._moves.setdefault(name, [0, 0])
            total[0] += proposed
            total[1] += accepted
        if (update.delta, update.temperature) != self._rest[:2]:
            self._rest = (update.delta, update.temperature, proposals - update.proposals)
        self._block, self._proposals, self._update = block, proposals, update
        now = time.monotonic()
        if now - self._told >= EVERY or (self._is_paused and self._steps == 0):
            self._tell(now)

    def ends(self, block: int) -> str:
        """See `Steering.ends`."""
        return "stop" if self._is_stopped else ""

    def hear(self, event: Event) -> None:
        """Hear an event of the run."""
        if isinstance(event, RunStarted):
            content = event.to_dict()
            self._run |= {name: content[name] for name in OF_START}
            self._run |= {"method": event.config["method"]}
        elif isinstance(event, Note):
            self._note(event.text)
        elif isinstance(event, Progress):
            if event.validation_accuracy is not None:
                self._validation = event.validation_accuracy
            self._seconds_left = event.seconds_left
        elif isinstance(event, KnobChanged):
            self._turned(event)
        elif isinstance(event, Replanned):
            self._run["blocks"] = event.blocks
            self._note(
                f"{event.blocks:,} blocks are planned, not {event.blocks_before:,}: the schedules end with --max-time"
            )
        elif isinstance(event, Hardened):
            self._tell(time.monotonic())
            self._changes.close()
            self._show_hardened(event)
            for values, _ in self._ordered:
                self._note(f"the search had ended before this change was made: {', '.join(values)}")
            self._become("testing")
        elif isinstance(event, Stopped):
            self._run["stopped"] = event.to_dict()
            self.stream.publish("stopped", self._run["stopped"])
        elif isinstance(event, Scored):
            self._rows.append(event.to_dict())
            self.stream.publish("row", self._rows[-1])
        elif isinstance(event, RunDone):
            self._done = {"scores": plain(event.scores)}
            self._become("done")
            self.stream.publish("done", self._done)

    def fail(self, message: str) -> None:
        """The run has ended in an error."""
        self._note(message)
        self._become("failed")

    # --- the server's thread ----------------------------------------------------------------------------------------

    def post(self, changes: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take changes of knobs; return the status of the answer and what it says."""
        if self.knobs is None or self.status not in ("running", "paused"):
            return 409, {"error": f"the run is {self.status}: knobs turn only while the chain runs"}
        values, clamped, refused = self.knobs.check(changes)
        if refused or not values:
            return 422, {"refused": refused or {"": "no knob was named"}}
        return self._order(values, "page", {"accepted": values, "clamped": clamped})

    def control(self, action: str) -> tuple[int, dict[str, Any]]:
        """Take an order that is no knob, one of `ACTIONS`."""
        if action not in ACTIONS:
            return 422, {"error": f"there is no such action; there are: {', '.join(ACTIONS)}"}
        if self.status not in ("running", "paused", "starting"):
            return 409, {"error": f"the run is {self.status}"}
        if action == "undo":
            return self._take_back()
        with self._turn:
            if action == "pause":
                self._is_paused = True
            elif action == "resume":
                self._is_paused, self._steps = False, 0
            elif action == "step":
                self._is_paused, self._steps = True, min(self._steps + 1, PENDING)
            elif action == "checkpoint":
                self._checkpoint = True
            else:
                self._is_stopped = True
            self._turn.notify_all()
        return 200, {"done": action}

    def _take_back(self) -> tuple[int, dict[str, Any]]:
        """Undo the newest change: one that waits for the end of a block is not made at all."""
        with self._turn:
            if self._ordered and self._ordered[-1][1] != "undo":
                values, _ = self._ordered.pop()
                standing = self.knobs.values() if self.knobs is not None else {}
                for waiting, _ in self._ordered:
                    standing |= waiting
                return 200, {"accepted": {name: standing.get(name) for name in values}}
            if len(self._ordered) >= PENDING:
                return 429, {"error": "too many changes wait for the end of a block"}
            before = self._changes.take_back()
        if before is None:
            return 409, {"error": "there is no change to undo"}
        return self._order(before, "undo", {"accepted": before})

    def now(self, name: str) -> float | None:
        """Return where a knob stands that is a number: as ordered last, or as a schedule has moved it."""
        with self._turn:
            for values, _ in reversed(self._ordered):
                if name in values:
                    return float(values[name])
        value = self.knobs.values().get(name) if self.knobs is not None else None
        return float(value) if isinstance(value, int | float) else self._latest.get(name)

    def state(self) -> dict[str, Any]:
        """Return all that a page that opens now must know."""
        return {
            "run": dict(self._run),
            "status": self.status,
            "knobs": self.knobs.values() if self.knobs is not None else {},
            "series": self._series.copy(),
            "latest": self._latest,
            "log": self._changes.copy(),
            "can_undo": self._changes.undoable,
            "notes": list(self._notes),
            "rows": list(self._rows),
            "done": self._done,
        }

    # --- both -------------------------------------------------------------------------------------------------------

    def _order(self, values: dict[str, Any], origin: str, answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._turn:
            if len(self._ordered) >= PENDING:
                return 429, {"error": "too many changes wait for the end of a block"}
            self._ordered.append((dict(values), origin))
            self._turn.notify_all()
        return 200, answer

    def _become(self, status: str) -> None:
        self.status = status
        self.stream.publish("status", {"status": status})

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self.stream.publish("note", {"text": text})

    def _turned(self, event: KnobChanged) -> None:
        entry = self._changes.turned(event, self._origins.popleft() if self._origins else "replay")
        self._lately = Window(HINT)
        self._rest = (*self._rest[:2], event.proposals)
        values = self.knobs.values() if self.knobs is not None else {}
        if self._latest:  # what was said before it is no longer so, and while the run is paused no figures follow
            told = {
                name: values[name] for name in ("delta", "temperature", "alpha") if isinstance(values.get(name), float)
            }
            self._latest = {**self._latest, **told, "hints": [], "constant_since": event.proposals}
        self.stream.publish("knob", {"entry": dict(entry), "knobs": values, "can_undo": self._changes.undoable})

    def _show_hardened(self, event: Hardened) -> None:
        """Publish what is there after hardening: a search that was stopped early had kept other sites before it."""
        if self.knobs is None or self._gates is None or not self._latest:
            return
        self._latest = {
            **self._latest, "row": self._latest["row"] | hardened_row(event), "seconds_left": None, "hints": [],
            **self._gates.told(self.knobs.method.position()),
        }  # fmt: skip
        self.stream.publish("hardened", self._latest)

    def _tell(self, now: float) -> None:
        """Publish the figures since the last time."""
        update, blocks = self._update, self._blocks
        if update is None or not blocks or self.knobs is None or self._gates is None:
            return
        mean = {name: total / blocks for name, total in self._sums.items()}
        since, counted = self._counted
        rate = (self._proposals - counted) / max(now - since, 1e-6)
        row: dict[str, float | None] = {
            "step": float(self._proposals),
            "loss": mean["loss"],
            "cla": mean["cla"],
            "sel": (update.alpha if math.isfinite(update.alpha) else 0.0) * mean["sel"],
            "rej": (update.alpha if math.isfinite(update.alpha) else 0.0) * mean["rej"],
            "gate_sum": update.gate_sum,
            "target": float(update.target),
            "kept": float(update.kept),
            "rate": rate,
            "validation": self._validation,
        }
        if not self._run["is_chain"]:  # time goes by steps of backprop, and so does the speed
            steps = self.knobs.plan.config.train.steps
            row |= {"step": float(self._block * steps), "rate": steps * blocks / max(now - since, 1e-6)}
            row |= {"alpha": update.alpha, "lambda": update.strength}
        for name, (proposed, accepted) in self._moves.items():
            row[f"move {name}"] = accepted / proposed if proposed else None
        proposed, accepted = (sum(pair[side] for pair in self._moves.values()) for side in (0, 1))
        self._series.add(plain(row))
        delta, temperature, rest = self._rest
        self._latest = {
            "row": row,
            "block": self._block,
            "blocks": self._run.get("blocks"),
            "acceptance": accepted / proposed if proposed else None,
            "delta": delta,
            "temperature": temperature,
            "alpha": update.alpha,
            "constant_since": rest,
            "is_tuned": bool(self._changes.entries),
            "seconds_left": self._seconds_left,
            "near_hard": near_hard(self.knobs.method.training_gates()),
            "hints": hints(self._lately, self.knobs.values(), self.knobs.plan.sites.size),
            **self._gates.told(self.knobs.method.position()),
        }
        self.stream.publish("tick", self._latest)
        self._told, self._counted = now, (now, self._proposals)
        self._sums, self._moves, self._blocks = {}, {}, 0
