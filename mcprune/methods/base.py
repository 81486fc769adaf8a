"""The contract of a method, which moves a mask while backprop trains the classifier.

As in blackjax, a method has what stays the same during a run, and its state has all that changes: `init` makes a state, `step` advances it
by one block. The state is updated in place and returned, since its arrays have the size of the sites; `copy.deepcopy` keeps an earlier
one. A checkpoint is the state itself (`mcprune/state.py`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

from mcprune.objectives.base import Rows
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

S = TypeVar("S")
T = TypeVar("T")
# Work that is done in parts: yields between them, and returns its value at the end.
Parts = Generator[None, None, T]


def whole(parts: Generator[object, None, T]) -> T:
    """Do all parts at once, and return the value."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            value: T = end.value
            return value


class Batch(NamedTuple):
    """Evaluation rows: features (B, N) float32, targets (B,) int64, and weights and groups for the objective, if it needs them."""

    features: torch.Tensor
    targets: torch.Tensor
    rows: Rows | None = None


class Finalist(NamedTuple):
    """A mask (N,) that a search has come to, and the name of the way to it."""

    name: str
    mask: BoolArray


class Adaptation(NamedTuple):
    """What a chain has adapted, as of one block; None for what it does not adapt.

    Attributes
    ----------
    temperatures : list of float
        Of the rungs, from the coldest.
    swap_rates : list of float or None
        Share of accepted swaps of neighbouring rungs; None before the first attempt.
    round_trips : int
        From the coldest rung to the hottest and back.
    deltas : list of float
        The half-width of proposals at each rung.
    frozen_at : int
        Proposals of a replica after which nothing is adapted.
    """

    temperatures: list[float] | None = None
    swap_rates: list[float | None] | None = None
    round_trips: int | None = None
    deltas: list[float] | None = None
    frozen_at: int | None = None


class MoveCounts(NamedTuple):
    """Steps of the chain with one kind of move.

    Attributes
    ----------
    proposed : int
        All of them.
    decided : int
        Those whose candidate the accept rule decided on. By rank a step that leaves the mask as it is takes no decision (a walk).
    accepted : int
        Decisions for the candidate.
    """

    proposed: int
    decided: int
    accepted: int


class Sample(NamedTuple):
    """A candidate that was decided on: a site that it drops, a site that it keeps instead (None: none), and the decision."""

    dropped: int
    kept: int | None
    is_accepted: bool

    def on_sites(self, first: IntArray) -> Sample:
        """Return the sample of a search on tied items by the first site (F,) of each item."""
        kept = None if self.kept is None else int(first[self.kept])
        return self._replace(dropped=int(first[self.dropped]), kept=kept)


class BlockInfo(NamedTuple):
    """Results of one block, in plain numbers, as in the progress event."""

    loss: float  # L_tot
    cla: float
    sel: float
    rej: float
    alpha: float
    delta: float
    temperature: float
    gate_sum: float
    kept: int
    target: int  # n(t)
    proposals: int  # steps of the chain in this block
    decisions: int  # candidates among them that the accept rule decided on
    accepted: int  # decisions for the candidate
    nonfinite: int
    null_moves: int
    rejected_by_bound: int
    moves: dict[str, MoveCounts]  # of this block, by move
    strength: float = math.nan  # lambda of the gradient path's schedules
    evaluated: int = 0  # masks whose loss was computed in this block
    adapted: Adaptation | None = None  # None where nothing is adapted
    costs: tuple[int, ...] = ()  # of the mask, in the units of the budget; empty where that is a count of sites
    cost_targets: tuple[int, ...] = ()  # cost(t)
    rejected_by_cost: int = 0  # proposals rejected unevaluated for a cost above cost(t), or an emptied group
    spread: float = (
        math.nan
    )  # root mean square change of L_cla of what was evaluated (as far as it was), at a temperature only
    standard_error: float = math.nan  # of a paired loss difference on the evaluation rows, as measured last
    samples: tuple[Sample, ...] = ()  # some of the last candidates, to be shown


class TrainingHook(Protocol):
    """The part of a method in each step of backprop; the hooks are called in this order."""

    def gates(self, rows: int) -> torch.Tensor:
        """Return the gates of a training batch, (N,) or (rows, N), with a gradient."""
        ...

    def penalty(self) -> torch.Tensor:
        """Return alpha L_pru, a scalar with a gradient, which is added to L_cla."""
        ...

    def on_gradients(self) -> None:
        """React to the gradients of L_tot, before the classifier's step."""
        ...

    def after_step(self, cla: torch.Tensor) -> None:
        """Move the gates; the classifier has made its step, and `cla` is L_cla of the batch."""
        ...


class Method(ABC, Generic[S]):
    """A method; hooks that a method does not need keep the defaults of this class.

    Attributes
    ----------
    uses_blocks : bool
        It decides in blocks, on evaluation rows; else it moves in the steps of backprop, by its `hook`.
    ranks_sites : bool
        Its position ranks the sites at any time, not only after `finish`.
    first_rows : int
        Rows of the batch that `begin` needs; 0 where it is not called.
    """

    uses_blocks: bool = False
    ranks_sites: bool = False
    first_rows: int = 0

    @abstractmethod
    def init(self) -> S:
        """Return the state at the start."""

    @abstractmethod
    def step(self, state: S, batch: Batch, progress: float) -> tuple[S, BlockInfo]:
        """Advance by one block on a batch of evaluation rows; `progress` (0..1) is the share of the run at its end."""

    def parts(self, state: S, batch: Batch, progress: float) -> Parts[tuple[S, BlockInfo]]:
        """Advance as `step` does, and yield where knobs may be changed within the block; by default nowhere."""
        yield from ()
        return self.step(state, batch, progress)

    @abstractmethod
    def finish(self, state: S, batch: Batch) -> tuple[S, BoolArray]:
        """Return the mask (N,) of the result, which has exactly n sites, or costs within the budget."""

    @abstractmethod
    def position(self, state: S) -> FloatArray:
        """Return the pruner weights, shape (N,)."""

    @abstractmethod
    def training_gates(self, state: S) -> Float32Array:
        """Return the gates (N,) under which the classifier is trained now."""

    @abstractmethod
    def description(self) -> dict[str, str]:
        """Return the names of the evaluator and of the canonical one, for the record."""

    def announce(self, state: S, progress: float) -> str:
        """Return what is done at the beginning of the block that ends at this share of the run and may take long; else ''."""
        return ""

    def begin(self, state: S, batch: Batch) -> S:
        """Prepare the first block, once the classifier is as the search starts with it. Called where `first_rows` is positive."""
        return state

    def hook(self, state: S) -> TrainingHook | None:
        """Return the hook of the steps of backprop; None where `uses_blocks`."""
        return None

    def validate(self, state: S) -> None:
        """Raise ValueError for a state from a file that is not valid for this method."""
        return

    def is_falling(self, progress: float, end: float) -> bool:
        """Return whether the budget, n(t) or cost(t), is higher at one share of the run than at another."""
        return False

    def finalists(self, state: S) -> list[Finalist]:
        """Return the masks that a finished search may end in, the one of `finish` among them; empty where there is no other."""
        return []

    def adopt(self, state: S, mask: BoolArray) -> None:
        """Take another mask (N,) as the result; by default nothing of the state depends on it."""

    def bound(self, space: SearchSpace) -> None:
        """Take a search space with other limits on the costs, before `finish`; only methods that search under limits do."""

    def refined(self) -> BoolArray | None:
        """Return the mask (N,) from elsewhere that the method refines; None where there is none."""
        return None

    def mask_losses(self, state: S, batch: Batch, masks: BoolArray) -> FloatArray:
        """Return what the method minimises, exactly, for hard masks (M, N) on a batch, shape (M,)."""
        raise NotImplementedError

    def crossed(self, state: S) -> IntArray | None:
        """Return the training step (N,) after which each gate last crossed one half, 0 for never; None where that is not recorded."""
        return None

    def scores(self, state: S) -> FloatArray | None:
        """Return the scores (N,) by which sites were last dropped; None where there are none."""
        return None

    def forwards(self, state: S) -> int:
        """Return the work of computing scores in rows that went forward; a row of backprop counts as three."""
        return 0

    def evaluator_error(self, state: S) -> float | None:
        """Return the largest measured difference of the evaluator from the canonical one, relative to max(1, loss)."""
        return None

    def steered(self, state: S) -> object:
        """Return the `SteeredChain` that changes settings during a run; None where there are no knobs."""
        return None

    def notes(self, state: S) -> list[str]:
        """Return notes for the user, after the search has finished."""
        return []


AnyMethod = Method[Any]  # for a search, which hands a method its own state
