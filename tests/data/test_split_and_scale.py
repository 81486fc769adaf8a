"""Parts of the rows and the scaling learned on the first of them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data.base import Dataset
from mcprune.data.load import from_arrays, load
from mcprune.data.prepare import prepare, split
from mcprune.data.scale import Scaler, fit_scaler
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


def test_the_scaling_knows_the_training_rows_only():
    dataset = load("breast-cancer")
    parts = split(dataset, seed=0, validation=0.1, test=0.2)
    scaler = fit_scaler(dataset, parts.train, "standard")
    train = dataset.features[parts.train].astype(np.float64)
    np.testing.assert_allclose(scaler.shift, train.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(1 / scaler.factor, train.std(axis=0), rtol=1e-12)
    spoilt = dataset.features.copy()
    spoilt[np.concatenate([parts.validation, parts.test])] = 1e6
    other = Dataset("spoilt", spoilt, dataset.targets, dataset.labels, dataset.feature_names)
    np.testing.assert_array_equal(fit_scaler(other, parts.train, "standard").shift, scaler.shift)
    np.testing.assert_array_equal(fit_scaler(other, parts.train, "standard").factor, scaler.factor)


def test_standardised_columns_and_constant_ones():
    rng = np.random.default_rng(0)
    # 0.1 has no exact mean in binary: a constant column must not be divided by the rounding of its own mean
    features = np.c_[rng.normal(5, 3, 300), np.full(300, 0.1), rng.normal(size=300)]
    prepared = prepare(from_arrays(features, np.arange(300) % 3), seed=0)
    assert prepared.scaler.kind == "standard"
    np.testing.assert_allclose(prepared.x_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(prepared.x_train.std(axis=0), [1, 0, 1], atol=1e-6)
    assert prepared.scaler.factor[1] == 1
    assert np.abs(prepared.x_test[:, 1]).max() < 1e-7


def test_large_offsets_survive_standardisation():
    stamps = 1.7e9 + np.arange(90.0)
    prepared = prepare(from_arrays(stamps[:, None], np.arange(90) % 2), seed=0)
    assert len(np.unique(prepared.x_train)) == len(prepared.x_train)
    assert prepared.x_train.std() == pytest.approx(1, rel=1e-5)


def test_images_go_to_the_unit_range_and_black_stays_exactly_zero():
    dataset = load("digits")
    prepared = prepare(dataset, seed=0)
    assert prepared.scaler.kind == "unit"
    assert prepared.x_train.max() == 1
    black = dataset.features[prepared.parts.test] == 0
    assert black.any()
    assert (prepared.x_test[black] == 0).all()
    np.testing.assert_array_equal(prepared.x_test, dataset.features[prepared.parts.test] / 16)


def test_none_changes_nothing_and_unknown_kinds_are_refused():
    dataset = load("wine")
    prepared = prepare(dataset, seed=0, scale="none")
    np.testing.assert_array_equal(prepared.x_train, dataset.features[prepared.parts.train])
    with pytest.raises(ConfigError, match="'minmax' is unknown"):
        prepare(dataset, seed=0, scale="minmax")


@given(
    features=st.lists(st.tuples(*[st.floats(-(2.0**99), 2.0**99, width=32)] * 2), min_size=8, max_size=20).map(
        lambda rows: np.array(rows, dtype=np.float32)
    ),
    kind=st.sampled_from(["standard", "unit", "none"]),
)
def test_scaled_training_rows_are_finite_and_bounded(features, kind):
    dataset = from_arrays(features, np.arange(len(features)) % 2)
    rows = np.arange(len(features))
    scaled = fit_scaler(dataset, rows, kind).apply(features)
    assert np.isfinite(scaled).all()
    if kind == "unit":
        assert np.abs(scaled).max() <= 1
    if kind == "standard":
        # Samuelson's inequality: no value lies further than sqrt(rows - 1) deviations from the mean
        spread = np.ptp(features.astype(np.float64), axis=0) > np.finfo(np.float32).tiny * 100
        assert np.abs(scaled[:, spread]).max(initial=0) <= np.sqrt(len(rows) - 1) * (1 + 1e-5)


def test_a_scaler_comes_back_from_json_bit_for_bit_and_can_be_narrowed():
    dataset = load("wine")
    scaler = fit_scaler(dataset, np.arange(100), "standard")
    back = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_array_equal(back.apply(dataset.features), scaler.apply(dataset.features))
    keep = np.array([7, 2, 11])
    np.testing.assert_array_equal(
        scaler.select(keep).apply(dataset.features[:, keep]), scaler.apply(dataset.features)[:, keep]
    )


@pytest.mark.parametrize(
    "change",
    [{"kind": "other"}, {"shift": [0.0]}, {"factor": [1.0, float("nan")]}, {"shift": "x"}, {"factor": None}],
)
def test_a_broken_saved_scaling_is_refused(change):
    with pytest.raises(DataError, match="saved scaling"):
        Scaler.from_dict({"kind": "unit", "shift": [0.0, 0.0], "factor": [1.0, 1.0], **change})
    with pytest.raises(DataError, match="saved scaling"):
        Scaler.from_dict({"kind": "unit", "shift": [0.0]})


def test_scaling_refuses_other_columns_and_what_single_precision_cannot_hold():
    scaler = Scaler("standard", np.zeros(2), np.array([1.0, 1e20]))
    with pytest.raises(DataError, match="learned on 2 columns"):
        scaler.apply(np.ones((3, 3), dtype=np.float32))
    with pytest.raises(DataError, match="row 2, column 2"):
        scaler.apply(np.array([[1, 1], [1, 1e25]], dtype=np.float32))


def test_prepared_parts_line_up_with_the_rows():
    dataset = load("wine")
    prepared = prepare(dataset, seed=5, validation=0.2, test=0.2)
    scaled = prepared.scaler.apply(dataset.features)
    for rows, x, y in zip(
        prepared.parts,
        (prepared.x_train, prepared.x_validation, prepared.x_test),
        (prepared.y_train, prepared.y_validation, prepared.y_test),
        strict=True,
    ):
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(x, scaled[rows])
        np.testing.assert_array_equal(y, dataset.targets[rows])
    assert (prepared.n_inputs, prepared.n_classes) == (13, 3)


def test_empty_parts_are_empty():
    prepared = prepare(load("wine"), seed=0, validation=0, test=0)
    assert prepared.x_test.shape == (0, 13)
    assert prepared.x_validation.shape == (0, 13)
    assert len(prepared.x_train) == 178
