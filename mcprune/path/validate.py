"""Small models of any kind score masks on the validation rows, each retrained for a part of the usual epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from mcprune.models.modes import evaluating
from mcprune.path.ladder import Candidate
from mcprune.session.build.plan import Plan
from mcprune.session.finish.retrain import Refit
from mcprune.training.cross_validation.out_of_fold import Scores
from mcprune.training.fit import fit
from mcprune.types import FloatArray

# Of the epochs of a retraining.
SHARE = 0.25
ROWS_AT_ONCE = 2_000


def validated(plan: Plan, candidates: Sequence[Candidate]) -> Scores:
    """Return what a small model of each mask says of the validation rows, which it was not trained on.

    An interrupt that has ended the search does not end this: the levels that were reached get their figures.
    """
    refit = Refit(plan, lambda: False)
    rows, targets = plan.rows(plan.splits.validation.features), torch.from_numpy(plan.splits.validation.targets)
    losses, right = (np.empty((len(candidates), len(targets))) for _ in range(2))
    for place, candidate in enumerate(candidates):
        small = _trained(plan, refit, candidate)
        seen = refit.columns(rows, candidate.mask)
        with torch.no_grad(), evaluating(small):
            parts = [small(seen[first : first + ROWS_AT_ONCE]) for first in range(0, len(seen), ROWS_AT_ONCE)]
            logits = torch.cat(parts).cpu()
        losses[place] = functional.cross_entropy(logits, targets, reduction="none").double().numpy()
        right[place] = (logits.argmax(1) == targets).numpy()
    return Scores(losses, right)


def validation_share(plan: Plan) -> FloatArray:
    """Return the share (rows,) of each validation row in a mean."""
    rows = plan.splits.validation
    counts = np.ones(len(rows.targets)) if rows.weights is None else rows.weights
    share: FloatArray = counts / counts.sum()
    return share


def _trained(plan: Plan, refit: Refit, candidate: Candidate) -> torch.nn.Module:
    """Return a small model that was trained on the training rows."""
    if candidate.parameters is not None:
        plan.model.load_state_dict(candidate.parameters[0])
    is_fresh = plan.retrain.is_retrained and plan.retrain.finetune != "warm"
    small = refit.small(candidate.mask, plan.runtime.seed) if is_fresh else refit.cut(plan.model, candidate.mask)
    if plan.retrain.finetune in ("none", "least-squares"):
        return small
    count = len(plan.splits.train.targets)
    fit(
        small,
        refit.columns(refit.x[:count], candidate.mask),
        refit.y[:count],
        epochs=max(1, round(SHARE * plan.retrain.epochs)),
        batch_size=plan.train.batch_size,
        learning_rate=plan.retrain.learning_rate,
        weight_decay=plan.retrain.weight_decay,
        seed=plan.runtime.seed,
        input_noise=plan.retrain.input_noise,
        weights=None if refit.weights is None else refit.weights[:count],
        amp=plan.train.amp,
    )
    return small
