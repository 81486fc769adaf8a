"""Rows of one entity stay in one part, and training rows come before validation rows before test rows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data.base import assemble
from mcprune.data.load import from_arrays, load
from mcprune.data.parts.entities import assign, entity_codes, fold_entities, sole_owners, stretches
from mcprune.data.parts.split import split
from mcprune.data.parts.times import time_values
from mcprune.data.prepare import prepare
from mcprune.errors import ConfigError, DataError
from mcprune.training.folds import split_rows

DRAW = np.random.default_rng(0)


def dataset(entities=None, times=None, classes=2):
    rows = len(entities if entities is not None else times)
    targets = np.arange(rows) % classes
    made = assemble("t", DRAW.normal(size=(rows, 3)), targets)
    return replace(made, entities=entities, times=times)


def shares_no_entity(entities, parts):
    sets = [set(entities[rows].tolist()) for rows in parts]
    return all(not (a & b) for place, a in enumerate(sets) for b in sets[:place])


@given(sizes=st.lists(st.integers(1, 12), min_size=6, max_size=30), classes=st.integers(2, 3), seed=st.integers(0, 50))
def test_no_entity_is_in_two_parts_and_every_row_is_in_one(sizes, classes, seed):
    entities = np.repeat(np.arange(len(sizes)), sizes)
    targets = np.arange(len(entities)) % classes
    if (np.bincount(targets, minlength=classes) < 2).any():
        return
    data = replace(assemble("t", np.zeros((len(entities), 1)), targets), entities=entities)
    try:
        parts = split(data, seed=seed, validation=0.2, test=0.2)
    except DataError:  # too few entities
        return
    assert shares_no_entity(entities, parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(entities)))
    assert set(targets[parts.train].tolist()) == set(range(classes))


def test_a_split_by_rows_would_share_entities():
    """The control: the ordinary split of these rows."""
    entities = np.repeat(np.arange(30), 10)
    data = dataset(entities)
    assert not shares_no_entity(entities, split(replace(data, entities=None), seed=0, validation=0.2, test=0.2))
    parts = split(data, seed=0, validation=0.2, test=0.2)
    assert shares_no_entity(entities, parts)
    assert [len(part) for part in parts] == [180, 60, 60]
    assert not np.array_equal(parts.test, split(data, seed=1, validation=0.2, test=0.2).test)
    np.testing.assert_array_equal(parts.test, split(data, seed=0, validation=0.1, test=0.2).test)


def test_classes_keep_their_shares_where_entities_are_of_one_class():
    entities = np.repeat(np.arange(100), 4)
    targets = (np.arange(100) < 20).repeat(4).astype(np.int64)
    parts = assign(entities, targets, (0.75, 0.25), DRAW.random(400))
    assert np.bincount(targets[parts == 1]).tolist() == [80, 20]


def test_a_class_of_one_entity_trains():
    entities = np.repeat(np.arange(8), 5)
    targets = (entities == 3).astype(np.int64)
    for seed in range(5):
        data = replace(assemble("t", np.zeros((40, 1)), targets), entities=entities)
        assert 3 in entities[split(data, seed=seed, validation=0.2, test=0.2).train]


def test_folds_keep_entities_together():
    entities = np.repeat(np.arange(12), 5)
    targets = np.arange(60) % 2
    folds = split_rows(targets, "folds", fraction=0.2, folds=4, seed=0, entities=entities)
    assert len(folds.training) == 4
    assert shares_no_entity(entities, folds.evaluation)
    for training, evaluation in zip(*folds, strict=True):
        assert not set(entities[training]) & set(entities[evaluation])
    held_out = split_rows(targets, "held-out", fraction=0.25, folds=1, seed=0, entities=entities)
    assert not set(entities[held_out.training[0]]) & set(entities[held_out.evaluation[0]])
    assert len(held_out.evaluation[0]) == 15
    assert set(fold_entities(entities, targets, 20, DRAW.random(60))) == set(range(12))


def test_the_only_entity_of_a_class_trains_every_fold():
    entities = np.repeat(np.arange(6), 4)
    targets = np.where(entities == 2, 2, np.arange(24) % 2)
    assert np.array_equal(sole_owners(entities, targets), entities == 2)
    folds = split_rows(targets, "folds", fraction=0.2, folds=3, seed=0, entities=entities)
    assert all(2 in entities[rows] for rows in folds.training)
    assert all(2 not in entities[rows] for rows in folds.evaluation)


@given(times=st.lists(st.integers(0, 40), min_size=20, max_size=60), seed=st.integers(0, 3))
def test_training_comes_before_validation_before_test(times, seed):
    times = np.array(times, float)
    data = dataset(times=times)
    try:
        parts = split(data, seed=seed, validation=0.2, test=0.2)
    except DataError:
        return
    assert times[parts.train].max() < times[parts.validation].min()
    assert times[parts.validation].max() < times[parts.test].min()
    assert sum(map(len, parts)) == len(times)


def test_a_class_that_appears_later_is_refused():
    data = dataset(times=np.arange(40.0))
    data = replace(data, targets=(np.arange(40) > 34).astype(np.int64))
    with pytest.raises(DataError, match="occurs after the training rows only"):
        split(data, seed=0, validation=0.2, test=0.2)


def test_what_orders_the_rows():
    assert time_values("t", "c", ["3", "1.5", "2"]).tolist() == [3, 1.5, 2]
    times = time_values("t", "c", ["2026-01-05", "2025-12-31 23:00", "2026/01/05 01:00"])
    assert np.argsort(times).tolist() == [1, 0, 2]
    with pytest.raises(DataError, match="'5 Mai' in row 2"):
        time_values("t", "c", ["2026-01-05", "5 Mai", "2026-01-05"])
    with pytest.raises(DataError, match="2 different values"):
        time_values("t", "c", ["1", "2", "2"])
    with pytest.raises(DataError, match="empty in 1 of 3 rows; counted from 1: 2"):
        entity_codes("t", "c", ["a", " ", "b"])
    with pytest.raises(DataError, match="1 different values"):
        entity_codes("t", "c", ["a", "a"])


def test_stretches_of_time_stay_together():
    times = DRAW.permutation(200).astype(float) // 2
    codes = stretches(times)
    assert np.unique(codes).size == 20
    assert (np.diff(codes[np.argsort(times, kind="stable")]) >= 0).all()
    assert all(np.unique(codes[times == one]).size == 1 for one in np.unique(times))


def test_a_column_of_a_frame_or_a_file_splits_the_rows(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(DRAW.normal(size=(40, 2)), columns=["a", "b"]).assign(
        who=[f"p{i // 5}" for i in range(40)], when=pd.date_range("2026-01-01", periods=40)
    )
    target = np.arange(40) % 2
    from mcprune.data.formats.reading import Reading

    by_entity = from_arrays(frame, target, reading=Reading(split_by="who", ignore=("when",)))
    assert by_entity.feature_names == ("a", "b")
    frame.assign(label=target).to_csv(tmp_path / "t.csv", index=False)
    read = load(tmp_path / "t.csv", split_by="who", ignore=("when",))
    assert read.feature_names == ("a", "b")
    np.testing.assert_array_equal(read.entities, by_entity.entities)
    by_time = load(tmp_path / "t.csv", split_time="when", ignore=("who",))
    np.testing.assert_array_equal(np.diff(by_time.times), np.full(39, 86400.0))
    splits = prepare(by_time, seed=0)
    assert splits.parts.test.tolist() == list(range(32, 40))
    assert splits.train.entities is not None
    with pytest.raises(ConfigError, match="split_by='who' names a column"):
        from_arrays(frame[["a", "b"]].to_numpy(), target, reading=Reading(split_by="who"))
