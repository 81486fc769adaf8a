"""Replay a recorded run: its options, and a controller that repeats its changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from mcprune.config.files import read_options
from mcprune.config.options import OPTIONS
from mcprune.errors import FolderError
from mcprune.session.steering.controller import Commands, Controller
from mcprune.storage.event_log import read_log
from mcprune.storage.events import Event, KnobChanged, Replanned, RunStarted, Stopped
from mcprune.storage.layout import CONFIG
from mcprune.storage.result_events import Playoff
from mcprune.types import JsonObject


class Replay(Controller):
    """Repeats the changes of a recorded run, and ends the search where that one ended.

    Parameters
    ----------
    changes : dict of int to list of dict
        As in `Commands.changes`, by the number of blocks before them.
    within : dict of (int, int) to list of dict
        Those made within a block, by the number of blocks and of parts of the next one before them.
    end : int or None
        Blocks after which the search ended early.
    reason : str
        The reason in the event `stopped` then.
    until : int
        Blocks up to which the record is complete.
    playoff : tuple of int
        Steps of each round of the recorded playoff.
    """

    def __init__(
        self,
        changes: Mapping[int, list[JsonObject]],
        end: int | None,
        reason: str = "replay",
        until: int = 0,
        playoff: tuple[int, ...] = (),
        within: Mapping[tuple[int, int], list[JsonObject]] | None = None,
    ) -> None:
        self.changes = dict(changes)
        self.within = dict(within) if within is not None else {}
        self.end = end
        self.reason = reason
        self.repeats_until = until
        self.playoff = playoff

    def poll(self, block: int, should_stop: Callable[[], bool]) -> Commands:
        """See `Controller.poll`."""
        return Commands(tuple(self.changes.get(block, ())))

    def poll_within(self, block: int, part: int) -> tuple[JsonObject, ...]:
        """See `Controller.poll_within`."""
        return tuple(self.within.get((block, part), ()))

    def add(self, change: Change, *, again: bool = False) -> None:
        """Repeat one more change; not one that is known already, unless it was made `again`."""
        known = (
            self.within.setdefault((change.block, change.part), [])
            if change.part
            else self.changes.setdefault(change.block, [])
        )
        if again or change.values not in known:
            known.append(change.values)

    def stop_reason(self, block: int) -> str:
        """See `Controller.stop_reason`."""
        return self.reason if self.end is not None and block >= self.end else ""

    def playoff_steps(self) -> tuple[int, ...]:
        """See `Controller.playoff_steps`."""
        return self.playoff

    def pending(self, block: int) -> JsonObject:
        """See `Controller.pending`."""
        left = [[at, changes] for at, changes in sorted(self.changes.items()) if at >= block]
        within = [[at, part, changes] for (at, part), changes in sorted(self.within.items()) if at >= block]
        return {
            "changes": left,
            "within": within,
            "end": self.end,
            "reason": self.reason,
            "until": self.repeats_until,
            "playoff": list(self.playoff),
        }

    @classmethod
    def of(cls, saved: JsonObject) -> Replay:
        """Return the replay of what `pending` returned; of an empty mapping, one that changes nothing."""
        changes = {int(at): list(entries) for at, entries in saved.get("changes", [])}
        within = {(int(at), int(part)): list(entries) for at, part, entries in saved.get("within", [])}
        reason, until = str(saved.get("reason", "replay")), int(saved.get("until", 0))
        return cls(changes, saved.get("end"), reason, until, tuple(saved.get("playoff", ())), within)


class Change(NamedTuple):
    """A recorded change: the blocks, and the parts of the next one, that were done before it, and the values by knob."""

    block: int
    part: int
    values: JsonObject


def change_of(event: Event) -> Change | None:
    """Return a recorded change; None of events that change nothing."""
    if isinstance(event, KnobChanged):
        return Change(event.block, event.part, dict(event.knobs))
    if isinstance(event, Replanned):
        return Change(event.block, 0, {"blocks": event.blocks})
    return None


def read_replay(folder: str | Path) -> tuple[JsonObject, Replay]:
    """Return the options of a recorded run, and the replay of its changes.

    Raises
    ------
    FolderError, ConfigError
        The folder has no record of a run.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}. Give --replay the folder of a run, such as runs/digits")
    options = read_options(path / CONFIG)
    for limit in ("max_time", "search_time"):  # the search ends where the record does, not by a clock
        options.pop(limit, None)
    replay = Replay({}, None)
    for event in read_log(path).events:
        if (change := change_of(event)) is not None:
            replay.add(change, again=True)
        elif isinstance(event, Stopped):
            replay.end = event.block
        elif isinstance(event, Playoff):
            replay.playoff = tuple(event.steps)
        elif isinstance(event, RunStarted) and options.get("early_reject") is None:
            # The evaluator that `auto` chose by its speed then; another one may round differently.
            options["evaluator"] = event.evaluator if event.evaluator in OPTIONS["evaluator"].choices else "auto"
    return options, replay
