"""Columns with gaps or categories as columns of numbers, kept or dropped together."""

import json

import numpy as np
import pytest

from mcprune.data.coding.coding import Category, CodedColumn, Coding, category_of, code_table
from mcprune.data.load import from_arrays, load
from mcprune.data.new_rows import read_rows, take_rows
from mcprune.data.prepare import prepare
from mcprune.data.scale import Scaler, column_means
from mcprune.errors import DataError

COLORS = ["red"] * 6 + ["blue"] * 7 + ["green", "grey", None]


def table(path, rows=60):
    draw = np.random.default_rng(0)
    lines = ["a,gap,color,label"]
    for i in range(rows):
        gap = "" if i % 7 == 0 else f"{draw.normal():.3f}"
        lines.append(f"{draw.normal():.3f},{gap},{draw.choice(['red', 'green', 'blue'])},{'xy'[i % 2]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_category_has_a_column_for_each_frequent_value_one_for_the_others_and_one_for_gaps():
    coded = code_table("t", ["color"], [category_of(COLORS)])
    assert coded.coding.names == ("color=blue", "color=red", "color is another", "color is missing")
    assert coded.features.sum(axis=0).tolist() == [7, 6, 2, 1]
    assert coded.features.sum(axis=1).tolist() == [1] * 16
    assert "fewer than 5 rows" in coded.notes[0]
    assert coded.coding.groups() == {"color": {"sites": list(coded.coding.names), "cost": 1}}


def test_new_values_are_the_others_where_there_are_others_else_none():
    new = category_of(["red", "violet", None])
    with_others = CodedColumn("c", ("blue", "red"), has_others=True, has_gaps=True)
    assert with_others.encode(new).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert with_others.unknown(new) == []
    without = CodedColumn("c", ("blue", "red"))
    assert without.encode(new).tolist() == [[0, 1], [0, 0], [0, 0]]
    assert without.unknown(new) == ["violet"]


def test_numbers_with_gaps_have_an_indicator_and_those_without_are_as_they_were():
    gaps, whole = np.array([1.0, np.nan, 3.0]), np.array([4.0, 5.0, 6.0])
    coded = code_table("t", ["g", "w"], [gaps, whole])
    assert coded.coding.names == ("g", "g is missing", "w")
    np.testing.assert_array_equal(coded.features, [[1, 0, 4], [np.nan, 1, 5], [3, 0, 6]])
    assert list(coded.coding.groups()) == ["g"]


def test_columns_that_say_nothing_are_left_out_and_named():
    cells = [category_of(["x"] * 9), category_of([str(i) for i in range(9)]), np.full(9, np.nan), np.arange(9.0)]
    coded = code_table("t", ["same", "all", "empty", "a"], cells)
    assert coded.coding.names == ("a",)
    assert "'same', 'all', 'empty'" in coded.notes[-1]
    with pytest.raises(DataError, match="no column is left: 'same' say nothing"):
        code_table("t", ["same"], cells[:1])


def test_a_coding_comes_back_from_json():
    coding = code_table("t", ["color", "g"], [category_of(COLORS), np.r_[np.nan, np.arange(15.0)]]).coding
    assert Coding.from_dict(json.loads(json.dumps(coding.to_dict()))) == coding
    for broken in ({}, {"columns": 3}, {"columns": [["a", None, False]]}, {"columns": [["a", [1], False, False]]}):
        with pytest.raises(DataError, match="broken"):
            Coding.from_dict(broken)


def test_only_the_columns_that_are_needed_are_asked_for():
    coding = Coding((CodedColumn("a"), CodedColumn("c", ("x", "y")), CodedColumn("g", None, False, True)))
    assert coding.names == ("a", "c=x", "c=y", "g", "g is missing")
    assert coding.owners([2, 4]) == [1, 2]
    cells = [category_of(["y", "x"]), np.array([np.nan, 2.0])]
    assert coding.pick("t", cells, [2, 4]).tolist() == [[1, 1], [0, 0]]
    with pytest.raises(DataError, match="'g' holds 'tall' in row 2, where a number is needed"):
        coding.pick("t", [category_of(["y", "x"]), category_of([None, "tall"])], [2, 4])
    with pytest.raises(DataError, match="'g' is infinite in row 1"):
        coding.pick("t", [category_of(["y"]), np.array([np.inf])], [2, 4])


def test_gaps_are_filled_with_the_mean_of_the_training_rows(tmp_path):
    dataset = load(table(tmp_path / "t.csv"))
    assert np.isnan(dataset.features[:, 1]).sum() == 9
    splits = prepare(dataset, seed=0)
    raw = dataset.features[splits.parts.train, 1]
    is_missing = np.isnan(raw)
    assert splits.scaler.fill[1] == pytest.approx(np.nanmean(raw))
    np.testing.assert_allclose(splits.train.features[is_missing, 1], 0, atol=1e-6)  # the mean, scaled
    assert all(np.isfinite(part.features).all() for part in (splits.train, splits.validation, splits.test))
    again = Scaler.from_dict(json.loads(json.dumps(splits.scaler.to_dict())))
    np.testing.assert_array_equal(again.apply(dataset.features), splits.scaler.apply(dataset.features))
    np.testing.assert_array_equal(again.select(np.array([1])).fill, splits.scaler.fill[[1]])


def test_files_and_frames_are_coded_alike_and_new_rows_as_those_of_the_run(tmp_path):
    pd = pytest.importorskip("pandas")
    path = table(tmp_path / "t.csv")
    dataset, frame = load(path), pd.read_csv(path)
    same = from_arrays(frame.drop(columns="label"), frame["label"])
    assert same.feature_names == dataset.feature_names
    np.testing.assert_array_equal(same.features, dataset.features)
    columns = [1, 2, 4]
    np.testing.assert_array_equal(read_rows(path, dataset, columns).values, dataset.features[:, columns])
    np.testing.assert_allclose(
        take_rows("t", frame[["color", "gap"]], dataset, columns), dataset.features[:, columns], rtol=1e-6
    )
    as_category = frame.assign(color=frame["color"].astype("category"))
    np.testing.assert_allclose(take_rows("t", as_category, dataset, columns), dataset.features[:, columns], rtol=1e-6)
    np.testing.assert_allclose(
        take_rows("t", frame.drop(columns="label").to_numpy(), dataset, columns),
        dataset.features[:, columns],
        rtol=1e-6,
    )
    (tmp_path / "new.csv").write_text("color,gap\nviolet,1\nred,\n")
    new = read_rows(tmp_path / "new.csv", dataset, columns)
    np.testing.assert_array_equal(new.values, [[1, 0, 0], [np.nan, 1, 0]])
    assert "'color' has values that the run did not have" in new.notes[-1]
    with pytest.raises(DataError, match="required columns are missing: 'color'"):
        take_rows("t", frame[["gap"]], dataset, columns)


def test_a_parquet_with_categories_and_gaps(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(table(tmp_path / "t.csv"))
    frame.assign(color=frame["color"].astype("category")).to_parquet(tmp_path / "t.parquet")
    read, other = load(tmp_path / "t.parquet"), load(tmp_path / "t.csv")
    assert read.feature_names == other.feature_names
    np.testing.assert_array_equal(read.features, other.features)
    np.testing.assert_array_equal(read_rows(tmp_path / "t.parquet", read, [1, 4]).values, read.features[:, [1, 4]])


def test_arrays_with_gaps():
    X = np.random.default_rng(0).normal(size=(20, 3))
    X[::4, 1] = np.nan
    dataset = from_arrays(X, np.arange(20) % 2)
    assert dataset.feature_names == ("column 0", "column 1", "column 1 is missing", "column 2")
    np.testing.assert_allclose(take_rows("t", X, dataset, [1, 2]), np.c_[X[:, 1], np.isnan(X[:, 1])], rtol=1e-6)
    X[3, 0] = np.inf
    with pytest.raises(DataError, match="1 feature value is infinite"):
        from_arrays(X, np.arange(20) % 2)


def test_codes_of_whole_numbers_are_one_value_in_files_and_frames():
    column = CodedColumn("c", ("1", "2"))
    assert column.encode(Category(np.array([0, 1]), ("2", "1"))).tolist() == [[0, 1], [1, 0]]


def test_values_are_counted_by_weight_and_the_order_of_the_rows_has_no_say():
    cells, weights = category_of(["b"] * 4 + ["a"] * 6 + ["c"] * 3), np.r_[np.ones(4), np.ones(6), 2.0 * np.ones(3)]
    assert code_table("t", ["x"], [cells]).coding.columns[0].values == ("a",)
    assert code_table("t", ["x"], [cells], weights).coding.columns[0].values == ("a", "c")
    many = [f"v{j:02d}" for j in range(40) for _ in range(5)]  # more values than have a column, all as frequent
    first, last = (code_table("t", ["x"], [category_of(texts)]).coding for texts in (many, many[::-1]))
    assert first == last
    assert len(first.columns[0].values) == 30


def test_weighted_rows_fill_gaps_as_repeated_rows_do():
    values, weights = np.array([[1.0, np.nan], [4.0, 2.0], [np.nan, 8.0]]), np.array([2.0, 3.0, 1.0])
    repeated = values.repeat(weights.astype(int), axis=0)
    np.testing.assert_allclose(column_means(values, weights), column_means(repeated))
    np.testing.assert_allclose(column_means(repeated), [2.8, 3.5])
