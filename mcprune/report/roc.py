"""Curves of true over false positives, and counts of confused classes, from predictions on test rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.types import BoolArray, FloatArray, IntArray

POINTS = 201  # false-positive rates at which curves are averaged, and drawn


class Curve(NamedTuple):
    """A receiver operating characteristic.

    Attributes
    ----------
    false_positive, true_positive : ndarray, shape (POINTS,)
        Rates, rising.
    area : float
        Below the curve; 1/2 for scores that know nothing. Of all thresholds, not only of these points.
    """

    false_positive: FloatArray
    true_positive: FloatArray
    area: float


def roc(scores: FloatArray, is_positive: BoolArray) -> Curve | None:
    """Return the curve of scores (rows,); None where one of the two classes has no row."""
    positives = int(is_positive.sum())
    negatives = len(is_positive) - positives
    if not positives or not negatives:
        return None
    order = np.argsort(-scores, kind="stable")
    # Rows of one score are one step: no threshold lies between them.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.append(0.0, np.cumsum(is_positive[order])[ends]) / positives
    alarms = np.append(0.0, np.cumsum(~is_positive[order])[ends]) / negatives
    grid = np.linspace(0.0, 1.0, POINTS)
    drawn = np.interp(grid, alarms, hits)
    drawn[0] = hits[alarms == 0.0].max()
    return Curve(grid, drawn, float(np.trapezoid(hits, alarms)))


def one_vs_rest(probabilities: FloatArray, targets: IntArray) -> list[Curve | None]:
    """Return a curve for each class against all others, from probabilities (rows, C); of two classes for the second alone."""
    classes = probabilities.shape[1]
    chosen = [1] if classes == 2 else range(classes)
    return [roc(np.asarray(probabilities[:, one], np.float64), targets == one) for one in chosen]


def macro(curves: list[Curve | None]) -> Curve | None:
    """Return the mean of the curves, each class counting alike; None of none."""
    known = [curve for curve in curves if curve is not None]
    if not known:
        return None
    mean = np.mean([curve.true_positive for curve in known], axis=0)
    return Curve(known[0].false_positive, mean, float(np.mean([curve.area for curve in known])))


def confusion(probabilities: FloatArray, targets: IntArray) -> IntArray:
    """Return how many rows of each class (first axis) were taken for each (second), shape (C, C)."""
    classes = probabilities.shape[1]
    places = targets * classes + probabilities.argmax(axis=1)
    counts: IntArray = np.bincount(places, minlength=classes * classes).reshape(classes, classes)
    return counts
