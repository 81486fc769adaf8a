"""How far a chain's schedules are after each block, and the number of planned blocks, which the clock may change.

A schedule that the clock cuts off leaves a mask that was never searched for: n(t) is still falling, or up on a wave. So where the
planned blocks will not all be done within `--max-time`, fewer are planned, and the rest of every schedule passes faster.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

# Blocks that are timed before anything is planned by them, and the most whose times count.
KNOWN, BACK = 3, 31
AIM = 0.98  # of the time is planned: the last block must end before the time does
# Fewer blocks are planned where the planned ones would take so much more than the time left. While n(t) falls, blocks are unlike those
# to come, so only a large excess counts.
TOO_MUCH, FAR_TOO_MUCH = 1.05, 1.5
LAST = 0.25  # of the time: if n(t) still falls then, the estimate is taken as it is
TOO_LITTLE = 0.93  # more are planned where they would take less than this share of it
STEP = 0.02  # of the time lies between two changes; a change of less than half of that is left out


@dataclass
class PaceState:
    """How many blocks are planned; updated in place.

    Attributes
    ----------
    blocks, most : int
        Planned now, and the largest number that may be planned.
    since, share : int and float
        After this block and this share of the schedules, each block passes an equal share.
    changed : float
        Seconds of the search at the last change of the plan.
    """

    blocks: int
    most: int
    since: int = 0
    share: float = 0.0
    changed: float = 0.0


class Pace:
    """The share of the schedules that has passed after each block.

    Parameters
    ----------
    blocks : int
        Planned at the start.
    most : int, optional
        The largest number that may be planned; by default that of the start.
    settled : float
        The share of the run from which blocks are like those to come.

    Attributes
    ----------
    state : PaceState
    """

    # The times of the last blocks: another machine, or another day, has other ones.
    recomputed = ("_is_settled", "_early", "_ends")

    def __init__(self, blocks: int, most: int | None = None, settled: float = 0.0) -> None:
        self.state = PaceState(blocks, max(blocks, most or 0))
        self.settled = settled
        self._is_settled = settled <= 0.0
        self._early = 0.0  # seconds of a block while n(t) fell; 0 where unknown
        self._ends: deque[float] = deque(maxlen=BACK + 1)  # seconds of the search at the ends of the last blocks

    @property
    def blocks(self) -> int:
        """Blocks that are planned now."""
        return self.state.blocks

    def progress(self, block: int) -> float:
        """Return the share that has passed after so many blocks; block / blocks while the plan is that of the start."""
        if block >= self.blocks:
            return 1.0
        state = self.state
        return state.share + (1.0 - state.share) * (block - state.since) / (state.blocks - state.since)

    def replan(self, block: int, blocks: int) -> None:
        """Plan so many blocks in all, from the end of `block` on.

        Raises
        ------
        ValueError
            No block would be left.
        """
        if blocks <= block:
            raise ValueError(f"{blocks} blocks in all after block {block}: at least one must be left")
        self.state.share, self.state.since = self.progress(block), block
        self.state.blocks = blocks

    def blocks_in_time(self, block: int, seconds: float, limit: float) -> int:
        """Return how many blocks should be planned; 0 where the plan may stay.

        Parameters
        ----------
        block : int
            Blocks done.
        seconds : float
            Of the search so far.
        limit : float
            Its time.
        """
        if not self._is_settled and self.progress(block) >= self.settled:
            self._is_settled = True
            self._early = self._usual() if len(self._ends) > KNOWN else 0.0
            self._ends.clear()  # they were blocks of the fall
        self._ends.append(seconds)
        left = AIM * limit - seconds
        is_known = len(self._ends) > KNOWN
        if not (is_known or self._early) or block >= self.blocks or seconds - self.state.changed < STEP * limit:
            return 0
        each = self._usual() if is_known else self._early
        need = each * (self.blocks - block)
        if need > (TOO_MUCH if self._is_settled or left < LAST * limit else FAR_TOO_MUCH) * left:
            planned = block + max(1, math.floor(left / each))
        elif self._is_settled and len(self._ends) > BACK // 2 and need < TOO_LITTLE * left:
            planned = min(self.state.most, block + math.floor(left / each))
        else:
            return 0
        if planned == self.blocks or abs(need - each * (planned - block)) < 0.5 * STEP * limit:
            return 0
        self.state.changed = seconds
        return planned

    def _usual(self) -> float:
        """Return the mean seconds of a block, events and checkpoints included.

        The longest counts as the second longest: a machine may stand still for a moment. More may not be left out, since a block in which
        a wave of n(t) rises takes much longer than the others.
        """
        times = sorted(later - earlier for earlier, later in pairwise(self._ends))
        times[-1] = times[-2]
        return max(math.fsum(times) / len(times), 1e-9)

    def resume(self) -> None:
        """Forget the times of the last blocks: the state was read from a checkpoint."""
        self._is_settled = self.state.share >= self.settled
        self._ends.clear()
