"""Curves of true over false positives, and confused classes, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from mcprune.report.charts.roc import POINTS, confusion, macro, one_vs_rest, roc


def drawn(seed, rows=300, ties=False):
    """Scores and classes, some scores equal."""
    rng = np.random.default_rng(seed)
    classes = rng.random(rows) < 0.4
    scores = classes + rng.normal(size=rows)
    return np.round(scores, 0 if ties else 9), classes


@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_and_its_area_are_those_of_scikit_learn(ties):
    scores, classes = drawn(0, ties=ties)
    curve = roc(scores, classes)
    assert curve.area == pytest.approx(metrics.roc_auc_score(classes, scores))
    false, true, _ = metrics.roc_curve(classes, scores, drop_intermediate=False)
    assert len(curve.false_positive) == POINTS
    inside = curve.false_positive > 0
    assert curve.true_positive[inside] == pytest.approx(np.interp(curve.false_positive[inside], false, true))
    assert roc(-scores, classes).area == pytest.approx(1 - curve.area)
    assert roc(np.zeros(300), classes).area == 0.5  # the control: scores that know nothing


def test_one_class_alone_has_no_curve():
    assert roc(np.arange(3.0), np.ones(3, bool)) is None
    assert macro([None]) is None


def test_several_classes_are_averaged_alike():
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 3, 400)
    probabilities = np.eye(3)[targets] + rng.random((400, 3))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    curve = macro(one_vs_rest(probabilities, targets))
    assert curve.area == pytest.approx(
        metrics.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    )
    counts = confusion(probabilities, targets)
    assert (counts == metrics.confusion_matrix(targets, probabilities.argmax(axis=1))).all()
    two = np.stack([1 - probabilities[:, 0], probabilities[:, 0]], axis=1)
    assert len(one_vs_rest(two, (targets == 0).astype(int))) == 1


def test_weights_are_those_of_scikit_learn():
    scores, classes = drawn(2)
    weights = np.random.default_rng(3).gamma(1.0, 1.0, 300)
    assert roc(scores, classes, weights).area == pytest.approx(
        metrics.roc_auc_score(classes, scores, sample_weight=weights)
    )
    assert abs(roc(scores, classes, weights).area - roc(scores, classes).area) > 1e-4  # the control
    probabilities = np.stack([-scores, scores], axis=1)
    theirs = metrics.confusion_matrix(classes, scores > 0, sample_weight=weights)
    np.testing.assert_allclose(confusion(probabilities, classes.astype(np.int64), weights), theirs)
