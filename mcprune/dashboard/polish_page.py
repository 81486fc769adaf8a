"""The live page of a chain over digits: loss, cost and acceptance over time; its temperature, pause, step and stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from mcprune.dashboard.controller import Accepted, Invalid, NotNow
from mcprune.dashboard.series import Series, Stream
from mcprune.dashboard.server import Server
from mcprune.data.prepare import Splits
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.polish.engine.chain import MIXTURE, accuracy, mean_loss
from mcprune.firmware.polish.engine.digit_kernels import ACCEPTED, EVALUATED, PROPOSED
from mcprune.firmware.polish.polish import Polished
from mcprune.firmware.polish.run import PolishState
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.storage.events import plain
from mcprune.types import FloatArray, JsonObject

HOTTEST = 1.0  # largest temperature, in nats
MEANING = "temperature of the mean loss; from the block after a change on it stays as it is, in place of the schedule"


class Moment(NamedTuple):
    """When a state came, and its counts by move."""

    seconds: float
    counts: FloatArray


class PolishPage:
    """Serves a page on which a chain over digits is watched and steered, from a thread of this process.

    Parameters
    ----------
    name : str
        Of the data.
    settings : PolishSettings
    splits : Splits
        The loss on the page is the cross-entropy of the training rows, the accuracy that of the validation rows.
    port : int, optional
        By default 8765, or the next free one; 0: any free one.
    host : str
        Address to listen on. Other machines need the token as well, which is part of the address.
    folder : str
        Where the network will be.

    Attributes
    ----------
    server : Server
    status : str
        starting, running, paused, done, failed.
    """

    def __init__(
        self,
        name: str,
        settings: PolishSettings,
        splits: Splits,
        port: int | None = None,
        host: str = "127.0.0.1",
        folder: str = "",
    ) -> None:
        self.settings, self.splits = settings, splits
        self.stream, self.series, self.status = Stream(), Series(), "starting"
        self._condition = threading.Condition()
        self._is_paused = self._is_stopped = False
        self._steps = 0
        self._temperature: float | None = None  # as requested last
        self._latest: JsonObject = {}
        self._notes: list[str] = []
        self._scores: list[JsonObject] = []
        self._seconds, self._resumed = 0.0, time.monotonic()
        self._last = Moment(0.0, np.zeros((len(MIXTURE), 3)))
        self._run: JsonObject = {
            "name": name, "unit": settings.unit, "keep": settings.budget, "n_sites": settings.budget, "blocks": settings.blocks,
            "rows": {"train": len(splits.train.targets)}, "classifier": "a network in fixed point", "device": "cpu", "threads": 1,
            "folder": folder, "method": "markov", "is_chain": True, "is_digits": True, "is_weighted": splits.is_weighted,
            "task": "classification", "objective": "", "no_knobs": "", "meanings": {"temperature": MEANING},
        }  # fmt: skip
        self.server = Server(self, self, host, port)
        self.server.start()

    # -- the thread of the chain -------------------------------------------------------------------------------------------

    def steer(self, state: PolishState) -> PolishState:
        """Wait while the page says so, and return the state with what it has changed; see `polish`."""
        if self.status == "starting":
            self._run["n_sites"] = max(state.start_cost, self.settings.budget)
            self._last = Moment(0.0, _counts(state))
            self._resumed = time.monotonic()
            self._become("running")
            self.stream.publish("state", self.state())
        with self._condition:
            if self._waits():
                self._seconds += time.monotonic() - self._resumed
                self._become("paused")
                while self._waits():
                    self._condition.wait(0.1)
                self._become("running")
                self._resumed = time.monotonic()
            self._steps = max(self._steps - 1, 0)
            if self._temperature is not None and self._temperature != state.temperature:
                self._note(f"temperature {self._temperature:g} from block {state.block + 1} on")
                state = replace(state, temperature=self._temperature)
            if self._is_stopped and state.block < self.settings.blocks:
                self._note(f"stopped after block {state.block}; what is above the budget goes at once")
                state = replace(state, block=self.settings.blocks)
        return state

    def on_block(self, state: PolishState) -> None:
        """Publish the figures of a block; see `polish`."""
        now, counts = self._now(), _counts(state)
        seconds, new = max(now - self._last.seconds, 1e-6), counts - self._last.counts
        decided, accepted = float(new[:, 1].sum()), float(new[:, 2].sum())
        cost = costs(state.network)
        planned = self.settings.temperature_at(state.block, cost.digits)
        temperature = planned if state.temperature is None else state.temperature
        figures: dict[str, float | None] = {
            "seconds": round(now, 3),
            "x": float(counts[:, 0].sum()),
            "rate": float(new[:, 0].sum()) / seconds,
            "decision_rate": decided / seconds,
            "acceptance": accepted / decided if decided else None,
            "loss": mean_loss(state.network, self.splits.train),
            "kept": float(cost.of(self.settings.unit)),
            "target": round(self.settings.budget_at(state.block, state.start_cost, state.inner_budget)),
            "validation_accuracy": self._accuracy(state),
        }
        for name, (_, tried, taken) in zip(MIXTURE, new, strict=True):
            figures[f"move {name}"] = taken / tried if tried else None
        left = (self.settings.blocks - state.block) * now / max(state.block, 1)
        self.series.add(plain(figures))
        self._latest = {
            "figures": figures, "block": state.block, "blocks": self.settings.blocks, "acceptance": figures["acceptance"],
            "temperature": temperature, "delta": None, "alpha": None, "constant_since": 0, "seconds_left": max(left, 0.0),
            "hints": [], "unused": {}, "histogram": [],
        }  # fmt: skip
        self._last = Moment(now, counts)
        self.stream.publish("figures", self._latest)

    def done(self, result: Polished) -> None:
        """Show the result."""
        for name, standing in (("start", result.before), ("polished", result.after)):
            part = "test" if "test" in standing.accuracies else "train"
            kept = standing.costs.of(self.settings.unit)
            self._scores.append({"name": name, "kept": kept, "accuracy": standing.accuracies[part]})
        self._become("done")
        self.stream.publish("run_done", {"scores": self._scores, "answer": []})

    def close(self) -> None:
        """Stop the server."""
        self.server.stop()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        if isinstance(error, Exception):
            self._note(str(error))
            self._become("failed")
        self.close()

    def _waits(self) -> bool:
        return self._is_paused and not self._steps and not self._is_stopped

    def _accuracy(self, state: PolishState) -> float | None:
        rows = self.splits.validation
        return accuracy(state.network, rows) if len(rows.targets) else None

    def _now(self) -> float:
        """Return the seconds so far, pauses left out."""
        now = time.monotonic()
        self._seconds, self._resumed = self._seconds + now - self._resumed, now
        return self._seconds

    def _become(self, status: str) -> None:
        self.status = status
        self.stream.publish("status", {"status": status})

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self.stream.publish("note", {"text": text})

    # -- the threads of the server -----------------------------------------------------------------------------------------

    def state(self) -> JsonObject:
        """Return all that a page needs when it opens."""
        return {
            "run": dict(self._run), "status": self.status, "knobs": {"temperature": self._shown_temperature()}, "unused": {},
            "series": self.series.copy(), "latest": self._latest, "changes": [], "can_undo": 0, "notes": list(self._notes),
            "scores": list(self._scores),
        }  # fmt: skip

    def change(self, changes: Mapping[str, object]) -> Accepted:
        """Change the temperature from the next block on; see `Requests.change`."""
        if self.status not in ("running", "paused"):
            raise NotNow(f"the chain is {self.status}; its temperature can be changed only while it goes on")
        unknown = [name for name in changes if name != "temperature"]
        if unknown or not changes:
            raise Invalid({unknown[0] if unknown else "": "the chain over digits has one knob, temperature"})
        value = changes["temperature"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise Invalid({"temperature": "Give a finite number, 0 or more."})
        taken = min(float(value), HOTTEST)
        clamped = {} if taken == value else {"temperature": f"The largest temperature is {HOTTEST:g}."}
        with self._condition:
            self._temperature = taken
        self.stream.publish("state", self.state())
        return Accepted({"temperature": taken}, clamped)

    def act(self, action: str) -> Accepted | None:
        """Pause, resume, step or stop; see `Requests.act`."""
        if action not in ("pause", "resume", "step", "stop"):
            raise Invalid({"": f"the chain over digits has no action {action!r}; it has pause, resume, step and stop"})
        if self.status not in ("running", "paused", "starting"):
            raise NotNow(f"the chain is {self.status}")
        with self._condition:
            if action == "pause":
                self._is_paused = True
            elif action == "resume":
                self._is_paused, self._steps = False, 0
            elif action == "step":
                self._is_paused, self._steps = True, self._steps + 1
            else:
                self._is_stopped = True
            self._condition.notify_all()
        return None

    def _shown_temperature(self) -> float | str:
        """Return the temperature as requested, or the schedule in words."""
        if self._temperature is not None:
            return self._temperature
        return f"{self.settings.temperature:g} falling to 0"


def _counts(state: PolishState) -> FloatArray:
    """Return the candidates of each move that were drawn, evaluated and accepted, (moves, 3)."""
    return np.asarray(state.statistics[: len(MIXTURE), [PROPOSED, EVALUATED, ACCEPTED]])
