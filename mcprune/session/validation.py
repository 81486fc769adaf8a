"""What a mask is worth on the validation rows, with the classifier of the search as it is."""

from __future__ import annotations

import torch

from mcprune.session.build.plan import Plan
from mcprune.session.retrain import is_default
from mcprune.training.metrics import coded_groups, value_of
from mcprune.training.trainer import accuracy
from mcprune.types import BoolArray


class Validation:
    """The validation rows of a plan.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    features, targets : tensor, shape (rows, N) and (rows,)
        Possibly of no rows.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.features = plan.rows(plan.prepared.x_validation)
        self.targets = torch.from_numpy(plan.prepared.y_validation).to(plan.device)

    def accuracy(self, mask: BoolArray) -> float | None:
        """Return the share of right answers under a mask (N,); None without rows."""
        if not len(self.targets):
            return None
        gated = self.plan.gated
        return accuracy(gated, self.features, self.targets, gated.hard_gates(mask))

    def objective(self, mask: BoolArray) -> float | None:
        """Return the objective under a mask (N,); None for plain cross-entropy, and without rows."""
        plan = self.plan
        if is_default(plan) or not len(self.targets):
            return None
        groups = coded_groups(plan.objective, plan.prepared.x_validation)
        gates = plan.gated.hard_gates(mask)
        return value_of(plan.objective, plan.gated, self.features, self.targets, mask=mask, gates=gates, groups=groups)
