"""The changes of knobs in a run: what each did in the blocks behind it, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcprune.dashboard.window import EFFECT, Window
from mcprune.methods.base import MaskUpdate
from mcprune.storage.events import KnobChanged, plain

LOGGED = 200


class Changes:
    """The log of changes, the latest `LOGGED` of them; of the run's thread but for `take_back` and `copy`.

    Parameters
    ----------
    tell : callable
        Called with an entry once it is known what the change did.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.entries: list[dict[str, Any]] = []
        self._tell = tell
        self._count = 0
        self._ways_back: list[dict[str, Any]] = []
        self._window = Window(EFFECT)
        self._watched: dict[str, Any] | None = None  # the change whose effect is not known yet

    @property
    def undoable(self) -> int:
        """Changes that can be taken back."""
        return len(self._ways_back)

    def take_back(self) -> dict[str, Any] | None:
        """Return where the knobs of the last change stood before it, and forget the way there; None if there is none."""
        return self._ways_back.pop() if self._ways_back else None

    def copy(self) -> list[dict[str, Any]]:
        """Return the entries as they are now."""
        return [dict(entry) for entry in self.entries]

    def add(self, update: MaskUpdate, block: int) -> None:
        """A block has been done, `block` of them so far."""
        self._window.add(update)
        if self._watched is not None and block - self._watched["block"] >= EFFECT:
            self.close()

    def turned(self, event: KnobChanged, origin: str) -> dict[str, Any]:
        """Log a change and return its entry. An undo opens no way back."""
        before = plain(self._window.figures())
        if (last := self._watched) is not None:
            if last["block"] == event.block:  # no block between them: what they do together is told with this one
                before, last["superseded"] = last["before_figures"], True
                self._tell(last)
            else:
                self.close()
        if origin != "undo":
            self._ways_back.append(event.before)
        self._count += 1
        entry = {
            **event.to_dict(), "number": self._count, "origin": origin, "before_figures": before, "effect": None, "superseded": False,
        }  # fmt: skip
        del self.entries[: max(0, len(self.entries) - LOGGED + 1)]
        self.entries.append(entry)
        self._watched, self._window = entry, Window(EFFECT)
        return entry

    def close(self) -> None:
        """The window behind the last change is over, or the search is: say what it did."""
        entry, self._watched = self._watched, None
        if entry is not None and self._window.updates:
            entry["effect"] = {**plain(self._window.figures()), "blocks": len(self._window.updates)}
            self._tell(entry)
