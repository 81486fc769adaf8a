"""Objectives of plain classification: mean cross-entropy (L_cla) and the share of wrong answers."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mcprune.objectives.base import RowWeighted
from mcprune.types import FloatArray


def row_mean(values: torch.Tensor, weights: torch.Tensor | None = None) -> FloatArray:
    """Return the (weighted) mean over the rows of (K, B) values in float64, each candidate by itself.

    numpy's pairwise sum over a contiguous last axis gives a candidate the same bits whatever K is; torch may split a
    sum over threads once it is large. On a GPU the sum is torch's, over the last axis.
    """
    if weights is not None:
        wide = weights.double()
        return row_mean(values.double() * (wide / wide.mean()))
    if values.is_cuda:
        return np.asarray(values.double().mean(dim=1).cpu().numpy())
    return np.asarray(np.mean(np.ascontiguousarray(values.numpy()), axis=1, dtype=np.float64))


class CrossEntropy(RowWeighted):
    """Mean cross-entropy of the softmax of the outputs, in nats."""

    name = "cross-entropy"
    description = "cross-entropy"
    is_stepped = False
    lower_bound: float | None = 0.0

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the mean cross-entropy of each candidate, shape (K,); see `Objective.losses`."""
        count, rows, classes = logits.shape
        flat = functional.cross_entropy(logits.reshape(count * rows, classes), targets.repeat(count), reduction="none")
        return row_mean(flat.reshape(count, rows), self.weights)


class ErrorRate(RowWeighted):
    """Share of the rows whose largest output is not their class."""

    name = "error"
    description = "error"
    is_stepped = True
    lower_bound: float | None = 0.0

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the share of wrong answers of each candidate, shape (K,); see `Objective.losses`."""
        wrong = (logits.argmax(dim=2) != targets).to(torch.float32)
        # argmax of a row of NaN is an index like any other: such a candidate must not look right.
        wrong[~torch.isfinite(logits).all(dim=2)] = torch.nan
        return row_mean(wrong, self.weights)


class ExactMatch(RowWeighted):
    """Share of the rows of several labels of which at least one is wrong."""

    name = "exact-match"
    description = "rows with a wrong label"
    is_stepped = True
    lower_bound: float | None = 0.0

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the share of rows with a wrong label of each candidate, shape (K,); see `Objective.losses`."""
        wrong = ((logits > 0) != (targets > 0.5)).any(dim=2).to(torch.float32)
        wrong[~torch.isfinite(logits).all(dim=2)] = torch.nan
        return row_mean(wrong, self.weights)
