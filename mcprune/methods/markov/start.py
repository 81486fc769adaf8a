"""The masks that a chain starts from: one chain after the other, each from a start of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mcprune.methods.base import Finalist
from mcprune.methods.importance.scorer import Scorer, ScorerState
from mcprune.methods.importance.selection import select
from mcprune.sites.budget import Goal
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray, FloatArray

# Share of a chain's time in which the classifier only trains, on a mask that it has not been trained on.
TRAINING = 0.12


@dataclass
class StartState:
    """Where in its starts a search is.

    Attributes
    ----------
    leg : int
        The chain that is going on; -1 before the first block.
    is_done : bool
        The first mask of this chain is chosen.
    scorer : ScorerState
        Of the measure.
    starts, ends : ndarray of bool, shape (L, N)
        The first and the last mask of each chain.
    has_start, has_end : ndarray of bool, shape (L,)
        Which of them are known.
    notes : list of str
    """

    leg: int
    is_done: bool
    scorer: ScorerState
    starts: BoolArray
    ends: BoolArray
    has_start: BoolArray
    has_end: BoolArray
    notes: list[str] = field(default_factory=list)


class Source(Protocol):
    """Where a chain starts."""

    name: str

    @property
    def needs_training(self) -> bool:
        """Whether the classifier must be trained on all sites before."""
        ...

    def choose(self, state: ScorerState, goal: Goal, space: SearchSpace) -> tuple[BoolArray | None, list[str]]:
        """Return the mask (N,), None for all sites with n(t) falling, and what the user should know of it."""
        ...


class AllSites:
    """All sites, from which n(t) falls."""

    name = "all"
    needs_training = False

    def choose(self, state: ScorerState, goal: Goal, space: SearchSpace) -> tuple[BoolArray | None, list[str]]:
        """See `Source.choose`."""
        return None, []


class ScoredColumns:
    """The columns of the highest scores that need no classifier of ours."""

    needs_training = False

    def __init__(self, name: str, scores: Callable[[], FloatArray]) -> None:
        self.name, self.scores = name, scores

    def choose(self, state: ScorerState, goal: Goal, space: SearchSpace) -> tuple[BoolArray | None, list[str]]:
        """See `Source.choose`."""
        mask = space.enforce(self.scores(), goal)
        return mask, []


class StartMask:
    """A mask from elsewhere, which the chain refines.

    Parameters
    ----------
    name : str
        Where it is from.
    mask : ndarray of bool, shape (N,)
        Allowed by the search space.
    """

    needs_training = False

    def __init__(self, name: str, mask: BoolArray) -> None:
        self.name, self.mask = name, mask

    def choose(self, state: ScorerState, goal: Goal, space: SearchSpace) -> tuple[BoolArray | None, list[str]]:
        """See `Source.choose`."""
        return self.mask, []


class Measured:
    """The sites of the highest scores by an importance measure.

    Parameters
    ----------
    scorer : Scorer
    how, floor
        As `select` takes them.
    """

    needs_training = True

    def __init__(self, scorer: Scorer, how: str, floor: int) -> None:
        self.scorer, self.how, self.floor = scorer, how, floor
        self.name = scorer.settings.measure

    def choose(self, state: ScorerState, goal: Goal, space: SearchSpace) -> tuple[BoolArray | None, list[str]]:
        """See `Source.choose`."""
        scores = self.scorer.scores(state=state)
        if space.is_count and space.is_plain and space.pattern is None:
            mask = select(scores.values, space.sites.groups, int(goal.counts[0]), self.how, self.floor)
        else:
            mask = space.enforce(np.where(np.isfinite(scores.values), scores.values, -np.inf), goal)
        return mask, [f"start: {int(mask.sum()):,} sites by {self.name}", *scores.notes]


class Starts:
    """Chains one after the other, each from its source; all share the classifier.

    Parameters
    ----------
    sources : sequence of Source
    begins : sequence of float
        Share of the run at which each begins; the first at 0.
    after : float
        Share of the run in which the classifier trains on all sites before a measure chooses.
    others : sequence of Source
        Whose masks are finalists though no chain starts from them; they need no training.
    training : float
        Share of a chain's time in which the classifier only trains on its first mask.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        begins: Sequence[float],
        after: float = 0.0,
        others: Sequence[Source] = (),
        training: float = TRAINING,
    ) -> None:
        self.begins, self.after, self.training = tuple(begins), after, training
        self.sources = (*sources, *others)

    @property
    def refined(self) -> BoolArray | None:
        """The mask (N,) from elsewhere that is the only start; else None."""
        only = self.sources[0]
        return only.mask if len(self.sources) == 1 and isinstance(only, StartMask) else None

    def init(self, sites: int) -> StartState:
        """Return the state before the first block."""
        chains = len(self.sources)
        masks = np.zeros((2, chains, sites), bool)
        known = np.zeros((2, chains), bool)
        return StartState(-1, False, ScorerState(), masks[0], masks[1], known[0], known[1])

    def announce(self, state: StartState, progress: float) -> str:
        """Return from what a chain starts where one begins with the block that ends at a share of the run; else ''."""
        leg = self._leg(progress)
        if leg <= state.leg:
            return ""
        scored = [source.name for source in self.sources if isinstance(source, ScoredColumns)]
        if state.leg < 0 and scored:  # all of them, before the first block
            return f"scoring the columns by {', '.join(scored)}: chains start from their best"
        return (
            ""
            if len(self.sources) == 1
            else f"chain {leg + 1} of {len(self.sources)} starts from {self.sources[leg].name}"
        )

    def _leg(self, progress: float) -> int:
        return int(np.searchsorted(self.begins, progress - 1e-9)) - 1

    def enter(self, state: StartState, progress: float, current: BoolArray) -> bool:
        """Note the last mask (N,) of the chain before where another one begins with the block that ends at a share of the run."""
        leg = self._leg(progress)
        if leg <= state.leg:
            return False
        if state.leg >= 0 and state.is_done:
            self.end(state, current)
        state.leg, state.is_done = leg, False
        return True

    def end(self, state: StartState, current: BoolArray) -> None:
        """Note the last mask (N,) of the chain that is going on."""
        state.ends[state.leg], state.has_end[state.leg] = current, True

    def chooses(self, state: StartState, progress: float) -> bool:
        """Whether the first mask of this chain is to be chosen before the block that ends at this share of the run."""
        waits = self.sources[state.leg].needs_training
        return not state.is_done and (not waits or progress >= self.begins[state.leg] + self.after - 1e-9)

    def trains(self, state: StartState, progress: float) -> bool:
        """Whether the classifier only trains in the block that ends at this share of the run."""
        if not state.is_done:
            return True
        begin = self.begins[state.leg]
        end = self.begins[state.leg + 1] if state.leg + 1 < len(self.begins) else 1.0
        is_new = state.has_start[state.leg] and not self.sources[state.leg].needs_training
        return bool(is_new) and progress < begin + self.training * (end - begin) - 1e-9

    def choose(self, state: StartState, goal: Goal, space: SearchSpace) -> BoolArray | None:
        """Return the first mask (N,) of this chain; None for all sites."""
        mask = self._mask(state, state.leg, goal, space)
        state.is_done = True
        return mask

    def choose_others(self, state: StartState, space: SearchSpace) -> None:
        """Choose the starts that need no training: a search that ends early has them as finalists."""
        for leg, source in enumerate(self.sources):
            if not source.needs_training:
                self._mask(state, leg, space.goal, space)

    def _mask(self, state: StartState, leg: int, goal: Goal, space: SearchSpace) -> BoolArray | None:
        if state.has_start[leg]:
            return np.array(state.starts[leg])
        mask, notes = self.sources[leg].choose(state.scorer, goal, space)
        state.notes += notes
        if mask is not None:
            state.starts[leg], state.has_start[leg] = mask, True
        return mask

    def finalists(self, state: StartState, space: SearchSpace) -> list[Finalist]:
        """Return the masks of n sites that the chains started from and ended in, none twice."""
        n, out = space.n, []
        for leg, source in enumerate(self.sources):
            if state.has_end[leg]:
                out.append(Finalist(f"chain from {source.name}", state.ends[leg]))
        for leg, source in enumerate(self.sources):
            if state.has_start[leg]:
                out.append(Finalist(source.name, state.starts[leg]))
        known: dict[bytes, Finalist] = {}
        for finalist in out:
            if space.counted(finalist.mask) == n:
                known.setdefault(finalist.mask.tobytes(), finalist)
        return list(known.values())
