"""Scores of sites from the slope of the loss by their gates: one backward pass before each block sees all sites at once.

Around the present mask the loss changes by about -g + h / 2 where a site of slope g is dropped, and by g + h / 2 where it is added;
for the curvature h stands the mean square of the slopes of single rows (Fisher information).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mcprune.chain.state import ChainState
from mcprune.evaluators.base import Evaluator
from mcprune.methods.markov.evaluation import CheckedEvaluator
from mcprune.methods.markov.probing.probes import Probes, ProbesState
from mcprune.models.modes import evaluating
from mcprune.objectives.losses import loss_of
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray, Float32Array, FloatArray

# Rows of one backward pass, each with gates of its own; a pass costs as much as so many evaluations of a mask.
AT_ONCE, PASSES = 256, 3
# Slopes are averaged over blocks, whose rows and masks differ: what a block before counts of the present one.
MEMORY = 0.8


@dataclass
class SlopesState(ProbesState):
    """What is known of toggling each site, and what it comes from; updated in place.

    Attributes
    ----------
    slope, square : ndarray of float64, shape (F,)
        Weighted sums over the blocks of the slopes, and of the mean squares of those of single rows.
    weight : ndarray of float64, shape (1,)
        The sum of their weights.
    pairs : ndarray of float64, shape (kinds,)
        How many pairs of each kind the next leap exchanges; empty without leaps.
    """

    slope: FloatArray
    square: FloatArray
    weight: FloatArray
    pairs: FloatArray

    def changes(self, is_kept: BoolArray) -> FloatArray:
        """Return the estimated change of the loss where each site (F,) of a mask is toggled; inf where there is no estimate."""
        slope, square = self.slope / self.weight, self.square / self.weight
        change = np.where(is_kept, -slope, slope) + 0.5 * square
        return np.where(np.isfinite(change), change, np.inf)


class Slopes(Probes):
    """Guess before each block what toggling each site of the coldest replica would do, from slopes on the block's own rows.

    Parameters
    ----------
    evaluation : CheckedEvaluator
        Its classifiers and its batch; the objective is a mean of losses of rows.
    space : SearchSpace
    evaluates_items : bool
        The classifiers' sites are the items.
    pairs : ndarray, optional
        Pairs that the first leap of each kind exchanges.
    """

    def __init__(
        self,
        evaluation: CheckedEvaluator,
        space: SearchSpace,
        *,
        evaluates_items: bool,
        pairs: FloatArray | None = None,
    ) -> None:
        super().__init__(0)
        self.pairs = np.zeros(0) if pairs is None else pairs
        self.evaluation, self.space, self.evaluates_items = evaluation, space, evaluates_items

    def init(self, sites: int) -> SlopesState:
        """See `Probes.init`."""
        nothing = super().init(sites)
        return SlopesState(
            nothing.change, nothing.turn, np.zeros(sites), np.zeros(sites), np.zeros(1), self.pairs.copy()
        )

    def probe(self, state: ProbesState, chain: ChainState, replica: int, evaluator: Evaluator) -> int:
        """See `Probes.probe`; returns the cost in evaluations of a mask."""
        is_kept = chain.position[replica] > 0
        mask = is_kept if self.evaluates_items else np.asarray(self.space.expand(is_kept), bool)
        slope, square = self._slopes(mask.astype(np.float32))
        if not self.evaluates_items:
            slope, square = self.space.sums(slope), self.space.sums(square)
        assert isinstance(state, SlopesState)
        for total, own in ((state.slope, slope), (state.square, square), (state.weight, np.ones(1))):
            total[:] = MEMORY * np.where(np.isfinite(total), total, 0.0) + own
        state.change[:] = state.changes(is_kept)
        return PASSES

    def _slopes(self, mask: Float32Array) -> tuple[FloatArray, FloatArray]:
        """Return the slopes of the mean loss by the gates at a mask (N,), and the mean squares of those of single rows."""
        batch = self.evaluation.batch
        assert batch is not None
        total = torch.zeros(2, mask.size, dtype=torch.float64)
        for gated, objective, rows in self.evaluation.canonical.pieces(len(batch.targets)):
            loss, weights = loss_of(objective), getattr(objective, "weights", None)
            assert loss is not None
            parts = [batch.features[rows], batch.targets[rows]]
            parts.append(torch.ones(len(parts[1])) if weights is None else weights.cpu())
            share = len(parts[1]) / len(batch.targets) / float(parts[2].sum())
            with torch.enable_grad(), evaluating(gated.model):
                for features, targets, own in zip(*(torch.split(part, AT_ONCE) for part in parts), strict=True):
                    gates = torch.from_numpy(mask).to(features).repeat(len(features), 1).requires_grad_()
                    (slopes,) = torch.autograd.grad(loss.rows(gated(features, gates), targets).sum(), gates)
                    each = slopes.detach().double().cpu()
                    total += share * (own.double() @ torch.stack([each, each * each]))
        mean, square = total.numpy()
        return mean, square
