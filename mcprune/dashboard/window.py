"""Means over the last blocks, and hints on what looks wrong."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from mcprune.methods.base import BlockInfo
from mcprune.methods.markov.knob_use import USES_DELTA
from mcprune.types import JsonObject

COMPARED, HINTED = 32, 128  # blocks before and after a change that are compared; blocks that a hint is about
ENOUGH = 1000  # fewer proposals are no estimate of an acceptance


@dataclass(frozen=True)
class Figures:
    """Means over some blocks: the accepted share of the proposals, and L_tot; None where they are not known."""

    acceptance: float | None
    loss: float | None


class Window:
    """The last blocks."""

    def __init__(self, blocks: int) -> None:
        self.updates: deque[BlockInfo] = deque(maxlen=blocks)

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

    def figures(self) -> Figures:
        """Return what the log of changes compares."""
        return Figures(
            *(value if math.isfinite(value) else None for value in (self.acceptance()[1], self.mean("loss")))
        )


def hints(window: Window, knobs: JsonObject, size: int | None = None) -> list[str]:
    """Return what looks wrong and which way a knob should go, a sentence each; `size` is the number of sites."""
    if not window.updates or not knobs:
        return []
    texts = []
    latest = window.updates[-1]
    decided, share = window.acceptance(USES_DELTA)
    if decided >= ENOUGH and share < 0.01:
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
