"""The scaling that is learned on the training rows."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data import scale
from mcprune.data.base import Dataset
from mcprune.data.load import from_arrays, load
from mcprune.data.parts.split import split
from mcprune.data.prepare import prepare
from mcprune.data.scale import Scaler, fit_scaler
from mcprune.errors import ConfigError, DataError


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
    np.testing.assert_allclose(prepared.train.features.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(prepared.train.features.std(axis=0), [1, 0, 1], atol=1e-6)
    assert prepared.scaler.factor[1] == 1
    assert np.abs(prepared.test.features[:, 1]).max() < 1e-7


def test_large_offsets_survive_standardisation():
    stamps = 1.7e9 + np.arange(90.0)
    prepared = prepare(from_arrays(stamps[:, None], np.arange(90) % 2), seed=0)
    assert len(np.unique(prepared.train.features)) == len(prepared.train.features)
    assert prepared.train.features.std() == pytest.approx(1, rel=1e-5)


def test_images_go_to_the_unit_range_and_black_stays_exactly_zero():
    dataset = load("digits")
    prepared = prepare(dataset, seed=0)
    assert prepared.scaler.kind == "unit"
    assert prepared.train.features.max() == 1
    black = dataset.features[prepared.parts.test] == 0
    assert black.any()
    assert (prepared.test.features[black] == 0).all()
    np.testing.assert_array_equal(prepared.test.features, dataset.features[prepared.parts.test] / 16)


def test_none_changes_nothing_and_unknown_kinds_are_refused():
    dataset = load("wine")
    prepared = prepare(dataset, seed=0, scale="none")
    np.testing.assert_array_equal(prepared.train.features, dataset.features[prepared.parts.train])
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
    with pytest.raises(DataError, match="fitted on 2 columns"):
        scaler.apply(np.ones((3, 3), dtype=np.float32))
    with pytest.raises(DataError, match=r"row 1 \(counted from 0\), column 1"):
        scaler.apply(np.array([[1, 1], [1, 1e25]], dtype=np.float32))
    with pytest.raises(DataError, match=r"row 1 \(counted from 0\), column 1"):
        scaler.apply(np.array([[1, 1], [1, 1e25]], dtype=np.float32), np.array([1]))


@pytest.mark.parametrize("kind", ["standard", "unit"])
def test_rows_are_scaled_in_place_of_a_copy_to_the_same_bits(kind, monkeypatch):
    features = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    dataset = Dataset("t", features, np.arange(500) % 2, (0, 1), tuple("abcdefg"))
    rows = np.random.default_rng(1).permutation(500)[:321]
    whole = fit_scaler(dataset, rows, kind)
    wanted = whole.apply(features[rows])
    out = np.full((321, 7), np.nan, np.float32)
    assert whole.apply(features, rows, out) is out
    np.testing.assert_array_equal(out, wanted)
    monkeypatch.setattr(scale, "_CHUNK", 7 * 50)
    np.testing.assert_array_equal(whole.apply(features, rows), wanted)
    chunked = fit_scaler(dataset, rows, kind)
    np.testing.assert_allclose(chunked.shift, whole.shift, rtol=1e-12)
    np.testing.assert_allclose(chunked.factor, whole.factor, rtol=1e-12)
