"""Early rejection on request: when a candidate is tested on a part of the rows, and how clear the test must be."""

from __future__ import annotations

from statistics import NormalDist

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
