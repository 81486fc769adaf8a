"""The reader of events.jsonl and result.json: events as typed objects, in their order; free of torch."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcprune.errors import FolderError, brief
from mcprune.storage.events import (
    KINDS,
    ErrorRate,
    Event,
    Hardened,
    KnobChanged,
    Note,
    Playoff,
    Progress,
    Replanned,
    RunDone,
    RunStarted,
    Scored,
    Stopped,
)
from mcprune.storage.layout import EVENTS, REQUEST, RESULT, in_place_of_run, read_json
from mcprune.types import FloatArray, IntArray

if TYPE_CHECKING:
    from pydantic import TypeAdapter

COMPARED = 10  # progress events before and after a change of a knob that are compared
LARGEST = 1e300  # a larger number was never written by a run; products of it would overflow
Bytes = NDArray[np.uint8]
E = TypeVar("E", bound=Event)


class Parsed(NamedTuple):
    """The events of a text, and what is wrong with the line behind the last of them (empty: nothing)."""

    events: list[Event]
    problem: str


@dataclass(frozen=True)
class EventLog:
    """All events of a run, finished or not.

    Attributes
    ----------
    folder : Path
    events : tuple of Event
        In their order; `RunStarted` is the first.
    is_torn : bool
        The last line was cut off while it was written, and is left out.
    """

    folder: Path
    events: tuple[Event, ...]
    is_torn: bool = False

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @cached_property
    def started(self) -> RunStarted:
        """The first event."""
        return self.of(RunStarted)[0]

    @cached_property
    def progress(self) -> list[Progress]:
        """The state after blocks."""
        return self.of(Progress)

    @cached_property
    def knob_changes(self) -> list[KnobChanged]:
        """Changes of knobs by a person or a replay."""
        return self.of(KnobChanged)

    @cached_property
    def notes(self) -> list[str]:
        """The texts of the notes."""
        return [note.text for note in self.of(Note)]

    @property
    def is_replanned(self) -> bool:
        """Whether the number of planned blocks was changed."""
        return bool(self.of(Replanned))

    @property
    def stopped(self) -> Stopped | None:
        """Why the search ended early; None where it did not."""
        return next(iter(self.of(Stopped)[-1:]), None)

    @property
    def hardened(self) -> Hardened | None:
        """The end of the search; None before."""
        return next(iter(self.of(Hardened)[-1:]), None)

    @cached_property
    def scores(self) -> list[Scored]:
        """The rows of the final table, in its order once the run has ended."""
        return self.of(Scored) if self.done is None else list(self.done.scores)

    @cached_property
    def playoff(self) -> Playoff | None:
        """The comparison of the finalists; None where there was none."""
        return next(iter(self.of(Playoff)), None)

    @cached_property
    def error_rate(self) -> ErrorRate | None:
        """The competition of the columns with their shadows; None where there was none."""
        return next(iter(self.of(ErrorRate)), None)

    @cached_property
    def done(self) -> RunDone | None:
        """The end of the run; None before."""
        return next(iter(self.of(RunDone)[-1:]), None)

    def series(self, name: str) -> FloatArray:
        """Return a field of the progress events, shape (events,); NaN where it is not known."""
        values = [getattr(event, name) for event in self.progress]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def epoch_of(self, block: float) -> float:
        """Return the epoch at which so many blocks were done."""
        if not self.progress:
            return 0.0
        blocks, epochs = self.series("block"), self.series("epoch")
        return float(np.interp(block, np.append(0.0, blocks), np.append(0.0, epochs)))

    def gates(self) -> Bytes:
        """Return the gates at all times at which they were written, shape (times, n_sites), a byte each: 255 is 1."""
        return self.gates_of(self.progress)

    def gates_of(self, progress: Sequence[Progress]) -> Bytes:
        """Return the gates of some progress events, of those that hold them, as `gates` does."""
        rows = [decoded_gates(event.gates) for event in progress if event.gates]
        return np.stack(rows) if rows else np.zeros((0, self.started.n_sites), np.uint8)

    def indices(self) -> list[int] | None:
        """Return the kept sites: of the result, else those with a gate above one half at the last time; None without either."""
        if self.done is not None:
            return list(self.done.indices)
        gates = self.gates()
        return np.flatnonzero(gates[-1] > 127).tolist() if len(gates) else None

    def compared(self, change: KnobChanged) -> tuple[IntArray, IntArray]:
        """Return the places of at most 10 progress events before and after a change of a knob, none beyond the next change."""
        blocks = self.series("block")
        at = sorted({one.block for one in self.knob_changes})
        place = at.index(change.block)
        low, high = at[place - 1] if place else -1, at[place + 1] if place + 1 < len(at) else np.inf
        before = np.flatnonzero((blocks <= change.block) & (blocks > low))[-COMPARED:]
        after = np.flatnonzero((blocks > change.block) & (blocks <= high))[:COMPARED]
        return before, after

    def is_superseded(self, change: KnobChanged) -> bool:
        """Whether another change followed before a block was done: the last of them is compared for all."""
        place = next(place for place, one in enumerate(self.knob_changes) if one is change)  # equal ones may follow
        return place + 1 < len(self.knob_changes) and self.knob_changes[place + 1].block == change.block

    def settled_from(self) -> int:
        """Return the place of the first progress event from which n(t) is n and no knob is changed any more."""
        last = self.knob_changes[-1].block if self.knob_changes else -1
        unsettled = [
            place
            for place, event in enumerate(self.progress)
            if event.block <= last or event.target != self.started.keep
        ]
        return unsettled[-1] + 1 if unsettled else 0


def decoded_gates(text: str) -> Bytes:
    """Return the gates of a `Progress`, shape (n_sites,), a byte each: 255 is 1; ValueError where the text holds none."""
    return np.frombuffer(base64.b64decode(text, validate=True), np.uint8)


def parse_event(line: bytes) -> Event | None:
    """Return the event of a line of JSON; None of a kind that is not known.

    Raises
    ------
    ValueError
        The line is not one that `Event.to_json` writes.
    """
    try:
        content = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("event"), str):
        raise ValueError("it is not an event")
    kind = KINDS.get(content["event"])
    return None if kind is None else _validated(line, kind, content)


def parse_events(data: bytes) -> Parsed:
    """Return the events of a text up to the first line that is not one."""
    events: list[Event] = []
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            event = parse_event(line)
        except ValueError as error:
            return Parsed(events, str(error))
        if event is not None:
            events.append(event)
    return Parsed(events, "")


def read_log(folder: str | Path) -> EventLog:
    """Read the events of a run; a last line that was cut off is left out.

    Raises
    ------
    FolderError
        The folder is missing or holds no run; a line before the last is broken; a field has another type than it should.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}. Give the folder of a run, such as runs/digits.")
    try:
        lines = (path / EVENTS).read_bytes().split(b"\n")
    except FileNotFoundError:
        if (path / REQUEST).exists():
            raise FolderError(
                f"the run in {str(folder)!r} has no finished block yet: it waits before its first one, or was cut off there. "
                f"In that case mcprune resume {shlex.quote(str(folder))} continues it"
            ) from None
        if text := in_place_of_run(path):
            raise FolderError(text) from None
        raise FolderError(
            f"{str(folder)!r} has no {EVENTS}, so it is not the folder of a run. Give the folder of a run, such as runs/digits"
        ) from None
    except OSError as error:
        raise FolderError(f"{str(path / EVENTS)!r} cannot be read: {error.strerror}. Make it readable") from None
    events, is_torn = _strict(path, lines)
    starts = sum(isinstance(event, RunStarted) for event in events)
    if starts != 1:
        raise FolderError(f"{str(path / EVENTS)!r} has {starts} events `run_started`, but a run has one. Run again")
    log = EventLog(path, tuple(events), is_torn)
    _check_sizes(log)
    return log


def read_result(folder: str | Path) -> RunDone:
    """Read what a finished run wrote into result.json.

    Raises
    ------
    FolderError
        The folder or the file is missing, or the file does not hold a result.
    """
    content = read_json(folder, RESULT)
    try:
        done = _validated(json.dumps(content).encode(), RunDone, content)
    except (ValueError, RecursionError) as error:
        raise FolderError(
            f"{str(Path(folder) / RESULT)!r} is not the result of a run ({brief(error)}); the file was changed: run again"
        ) from None
    return done


def feature_names(log: EventLog) -> tuple[str, ...] | None:
    """Return the names of all inputs from the log, or from the pruned model beside it; None where neither has them."""
    if log.started.feature_names is not None:
        return log.started.feature_names
    try:
        names = json.loads((log.folder / "model.json").read_text(encoding="utf-8"))["extra"]["feature_names"]
        return tuple(str(name) for name in names)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _strict(path: Path, lines: list[bytes]) -> tuple[list[Event], bool]:
    """Return the events of lines of which only the last may be cut off, and whether it is."""
    while lines and not lines[-1].strip():
        lines.pop()
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            event = parse_event(line)
        except ValueError as error:
            if number == len(lines) and number > 1 and str(error) == "it is not JSON":
                return events, True  # killed, or a full disk, while it was written
            raise FolderError(
                f"line {number} of {str(path / EVENTS)!r} is broken ({error}); the file was changed: run again"
            ) from None
        if event is not None:
            events.append(event)
    return events, False


def _check_sizes(log: EventLog) -> None:
    """Refuse a log whose parts do not fit its number of sites."""
    start = log.started
    sizes = [group.size for group in start.sites]
    try:
        fits = all(decoded_gates(event.gates).size == start.n_sites for event in log.progress if event.gates)
    except ValueError:
        fits = False
    if not fits or min(sizes, default=0) < 1 or sum(sizes) != start.n_sites or min(start.image_shape or (1,)) < 1:
        raise FolderError(
            f"the sizes in {str(log.folder / EVENTS)!r} do not fit its {start.n_sites} sites; the file was changed: run again"
        )


_ADAPTERS: dict[type[Event], TypeAdapter[Any]] = {}


def _validated(line: bytes, kind: type[E], content: dict[str, object]) -> E:
    """Return the event of a line, its fields checked against their declared types; ValueError where they do not fit."""
    from pydantic import TypeAdapter, ValidationError

    from mcprune.config.parsing import requirement

    # Checked before an event is made of it, in which a number that is not finite is unknown.
    for name, value in _numbers(content):
        if not abs(value) < LARGEST:
            raise ValueError(f"{name!r} is larger than any run writes")
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    try:
        event: E = _ADAPTERS[kind].validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where!r}: {requirement(first['type'], first.get('ctx', {}), first['msg'])}") from None
    return event


def _numbers(value: object, name: str = "") -> Iterator[tuple[str, int | float]]:
    """Yield all numbers inside a value of JSON, with the names of their fields."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part, name)
    elif isinstance(value, int | float):
        yield name, value
