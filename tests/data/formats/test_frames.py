"""Data frames of several libraries, and parquet files."""

import importlib.util

import numpy as np
import pytest

from mcprune.data.formats.frames import as_frame, frame_values, names_of
from mcprune.data.load import from_arrays, load
from mcprune.data.new_rows import read_rows, take_rows
from mcprune.errors import DataError

needs_pandas = pytest.mark.skipif(
    not (importlib.util.find_spec("pandas") and importlib.util.find_spec("pyarrow")),
    reason="no pandas and pyarrow",
)


def test_a_frame_gives_its_names_and_its_texts_are_located():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2, 3, 4], "b": [True, False, True, False], 3: pd.array([1, 2, 3, 4], dtype="Int64")})
    target = pd.Series(["u", "v", "u", "v"], name="kind", dtype="category")
    dataset = from_arrays(frame, target)
    assert dataset.feature_names == ("a", "b", "3")
    assert dataset.features.tolist() == [[1, 1, 1], [2, 0, 2], [3, 1, 3], [4, 0, 4]]
    assert dataset.labels == ("u", "v")
    assert dataset.target_name == "kind"
    gap = from_arrays(frame.assign(**{"x": 1.0}).replace({3: {2: pd.NA}}), target)
    assert gap.feature_names == ("a", "b", "3", "3 is missing", "x")
    assert gap.features[:, 3].tolist() == [0, 1, 0, 0]
    with pytest.raises(DataError, match="column 'b' holds 'blue' in row 3"):
        from_arrays(frame.assign(b=[1, 2, "blue", 4]), target)
    with pytest.raises(DataError, match="column 'b' holds '2020-01-01"):
        from_arrays(frame.assign(b=pd.to_datetime("2020-01-01")), target)
    with pytest.raises(DataError, match="missing"):
        from_arrays(frame, pd.Series(["u", pd.NA, "u", "v"]))


COLUMNS = {"a": [1.5, 2, 3, 4], "b": [True, False, True, False], "c": [1, 2, 3, 5]}


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_of_each_library_are_read_alike(library):
    module = pytest.importorskip(library)
    frame = (module.table if library == "pyarrow" else module.DataFrame)(COLUMNS)
    target = module.array(["u", "v", "u", "v"]) if library == "pyarrow" else module.Series(["u", "v", "u", "v"])
    dataset = from_arrays(frame, target)
    assert dataset.feature_names == ("a", "b", "c")
    assert dataset.features.tolist() == [[1.5, 1, 1], [2, 0, 2], [3, 1, 3], [4, 0, 5]]
    assert dataset.labels == ("u", "v")
    assert take_rows("rows", frame, dataset, [2, 0]).tolist() == [[1, 1.5], [2, 2], [3, 3], [5, 4]]
    narrow = (module.table if library == "pyarrow" else module.DataFrame)({"c": [7], "x": ["text"]})
    assert take_rows("rows", narrow, dataset, [2]).tolist() == [[7]]


def test_gaps_of_each_kind_are_missing_values():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "float": [1, None],
            "integer": pd.array([1, None], dtype="Int64"),
            "truth": pd.array([True, None], dtype="boolean"),
            "object": np.array([1, None], dtype=object),
            "category": pd.Categorical([1, None]),
        }
    )
    values = frame_values("t", as_frame("t", frame))
    assert values[0].tolist() == [1, 1, 1, 1, 1]
    assert np.isnan(values[1]).all()


def test_columns_called_alike_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="several columns are called '3'"):
        as_frame("t", pd.DataFrame([[1, 2]], columns=[3, "3"]))
    with pytest.raises(DataError, match="several columns are called 'a'"):
        as_frame("t", pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert names_of(as_frame("t", pd.DataFrame([[1, 2]]))) == ("0", "1")
    assert as_frame("t", [[1, 2]]) is None


def test_a_frame_of_bytes_stays_bytes():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.arange(8, dtype=np.uint8).reshape(4, 2))
    assert from_arrays(frame, [0, 1, 0, 1]).features.dtype == np.uint8


def test_a_target_in_a_frame_of_one_column():
    pd = pytest.importorskip("pandas")
    X = np.random.default_rng(0).normal(size=(4, 1))
    dataset = from_arrays(X, pd.DataFrame({"kind": ["1.0", "1", "1.0", "1"]}))
    assert (dataset.labels, dataset.target_name) == (("1", "1.0"), "kind")
    with pytest.raises(DataError, match="2 columns"):
        from_arrays(X, pd.DataFrame({"p": [0, 1, 0, 1], "q": [1, 0, 1, 0]}))


# --- parquet


@needs_pandas
def test_parquet_without_the_frames_index(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(
        {"a": [1, 2, None, 4], "b": [True, False, True, True], "kind": pd.Categorical(["u", "v", "u", "v"])},
        index=["r", "s", "t", "u"],
    )
    path = tmp_path / "t.parquet"
    frame.fillna({"a": 3}).to_parquet(path)
    dataset = load(path)
    assert dataset.feature_names == ("a", "b")
    assert dataset.features.tolist() == [[1, 1], [2, 0], [3, 1], [4, 1]]
    assert dataset.labels == ("u", "v")
    assert read_rows(path, dataset).values.tolist() == dataset.features.tolist()
    frame.to_parquet(path)
    gap = load(path)
    assert gap.feature_names == ("a", "a is missing", "b")
    assert gap.features[:, 1].tolist() == [0, 0, 1, 0]
    frame.assign(a=["1", "2", "3", "4"]).to_parquet(path)
    with pytest.raises(DataError, match="column 'a' holds '1' in row 1"):
        load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a readable parquet file"):
        load(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name))
    (tmp_path / "t.parquet").write_text("PAR1")
    with pytest.raises(DataError, match=r"pip install pyarrow"):
        load(tmp_path / "t.parquet")


@needs_pandas
def test_texts_that_name_the_rows_of_a_parquet_are_left_out(tmp_path):
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"who": [f"S{i}" for i in range(12)], "a": rng.normal(size=12), "kind": list("xyz") * 4})
    frame.to_parquet(tmp_path / "t.parquet")
    dataset = load(tmp_path / "t.parquet")
    assert dataset.feature_names == ("a",)
    assert any("'who'" in note for note in dataset.notes)


@pytest.fixture
def measured():
    """Twelve rows of a number, and their classes."""
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    return {"a": rng.normal(size=12), "kind": list("xyz") * 4}


def test_a_feather_file_is_read_as_a_parquet_file(measured, tmp_path):
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    table = pa.table(measured)
    pyarrow.feather.write_feather(table, str(tmp_path / "t.feather"))
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    dataset, other = load(tmp_path / "t.feather"), load(tmp_path / "t.parquet")
    np.testing.assert_array_equal(dataset.features, other.features)
    assert dataset.labels == other.labels == ("x", "y", "z")
    assert read_rows(tmp_path / "t.feather", dataset).values.tolist() == dataset.features.tolist()
    (tmp_path / "t.feather").write_bytes(b"ARROW1 and no more")
    with pytest.raises(DataError, match="not a readable feather file"):
        load(tmp_path / "t.feather")


def test_columns_of_one_name_in_a_parquet_are_refused(measured, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    arrays = [pa.array(measured["a"]), pa.array(measured["a"]), pa.array(measured["kind"])]
    pyarrow.parquet.write_table(pa.Table.from_arrays(arrays, names=["a", "a", "kind"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="several columns are called 'a'"):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize("gap", [False, True])
def test_integers_that_a_float_rounds_are_read(measured, tmp_path, gap):
    import pyarrow as pa
    import pyarrow.parquet

    numbers = [2**60 + 2**40 * int(i) for i in (3, 1, 0, 2, 7, 5, 4, 6, 9, 8, 11, 30)]
    table = pa.table({"big": pa.array([None, *numbers[1:]] if gap else numbers, pa.int64()), **measured})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    dataset = load(tmp_path / "t.parquet")
    assert dataset.features[1, 0] == 2**60 + 2**40
    assert np.isnan(dataset.features[0, 0]) == gap


def test_measurements_that_are_stored_as_texts_are_refused(measured, tmp_path):
    """They are different in each row, as names of rows are."""
    import pyarrow as pa
    import pyarrow.parquet

    texts = [f"{value:.4f}" for value in measured["a"]]
    pyarrow.parquet.write_table(pa.table({"b": measured["a"], **measured, "a": texts}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'a' holds '[-.\d]+' in row 1, where a number is needed"):
        load(tmp_path / "t.parquet")
