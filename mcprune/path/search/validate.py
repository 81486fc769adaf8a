"""Small models of any kind score masks on the validation rows, each retrained for a part of the usual epochs.

Where the small models differ only in their inputs, each starts from that of the mask before it, which has most of its inputs: so a
part of the epochs is enough. The model of a level goes on from there when the level is retrained.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.models.modes import evaluating
from mcprune.path.search.candidates import Candidate
from mcprune.path.search.recorder import Tensors
from mcprune.session.build.plan import Plan
from mcprune.session.finish.retrain import Refit
from mcprune.training.cross_validation.out_of_fold import Scores
from mcprune.training.fit import fit
from mcprune.types import BoolArray, FloatArray

# Of the epochs of a retraining: those of a mask that starts from another one's model, or is not retrained afterwards.
SHARE = 0.25
ROWS_AT_ONCE = 2_000


class LevelModel(NamedTuple):
    """The parameters and buffers of the small model of a mask (N,), trained on the training rows."""

    mask: BoolArray
    tensors: Tensors


class Validator:
    """Scores masks on the validation rows, each by a small model that was not trained on these.

    An interrupt that has ended the search does not end this: the levels that were reached get their figures.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    last : LevelModel or None
        Of the mask that was scored last, where another one can start from it.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.last: LevelModel | None = None
        self._refit = Refit(plan, lambda: False)
        self._rows = plan.rows(plan.splits.validation.features)
        self._targets = torch.from_numpy(plan.splits.validation.targets)

    def score(self, candidate: Candidate) -> Scores:
        """Return the losses and hits (rows,) of a mask."""
        small, targets = self._trained(candidate), self._targets
        seen = self._refit.columns(self._rows, candidate.mask)
        with torch.no_grad(), evaluating(small):
            parts = [small(seen[first : first + ROWS_AT_ONCE]) for first in range(0, len(seen), ROWS_AT_ONCE)]
            logits = torch.cat(parts).cpu()
        row_loss, weights = self.plan.row_loss, self.plan.splits.validation.weights
        losses = row_loss.rows(logits, targets).double().numpy()
        return Scores(losses, row_loss.scores(logits[None], targets, weights)[0])

    def _trained(self, candidate: Candidate) -> nn.Module:
        """Return a small model that was trained on the training rows."""
        plan, mask = self.plan, candidate.mask
        if candidate.parameters is not None:
            plan.model.load_state_dict(candidate.parameters[0])
        if not plan.retrain.is_retrained or plan.retrain.finetune == "warm":
            small = self._refit.cut(plan.model, mask)
            if plan.retrain.finetune not in ("none", "least-squares"):
                self._fit(small, mask, SHARE)
            return small
        small = self._refit.small(mask, plan.runtime.seed)
        if not starts_from_others(plan):
            self._fit(small, mask, SHARE)
            return small
        is_begun = self.last is not None and take_over(small, self._refit.inputs(mask), self.last, self._refit)
        self._fit(small, mask, SHARE if is_begun else 1.0)
        self.last = LevelModel(mask, {name: tensor.detach().clone() for name, tensor in small.state_dict().items()})
        return small

    def _fit(self, small: nn.Module, mask: BoolArray, share: float) -> None:
        plan, refit, count = self.plan, self._refit, len(self.plan.splits.train.targets)
        fit(
            small,
            refit.columns(refit.x[:count], mask),
            refit.y[:count],
            epochs=max(1, round(share * plan.retrain.epochs)),
            batch_size=plan.retrain.batch_size,
            learning_rate=plan.retrain.learning_rate,
            weight_decay=plan.retrain.weight_decay,
            seed=plan.runtime.seed,
            input_noise=plan.retrain.input_noise,
            weights=None if refit.weights is None else refit.weights[:count],
            amp=plan.train.amp,
            row_loss=plan.row_loss,
        )


def starts_from_others(plan: Plan) -> bool:
    """Whether small models of a plan differ in their inputs alone, so that one can start from another."""
    plain = not (plan.retrain.distill or plan.retrain.warp)
    return plain and plan.facts.kinds == {"inputs"} and plan.retrain.finetune == "scratch"


def take_over(small: nn.Module, columns: np.ndarray, last: LevelModel, refit: Refit) -> bool:
    """Put the tensors of another mask's model into an untrained one, those of the inputs by their columns; whether that could be done."""
    before = refit.inputs(last.mask)
    if before.size == columns.size:  # the shapes do not tell which tensor has the inputs
        return False
    shared = np.isin(columns, before)
    here, there = torch.from_numpy(np.flatnonzero(shared)), torch.from_numpy(np.searchsorted(before, columns[shared]))
    new: dict[str, torch.Tensor] = {}
    for name, tensor in small.state_dict().items():
        old = last.tensors.get(name)
        if old is not None and old.shape == tensor.shape:
            new[name] = old
        elif old is not None and tensor.dim() == 2 and tensor.shape[1] == columns.size and old.shape[1] == before.size:
            new[name] = tensor.clone()
            new[name][:, here] = old[:, there]
        else:
            return False
    small.load_state_dict(new)
    return True


def validation_share(plan: Plan) -> FloatArray:
    """Return the share (rows,) of each validation row in a mean."""
    rows = plan.splits.validation
    counts = np.ones(len(rows.targets)) if rows.weights is None else rows.weights
    share: FloatArray = counts / counts.sum()
    return share
