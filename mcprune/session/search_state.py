"""The state of a search: all that changes from block to block. A checkpoint is this tree (`mcprune/state.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mcprune.chain import KINDS
from mcprune.methods.base import BlockInfo
from mcprune.methods.gradient.method import GateState
from mcprune.methods.importance.method import RoundState
from mcprune.methods.markov.state import MarkovState
from mcprune.session.guard import GuardState
from mcprune.session.time_budget import PaceState
from mcprune.training.batches import EvaluationState
from mcprune.training.stack import StackState
from mcprune.types import BoolArray, IntArray


@dataclass
class Totals:
    """Counts over all blocks.

    Attributes
    ----------
    proposals, decisions, accepted, nonfinite, null_moves, rejected_by_bound, rejected_by_cost : int
        As in `BlockInfo`.
    evaluated_rows : int
        Rows of the evaluation batches times the masks that were evaluated on them.
    moves : ndarray of int64, shape (3, moves)
        Proposed, decided and accepted, by move.
    """

    proposals: int = 0
    decisions: int = 0
    accepted: int = 0
    nonfinite: int = 0
    null_moves: int = 0
    rejected_by_bound: int = 0
    rejected_by_cost: int = 0
    evaluated_rows: int = 0
    moves: IntArray = field(default_factory=lambda: np.zeros((3, len(KINDS)), np.int64))

    def add(self, info: BlockInfo, rows: int) -> None:
        """Add the counts of a block, which had so many evaluation rows."""
        self.proposals += info.proposals
        self.decisions += info.decisions
        self.accepted += info.accepted
        self.nonfinite += info.nonfinite
        self.null_moves += info.null_moves
        self.rejected_by_bound += info.rejected_by_bound
        self.rejected_by_cost += info.rejected_by_cost
        self.evaluated_rows += rows * info.evaluated
        for name, counts in info.moves.items():
            self.moves[:, KINDS.index(name)] += counts

    def by_move(self) -> dict[str, tuple[int, int, int]]:
        """Return how often each move was proposed, decided and accepted; those that were not proposed are left out."""
        proposed, decided, accepted = self.moves.tolist()
        return {name: (proposed[k], decided[k], accepted[k]) for k, name in enumerate(KINDS) if proposed[k]}


@dataclass
class Crossings:
    """The last crossing of one half by each gate.

    Attributes
    ----------
    is_above : ndarray of bool, shape (N,)
        After the last block.
    last : ndarray of int64, shape (N,)
        Training steps that were done by then; 0 for never.
    """

    is_above: BoolArray
    last: IntArray

    def note(self, is_above: BoolArray, steps: int) -> None:
        """Record which gates are above one half after so many training steps."""
        self.last[is_above != self.is_above] = steps
        self.is_above[:] = is_above


@dataclass
class Reported:
    """The last report of progress: the blocks that were done, and the decisions and accepted ones since then."""

    blocks: int = 0
    decisions: int = 0
    accepted: int = 0


@dataclass
class Clock:
    """Seconds: of the search without pauses, of the whole run, and of a usual block."""

    search: float = 0.0
    total: float = 0.0
    block: float = 0.0


@dataclass
class SearchState:
    """A search between two blocks; updated in place.

    Attributes
    ----------
    blocks_done : int
    trainer : StackState
    evaluation : EvaluationState
        The evaluation batches.
    method : MarkovState or GateState or RoundState
        The state of the method.
    pace : PaceState
        The planned blocks.
    knobs : dict
        The last value of each knob that was changed.
    turned_at : int or None
        Proposals before the last change of a knob.
    totals : Totals
    crossings : Crossings
    guard : GuardState
        The best mask on the validation rows.
    last : BlockInfo or None
        Of the last block.
    reported : Reported
    replan : int
        The number of planned blocks from the next block on; 0 for no change.
    end_reason : str
        Why the search ended before its last planned block; empty where it did not.
    clock : Clock
    """

    blocks_done: int
    trainer: StackState
    evaluation: EvaluationState
    method: MarkovState | GateState | RoundState
    pace: PaceState
    knobs: dict[str, object]
    turned_at: int | None
    totals: Totals
    crossings: Crossings
    guard: GuardState
    last: BlockInfo | None
    reported: Reported
    replan: int
    end_reason: str
    clock: Clock
