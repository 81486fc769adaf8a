"""Scores of columns whose targets are numbers: against scikit-learn's, under weights, and on known columns."""

import numpy as np
import pytest
from sklearn.datasets import make_friedman1
from sklearn.feature_selection import f_regression

from mcprune.methods import number_scores
from mcprune.methods.columns import column_scores


@pytest.fixture(scope="module")
def friedman():
    x, y = make_friedman1(400, 10, noise=0.5, random_state=0)
    return x.astype(np.float32), y[:, None]


def test_f_is_that_of_scikit_learn(friedman):
    x, y = friedman
    np.testing.assert_allclose(number_scores.f_scores(x, y, None), f_regression(x, y[:, 0])[0], rtol=1e-4)
    both = np.hstack([y, -(y**2)])
    expected = np.mean([f_regression(x, goal)[0] for goal in both.T], axis=0)
    np.testing.assert_allclose(number_scores.f_scores(x, both, None), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["f", "l1", "pairs"])
def test_whole_weights_rank_as_repeated_rows(friedman, name):
    x, y = friedman
    weights = np.random.default_rng(0).integers(1, 4, 400)
    weighted = column_scores(name, x, y, weights.astype(float), keep=4, seed=0)
    repeated = column_scores(name, x.repeat(weights, axis=0), y.repeat(weights, axis=0), None, keep=4, seed=0)
    assert np.argsort(-weighted)[:4].tolist() == np.argsort(-repeated)[:4].tolist()


@pytest.mark.parametrize("name", ["f", "forest", "mutual-information", "l1"])
def test_columns_of_a_linear_law_are_found(name):
    draw = np.random.default_rng(1)
    x = draw.normal(size=(300, 12)).astype(np.float32)
    y = (x[:, [2, 5, 9]] @ [1.8, -2.0, 1.7] + 0.3 * draw.normal(size=300))[:, None]
    scores = column_scores(name, x, y, None, keep=3, seed=0)
    assert sorted(np.argsort(-scores)[:3].tolist()) == [2, 5, 9]


def test_a_product_of_columns_is_found_by_pairs_and_not_by_f():
    draw = np.random.default_rng(2)
    x = draw.normal(size=(500, 15)).astype(np.float32)
    y = (x[:, 3] * x[:, 11] + 0.3 * draw.normal(size=500))[:, None]
    by_pairs = column_scores("pairs", x, y, None, keep=2, seed=0)
    by_f = column_scores("f", x, y, None, keep=2, seed=0)
    assert sorted(np.argsort(-by_pairs)[:2].tolist()) == [3, 11]
    assert by_f[[3, 11]].max() < by_pairs[[3, 11]].min() / 10


def test_constant_columns_and_copies_come_last(friedman):
    x, y = friedman
    wide = np.hstack([x, np.ones((400, 1), np.float32), x[:, [3]]])
    for name in ("f", "l1", "pairs", "forest", "mutual-information"):
        scores = column_scores(name, wide, y, None, keep=5, seed=0)
        assert np.isfinite(scores).all()
        order = np.argsort(-scores)
        assert 10 in order[-7:]
        assert not {3, 11} <= set(order[:5].tolist())
