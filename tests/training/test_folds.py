"""Which rows train each classifier of a search, and which it evaluates candidates on."""

import numpy as np
import pytest

from mcprune.training.folds import Folds, member_seed, split_rows


def split(targets, eval_on, fraction=0.3, folds=4, seed=1):
    return split_rows(np.asarray(targets), eval_on, fraction=fraction, folds=folds, seed=seed)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.7])
def test_held_out_rows_are_a_fraction_of_every_class_and_never_train(fraction):
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [400, 90, 12, 3]))
    (training,), (held_out,) = split(targets, "held-out", fraction)
    assert not set(training) & set(held_out)
    assert sorted([*training, *held_out]) == list(range(len(targets)))
    for label, count in enumerate([400, 90, 12, 3]):
        evaluating = (targets[held_out] == label).sum()
        assert abs(evaluating - fraction * count) <= 1
        assert 1 <= evaluating < count
    np.testing.assert_array_equal(split(targets, "held-out", fraction).evaluation[0], held_out)
    assert not np.array_equal(split(targets, "held-out", fraction, seed=2).evaluation[0], held_out)


def test_the_only_row_of_a_class_trains_and_under_train_all_rows_do_both():
    (training,), (held_out,) = split([0, 0, 0, 0, 1], "held-out", 0.5)
    assert 4 in training
    assert 4 not in held_out
    (training,), (evaluating,) = split([0, 0, 1], "train")
    assert training.tolist() == evaluating.tolist() == [0, 1, 2]


def test_every_row_trains_all_classifiers_but_the_one_that_evaluates_it():
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [201, 50, 11, 3, 2]))
    folds = split(targets, "folds")
    assert len(folds.training) == len(folds.evaluation) == 4
    assert sorted(np.concatenate(folds.evaluation)) == list(range(len(targets)))
    for training, evaluating in zip(*folds, strict=True):
        assert sorted([*training, *evaluating]) == list(range(len(targets)))
        # Stratified: every class is in its share, and even one of two rows trains each classifier.
        for label, count in enumerate([201, 50, 11, 3, 2]):
            assert abs((targets[evaluating] == label).sum() - count / 4) < 1
            assert (targets[training] == label).any()
    sizes = [len(rows) for rows in folds.evaluation]
    assert max(sizes) - min(sizes) <= 1


def test_the_only_row_of_a_class_trains_all_classifiers_and_is_evaluated_by_none():
    folds = split([0] * 9 + [1] * 5 + [2], "folds")
    assert all(14 in training for training in folds.training)
    assert 14 not in np.concatenate(folds.evaluation)
    assert folds.rows == 14


def test_there_are_no_more_folds_than_rows_of_the_largest_class_and_with_one_row_each_all_do_both():
    assert len(split([0, 0, 0, 1, 1], "folds", folds=10).evaluation) == 3
    folds = split([0, 1, 2], "folds")
    assert [rows.tolist() for rows in (*folds.training, *folds.evaluation)] == [[0, 1, 2]] * 2


def test_a_batch_holds_the_folds_one_after_the_other_in_proportion_to_their_sizes():
    folds = Folds((), tuple(np.arange(size) for size in (100, 50, 49)))
    assert folds.bounds(199).tolist() == folds.bounds(10_000).tolist() == [0, 100, 150, 199]
    assert folds.bounds(20).tolist() == [0, 10, 15, 20]
    for rows in range(200):
        sizes = np.diff(folds.bounds(rows))
        assert sizes.sum() == rows
        assert (sizes <= [100, 50, 49]).all()
    assert len(folds.without_evaluation().bounds(7)) == 4
    assert folds.without_evaluation().rows == 0


def test_classifiers_draw_from_seeds_of_their_own_and_the_first_from_the_runs():
    seeds = [member_seed(3, place) for place in range(4)]
    assert seeds[0] == 3
    assert len(set(seeds)) == 4
