"""The validation rows on which a search is looked at."""

from __future__ import annotations

import numpy as np
import torch

from mcprune.session.build.plan import Plan
from mcprune.training.metrics import accuracy, coded_groups, value_of
from mcprune.types import BoolArray

# Validation rows on which a search is looked at: of more an even sample, since it is looked at often.
MOST_ROWS = 20_000


class Validation:
    """The validation rows of a plan, or an even sample of very many.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    features, targets : tensor, shape (rows, N) and (rows,)
        Possibly of no rows.
    weights : ndarray of float64, shape (rows,), or None
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        rows = plan.splits.validation
        if len(rows.targets) > MOST_ROWS:
            places = np.linspace(0, len(rows.targets) - 1, MOST_ROWS).round().astype(np.int64)
            rows = rows._replace(
                features=rows.features[places],
                targets=rows.targets[places],
                weights=None if rows.weights is None else rows.weights[places],
            )
        self._rows = rows.features
        self.features = plan.rows(plan.seen(rows.features))
        self.targets = torch.from_numpy(rows.targets).to(plan.device)
        self.weights = rows.weights

    def accuracy(self, mask: BoolArray) -> float | None:
        """Return the accuracy, or R2, under a mask (N,), by the rows' weights where they have any; None without rows."""
        if not len(self.targets):
            return None
        gated = self.plan.gated
        return accuracy(
            gated,
            self.features,
            self.targets,
            gated.hard_gates(self.plan.seen(mask)),
            weights=self.weights,
            row_loss=self.plan.row_loss,
        )

    def objective(self, mask: BoolArray) -> float | None:
        """Return the objective under a mask (N,); None for that by default, and without rows."""
        plan = self.plan
        if not plan.has_own_measure or not len(self.targets):
            return None
        groups = coded_groups(plan.objective, self._rows)
        gates = plan.gated.hard_gates(plan.seen(mask))
        return value_of(
            plan.objective,
            plan.gated,
            self.features,
            self.targets,
            mask=mask,
            gates=gates,
            groups=groups,
            weights=self.weights,
            inputs=self.features,
        )
