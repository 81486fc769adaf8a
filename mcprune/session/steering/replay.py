"""Replay a recorded run: its options, and a controller that repeats its changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

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
    ) -> None:
        self.changes = dict(changes)
        self.end = end
        self.reason = reason
        self.repeats_until = until
        self.playoff = playoff

    def poll(self, block: int, should_stop: Callable[[], bool]) -> Commands:
        """See `Controller.poll`."""
        return Commands(tuple(self.changes.get(block, ())))

    def stop_reason(self, block: int) -> str:
        """See `Controller.stop_reason`."""
        return self.reason if self.end is not None and block >= self.end else ""

    def playoff_steps(self) -> tuple[int, ...]:
        """See `Controller.playoff_steps`."""
        return self.playoff

    def pending(self, block: int) -> JsonObject:
        """See `Controller.pending`."""
        left = [[at, changes] for at, changes in sorted(self.changes.items()) if at >= block]
        return {
            "changes": left,
            "end": self.end,
            "reason": self.reason,
            "until": self.repeats_until,
            "playoff": list(self.playoff),
        }

    @classmethod
    def of(cls, saved: JsonObject) -> Replay:
        """Return the replay of what `pending` returned; of an empty mapping, one that changes nothing."""
        changes = {int(at): list(entries) for at, entries in saved.get("changes", [])}
        reason, until = str(saved.get("reason", "replay")), int(saved.get("until", 0))
        return cls(changes, saved.get("end"), reason, until, tuple(saved.get("playoff", ())))


def change_of(event: Event) -> tuple[int, JsonObject] | None:
    """Return the blocks done before a recorded change, and the change; None of events that change nothing."""
    if isinstance(event, KnobChanged):
        return event.block, dict(event.knobs)
    if isinstance(event, Replanned):
        return event.block, {"blocks": event.blocks}
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
    changes: dict[int, list[JsonObject]] = {}
    end: int | None = None
    playoff: tuple[int, ...] = ()
    for event in read_log(path).events:
        if (change := change_of(event)) is not None:
            changes.setdefault(change[0], []).append(change[1])
        elif isinstance(event, Stopped):
            end = event.block
        elif isinstance(event, Playoff):
            playoff = tuple(event.steps)
        elif isinstance(event, RunStarted) and options.get("early_reject") is None:
            # The evaluator that `auto` chose by its speed then; another one may round differently.
            options["evaluator"] = event.evaluator if event.evaluator in OPTIONS["evaluator"].choices else "auto"
    return options, Replay(changes, end, playoff=playoff)
