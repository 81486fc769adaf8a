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


def roc(scores: FloatArray, is_positive: BoolArray, weights: FloatArray | None = None) -> Curve | None:
    """Return the curve of scores (rows,), under sample weights (rows,) if there are any; None where a class has no row."""
    if is_positive.all() or not is_positive.any():
        return None
    counts = np.ones(len(is_positive)) if weights is None else np.asarray(weights, np.float64)
    positives, negatives = float(counts[is_positive].sum()), float(counts[~is_positive].sum())
    order = np.argsort(-scores, kind="stable")
    # Rows of one score are one step: no threshold lies between them.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.append(0.0, np.cumsum((counts * is_positive)[order])[ends]) / positives
    alarms = np.append(0.0, np.cumsum((counts * ~is_positive)[order])[ends]) / negatives
    grid = np.linspace(0.0, 1.0, POINTS)
    drawn = np.interp(grid, alarms, hits)
    drawn[0] = hits[alarms == 0.0].max()
    return Curve(grid, drawn, float(np.trapezoid(hits, alarms)))


def one_vs_rest(probabilities: FloatArray, targets: IntArray, weights: FloatArray | None = None) -> list[Curve | None]:
    """Return a curve for each class against all others, from probabilities (rows, C); of two classes for the second alone."""
    classes = probabilities.shape[1]
    chosen = [1] if classes == 2 else range(classes)
    return [roc(np.asarray(probabilities[:, one], np.float64), targets == one, weights) for one in chosen]


def macro(curves: list[Curve | None]) -> Curve | None:
    """Return the mean of the curves, each class counting alike; None of none."""
    known = [curve for curve in curves if curve is not None]
    if not known:
        return None
    mean = np.mean([curve.true_positive for curve in known], axis=0)
    return Curve(known[0].false_positive, mean, float(np.mean([curve.area for curve in known])))


def confusion(probabilities: FloatArray, targets: IntArray, weights: FloatArray | None = None) -> IntArray | FloatArray:
    """Return how many rows of each class (first axis) were taken for each (second), or the sums of their weights, shape (C, C)."""
    classes = probabilities.shape[1]
    places = targets * classes + probabilities.argmax(axis=1)
    counts: IntArray | FloatArray = np.bincount(places, weights, classes * classes).reshape(classes, classes)
    return counts
