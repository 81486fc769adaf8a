"""The controller of a run that a person steers: requests of the page, of keys or of a notebook become commands of the run.

The run's thread is never blocked by a request: commands are carried out between two blocks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from mcprune.dashboard.view import RunView
from mcprune.errors import ConfigError
from mcprune.methods.base import BlockInfo
from mcprune.session.steering.callbacks import Callback, SearchView
from mcprune.session.steering.controller import Commands, Controller
from mcprune.storage.events import Event, Hardened, KnobChanged
from mcprune.types import JsonObject

EXTENDED = 0.98  # of the planned blocks are done when an endless run plans as many again
LOGGED_WITHIN = 2.0  # seconds from where the search takes a change to its entry in the log, at most
MOST_PENDING = 64  # changes, and single steps, that wait for the end of a block
FALL, REST = 3.0, 2.0  # seconds in which Finish brings n(t) to n, and then lets the chain go on at n
FEWEST = 8  # blocks of each of the two at least
ACTIONS = ("pause", "resume", "step", "checkpoint", "finish", "stop", "undo")


def is_bounded(options: Mapping[str, object]) -> bool:
    """Whether one of the options by flat name says when a run ends: an endless one is for runs without."""
    return any(options.get(name) is not None for name in ("epochs", "max_time", "search_time"))


class Refused(ConfigError):  # noqa: N818
    """A request that is not carried out."""


class NotNow(Refused):
    """The run is in a state in which the request means nothing."""


class TooMany(Refused):
    """Too many changes wait already."""


class Invalid(Refused):
    """The request is wrong.

    Attributes
    ----------
    reasons : dict of str to str
        By the knob that is wrong, where one is.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = dict(reasons)


class Accepted(NamedTuple):
    """Knobs as they will be from the next block on, and what was clamped into its range, with a sentence on each."""

    knobs: JsonObject
    clamped: dict[str, str]


class Requests(Protocol):
    """What a page, keys or a notebook can ask for. Each raises `Refused` instead of doing nothing."""

    def change(self, changes: Mapping[str, object]) -> Accepted:
        """Change knobs from the next block on."""
        ...

    def act(self, action: str) -> Accepted | None:
        """Do one of `ACTIONS`; an undo returns the values that it goes back to."""
        ...


class RunController(Controller, Callback):
    """Steers a run by requests, and shows it in a view; to be passed to a run as a callback.

    Parameters
    ----------
    is_paused : bool
        Wait before the first block.
    is_endless : bool
        Where a chain is about to have done its planned blocks, plan as many again, until somebody stops the run: n(t) has reached
        n by then, and the chain goes on exploring there.

    Attributes
    ----------
    view : RunView
    """

    def __init__(self, is_paused: bool = False, *, is_endless: bool = False) -> None:
        self.view = RunView(is_endless=is_endless)
        self.is_endless = is_endless
        self._search: SearchView | None = None
        self._condition = threading.Condition()
        self._is_paused = is_paused
        self._steps = 0
        self._is_stopped = self._checkpoint = self._is_finishing = False
        self._end: int | None = None  # block from which on a run that is to finish ends, once n(t) is n
        self._pending: deque[tuple[JsonObject, str]] = deque()  # changes and their origins

    # -- the run's thread --------------------------------------------------------------------------------------------------

    def on_start(self, search: SearchView) -> None:
        """See `Callback.on_start`."""
        self._search = search
        self.view.on_start(search)

    def poll(self, block: int, should_stop: Callable[[], bool]) -> Commands:
        """See `Controller.poll`."""
        commands = self._poll(block, should_stop)
        if commands.again or self._search is None or not self._search.knobs.names:
            return commands
        blocks = self._finish(self._search, block) if self._is_finishing else self._more_blocks(self._search, block)
        return commands._replace(changes=(*commands.changes, {"blocks": blocks})) if blocks else commands

    def _finish(self, search: SearchView, block: int) -> int:
        """Set where the run ends, and return how many blocks bring n(t) down to n until then; 0: as many as before."""
        if self._end is not None:
            return 0
        if not search.is_falling:
            self._end = block
            return 0
        seconds = max(search.block_seconds, 1e-6)
        fall, rest = (max(FEWEST, round(part / seconds)) if block else FEWEST for part in (FALL, REST))
        self._end = block + fall + rest
        self.view.note(f"finish: n(t) comes down to n within {fall:,} blocks; the run ends {rest:,} blocks later")
        # A plan that ended as early as that would end the run before it is called finished.
        blocks = max(search.blocks_to_fall(fall), self._end + 1)
        return blocks if blocks < search.planned_blocks else 0

    def _more_blocks(self, search: SearchView, block: int) -> int:
        """Return how many blocks an endless run plans from now on; 0: as many as before."""
        if not self.is_endless:
            return 0
        planned = search.planned_blocks
        return 2 * planned if block >= min(EXTENDED * planned, planned - 1) else 0

    def _poll(self, block: int, should_stop: Callable[[], bool]) -> Commands:
        with self._condition:
            while True:
                waits = self._is_paused and not self._steps and not self._is_stopped and not should_stop()
                if self._pending or self._checkpoint:
                    commands = Commands(tuple(values for values, _ in self._pending), self._checkpoint, waits)
                    self.view.changes.origins.extend(origin for _, origin in self._pending)
                    self._pending.clear()
                    self._checkpoint = False
                    if not waits:
                        self._steps = max(0, self._steps - 1)
                    return commands
                if not waits:
                    self._steps = max(0, self._steps - 1)
                    if self.view.status == "paused" and not self._is_paused:
                        self.view.become("running")
                    return Commands()
                if self.view.status != "paused":
                    self.view.publish_figures()
                    self.view.become("paused")
                self._condition.wait(0.1)
                self.view.skip_time()

    def poll_within(self, block: int, part: int) -> tuple[JsonObject, ...]:
        """See `Controller.poll_within`."""
        with self._condition:
            changes = tuple(values for values, _ in self._pending)
            self.view.changes.origins.extend(origin for _, origin in self._pending)
            self._pending.clear()
        return changes

    def on_refused(self, changes: Mapping[str, object], error: ConfigError) -> None:
        """See `Controller.on_refused`."""
        if self.view.changes.origins:
            self.view.changes.origins.popleft()
        self.view.note(f"refused: {error}")

    def on_block(self, search: SearchView, info: BlockInfo) -> None:
        """See `Callback.on_block`."""
        self.view.on_block(search, info)
        if self._is_paused and self._steps == 0:
            self.view.publish_figures()

    def stop_reason(self, block: int) -> str:
        """See `Controller.stop_reason`."""
        if self._is_stopped:
            return "stop"
        is_due = self._end is not None and block >= self._end
        return "finish" if is_due and self._search is not None and not self._search.is_falling else ""

    def on_event(self, event: Event) -> None:
        """See `Callback.on_event`."""
        self.view.on_event(event)
        if isinstance(event, KnobChanged):
            with self._condition:
                self._condition.notify_all()
        if isinstance(event, Hardened):
            for values, _ in self._pending:
                self.view.note(f"the search had ended before this change was made: {', '.join(values)}")

    def on_end(self, error: BaseException | None) -> None:
        """See `Callback.on_end`."""
        self.view.on_end(error)

    # -- other threads -----------------------------------------------------------------------------------------------------

    def change(self, changes: Mapping[str, object]) -> Accepted:
        """See `Requests.change`."""
        knobs = self.view.knobs
        if knobs is None or self.view.status not in ("running", "paused"):
            raise NotNow(f"the run is {self.view.status}; knobs can be changed only while the search runs")
        values, clamped, reasons = knobs.check(changes)
        if reasons or not values:
            raise Invalid(reasons or {"": "no knob was named"})
        self._append(values, "page")
        return Accepted(values, clamped)

    def act(self, action: str) -> Accepted | None:
        """See `Requests.act`."""
        if action not in ACTIONS:
            raise Invalid({"": f"there is no action {action!r}; the actions are {', '.join(ACTIONS)}"})
        if self.view.status not in ("running", "paused", "starting"):
            raise NotNow(f"the run is {self.view.status}")
        if action == "undo":
            return Accepted(self._undo(), {})
        if action == "finish" and self.view.knobs is not None and not self.view.knobs.names:
            raise NotNow("without a chain there is no n(t) to bring to n; the run ends as planned, or is stopped")
        with self._condition:
            if action == "pause":
                self._is_paused = True
            elif action == "resume":
                self._is_paused, self._steps = False, 0
            elif action == "step":
                self._is_paused, self._steps = True, min(self._steps + 1, MOST_PENDING)
            elif action == "checkpoint":
                self._checkpoint = True
            elif action == "finish":
                self._is_finishing, self._is_paused, self._steps = True, False, 0
            else:
                self._is_stopped = True
            self._condition.notify_all()
        return None

    def value(self, name: str) -> float | None:
        """Return the value of a knob that is a number: as requested last, or as a schedule has moved it."""
        with self._condition:
            for values, _ in reversed(self._pending):
                if name in values:
                    return float(values[name])
        value = self.view.knobs.values().get(name) if self.view.knobs is not None else None
        return float(value) if isinstance(value, int | float) else self.view.latest.get(name)

    def _undo(self) -> JsonObject:
        """Take back the newest change: one that still waits for the end of a block is not made at all."""
        with self._condition:
            if self._pending and self._pending[-1][1] != "undo":
                values, _ = self._pending.pop()
                current = self.view.knobs.values() if self.view.knobs is not None else {}
                for waiting, _ in self._pending:
                    current |= waiting
                return {name: current.get(name) for name in values}
            self._check_room()
            # A change that the search has taken is in the log a moment later; until then the log ends with the one before it.
            if not self._condition.wait_for(lambda: not self.view.changes.origins, LOGGED_WITHIN):
                raise NotNow("the last change is still being made; try again")
            before = self.view.changes.take_back()
        if before is None:
            raise NotNow("there is no change to undo")
        self._append(before, "undo")
        return before

    def _append(self, values: JsonObject, origin: str) -> None:
        with self._condition:
            self._check_room()
            self._pending.append((dict(values), origin))
            self._condition.notify_all()

    def _check_room(self) -> None:
        if len(self._pending) >= MOST_PENDING:
            raise TooMany("too many changes wait for the end of a block")
