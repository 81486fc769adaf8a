"""What of a chain changes from block to block, its parts nested; and what one block counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mcprune.chain.moves import KINDS, Moves
from mcprune.chain.state import ChainState, StepInfo
from mcprune.chain.stepsize import StepSize
from mcprune.chain.tempering import Ladder
from mcprune.methods.base import Sample
from mcprune.methods.markov.evaluation import ErrorState
from mcprune.methods.markov.informed import InformedState
from mcprune.methods.markov.lookahead import LookaheadState
from mcprune.methods.markov.start import StartState
from mcprune.types import BoolArray, FloatArray, IntArray

SAMPLES = 8  # of a block's candidates are shown


@dataclass
class MarkovState:
    """R replicas of a chain over F items, between two blocks; updated in place.

    Attributes
    ----------
    chain : ChainState
    ladder : Ladder
        Which replica stands at which temperature.
    informed : InformedState
        The scores of the move `informed`.
    error : ErrorState
        Of the evaluator.
    lookahead : LookaheadState
    step_size : StepSize or None
        None where delta is not adapted.
    start : StartState or None
        Of a start by a measure.
    sharpness : float
        Of the gates.
    blocks : int
        Done by the chain: it makes none before a start by a measure.
    weights : ndarray of float64, shape (R, F), or None
        Of gates by rank: then the positions only tell the mask by their signs. None where the positions are the weights.
    standard_error : float
        Of a paired loss difference on the evaluation rows, as measured last; NaN before.
    last_goal : ndarray of int64
        n(t) of each count and cost(t) of each cost, of the last block.
    frozen_at : int or None
        Proposals of a replica at the end of the warm-up.
    """

    chain: ChainState
    ladder: Ladder
    informed: InformedState
    error: ErrorState
    lookahead: LookaheadState
    step_size: StepSize | None
    start: StartState | None
    sharpness: float
    blocks: int
    weights: FloatArray | None
    standard_error: float
    last_goal: IntArray
    frozen_at: int | None

    @property
    def coldest(self) -> int:
        """The replica at the lowest temperature, which is the result."""
        return int(np.argmin(self.ladder.rung))


@dataclass
class Tally:
    """Counts of one block.

    Attributes
    ----------
    by_rung : ndarray of int64, shape (3, R, moves)
        Proposed, decided and accepted, by rung and move.
    nonfinite, null, by_bound, by_cost : int
        Proposals without a finite loss, without an available move, and rejected unevaluated by a bound or a cost.
    evaluated : int
        Masks whose loss was computed.
    changes, squares : int, float
        How many changes of L_cla at a temperature there were, and the sum of their squares.
    samples : list of Sample
        Some candidates of the coldest replica.
    """

    by_rung: IntArray
    nonfinite: int = 0
    null: int = 0
    by_bound: int = 0
    by_cost: int = 0
    evaluated: int = 0
    changes: int = 0
    squares: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    @classmethod
    def empty(cls, replicas: int) -> Tally:
        """Return one of no proposals."""
        return cls(np.zeros((3, replicas, len(KINDS)), np.int64))

    def add(self, info: StepInfo, rung: IntArray, ruled_out: BoolArray, closed: BoolArray | None) -> None:
        """Add what the chains consumed of a batch of candidates.

        Parameters
        ----------
        info : StepInfo
        rung : ndarray of int64, shape (R,)
            Where the replicas stood.
        ruled_out : ndarray of bool, shape (R, K)
            Rejected by the bound.
        closed : ndarray of bool, shape (R, K), optional
            Rejected by their cost.
        """
        is_consumed = np.arange(ruled_out.shape[1]) < info.consumed[:, None]
        self.by_rung[:, rung] += [info.proposed, info.decided, info.accepted]
        self.nonfinite += int(info.nonfinite.sum())
        self.null += int(info.null.sum())
        self.by_bound += int(ruled_out[is_consumed].sum())
        if closed is not None:
            by_cost = int(closed[is_consumed].sum())
            self.by_cost, self.null = self.by_cost + by_cost, self.null - by_cost

    def add_samples(self, candidates: Moves, info: StepInfo, replica: int) -> None:
        """Note the last candidates that a replica has decided on."""
        last = int(info.consumed[replica])
        for k in range(max(0, last - SAMPLES), last):
            size = int(candidates.size[replica, k])
            sites, is_kept = candidates.sites[replica, k, :size], candidates.weights[replica, k, :size] > 0
            if size and not is_kept.all():
                kept = int(sites[is_kept][0]) if is_kept.any() else None
                self.samples.append(Sample(int(sites[~is_kept][0]), kept, bool(info.index[replica] == k)))
        del self.samples[:-SAMPLES]

    def add_changes(self, change: FloatArray) -> None:
        """Add changes of L_cla; those that are not finite are left out."""
        change = change[np.isfinite(change)]
        self.changes, self.squares = self.changes + change.size, self.squares + float(change @ change)
