"""Scorers of scikit-learn as objectives: what they are given, which have an objective of their own, and their warnings."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer

from mcprune import MarkovSelector
from mcprune.errors import ConfigError
from mcprune.estimators.scoring import OF_NUMBERS, OF_TWO_CLASSES, same_objective, scoring_objective
from mcprune.objectives.named import make_objective


@pytest.fixture
def draw():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", OF_TWO_CLASSES)
def test_an_objective_orders_candidates_as_its_scorer(draw, name):
    import torch

    targets = draw.integers(0, 2, 60)
    logits = draw.normal(size=(9, 60, 2)) + np.arange(9)[:, None, None] * 0.3 * np.eye(2)[targets]
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    scorer = scoring_objective(name, "classification", np.arange(2))
    ours = make_objective(OF_TWO_CLASSES[name]).losses(torch.from_numpy(logits), torch.from_numpy(targets))
    theirs = [scorer(one, targets) for one in shares]
    assert np.corrcoef(ours, theirs)[0, 1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_an_objective_orders_predictions_as_its_scorer(draw, name):
    import torch

    targets = draw.normal(size=60)
    predictions = targets + np.linspace(0.1, 2, 9)[:, None] * draw.normal(size=(9, 60))
    scorer = scoring_objective(name, "regression", None)
    shaped = torch.from_numpy(predictions)[..., None], torch.from_numpy(targets)[:, None]
    ours = make_objective(OF_NUMBERS[name]).losses(*shaped)
    theirs = [scorer(one, targets) for one in predictions]
    assert np.argsort(ours).tolist() == np.argsort(theirs).tolist()


@pytest.mark.parametrize(
    ("name", "task", "count"),
    [
        ("roc_auc", "classification", 3),
        ("accuracy", "multilabel", 2),
        ("neg_mean_absolute_error", "regression", 2),
        ("f1", "classification", 2),
        (get_scorer("accuracy"), "classification", 2),
    ],
)
def test_others_are_computed_by_the_scorer(name, task, count):
    assert same_objective(name, task, count) is None


def test_a_warning_is_shown_once():
    scorer = scoring_objective("f1", "classification", np.arange(2))
    shares = np.tile([0.9, 0.1], (5, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20):
            scorer(shares, np.zeros(5, int))
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("estimator", "scale", "match"),
    [
        (Ridge(), 1, "is a regressor, but y has classes"),
        (LogisticRegression(), 0.37, "is a classifier, but y has numbers"),
    ],
)
def test_an_estimator_of_the_other_kind_is_refused(draw, estimator, scale, match):
    x = draw.normal(size=(60, 4))
    y = (x[:, 0] > 0).astype(int) if scale == 1 else scale * x[:, 0]
    with pytest.raises(ConfigError, match=match):
        MarkovSelector(2, estimator=estimator, random_state=0, epochs=2).fit(x, y)
