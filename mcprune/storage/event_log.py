"""A run as its folder tells it, finished or not: the events sorted by kind, checked; free of torch."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcprune.errors import FolderError
from mcprune.storage import events
from mcprune.storage.layout import BEGUN, EVENTS
from mcprune.storage.run_metrics import Bytes
from mcprune.types import FloatArray, IntArray

NUMBERS = (
    "block", "epoch", "loss", "cla", "sel", "rej", "alpha", "lambda", "delta", "temperature", "gate_sum", "kept", "target", "proposals",
    "accepted", "acceptance", "proposals_per_second", "forwards", "validation_accuracy", "validation_at_n", "seconds",
)  # fmt: skip
AROUND = 10  # progress events before and behind a change that are compared
LARGEST = 1e300  # beyond it products overflow, and no run has met it
Told = dict[str, Any]


class Recorded(NamedTuple):
    """What a run has told.

    `done` is None until the run has ended, `harden` until its search has; `knobs` are the changes by a person or a
    replay, `paces` those by the clock; `is_torn` says that the last line was cut off and is left out.
    """

    folder: Path
    start: Told
    progress: list[Told]
    knobs: list[Told]
    notes: list[str]
    stopped: Told | None
    harden: Told | None
    rows: list[Told]
    done: Told | None
    is_torn: bool
    paces: Sequence[Told] = ()

    @property
    def n(self) -> int:
        """Sites to keep."""
        return int(self.start["n"])

    @property
    def N(self) -> int:
        """Sites."""
        return int(self.start["N"])

    @property
    def image_shape(self) -> list[int] | None:
        """(height, width) or (channels, height, width) of the inputs; None where they are no images, or where it was not told."""
        # Earlier versions told it at the end only.
        shape: list[int] | None = self.start.get("image_shape") or (self.done or {}).get("image_shape")
        return shape

    def series(self, name: str) -> FloatArray:
        """Return a field of the progress events, shape (events,); NaN where it is not known."""
        values = [event.get(name) for event in self.progress]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def epoch_of(self, block: float) -> float:
        """Return the epoch at which so many blocks were done."""
        if not self.progress:
            return 0.0
        blocks, epochs = self.series("block"), self.series("epoch")
        return float(np.interp(block, np.append(0.0, blocks), np.append(0.0, epochs)))

    def gates(self) -> Bytes:
        """Return the gates whenever they were told, shape (times, N), a byte each: 255 is 1."""
        rows = [
            np.frombuffer(base64.b64decode(text), np.uint8) for event in self.progress if (text := event.get("gates"))
        ]
        return np.stack(rows) if rows else np.zeros((0, self.N), np.uint8)

    def keep(self) -> list[int] | None:
        """Return the kept sites: of the result, else of the gates that were told last; None where neither is there."""
        if self.done is not None:
            return list(self.done["keep"])
        gates = self.gates()
        return np.flatnonzero(gates[-1] > 127).tolist() if len(gates) else None

    def around(self, knob: Told) -> tuple[IntArray, IntArray]:
        """Return the places of at most 10 progress events before and behind a change of a knob, none beyond the next change."""
        blocks = self.series("block")
        at = sorted({one["block"] for one in self.knobs})
        place = at.index(knob["block"])
        low, high = at[place - 1] if place else -1, at[place + 1] if place + 1 < len(at) else np.inf
        before = np.flatnonzero((blocks <= knob["block"]) & (blocks > low))[-AROUND:]
        after = np.flatnonzero((blocks > knob["block"]) & (blocks <= high))[:AROUND]
        return before, after

    def is_superseded(self, knob: Told) -> bool:
        """Tell whether another change followed before a block was done: what both did is told with the last one."""
        place = self.knobs.index(knob)
        return place + 1 < len(self.knobs) and self.knobs[place + 1]["block"] == knob["block"]

    def settled_from(self) -> int:
        """Return the place of the first progress event from which on n(t) is n and no knob was turned any more."""
        last = self.knobs[-1]["block"] if self.knobs else -1
        open_ = [
            place
            for place, event in enumerate(self.progress)
            if event["block"] <= last or (event.get("target") or 0) != self.n
        ]
        return open_[-1] + 1 if open_ else 0


def read_recorded(folder: str | Path) -> Recorded:
    """Return what a run's folder tells; a last line that was cut off is left out.

    Raises
    ------
    FolderError
        The folder is missing or holds no run; a line in front of the last is broken; a field is of another kind than it should be.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}; give the folder of a run, such as runs/digits")
    try:
        lines = (path / EVENTS).read_bytes().split(b"\n")
    except FileNotFoundError:
        if (path / BEGUN).exists():
            raise FolderError(
                f"the run in {str(folder)!r} has told of no block yet: it waits in front of its first one, or was cut off there, and "
                f"then mcprune resume {shlex.quote(str(folder))} goes on with it"
            ) from None
        raise FolderError(
            f"{str(folder)!r} has no {EVENTS}: no run is there; give the folder of a run, such as runs/digits"
        ) from None
    except OSError as error:
        raise FolderError(f"{str(path / EVENTS)!r} cannot be read: {error.strerror}; make it readable") from None
    while lines and not lines[-1].strip():
        lines.pop()
    told: list[Told] = []
    is_torn = False
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line.decode("utf-8"))
            if not isinstance(event, dict) or not isinstance(event.get("event"), str):
                raise ValueError("it is no event")
            told.append(_checked(event))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines) and isinstance(error, ValueError) and number > 1:
                is_torn = True  # killed, or a full disk, while it was written
                break
            raise FolderError(
                f"line {number} of {str(path / EVENTS)!r} is broken ({_why(error)}); the file was changed: run again"
            ) from None
    return _sorted(path, told, is_torn=is_torn)


def _sorted(path: Path, told: list[Told], *, is_torn: bool) -> Recorded:
    def of(kind: str) -> list[Told]:
        return [event for event in told if event["event"] == kind]

    def last(kind: str) -> Told | None:
        found = of(kind)
        return found[-1] if found else None

    starts = of(events.START)
    if len(starts) != 1:
        raise FolderError(f"{str(path / EVENTS)!r} tells of {len(starts)} starts of a run, not of one; run again")
    recorded = Recorded(
        folder=path,
        start=starts[0],
        progress=of(events.PROGRESS),
        knobs=of(events.KNOB),
        notes=[str(event.get("text", "")) for event in of(events.NOTE)],
        stopped=last(events.STOPPED),
        harden=last(events.HARDEN),
        rows=of(events.ROW),
        done=last(events.DONE),
        is_torn=is_torn,
        paces=of(events.PACE),
    )
    try:
        recorded.gates()
        fits = all(len(row) == recorded.N for row in recorded.gates())
    except ValueError:
        fits = False
    if not fits or sum(group["size"] for group in recorded.start["sites"]) != recorded.N:
        raise FolderError(f"the gates or groups in {str(path / EVENTS)!r} do not fit its {recorded.N} sites; run again")
    return recorded


def _checked(event: Told) -> Told:
    """Return the event if the fields that are read are of the kinds that they should be."""
    kind = event["event"]
    if kind in (events.START, events.DONE):
        shape = event.get("image_shape")
        if shape is not None and not (
            isinstance(shape, list) and all(type(side) is int and side > 0 for side in shape)
        ):
            raise TypeError("'image_shape' is no shape")
    if kind == events.START:
        _need(event, {"name": str, "N": int, "n": int, "sites": list, "config": dict})
        for group in event["sites"]:
            _need(group, {"kind": str, "layer": str, "size": int})
        names = event.get("feature_names")
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise TypeError("'feature_names' is no list of names")
        for name in ("rows", "versions"):
            if not isinstance(event.get(name, {}), dict):
                raise TypeError(f"{name!r} is of another kind")
        if not event["sites"] or not all(type(count) is int for count in event.get("rows", {}).values()):
            raise TypeError("'sites' or 'rows' hold no counts")
        if not isinstance(event["config"].get("moves") or {}, dict):
            raise TypeError("'moves' is of another kind")
    elif kind == events.PROGRESS:
        _need(event, {"block": int, "moves": dict, "epoch": (int, float), "proposals": int, "accepted": int})
        for name in NUMBERS:
            value = event.get(name)
            if isinstance(value, bool) or not (
                value is None or (isinstance(value, int | float) and abs(value) < LARGEST)
            ):
                raise TypeError(f"{name!r} is no number")
        for pair in event["moves"].values():
            if not (isinstance(pair, list) and len(pair) == 2 and all(type(count) is int for count in pair)):
                raise TypeError("'moves' holds no pairs of counts")
        if not isinstance(event.get("gates"), str | None):
            raise TypeError("'gates' is no text")
    elif kind == events.KNOB:
        _need(event, {"block": int, "step": int, "knobs": dict, "before": dict})
    elif kind == events.PACE:
        _need(event, {"block": int, "blocks": int, "before": int})
    elif kind == events.HARDEN:
        _need(event, {"kept": int})
    elif kind == events.ROW:
        _need(event, {"name": str})
    elif kind == events.DONE:
        _need(event, {"keep": list, "names": list, "rows": list})
    return event


def _need(event: Told, fields: dict[str, Any]) -> None:
    for name, kinds in fields.items():
        if name not in event:
            raise KeyError(f"{name!r} is missing")
        if not isinstance(event[name], kinds) or isinstance(event[name], bool):
            raise TypeError(f"{name!r} is of another kind")


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is not JSON"
    return str(error.args[0]) if error.args else type(error).__name__


def features(run: Recorded) -> list[str] | None:
    """Return the names of all inputs as the run, or its small model, tells them; None where neither does."""
    told = run.start.get("feature_names")
    if told is not None:
        return list(told)
    try:
        names = json.loads((run.folder / "model.json").read_text(encoding="utf-8"))["extra"]["feature_names"]
        return [str(name) for name in names]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # the page then numbers them
