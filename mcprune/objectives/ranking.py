"""Objectives that depend on the order of the outputs alone: ROC area, background at a signal efficiency, significance.

All of them rank rows by the log-odds of a class, log p_c - log(1 - p_c), computed from the outputs in float64: softmax itself
would put confident rows to exactly 1 and so tie them. They do not change under any increasing function of the score, so they
say nothing about calibration: probabilities of a classifier that is chosen by them may need to be calibrated.
Rows of one score are one step of the curve: a threshold takes all of them or none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from mcprune.errors import ObjectiveError
from mcprune.objectives.base import RowWeighted
from mcprune.types import BoolArray, FloatArray

EDGE = 1e-12  # an efficiency that is reached but for rounding is reached


def log_odds(logits: torch.Tensor, label: int) -> torch.Tensor:
    """Return log p_c - log(1 - p_c) of one class, float64, shape (K, B), for outputs (K, B, C)."""
    wide = logits.double()
    others = [other for other in range(wide.shape[2]) if other != label]
    return wide[..., label] - torch.logsumexp(wide[..., others], dim=2)


class Curve(NamedTuple):
    """Weights above each threshold, from the highest score down; both (K, B), and where a threshold can stand (K, B)."""

    signal: FloatArray
    background: FloatArray
    ends: BoolArray


def curve(scores: torch.Tensor, is_signal: torch.Tensor, weights: torch.Tensor | None) -> Curve:
    """Return the running sums of weights over rows (K, B) sorted by falling score; equal scores end together."""
    values, order = torch.sort(scores, dim=1, descending=True, stable=True)
    ones = torch.ones(len(is_signal), dtype=torch.float64, device=scores.device)
    wide = ones if weights is None else weights.double()
    sums = [torch.cumsum((wide * part)[order], dim=1).cpu().numpy() for part in (is_signal, ~is_signal)]
    ends = torch.ones_like(order, dtype=torch.bool)
    ends[:, :-1] = values[:, 1:] != values[:, :-1]
    return Curve(sums[0], sums[1], ends.cpu().numpy())


def one_minus_auc(sums: Curve) -> FloatArray:
    """Return the share of pairs of signal and background that are in the wrong order, ties half, (K,)."""
    kept = [np.maximum.accumulate(np.where(sums.ends, part, 0.0), axis=1) for part in sums[:2]]
    signal, background = (np.diff(part, axis=1, prepend=0.0) for part in kept)
    # Background above a signal row counts; of its own score by half.
    above = np.ascontiguousarray(signal * (kept[1] - background / 2))
    return np.asarray(above.sum(axis=1) / (kept[0][:, -1] * kept[1][:, -1]))


def _finite(logits: torch.Tensor, values: FloatArray) -> FloatArray:
    """Put NaN where an output is not finite: such a candidate is rejected."""
    bad = ~torch.isfinite(logits).all(dim=2).all(dim=1)
    return np.where(bad.cpu().numpy(), np.nan, values)


class _Ranked(RowWeighted):
    """What the objectives of this file share."""

    lower_bound: float | None = 0.0
    is_stepped = True

    def _curve(self, logits: torch.Tensor, targets: torch.Tensor, label: int, name: str, words: str) -> Curve:
        is_signal = targets == label
        wide = torch.ones_like(targets, dtype=torch.float64) if self.weights is None else self.weights.double()
        if not float(wide[is_signal].sum()) > 0 or not float(wide[~is_signal].sum()) > 0:
            raise ObjectiveError(
                f"objective={words!r} needs rows of class {name} and others in every evaluation batch, got "
                f"{int(is_signal.sum())} of {len(targets)}; raise --evaluation-rows, or merge classes"
            )
        # A NaN has no place in an order; its candidate is rejected afterwards.
        scores = torch.nan_to_num(log_odds(logits, label), nan=0.0)
        return curve(scores, is_signal, self.weights)


class RocAuc(_Ranked):
    """1 - AUC; of several classes the mean over classes, each against all others (macro, one against the rest).

    Its steps are 1 / (signal rows x background rows).
    """

    name = "auc"
    description = "1 - AUC"

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return 1 - AUC of each candidate, shape (K,); see `Objective.losses`."""
        classes = logits.shape[2]
        labels = [1] if classes == 2 else range(classes)
        values = [one_minus_auc(self._curve(logits, targets, label, str(label), self.name)) for label in labels]
        return _finite(logits, np.mean(values, axis=0))


class BackgroundAt(_Ranked):
    """Share of the background that passes the tightest threshold which keeps a given share of the signal.

    Parameters
    ----------
    efficiency : float, in (0, 1]
    label : int
        The class that is the signal; all others are background.
    shown : str
        The signal's name.
    """

    def __init__(self, efficiency: float, label: int, shown: str) -> None:
        self.efficiency, self.label, self.shown = efficiency, label, shown
        self.name = f"rejection:{efficiency:g}:{shown}"
        self.description = f"background at {efficiency:.3g} of {shown}"

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the background that passes, of each candidate, shape (K,); see `Objective.losses`."""
        sums = self._curve(logits, targets, self.label, self.shown, self.name)
        total = sums.signal[:, -1:]
        is_enough = sums.ends & (sums.signal >= self.efficiency * total * (1 - EDGE))
        first = is_enough.argmax(axis=1)[:, None]
        passed = np.take_along_axis(sums.background, first, axis=1)[:, 0]
        return _finite(logits, passed / sums.background[:, -1])


class Significance(_Ranked):
    """1 - Z / sqrt(S): Z the largest s / sqrt(s + b) over all thresholds, s and b the expected yields above it.

    sqrt(S) is Z without background, so the value lies in 0..1 whatever the yields are.

    Parameters
    ----------
    label : int
        The class that is the signal.
    shown : str
    yields : pair of float, or None
        Expected (S, B) in all; None takes the weights (or counts) of the rows as they are.
    """

    def __init__(self, label: int, shown: str, yields: tuple[float, float] | None = None) -> None:
        self.label, self.shown, self.yields = label, shown, yields
        numbers = "" if yields is None else f"{yields[0]:g}:{yields[1]:g}:"
        self.name = f"significance:{numbers}{shown}"
        self.description = f"1 - Z/sqrt(S) of {shown}"

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return 1 - Z / sqrt(S) of each candidate, shape (K,); see `Objective.losses`."""
        sums = self._curve(logits, targets, self.label, self.shown, self.name)
        signal, background = sums.signal, sums.background
        if self.yields is not None:
            signal = signal * (self.yields[0] / signal[:, -1:])
            background = background * (self.yields[1] / background[:, -1:])
        both = signal + background
        squared = np.where(sums.ends & (both > 0), signal**2 / np.where(both > 0, both, 1.0), 0.0)
        return _finite(logits, 1.0 - np.sqrt(squared.max(axis=1) / signal[:, -1]))
