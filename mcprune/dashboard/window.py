"""Means over the last blocks, hints on what looks wrong, and the log of changed knobs with what was measured before and after."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mcprune.config.knobs import USES_DELTA
from mcprune.dashboard import effects
from mcprune.dashboard.effects import Effect
from mcprune.methods.base import BlockInfo
from mcprune.storage.events import KnobChanged
from mcprune.types import JsonObject

COMPARED, HINTED = 32, 128  # blocks before and after a change that are compared; blocks that a hint is about
ENOUGH = 1000  # fewer proposals are no estimate of an acceptance
LOGGED = 200
FIRST = 8  # blocks after a change that are shown before all of its window are done


@dataclass(frozen=True)
class Figures:
    """Means over some blocks: the accepted share of the proposals, and L_tot; None where they are not known."""

    acceptance: float | None
    loss: float | None


class Window:
    """The last blocks."""

    def __init__(self, blocks: int, updates: Iterable[BlockInfo] = ()) -> None:
        self.updates: deque[BlockInfo] = deque(updates, maxlen=blocks)

    def add(self, update: BlockInfo) -> None:
        """Add a block."""
        self.updates.append(update)

    def acceptance(self, moves: tuple[str, ...] | None = None) -> tuple[int, float]:
        """Return how many decisions there were and the share that was accepted, of some moves or all."""
        counts = [
            one for update in self.updates for name, one in update.moves.items() if moves is None or name in moves
        ]
        decided = sum(one.decided for one in counts)
        return decided, sum(one.accepted for one in counts) / decided if decided else math.nan

    def mean(self, name: str) -> float:
        """Return the mean of a field over the blocks in which it is known."""
        values = [value for update in self.updates if math.isfinite(value := getattr(update, name))]
        return sum(values) / len(values) if values else math.nan

    def shares(self) -> dict[str, float | None]:
        """Return the share of the decisions that were accepted, and of the proposals that changed the mask; None where there were none."""
        proposed, decided, accepted = (
            sum(counts[place] for update in self.updates for counts in update.moves.values()) for place in range(3)
        )
        return {
            "acceptance": accepted / decided if decided else None,
            "mask_changing": decided / proposed if proposed else None,
        }

    def figures(self) -> Figures:
        """Return what the log of changes compares."""
        return Figures(
            *(value if math.isfinite(value) else None for value in (self.acceptance()[1], self.mean("loss")))
        )


def effects_of(before: Sequence[BlockInfo], after: Sequence[BlockInfo]) -> dict[str, effects.Effect]:
    """Return the effect of a change on each figure.

    Parameters
    ----------
    before : sequence of BlockInfo
        Blocks since the change before: the last of them, at most `COMPARED`, are compared, and as many before those are the control.
    after : sequence of BlockInfo
    """
    half = min(COMPARED, len(before) // 2)
    has_control = half >= 2 * effects.GROUP
    recent, control = before[-half:] if has_control else before, before[-2 * half : -half]
    first, second = _windows(recent), _windows(after)
    third = _windows(control) if has_control else {}
    return {name: effects.effect_of(first[name], second[name], third.get(name)) for name in first}


def _windows(updates: Sequence[BlockInfo]) -> dict[str, effects.Window]:
    """Return some blocks as windows of each figure that the log of changes compares."""
    proposed, decided, accepted = (
        [float(sum(counts[place] for counts in update.moves.values())) for update in updates] for place in range(3)
    )
    return {
        "acceptance": effects.Window(accepted, decided, is_share=True),
        "mask_changing": effects.Window(decided, proposed, is_share=True),
        "loss": effects.Window([update.loss for update in updates], [1.0] * len(updates)),
    }


def hints(window: Window, knobs: JsonObject, size: int | None = None, *, is_by_rank: bool = False) -> list[str]:
    """Return what looks wrong and which way a knob should go, a sentence each.

    Parameters
    ----------
    window : Window
    knobs : dict
        Present values.
    size : int, optional
        Number of sites.
    is_by_rank : bool
        Whether the mask is the n largest weights: delta then says which proposals change the mask, not how many are accepted.
    """
    if not window.updates or not knobs:
        return []
    texts = []
    latest = window.updates[-1]
    decided, share = window.acceptance(USES_DELTA)
    if is_by_rank:
        proposed = sum(counts.proposed for update in window.updates for counts in update.moves.values())
        if proposed >= ENOUGH and decided < 0.01 * proposed:
            texts.append(
                f"{decided / proposed:.2%} of the proposals change the mask: raise delta, so that more sites reach the cut."
            )
    elif decided >= ENOUGH and share < 0.01:
        texts.append(f"Under 1% of the moves that use delta are accepted ({share:.2%}): try a smaller delta.")
    elif decided >= ENOUGH and share > 0.6:
        texts.append(
            f"{share:.0%} of the moves that use delta are accepted: try a larger delta, these steps are too timid."
        )
    spread = window.mean("spread")
    if latest.temperature > 0 and 0 < spread < latest.temperature:
        texts.append(
            f"The temperature ({latest.temperature:.2g}) is above the usual change of the loss ({spread:.2g}): this is a random walk; "
            "lower the temperature."
        )
    decided, share = window.acceptance()
    proposed = sum(update.proposals for update in window.updates)
    nulls = sum(update.null_moves for update in window.updates)
    if latest.temperature == 0 and decided >= ENOUGH and share == 0.0 and nulls < proposed / 2:
        texts.append(
            "Nothing was accepted lately: no proposal lowers the loss. A small temperature would let the chain move on."
        )
    if latest.kept == size and nulls > 0.2 * max(proposed, 1):
        texts.append(
            "All sites are kept so far: until n(t) falls there is nothing to exchange, and the classifier learns."
        )
    elif proposed >= ENOUGH and nulls > 0.2 * proposed:
        texts.append(
            f"{nulls / proposed:.0%} of the moves are not available now: an exchange needs a kept and a dropped site."
        )
    return texts


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
