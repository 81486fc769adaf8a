"""Objectives that compare a masked classifier with the same one with all sites kept."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from mcprune.errors import ObjectiveError
from mcprune.objectives.base import Rows
from mcprune.objectives.classification import row_mean
from mcprune.types import FloatArray


class DenseDivergence:
    """Kullback-Leibler divergence of the masked classifier's probabilities from those with all sites kept, in nats.

    The classes of the rows play no part: the mask is best that changes the outputs least. While backprop trains, the outputs are
    compared with those of the present weights.
    """

    name = "kl"
    description = "divergence from the dense outputs"
    is_stepped = False
    reads_mask = False
    reads_inputs = True
    lower_bound: float | None = 0.0

    def __init__(self) -> None:
        self.dense: nn.Module | None = None
        self.weights: torch.Tensor | None = None
        self._logs: torch.Tensor | None = None

    @torch.no_grad()
    def begin(self, rows: Rows) -> None:
        """Take the rows' weights and inputs, and run the dense classifier on them; see `Objective.begin`.

        Raises
        ------
        ObjectiveError
            There is no dense classifier, or no inputs.
        """
        if self.dense is None or rows.inputs is None:
            raise ObjectiveError(
                "objective='kl' compares with the outputs of the network with all sites kept, which this search does not have. Use "
                "another objective, such as cross-entropy."
            )
        self.weights = rows.weights
        modes = [(module, module.training) for module in self.dense.modules()]
        self.dense.eval()
        try:
            self._logs = functional.log_softmax(self.dense(rows.inputs).double(), dim=1)
        finally:
            for module, mode in modes:
                module.training = mode

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the mean divergence of each candidate, shape (K,); see `Objective.losses`."""
        if self._logs is None:
            raise ObjectiveError("objective='kl' has no rows yet. Use another objective, such as cross-entropy.")
        own = functional.log_softmax(logits.double(), dim=2)
        terms = self._logs.exp() * (self._logs - own)
        return row_mean(terms.sum(dim=2), self.weights)
