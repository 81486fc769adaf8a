"""Scores of columns by classical selectors."""

import numpy as np
import pytest
from sklearn.feature_selection import f_classif

from mcprune.config.measures import COLUMN_SELECTORS
from mcprune.methods import columns
from mcprune.methods.columns import (
    binned_information,
    column_scores,
    combined_places,
    f_scores,
    trees_for,
    without_constants,
)
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.items import Fixed
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.sites.space import SearchSpace


def table(rows=200, width=40, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, width)), rng.integers(0, classes, rows)
    x[:, 3] += y
    x[:, 7] -= 2.0 * y
    x[:, 5] = 1.0
    return x.astype(np.float32), y


def test_f_is_that_of_scikit_learn_and_0_for_a_constant_column():
    x, y = table()
    theirs = f_classif(np.delete(x, 5, axis=1).astype(np.float64), y)[0]
    np.testing.assert_allclose(np.delete(f_scores(x, y), 5), theirs, rtol=1e-9)
    assert f_scores(x, y)[5] == 0


def test_a_weight_in_f_is_a_repeated_row():
    x, y = table()
    times = np.random.default_rng(1).integers(1, 4, len(y))
    np.testing.assert_allclose(
        f_scores(x, y, times.astype(float)), f_scores(x.repeat(times, 0), y.repeat(times)), rtol=1e-4
    )


def test_f_is_finite_where_a_column_separates_the_classes():
    y = np.array([0, 0, 1, 1])
    scores = f_scores(np.array([[0, 1], [0, 2], [1, 1], [1, 3]], np.float32), y)
    assert np.isfinite(scores).all()
    assert scores[0] > scores[1]


@pytest.mark.parametrize("name", COLUMN_SELECTORS)
def test_the_useful_columns_score_highest(name):
    x, y = table()
    scores = column_scores(name, x, y, None, keep=2, seed=0)
    assert scores.shape == (40,)
    assert set(np.argsort(-scores)[:2]) == {3, 7}


def test_l1_ranks_more_columns_than_have_a_coefficient():
    x, y = table(rows=30)
    scores = column_scores("l1", x, y, None, keep=39, seed=0)
    assert np.count_nonzero(scores) == 39


@pytest.mark.parametrize("name", ["forest", "l1"])
def test_of_many_columns_those_with_the_highest_f_are_looked_at(name, monkeypatch):
    x, y = table()
    monkeypatch.setattr(columns, "SCREENED", 5)
    scores = column_scores(name, x, y, None, keep=2, seed=0)
    by_f = f_scores(x, y)
    assert set(np.argsort(-scores)[:5]) == set(np.argsort(-by_f)[:5])
    assert set(np.argsort(-scores)[:2]) == {3, 7}
    np.testing.assert_array_equal(np.argsort(-scores)[5:], np.argsort(-by_f)[5:])


def test_a_weight_in_the_binned_information_is_a_repeated_row():
    x, y = table()
    times = np.random.default_rng(1).integers(1, 4, len(y))
    ones = np.ones(int(times.sum()))
    weighted = binned_information(x, y, times.astype(float))
    np.testing.assert_allclose(weighted, binned_information(x.repeat(times, 0), y.repeat(times), ones), atol=1e-9)
    np.testing.assert_allclose(weighted, binned_information(x, y, 0.01 * times), atol=1e-9)
    assert weighted[5] == pytest.approx(0.0, abs=1e-12)  # constant
    assert abs(weighted - binned_information(x, y, np.ones(len(y)))).max() > 1e-2  # the control
    exact = np.log(2)  # of a column that is one of two classes
    assert binned_information(np.array([[0.0], [0], [1], [1]], np.float32), np.array([0, 0, 1, 1]), np.ones(4))[
        0
    ] == pytest.approx(exact)


@pytest.mark.parametrize("name", COLUMN_SELECTORS)
def test_every_selector_looks_at_the_weights(name):
    x, y = table(rows=400)
    x[:200, 3], x[200:, 7] = (
        x[200:, 3].copy(),
        x[:200, 7].copy(),
    )  # column 7 serves the first half, column 3 the second one
    x[:200, 3] = np.random.default_rng(5).normal(size=200)
    x[200:, 7] = np.random.default_rng(6).normal(size=200)
    best = [
        int(np.argmax(column_scores(name, x, y, np.where(half, 1.0, 1e-3), keep=1, seed=0)))
        for half in (np.arange(400) < 200, np.arange(400) >= 200)
    ]
    assert best == [7, 3]


@pytest.mark.parametrize("name", COLUMN_SELECTORS)
def test_constant_columns_and_copies_of_better_ones_come_last(name):
    x, y = table()
    x[:, 9], x[:, 30] = x[:, 7], x[:, 3]
    scores = column_scores(name, x, y, None, keep=37, seed=0)
    last = set(np.argsort(-scores)[-3:].tolist())
    assert 5 in last
    assert len(last & {7, 9}) == len(last & {3, 30}) == 1


def constants(**changes):
    """Ten columns of which 2, 5 and 6 have one value, and the mask of the first six."""
    x = np.random.default_rng(0).normal(size=(300, 10)).astype(np.float32)
    x[:, [2, 5]], x[:, 6] = 0.0, 3.0
    x[200:, 8] = 0.0
    x[:200, 8] = 0.0
    x[299, 8] = 1.0  # it varies late
    groups = (SiteGroup("inputs", "", 0, 10), SiteGroup("units", "layers.0", 10, 4, ("layers.0",)))
    space = SearchSpace(SiteMap(groups), Budget((CountBudget("sites", (0, 1), 8),)), **changes)
    return np.isin(np.arange(14), [0, 1, 2, 3, 4, 5, 10, 11]), np.arange(14.0), space, x


def test_columns_that_vary_take_the_places_of_constants():
    mask, ranking, space, x = constants()
    out = without_constants(mask, ranking, space, x)
    assert np.flatnonzero(out).tolist() == [0, 1, 3, 4, 8, 9, 10, 11]  # the best two by the ranking, units stay
    assert without_constants(out, ranking, space, x) is out
    assert mask[2]  # the mask that came in is as it was


def test_sites_that_must_be_kept_or_dropped_stay_and_what_cannot_be_left_out_stays():
    mask, ranking, space, x = constants(fixed=Fixed(np.array([2]), np.array([9])))
    assert np.flatnonzero(without_constants(mask, ranking, space, x)).tolist() == [0, 1, 2, 3, 4, 8, 10, 11]
    mask, ranking, space, x = constants(fixed=Fixed(dropped=np.array([7, 8, 9])))
    assert without_constants(mask, ranking, space, x).tolist() == mask.tolist()


def test_a_trained_model_may_use_a_constant_as_its_bias():
    mask, ranking, space, x = constants()
    x[:, 5] = 1.0
    out = without_constants(mask, ranking, space, x, only_zeros=True)
    assert out[5]
    assert not out[2]
    assert out[9]


def test_ranks_take_what_is_good_by_both():
    forest, l1 = np.array([5.0, 4, 3, 2, 1]), np.array([0.0, 4, 3, 2, 5])
    assert np.argmax(combined_places([forest, l1])) == 1
    x, y = np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32), np.arange(90) % 2
    x[:, 2] += 2 * y
    assert np.argmax(column_scores("ranks", x, y, None, keep=2, seed=0)) == 2


@pytest.mark.parametrize(("count", "trees"), [(5, 100), (200, 200), (5_000, 300)])
def test_a_forest_has_more_trees_where_there_are_more_columns(count, trees):
    assert trees_for(count) == trees
