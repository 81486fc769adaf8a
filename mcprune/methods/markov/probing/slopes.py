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
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

# Rows of one backward pass, each with gates of its own; a pass costs as much as so many evaluations of a mask.
AT_ONCE, PASSES = 256, 3
# Slopes are averaged over blocks, whose rows and masks differ: what a block before counts of the present one.
MEMORY = 0.8
# Of more sites the products of two are not kept: they would take more memory than the model.
PRODUCTS = 1024


@dataclass
class SlopesState(ProbesState):
    """What is known of toggling each site, and what it comes from; updated in place.

    Attributes
    ----------
    slope, square : ndarray of float64, shape (F,)
        Weighted sums over the blocks of the slopes, and of the mean squares of those of single rows.
    weight : ndarray of float64, shape (1,)
        The sum of their weights.
    outer : ndarray of float32, shape (F, F) or (0, 0)
        Sum of the mean products of the slopes of single rows by two sites, the Fisher information; none of many sites.
    pairs : ndarray of float64, shape (kinds,)
        How many pairs of each kind the next leap exchanges; empty without leaps.
    """

    slope: FloatArray
    square: FloatArray
    weight: FloatArray
    outer: Float32Array
    pairs: FloatArray

    def changes(self, is_kept: BoolArray) -> FloatArray:
        """Return the estimated change of the loss where each site (F,) of a mask is toggled; inf where there is no estimate."""
        slope, square = self.slope / self.weight, self.square / self.weight
        change = np.where(is_kept, -slope, slope) + 0.5 * square
        return np.where(np.isfinite(change), change, np.inf)

    def beside(self, site: int, way: float) -> FloatArray | float:
        """Return what toggling a site (way = 1: it is added, -1: dropped) adds to the slopes by all sites (F,)."""
        return way * self.outer[site].astype(np.float64) / self.weight if self.outer.size else 0.0

    def moved(self, sites: IntArray, is_kept: BoolArray) -> None:
        """Follow an accepted leap, after which a mask (F,) is kept: the slopes there are estimated from the products."""
        if self.outer.size:
            self.slope += np.where(is_kept[sites], 1.0, -1.0) @ self.outer[sites].astype(np.float64)

    def add(self, slope: FloatArray, square: FloatArray, outer: FloatArray | None) -> None:
        """Take in a block's slopes, mean squares and mean products."""
        for total, own in ((self.slope, slope), (self.square, square), (self.weight, np.ones(1))):
            total[:] = MEMORY * np.where(np.isfinite(total), total, 0.0) + own
        if outer is not None:
            self.outer[:] = MEMORY * np.where(np.isfinite(self.outer), self.outer, 0.0) + outer


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
        side = sites if self.pairs.size and sites <= PRODUCTS else 0
        return SlopesState(
            nothing.change, nothing.turn, np.zeros(sites), np.zeros(sites), np.zeros(1),
            np.zeros((side, side), np.float32), self.pairs.copy(),
        )  # fmt: skip

    def probe(self, state: ProbesState, chain: ChainState, replica: int, evaluator: Evaluator) -> int:
        """See `Probes.probe`; returns the cost in evaluations of a mask."""
        is_kept = chain.position[replica] > 0
        mask = is_kept if self.evaluates_items else np.asarray(self.space.expand(is_kept), bool)
        assert isinstance(state, SlopesState)
        outer = np.zeros_like(state.outer, dtype=np.float64) if state.outer.size else None
        slope, square = self._slopes(mask.astype(np.float32), outer)
        state.add(slope, square, outer)
        state.change[:] = state.changes(is_kept)
        return PASSES

    def _slopes(self, mask: Float32Array, outer: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Return the slopes of the mean loss by the items at a mask (N,), and the mean squares of those of single rows.

        The mean products (F, F) are added to `outer`. An item's slope is the sum of those of its sites.
        """
        batch = self.evaluation.batch
        assert batch is not None
        total = np.zeros((2, self.space.size))
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
                    each, importance = slopes.detach().double().cpu().numpy(), share * own.double().numpy()
                    if not self.evaluates_items:
                        each = np.stack([self.space.sums(row) for row in each])
                    total += [importance @ each, importance @ (each * each)]
                    if outer is not None:
                        outer += each.T @ (importance[:, None] * each)
        return total[0], total[1]
