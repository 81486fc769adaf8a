"""Early rejection on request: when a candidate is tested on a part of the rows, and how clear the test must be."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import torch

from mcprune.evaluators.compiled import mlp_kernels

# The mean is tested after these shares of the batch, but not before so many rows: the test assumes a normal mean.
SHARES, FEWEST = (1 / 8, 1 / 4, 1 / 2), 128


def looks_of(early_reject: float | None, rows: int) -> list[int]:
    """Return the rising numbers of rows after which a candidate is tested; none without early rejection."""
    if early_reject is None:
        return []
    return [count for count in (round(share * rows) for share in SHARES) if count >= FEWEST]


def quantile_of(early_reject: float | None) -> float:
    """Return by how many standard errors a mean must be above its limit, with a Bonferroni correction for the number of tests."""
    return 0.0 if early_reject is None else NormalDist().inv_cdf(1.0 - early_reject / len(SHARES))


class Seen(NamedTuple):
    """Sums over the rows that a candidate has passed: of the changes of their losses, of the squares, and how many rows."""

    drift: float = 0.0
    spread: float = 0.0
    rows: int = 0

    def passed(self, changes: torch.Tensor, total: int) -> Seen:
        """Return the sums with more rows, from the changes of what each adds to the loss of `total` rows."""
        of_rows = changes * total  # the mean of all rows is the change of the loss
        sums = float(of_rows.sum()), float((of_rows * of_rows).sum())
        return Seen(self.drift + sums[0], self.spread + sums[1], self.rows + len(changes))

    def is_hopeless(self, total: int, room: float, quantile: float) -> bool:
        """Whether the change of the loss of all rows is above `room`, by so many standard errors."""
        return bool(mlp_kernels.is_hopeless(self.drift, self.spread, self.rows, total, room, quantile))
