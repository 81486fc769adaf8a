"""Ridge regression out of fold."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mcprune.training.cross_validation.ridge import PENALTY, ridge_losses


@pytest.mark.parametrize("columns", [4, 90], ids=["fewer-columns-than-rows", "more"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_losses_are_those_of_a_ridge_regression_on_the_other_rows(columns, is_weighted):
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, columns)).astype(np.float32), draw.integers(0, 3, 60)
    weights = draw.integers(0, 4, 60).astype(np.float64) if is_weighted else np.ones(60)
    is_scored = np.arange(60) % 4 == 0
    rest = ~is_scored
    model = Ridge(alpha=PENALTY * weights[rest].sum()).fit(x[rest], np.eye(3)[y[rest]], sample_weight=weights[rest])
    expected = np.square(model.predict(x[is_scored]) - np.eye(3)[y[is_scored]]).sum(axis=1)
    assert ridge_losses(x, y, weights, is_scored) == pytest.approx(expected, rel=1e-4)


def test_numbers_are_predicted_as_they_are():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(200, 3)).astype(np.float32)
    y = (x @ np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])).astype(np.float32)
    is_scored = np.arange(200) < 50
    assert ridge_losses(x, y, np.ones(200), is_scored).mean() < 0.1
    assert ridge_losses(x, y[::-1], np.ones(200), is_scored).mean() > 2.0
