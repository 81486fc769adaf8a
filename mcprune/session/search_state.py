"""All of a search that changes from block to block: a checkpoint is this tree (`mcprune/state.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mcprune.chain.kinds import KINDS
from mcprune.methods.base import BlockInfo
from mcprune.methods.gradient.method import GateState
from mcprune.methods.importance.method import RoundState
from mcprune.methods.markov.state import MarkovState
from mcprune.session.time_budget import PaceState
from mcprune.training.batches import EvaluationState
from mcprune.training.stack import StackState
from mcprune.types import BoolArray, IntArray


@dataclass
class Totals:
    """Counts over all blocks.

    Attributes
    ----------
    proposals, accepted, nonfinite, null_moves, rejected_by_bound, rejected_by_cost : int
        As in `BlockInfo`.
    evaluated_rows : int
        Rows of the evaluation batches times the masks evaluated on them.
    moves : ndarray of int64, shape (2, moves)
        Proposed and accepted, by move.
    """

    proposals: int = 0
    accepted: int = 0
    nonfinite: int = 0
    null_moves: int = 0
    rejected_by_bound: int = 0
    rejected_by_cost: int = 0
    evaluated_rows: int = 0
    moves: IntArray = field(default_factory=lambda: np.zeros((2, len(KINDS)), np.int64))

    def add(self, info: BlockInfo, rows: int) -> None:
        """Add a block on an evaluation batch of so many rows."""
        self.proposals += info.proposals
        self.accepted += info.accepted
        self.nonfinite += info.nonfinite
        self.null_moves += info.null_moves
        self.rejected_by_bound += info.rejected_by_bound
        self.rejected_by_cost += info.rejected_by_cost
        self.evaluated_rows += rows * info.evaluated
        for name, counts in info.moves.items():
            self.moves[:, KINDS.index(name)] += (counts.proposed, counts.accepted)

    def by_move(self) -> dict[str, tuple[int, int]]:
        """Return the proposed and accepted counts of each move that was proposed."""
        proposed, accepted = self.moves.tolist()
        return {name: (proposed[k], accepted[k]) for k, name in enumerate(KINDS) if proposed[k]}


@dataclass
class Crossings:
    """When each gate last crossed one half.

    Attributes
    ----------
    is_above : ndarray of bool, shape (N,)
        As of the last block.
    last : ndarray of int64, shape (N,)
        Steps of training done by then; 0: never.
    """

    is_above: BoolArray
    last: IntArray

    def note(self, is_above: BoolArray, steps: int) -> None:
        """Note where the gates are after so many steps of training."""
        self.last[is_above != self.is_above] = steps
        self.is_above[:] = is_above


@dataclass
class Reported:
    """How far the progress was reported: the blocks done then, and proposals and accepted ones since."""

    blocks: int = 0
    proposals: int = 0
    accepted: int = 0


@dataclass
class Clock:
    """Seconds: of the search without pauses, since the data were loaded, and of a usual block."""

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
        Of the evaluation batches.
    method : MarkovState or GateState or RoundState
        Of the way to a mask.
    pace : PaceState
        How many blocks are planned.
    knobs : dict
        The last value of each knob that was turned.
    turned_at : int or None
        Proposals at the last turn of a knob.
    totals : Totals
    crossings : Crossings
    last : BlockInfo or None
        What the last block did.
    reported : Reported
    replan : int
        Blocks that are to be planned from the next block on; 0: as they are.
    end_reason : str
        Why the search ended before its last block; empty: it did not.
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
    last: BlockInfo | None
    reported: Reported
    replan: int
    end_reason: str
    clock: Clock
