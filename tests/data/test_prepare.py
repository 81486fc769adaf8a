"""Parts of the rows: a function of the seed, stratified, scaled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data.base import Dataset
from mcprune.data.load import load
from mcprune.data.parts.split import split
from mcprune.data.prepare import prepare
from mcprune.errors import ConfigError, DataError


def labelled(counts, *, test_rows=None, seed=0):
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    features = np.arange(len(targets), dtype=np.float32)[:, None]
    return Dataset("made", features, targets, tuple(range(len(counts))), ("row",), test_rows=test_rows)


@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    validation=st.floats(0, 0.45),
    test=st.floats(0, 0.45),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_row_is_in_one_part_and_every_class_keeps_its_proportion(counts, validation, test, seed):
    dataset = labelled(counts)
    rows = dataset.n_rows
    try:
        parts = split(dataset, seed=seed, validation=validation, test=test)
    except DataError:
        spare = rows - 2 * len(counts) if test > 0 else rows  # what validation could take if every class keeps two rows
        assert any(f > 0 and round(f * rows) < len(counts) for f in (validation, test)) or spare == 0
        return
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    train, held, tested = (np.bincount(dataset.targets[part], minlength=len(counts)) for part in parts)
    assert (train >= 1).all()
    for got, fraction in ((held, validation), (tested, test)):
        assert (got > 0).any() == (fraction > 0)
        # the nearest whole numbers; small classes get one row, and always leave one to train on
        ideal = np.array(counts) * fraction
        room = np.array(counts) - (1 if got is tested else tested + 1)
        assert (np.abs(got - np.clip(ideal, np.minimum(fraction > 0, room), room)) < 1 + 1e-9).all()
    if test > 0:
        assert (tested >= 1).all()


def test_the_split_is_a_function_of_the_seed_only():
    dataset = load("wine")
    first = split(dataset, seed=3, validation=0.1, test=0.2)
    again = split(dataset, seed=3, validation=0.1, test=0.2)
    other = split(dataset, seed=4, validation=0.1, test=0.2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.test, other.test)
    assert [len(part) for part in first] == [len(dataset.targets) - 18 - 36, 18, 36]


def test_the_test_rows_do_not_depend_on_the_validation_fraction():
    dataset = load("digits")
    few = split(dataset, seed=0, validation=0.05, test=0.2)
    many = split(dataset, seed=0, validation=0.3, test=0.2)
    np.testing.assert_array_equal(few.test, many.test)
    assert set(few.validation) < set(many.validation)


def test_rows_of_a_class_are_drawn_evenly():
    # each of 20 rows is in a test part of 5 in a quarter of the seeds: binomial, five standard deviations
    dataset = labelled([20, 20])
    seeds = 2000
    hits = np.zeros(40)
    for seed in range(seeds):
        hits[split(dataset, seed=seed, validation=0.0, test=0.25).test] += 1
    assert np.abs(hits / seeds - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / seeds)


def test_a_given_test_part_is_kept():
    given_rows = np.array([1, 5, 6, 30], dtype=np.int64)
    parts = split(labelled([20, 20], test_rows=given_rows), seed=0, validation=0.25, test=0.9)
    np.testing.assert_array_equal(parts.test, given_rows)
    assert len(parts.validation) == 9
    assert not set(parts.train) & set(given_rows)


def test_a_class_that_only_the_given_test_part_has_is_refused():
    dataset = labelled([10, 10])
    rows = np.flatnonzero(dataset.targets == 1)
    with pytest.raises(DataError, match="no training row has the class 1"):
        split(labelled([10, 10], test_rows=rows), seed=0, validation=0.1, test=0.1)


def test_too_few_rows_say_what_would_be_enough():
    with pytest.raises(
        DataError, match=r"12 rows of 3 classes are too few: validation=0.1 gives 1 rows.*at least 0.25"
    ):
        split(labelled([4, 4, 4]), seed=0, validation=0.1, test=0.3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"validation": -0.1}, "validation=-0.1"),
        ({"test": float("nan")}, "test=nan"),
        ({"test": float("inf")}, "test=inf"),
        ({"test": 1.0}, "test=1.0"),
        ({"validation": 0.5, "test": 0.5}, "leave no rows"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
    ],
)
def test_fractions_and_seeds_out_of_range_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        split(labelled([20, 20]), **{"seed": 0, "validation": 0.1, "test": 0.2, **options})


def test_prepared_parts_line_up_with_the_rows():
    dataset = load("wine")
    prepared = prepare(dataset, seed=5, validation=0.2, test=0.2)
    scaled = prepared.scaler.apply(dataset.features)
    for rows, x, y in zip(
        prepared.parts,
        (prepared.train.features, prepared.validation.features, prepared.test.features),
        (prepared.train.targets, prepared.validation.targets, prepared.test.targets),
        strict=True,
    ):
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(x, scaled[rows])
        np.testing.assert_array_equal(y, dataset.targets[rows])
    assert (prepared.n_inputs, prepared.n_classes) == (13, 3)


def test_empty_parts_are_empty():
    prepared = prepare(load("wine"), seed=0, validation=0, test=0)
    assert prepared.test.features.shape == (0, 13)
    assert prepared.validation.features.shape == (0, 13)
    assert len(prepared.train.features) == 178


def test_training_and_validation_rows_lie_one_behind_the_other_in_memory():
    prepared = prepare(load("wine"), seed=5, validation=0.2, test=0.2)
    x, y, weights, *_ = prepared.all_but_test()
    assert weights is None
    assert np.shares_memory(x, prepared.train.features)
    assert np.shares_memory(x, prepared.validation.features)
    for rows in (prepared, prepared._replace(train=prepared.train._replace(features=prepared.train.features.copy()))):
        x, y, *_ = rows.all_but_test()
        np.testing.assert_array_equal(x, np.concatenate([prepared.train.features, prepared.validation.features]))
        np.testing.assert_array_equal(y, np.concatenate([prepared.train.targets, prepared.validation.targets]))
    without = prepare(load("wine"), seed=5, validation=0, test=0.2)
    assert without.all_but_test().features.shape == without.train.features.shape
