"""Kernel ridge regression and nearest neighbours out of fold."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.neighbors import KNeighborsRegressor

from mcprune.training.cross_validation.distances import NEIGHBOURS, PENALTY, SUPPORT, distance_losses


def rows(count=80, columns=5, classes=3, seed=0):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, classes, count)
    x = draw.normal(size=(count, columns)).astype(np.float32)
    x[:, :classes] += 1.5 * np.eye(classes)[y]
    return x, y, draw.permutation(count) % 4


def expected(x, answers, fold, weights=None):
    out = np.empty((2, len(x)))
    for part in range(4):
        rest, scored = fold != part, fold == part
        mean = np.average(answers[rest], axis=0, weights=None if weights is None else weights[rest])
        gamma = 1 / (x.shape[1] * x[rest].var())
        alpha = PENALTY if weights is None else PENALTY * weights[rest].mean()
        ridge = KernelRidge(alpha=alpha, kernel="rbf", gamma=gamma)
        ridge.fit(x[rest], answers[rest] - mean, sample_weight=None if weights is None else weights[rest])
        out[0, scored] = np.square(ridge.predict(x[scored]) + mean - answers[scored]).sum(axis=1)
        near = KNeighborsRegressor(NEIGHBOURS).fit(x[rest], answers[rest])
        out[1, scored] = np.square(near.predict(x[scored]) - answers[scored]).sum(axis=1)
    return out / np.square(answers - np.average(answers, axis=0, weights=weights)).sum(axis=1).mean()


def test_the_losses_are_those_of_the_models_of_scikit_learn():
    x, y, fold = rows()
    assert distance_losses(x, y, None, fold) == pytest.approx(expected(x, np.eye(3)[y], fold), rel=1e-3, abs=1e-5)
    numbers = np.stack([x[:, 0] + x[:, 1] ** 2, x[:, 2]], axis=1)
    assert distance_losses(x, numbers, None, fold) == pytest.approx(expected(x, numbers, fold), rel=1e-3, abs=1e-5)


def test_rows_of_weight_0_answer_for_no_others():
    x, y, fold = rows()
    weights = np.random.default_rng(1).integers(0, 3, len(y)).astype(np.float64)
    used = weights > 0
    some = distance_losses(x, y, weights, fold)
    assert some[:, used] == pytest.approx(distance_losses(x[used], y[used], weights[used], fold[used]), rel=1e-4)
    y[~used] = 0
    assert distance_losses(x, y, weights, fold)[:, used] == pytest.approx(some[:, used])


def test_useless_columns_lose_as_a_constant_does_and_useful_ones_less():
    x, y, fold = rows(400, 12)
    assert (distance_losses(x[:, :3], y, None, fold).mean(axis=1) < 0.8).all()
    kernel, neighbours = distance_losses(x[:, 6:9], y, None, fold).mean(axis=1)
    assert 0.95 < kernel < 1.5
    assert 0.95 < neighbours < 1.5


def test_many_rows_are_answered_by_some_of_them():
    x, y, fold = rows(2 * SUPPORT + 100)
    few = distance_losses(x[:1000], y[:1000], None, fold[:1000]).mean()
    assert distance_losses(x, y, None, fold).mean() == pytest.approx(few, rel=0.1)


def test_rows_that_no_other_fold_answers_for_lose_as_under_a_constant():
    x, y, fold = rows()
    weights = (fold == 0).astype(np.float64)
    assert distance_losses(x, y, weights, fold)[:, fold == 0] == pytest.approx(1.0, abs=0.2)
