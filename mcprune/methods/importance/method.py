"""The importance method: train, score, and drop the lowest sites, in one round or several."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mcprune.methods.base import Batch, BlockInfo, Method, TrainingHook
from mcprune.methods.importance.scorer import Scorer, ScorerState
from mcprune.methods.importance.selection import select
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray


@dataclass(frozen=True)
class ImportanceSettings:
    """Schedule of the rounds.

    Attributes
    ----------
    keep : int
        Number n of sites to keep.
    counts : tuple of int
        Number of sites left after each round; the last is n.
    steps : tuple of int
        Number of training steps before each round.
    how : "global" or "layerwise"
        See `select`.
    min_per_layer : int
        Least number of sites that each group keeps.
    start_weight : float
        Weight of kept sites in the position; dropped sites have its negative.
    """

    keep: int
    counts: tuple[int, ...]
    steps: tuple[int, ...]
    how: str = "global"
    min_per_layer: int = 1
    start_weight: float = 4.0


@dataclass
class RoundState:
    """A mask that loses sites in rounds; updated in place.

    Attributes
    ----------
    mask : ndarray of bool, shape (N,)
    crossed : ndarray of int64, shape (N,)
        The training step after which a site was dropped; 0 for never.
    last_scores : ndarray of float64, shape (N,)
        Scores of the last round; NaN before the first.
    scorer : ScorerState
    steps, rounds, nonfinite : int
        Numbers of training steps, rounds and scores that were not finite, so far.
    tracked : ndarray of float64, shape (N,)
        Sum of |sum theta g| over the steps since the last round, for the measure loss-tracked.
    tracked_steps : int
    block_sum : tensor of float64, scalar
        Sum of L_cla over the steps of this block.
    block_steps : int
    notes : list of str
    """

    mask: BoolArray
    crossed: IntArray
    last_scores: FloatArray
    scorer: ScorerState
    steps: int
    rounds: int
    nonfinite: int
    tracked: FloatArray
    tracked_steps: int
    block_sum: torch.Tensor
    block_steps: int
    notes: list[str]


class Importance(Method[RoundState]):
    """A mask that drops the least important sites, round by round, while the classifier trains under it.

    A round runs between two training steps.

    Parameters
    ----------
    scorer : Scorer
    settings : ImportanceSettings
    """

    def __init__(self, scorer: Scorer, settings: ImportanceSettings) -> None:
        self.scorer, self.settings = scorer, settings

    def init(self) -> RoundState:
        """See `Method.init`: all sites are kept."""
        size = self.scorer.owners.sites.size
        return RoundState(
            mask=np.ones(size, np.bool_),
            crossed=np.zeros(size, np.int64),
            last_scores=np.full(size, math.nan),
            scorer=self.scorer.init(),
            steps=0,
            rounds=0,
            nonfinite=0,
            tracked=np.zeros(size),
            tracked_steps=0,
            block_sum=torch.zeros((), dtype=torch.float64, device=self.scorer.features.device),
            block_steps=0,
            notes=[],
        )

    def hook(self, state: RoundState) -> RoundHook:
        """See `Method.hook`."""
        return RoundHook(self, state)

    def round(self, state: RoundState, count: int) -> None:
        """Score the sites, and keep the best `count` of those left."""
        tracked = state.tracked / state.tracked_steps if state.tracked_steps else None
        scores = self.scorer.scores(state.mask, tracked, state=state.scorer)
        groups = self.scorer.owners.sites.groups
        mask = select(scores.values, groups, count, self.settings.how, self.settings.min_per_layer, alive=state.mask)
        state.nonfinite += int(state.mask[scores.nonfinite].sum())
        state.crossed[state.mask & ~mask] = state.steps
        state.mask[:], state.last_scores[:] = mask, scores.values
        state.notes += [note for note in scores.notes if note not in state.notes]
        state.tracked[:], state.tracked_steps = 0.0, 0

    def step(self, state: RoundState, batch: Batch, progress: float) -> tuple[RoundState, BlockInfo]:
        """See `Method.step`: the mask does not change here; L_cla is the mean over the training batches since the last call."""
        cla = float(state.block_sum) / max(state.block_steps, 1)
        state.block_sum.zero_()
        state.block_steps = 0
        kept = int(state.mask.sum())
        info = BlockInfo(
            loss=cla,
            cla=cla,
            sel=0.0,
            rej=0.0,
            alpha=math.nan,
            delta=math.nan,
            temperature=math.nan,
            gate_sum=float(kept),
            kept=kept,
            target=kept,
            proposals=0,
            decisions=0,
            accepted=0,
            nonfinite=state.nonfinite,
            null_moves=0,
            rejected_by_bound=0,
            moves={},
        )
        return state, info

    def training_gates(self, state: RoundState) -> Float32Array:
        """See `Method.training_gates`."""
        return state.mask.astype(np.float32)

    def position(self, state: RoundState) -> FloatArray:
        """See `Method.position`."""
        weight = self.settings.start_weight
        return np.where(state.mask, weight, -weight)

    def finish(self, state: RoundState, batch: Batch) -> tuple[RoundState, BoolArray]:
        """See `Method.finish`: a run that ended before its last round scores once more and drops the remaining sites at once."""
        if int(state.mask.sum()) > self.settings.keep:
            state.notes.append(
                f"ended after {state.rounds} of {len(self.settings.counts)} rounds: the remaining sites are dropped in one more round"
            )
            self.round(state, self.settings.keep)
        return state, state.mask.copy()

    def crossed(self, state: RoundState) -> IntArray:
        """See `Method.crossed`."""
        return state.crossed

    def scores(self, state: RoundState) -> FloatArray | None:
        """See `Method.scores`."""
        return None if np.isnan(state.last_scores).all() else state.last_scores

    def forwards(self, state: RoundState) -> int:
        """See `Method.forwards`."""
        return state.scorer.forwards

    def description(self) -> dict[str, str]:
        """See `Method.description`."""
        return {"evaluator": f"none: scores by {self.scorer.settings.measure}", "canonical": "none"}

    def notes(self, state: RoundState) -> list[str]:
        """See `Method.notes`."""
        counts = ", ".join(f"{count:,}" for count in self.settings.counts[: state.rounds])
        passed = [f"{self.scorer.settings.measure}: sites left after each round: {counts}"] if counts else []
        return passed + state.notes


class RoundHook(TrainingHook):
    """Runs the rounds between training steps.

    Parameters
    ----------
    method : Importance
    state : RoundState
        Updated in place.
    """

    def __init__(self, method: Importance, state: RoundState) -> None:
        self.method, self.state = method, state

    def gates(self, rows: int) -> torch.Tensor:
        """See `TrainingHook.gates`: the mask itself."""
        return torch.from_numpy(self.method.training_gates(self.state)).to(self.state.block_sum.device)

    def penalty(self) -> torch.Tensor:
        """See `TrainingHook.penalty`: there is none."""
        return torch.zeros((), device=self.state.block_sum.device)

    def on_gradients(self) -> None:
        """See `TrainingHook.on_gradients`: sums |sum theta g| for the measure loss-tracked."""
        scorer, state = self.method.scorer, self.state
        if scorer.settings.measure != "loss-tracked":
            return
        products = {
            name: (tensor.detach() * tensor.grad)
            for name, tensor in scorer.owners.parameters.items()
            if tensor.grad is not None
        }
        state.tracked += np.abs(scorer.owners.sums(products))
        state.tracked_steps += 1

    def after_step(self, cla: torch.Tensor) -> None:
        """See `TrainingHook.after_step`: runs the rounds that are due."""
        settings, state = self.method.settings, self.state
        state.steps += 1
        state.block_sum += cla.double()
        state.block_steps += 1
        while state.rounds < len(settings.steps) and state.steps >= settings.steps[state.rounds]:
            self.method.round(state, settings.counts[state.rounds])
            state.rounds += 1
