"""How long a series remembers, by ArviZ: effective samples, R-hat of its halves, autocorrelation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mcprune.types import FloatArray

FEWEST = 10  # values of a series that is looked at


class Mixing(NamedTuple):
    """Effective samples and R-hat of a series.

    Attributes
    ----------
    effective : float
        The number of independent values that its mean is worth; nan of fewer than `FEWEST` values, and of a constant.
    rhat : float
        The deviation of the whole over that of its halves: near 1 where both halves have one law; nan as above.
    autocorrelation_time : float
        Values over effective values.
    """

    effective: float
    rhat: float
    autocorrelation_time: float


def mixing(series: FloatArray) -> Mixing:
    """Return effective samples and R-hat of a series (values,) of finite numbers."""
    if _is_flat(series):
        return Mixing(math.nan, math.nan, math.nan)
    from arviz_stats.base import array_stats  # takes a second, which most commands do not need

    half = len(series) // 2
    halves = np.stack([series[:half], series[-half:]])
    effective = float(array_stats.ess(series[None], chain_axis=0, draw_axis=1, method="mean"))
    rhat = float(array_stats.rhat(halves, chain_axis=0, draw_axis=1, method="identity"))
    return Mixing(effective, rhat, len(series) / effective)


def autocorrelation(series: FloatArray) -> FloatArray | None:
    """Return the autocorrelation (values,) at lags from 0; None of fewer than `FEWEST` values, and of a constant."""
    if _is_flat(series):
        return None
    from arviz_stats.base import array_stats

    shares: FloatArray = array_stats.autocorr(series)
    return shares


def _is_flat(series: FloatArray) -> bool:
    return len(series) < FEWEST or bool(series.min() == series.max())
