"""The contract of a method: something that moves a mask while backprop trains the classifier.

As in blackjax, a method holds what stays the same during a run, and its state all that changes: `init` makes a state, `step` advances it by
one block. The state is updated in place and returned, since its arrays have the size of the sites; `copy.deepcopy` keeps an earlier one.
A checkpoint is the state itself (`mcprune/state.py`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

from mcprune.objectives.base import Rows
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

S = TypeVar("S")


class Batch(NamedTuple):
    """Evaluation rows: features (B, N) float32, targets (B,) int64, and what else the objective needs to know of them."""

    features: torch.Tensor
    targets: torch.Tensor
    rows: Rows | None = None


class Finalist(NamedTuple):
    """A mask (N,) that a search has come to, and the name of the way to it."""

    name: str
    mask: BoolArray


class Adaptation(NamedTuple):
    """What a chain adapts, as of one block; None where it does not.

    Attributes
    ----------
    temperatures : list of float
        Of the rungs, the coldest first.
    swap_rates : list of float or None
        Accepted swaps of neighbouring rungs; None before the first attempt.
    round_trips : int
        From the coldest rung to the hottest and back.
    deltas : list of float
        The half-width of proposals at each rung.
    frozen_at : int
        Proposals of a replica after which nothing is adapted any more.
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


class BlockInfo(NamedTuple):
    """What one block did; plain numbers, as the progress event shows them."""

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
    spread: float = math.nan  # root mean square change of L_cla of what was evaluated, at a temperature only


class TrainingHook(Protocol):
    """What a method that moves in the steps of backprop does in each of them, in this order."""

    def gates(self, rows: int) -> torch.Tensor:
        """Return the gates of a training batch, (N,) or (rows, N), with a gradient."""
        ...

    def penalty(self) -> torch.Tensor:
        """Return alpha L_pru, a scalar with a gradient, which is added to L_cla."""
        ...

    def on_gradients(self) -> None:
        """The gradients of L_tot are computed, and the classifier has not made its step yet."""
        ...

    def after_step(self, cla: torch.Tensor) -> None:
        """Move the gates: the classifier has made its step; `cla` is the batch's L_cla."""
        ...


class Method(ABC, Generic[S]):
    """A way to a mask; what a way does not need is left as it is here.

    Attributes
    ----------
    uses_blocks : bool
        It decides in blocks, on evaluation rows; else it moves in the steps of backprop, by its hook.
    ranks_sites : bool
        Its position ranks the sites before `finish` too.
    first_rows : int
        Rows of the batch that `begin` needs; 0: none.
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

    @abstractmethod
    def finish(self, state: S, batch: Batch) -> tuple[S, BoolArray]:
        """Return the mask (N,) of the result: exactly n sites, or a cost within the budget."""

    @abstractmethod
    def position(self, state: S) -> FloatArray:
        """Return the pruner weights, shape (N,)."""

    @abstractmethod
    def training_gates(self, state: S) -> Float32Array:
        """Return the gates (N,) under which the classifier trains now."""

    @abstractmethod
    def description(self) -> dict[str, str]:
        """Return the names of what evaluates candidates, for the record: `evaluator` and `canonical`."""

    def begin(self, state: S, batch: Batch) -> S:
        """Prepare the first block: the classifier is now what the search begins with. Called where `first_rows` is positive."""
        return state

    def hook(self, state: S) -> TrainingHook | None:
        """Return what to do in each step of backprop; None where `uses_blocks`."""
        return None

    def validate(self, state: S) -> None:
        """Raise ValueError for a state from a file that cannot be one of this method's."""
        return

    def is_falling(self, progress: float, end: float) -> bool:
        """Return whether the budget, n(t) or cost(t), is higher at one share of the run than at another."""
        return False

    def finalists(self, state: S) -> list[Finalist]:
        """Return the masks that a finished search may end in, the one of `finish` among them; empty where there is no other."""
        return []

    def adopt(self, state: S, mask: BoolArray) -> None:
        """Take another one of the finalists' masks (N,) as the result."""
        raise NotImplementedError

    def crossed(self, state: S) -> IntArray | None:
        """Return the training step (N,) after which each gate last crossed one half, 0 for never; None where it does not know."""
        return None

    def scores(self, state: S) -> FloatArray | None:
        """Return the scores (N,) by which sites were dropped last; None where there are none."""
        return None

    def forwards(self, state: S) -> int:
        """Return the work of scores in rows that went forward, a row of backprop counting three."""
        return 0

    def evaluator_error(self, state: S) -> float | None:
        """Return the largest measured difference of the evaluator's losses from the canonical ones, relative to max(1, loss)."""
        return None

    def steered(self, state: S) -> object:
        """Return what changes the settings of a chain while it runs, a `SteeredChain`; None where there are no knobs."""
        return None

    def notes(self, state: S) -> list[str]:
        """Return what the user should know of the search, once it has finished."""
        return []


AnyMethod = Method[Any]  # for a search, which hands a method its own state
