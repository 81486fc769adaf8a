"""Objectives of decisions: what wrong answers cost, and the group of rows that is served worst."""

from __future__ import annotations

import numpy as np
import torch

from mcprune.objectives.base import Rows, RowWeighted
from mcprune.objectives.classification import row_mean
from mcprune.types import FloatArray


class Cost(RowWeighted):
    """Mean cost of the decisions that the probabilities make cheapest.

    The decision for a row is the class j of the smallest sum_i p_i C[i, j]; it costs C[true, j]. With 0 on the diagonal and 1
    elsewhere this is the share of wrong answers. The decisions trust the probabilities: they are best only if these are
    calibrated, so a candidate that is over-confident pays for it.

    Parameters
    ----------
    costs : ndarray, shape (C, C)
        Rows are true classes, columns decisions.
    """

    is_stepped = True

    def __init__(self, costs: FloatArray) -> None:
        self.costs = costs
        self.name = "cost:" + ";".join(",".join(f"{value:g}" for value in row) for row in costs)
        self.description = "mean cost"
        self.lower_bound: float | None = float(costs.min())

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the mean cost of each candidate, shape (K,); see `Objective.losses`."""
        costs = torch.from_numpy(self.costs).to(logits.device)
        shares = torch.softmax(logits.double(), dim=2)
        # Column by column: a product of matrices may have other bits in a stack.
        expected = torch.stack(
            [
                sum((shares[..., i] * costs[i, j] for i in range(len(costs))), torch.zeros(()))
                for j in range(len(costs))
            ],
            dim=2,
        )
        cost = costs[targets[None], expected.argmin(dim=2)]
        cost[~torch.isfinite(logits).all(dim=2)] = torch.nan
        return row_mean(cost, self.weights)


class WorstGroup:
    """Share of wrong answers in the group of rows that has the largest one; classes are the groups if none are given.

    Groups without a row in the batch have no say.

    Parameters
    ----------
    column : int, optional
        The input whose values are the groups; `begin` brings the rows' groups.
    shown : str
        Its name.
    """

    is_stepped = True
    reads_mask = False
    reads_inputs = False
    lower_bound: float | None = 0.0

    def __init__(self, column: int | None = None, shown: str = "class") -> None:
        self.column, self.shown = column, shown
        self.name = "worst-group" if column is None else f"worst-group:{shown}"
        self.description = f"error of the worst {shown}"
        self.rows = Rows()

    def begin(self, rows: Rows) -> None:
        """Take the rows' weights and groups; see `Objective.begin`."""
        self.rows = rows

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the worst group's share of wrong answers of each candidate, shape (K,); see `Objective.losses`."""
        wrong = (logits.argmax(dim=2) != targets).to(torch.float64)
        wrong[~torch.isfinite(logits).all(dim=2)] = torch.nan
        groups = targets if self.rows.groups is None else self.rows.groups
        weights = self.rows.weights
        rates = []
        for group in torch.unique(groups).tolist():
            inside = groups == group
            part = None if weights is None else weights[inside]
            if part is None or float(part.sum()) > 0:
                rates.append(row_mean(wrong[:, inside], part))
        return np.asarray(np.max(rates, axis=0))
