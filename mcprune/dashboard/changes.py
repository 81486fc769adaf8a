"""The log of changed knobs: what was measured before and after each change, and the way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mcprune.dashboard.effects import Effect
from mcprune.dashboard.window import COMPARED, Figures, Window, effects_of
from mcprune.methods.base import BlockInfo
from mcprune.storage.events import KnobChanged
from mcprune.types import JsonObject

LOGGED = 200
FIRST = 8  # blocks after a change that are shown before all of its window are done


@dataclass
class Change:
    """An entry of the log.

    Attributes
    ----------
    number : int
        Of all changes, from 1.
    origin : str
        `page`, `undo`, `replay`, or `record` for a recorded run.
    block, proposals : int
        Done, and consumed, before the change.
    knobs, before : dict
        New and old values by knob.
    unused : dict of str to str
        Changed knobs that nothing uses now, with the reason.
    figures_before, figures_after : Figures or None
        Means over the blocks before and after the change; None where they are not known yet, or belong to a later change.
    blocks_after : int
        Blocks that `figures_after` is the mean of.
    effects : dict of str to Effect
        By figure (acceptance, mask_changing, loss); empty until the first blocks after the change are done.
    is_superseded : bool
        Another change followed before a block was done: that one is compared for both.
    """

    number: int
    origin: str
    block: int
    proposals: int
    knobs: JsonObject
    before: JsonObject
    unused: dict[str, str]
    figures_before: Figures | None
    figures_after: Figures | None = None
    blocks_after: int = 0
    effects: dict[str, Effect] = field(default_factory=dict)
    is_superseded: bool = False


class ChangeLog:
    """The latest `LOGGED` changes; of the run's thread but for `take_back`.

    Parameters
    ----------
    publish : callable
        Called with an entry that has changed.
    """

    def __init__(self, publish: Callable[[Change], None]) -> None:
        self.entries: list[Change] = []
        self.origins: deque[str] = deque()  # of the changes that the run has taken, until their events come
        self._publish = publish
        self._count = 0
        self._ways_back: list[JsonObject] = []
        self._window = Window(
            2 * COMPARED
        )  # of the blocks since the last change: the window before the next one, and its control
        self._before: list[BlockInfo] = []  # those before the change that is open
        self._open: Change | None = None  # the change whose blocks after it are not all done

    @property
    def can_undo(self) -> int:
        """Changes that can be taken back."""
        return len(self._ways_back)

    def take_back(self) -> JsonObject | None:
        """Return the values before the last change, and forget that way back; None if there is none."""
        return self._ways_back.pop() if self._ways_back else None

    def add_block(self, update: BlockInfo, block: int) -> None:
        """Take in a block, `block` of them done so far."""
        self._window.add(update)
        if self._open is not None and block - self._open.block >= COMPARED:
            self.close()
        elif self._open is not None and block - self._open.block == FIRST:
            self._compare(self._open)

    def add_change(self, event: KnobChanged, unused: dict[str, str]) -> Change:
        """Log a change and return its entry. An undo opens no way back."""
        origin = self.origins.popleft() if self.origins else "replay"
        before = list(self._window.updates)
        if (last := self._open) is not None:
            if last.block == event.block:
                before, last.is_superseded = self._before, True
                self._publish(last)
            else:
                self.close()
        self._before, recent = before, Window(COMPARED, before)
        if origin != "undo":
            self._ways_back.append(event.before)
        self._count += 1
        figures = recent.figures() if recent.updates else None
        entry = Change(
            self._count, origin, event.block, event.proposals, event.knobs, event.before, unused, figures_before=figures
        )
        del self.entries[: max(0, len(self.entries) - LOGGED + 1)]
        self.entries.append(entry)
        self._open, self._window = entry, Window(2 * COMPARED)
        return entry

    def close(self) -> None:
        """Compare the last change with the blocks since: its window is full, or the search has ended."""
        entry, self._open = self._open, None
        if entry is not None and self._window.updates:
            self._compare(entry)

    def _compare(self, entry: Change) -> None:
        after = list(self._window.updates)
        entry.figures_after, entry.blocks_after = self._window.figures(), len(after)
        entry.effects = effects_of(self._before, after)
        self._publish(entry)
