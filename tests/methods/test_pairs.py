"""Scores of columns that matter together."""

import numpy as np
import pytest
from sklearn.feature_selection import f_classif

from mcprune.methods.columns import f_scores, pair_scores
from mcprune.methods.pairs import pair_f


def exclusive_or(rows=300, width=30, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, width)).astype(np.float32)
    x[:, 5] = 1.0
    return x, (x[:, 3] * x[:, 8] + x[:, 11] * x[:, 20] > 0).astype(np.int64)


def test_f_of_pairs_is_that_of_scikit_learn_on_products():
    x, y = exclusive_or()
    y[::3] = 2
    x[:, 7] += y
    within = np.delete(x, 5, axis=1).astype(np.float64)
    for label in range(3):
        within[y == label] -= within[y == label].mean(axis=0)
    theirs = f_classif((within[:, :, None] * within[:, None, :]).reshape(len(y), -1), y)[0].reshape(29, 29)
    ours = pair_f(x, y)
    np.testing.assert_allclose(np.delete(np.delete(ours, 5, axis=0), 5, axis=1), theirs, rtol=1e-3, atol=1e-3)
    assert not ours[5].any()
    assert not ours[:, 5].any()


def test_a_weight_is_a_repeated_row():
    x, y = exclusive_or()
    times = np.random.default_rng(1).integers(0, 4, len(y))
    repeated = pair_f(x.repeat(times, 0), y.repeat(times))
    np.testing.assert_allclose(pair_f(x, y, times.astype(float)), repeated, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_columns_that_matter_only_together_score_highest(seed):
    x, y = exclusive_or(seed=seed)
    assert set(np.argsort(-pair_scores(x, y))[:4]) == {3, 8, 11, 20}
    assert set(np.argsort(-f_scores(x, y))[:4]) != {3, 8, 11, 20}  # none matters alone


def test_pairs_of_noise_do_not_displace_a_column_that_matters_alone():
    x, y = exclusive_or(width=200)
    y = np.random.default_rng(2).integers(0, 2, len(y))
    x[:, 9] += y
    scores = pair_scores(x, y)
    assert np.argmax(scores) == 9
    assert scores[9] == f_scores(x, y)[9]
