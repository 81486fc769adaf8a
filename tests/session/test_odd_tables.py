"""Tables with constant columns, copies, rare classes, many classes and rare values: the default run is right on them."""

import warnings

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

import mcprune
from mcprune.training.cross_validation.out_of_fold import balanced_folds
from mcprune.training.folds import split_rows

QUICK = {"retrain_epochs": 1, "compare": "no", "test": 0}


def search(x, y, keep, **options):
    """Return the kept columns; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return set(mcprune.prune(x, y, keep=keep, **QUICK, **options).mask.indices.tolist())


def signals(rows, seed=0):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 2, rows)
    x = draw.normal(size=(rows, 16))
    x[:, :3] += 1.2 * (2 * y[:, None] - 1)
    return x, y, draw


@pytest.mark.slow
def test_of_copies_one_is_kept_and_constant_columns_never():
    x, y, _ = signals(240)
    x[:, 4:7] = x[:, :3]
    x[:, 7:9] = 3.0, 0.0
    kept = search(x, y, 3)
    assert {column % 4 for column in kept} == {0, 1, 2}
    assert len(kept & set(range(7))) == 3


@pytest.mark.long("a whole search of 1,000 rows")
def test_a_class_of_one_row_in_fifty_has_a_say():
    draw = np.random.default_rng(0)
    y = (np.arange(1_000) % 50 == 0).astype(int)
    x = draw.normal(size=(1_000, 16))
    x[:, 5] += 3.0 * y
    x[:, 11] -= 3.0 * y
    assert search(x, y, 2) == {5, 11}


@pytest.mark.slow
def test_forty_classes_of_eight_rows():
    draw = np.random.default_rng(0)
    y = np.repeat(np.arange(40), 8)
    x = draw.normal(size=(320, 20))
    x[:, :6] += 4.0 * draw.normal(size=(40, 6))[y]
    assert len(search(x, y, 6) & set(range(6))) >= 5


@pytest.mark.slow
def test_a_column_with_one_rare_value_is_not_kept_before_an_informative_one():
    x, y, _ = signals(240)
    x[:, 8:12] = 0.0
    x[[3, 50, 90, 170], [8, 9, 10, 11]] = 1.0
    assert search(x, y, 3) == {0, 1, 2}


@pytest.mark.parametrize("counts", [(1, 99), (2, 98), (3, 3, 94), (1, 1, 1, 40)])
def test_rare_classes_are_in_as_many_folds_as_they_have_rows(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    folds = split_rows(y, "folds", fraction=0.2, folds=4, seed=0)
    played = balanced_folds(y, np.random.default_rng(0))
    for label, count in enumerate(counts):
        evaluating = sum(bool((y[rows] == label).any()) for rows in folds.evaluation)
        assert evaluating == (0 if count == 1 else min(count, 4))
        assert len(set(played[y == label].tolist())) == min(count, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"start": "all", "eval_on": "held-out", "epochs": 4},
        {"method": "gradient", "epochs": 4},
        {"method": "importance", "measure": "magnitude", "epochs": 2, "rounds": "1,recover=0"},
    ],
    ids=["markov", "gradient", "importance"],
)
def test_constants_are_left_out_wherever_other_columns_are_left(options):
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 120)
    x = np.repeat(np.arange(9.0)[None], 120, axis=0)  # the columns of even places are constant
    x[:, 1::2] = draw.normal(size=(120, 4))
    x[:, 1] += 2.0 * y
    assert search(x, y, 4, hidden=(8,), threads=1, **options) == {1, 3, 5, 7}
    assert {1, 3, 5, 7} < search(x, y, 6, hidden=(8,), threads=1, **options)


def test_constants_are_left_out_by_an_estimator_too():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 60)
    x = np.ones((60, 6))
    x[:, 3:] = draw.normal(size=(60, 3))
    selector = mcprune.MarkovSelector(3, estimator=GaussianNB(var_smoothing=1e-3), random_state=0, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert selector.fit(x, y).get_support(indices=True).tolist() == [3, 4, 5]
