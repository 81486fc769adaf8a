"""The controller of a run, which may change it between two blocks, and its knobs within one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from mcprune.errors import ConfigError
from mcprune.session.build.plan import Plan
from mcprune.types import JsonObject


class Commands(NamedTuple):
    """Commands to a run before its next block.

    Attributes
    ----------
    changes : tuple of dict
        Each has new values by knob, or `{"blocks": n}` for another number of planned blocks.
    checkpoint : bool
        Write a checkpoint.
    again : bool
        Poll again before the block, as while the run is paused.
    """

    changes: tuple[JsonObject, ...] = ()
    checkpoint: bool = False
    again: bool = False


class Controller:
    """Controls a run; this one changes nothing. All methods are called in the thread of the run.

    Attributes
    ----------
    repeats_until : int
        Blocks up to which a recorded run is repeated; up to there no clock has an effect.
    """

    repeats_until: int = 0

    def most_blocks(self, plan: Plan) -> int | None:
        """Return the largest number of blocks that may be planned where there is time left; None for that of the start."""
        return None

    def poll(self, block: int, should_stop: Callable[[], bool]) -> Commands:
        """Return the commands after `block` blocks; may wait while `should_stop()` is false."""
        return Commands()

    def poll_within(self, block: int, part: int) -> tuple[JsonObject, ...]:
        """Return changes of knobs, by knob, for what is left of a block after `part` parts of it; does not wait."""
        return ()

    def on_refused(self, changes: Mapping[str, object], error: ConfigError) -> None:
        """React to changes of a command that turned out not to be valid; by default the error is raised."""
        raise error

    def stop_reason(self, block: int) -> str:
        """Return why the search ends after `block` blocks; empty if it does not."""
        return ""

    def playoff_steps(self) -> tuple[int, ...]:
        """Return the steps of each round of the playoff where a run is repeated; empty where the time decides."""
        return ()

    def pending(self, block: int) -> JsonObject:
        """Return the commands from block `block` on that are known already, as `Replay.of` takes them."""
        return {}
