"""Targets by name and content, headers in files, and columns that are no measurements."""

import numpy as np
import pytest

from mcprune.data.load import from_arrays, load
from mcprune.data.roles.columns import holds_classes, is_identifier_name, row_numbers
from mcprune.errors import DataError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("target", [None, "quality"])
@pytest.mark.parametrize("classes", [("ripe", "unripe", "rotten"), ("1", "2", "3"), ("0.5", "1.5", "2.5")])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_header_of_wavelengths_is_read_as_one(tmp_path, target, classes, place):
    names = ["900", "905", "910", "915"]
    names.insert(place, "quality")
    rows = []
    for i in range(9):
        row = [f"{0.1 * i + j * j:.3f}" for j in range(4)]
        row.insert(place, classes[i % 3])
        rows.append(",".join(row))
    dataset = load(write(tmp_path / "nir.csv", "\n".join([",".join(names), *rows])), target=target or "quality")
    assert dataset.feature_names == ("900", "905", "910", "915")
    assert dataset.n_rows == 9
    assert [str(label) for label in dataset.labels] == sorted(classes)


def test_the_header_can_be_said(tmp_path):
    path = write(tmp_path / "t.csv", "1.5,7,2.5,x\n" + "0.5,1,0.1,y\n0.4,3,0.9,z\n" * 2)
    dataset = load(path)
    assert dataset.feature_names == ("1.5", "7", "2.5")
    assert any("--header no" in note for note in dataset.notes)
    with pytest.raises(DataError, match="1 have one row only: 'x'"):
        load(path, header="no")
    path = write(tmp_path / "u.csv", "3,1,4\n" + "0.5,1,0\n0.4,3,1\n" * 2)
    assert load(path, header="yes").feature_names == ("3", "1")
    with pytest.raises(DataError, match="--header yes"):
        load(write(tmp_path / "v.csv", "3,1,4\n" + "0.5,1,0\n0.4,3,1\n" * 2), target="5")


# --- columns that number the rows


@pytest.mark.parametrize(
    "name",
    ["Unnamed: 0", "index", "Id", "ID", "row", "rownames", "row_id", "PassengerId", "patient_id", "customerID", "#",
     "obs", "sample id", "case.no", "S.No.", "uuid", "level_0", "record_number"],
)  # fmt: skip
def test_names_of_identifiers(name):
    assert is_identifier_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "acid",
        "fluid",
        "humid",
        "grid",
        "paid",
        "age",
        "width",
        "index of refraction",
        "900",
        "cases",
        "lines",
        "number",
    ],
)
def test_names_of_measurements(name):
    assert not is_identifier_name(name)


SHUFFLED = np.random.default_rng(1).permutation(12)


@pytest.mark.parametrize(
    ("name", "column", "kind"),
    [
        ("x", np.arange(12), "certain"),
        ("x", np.arange(1, 13), "certain"),
        ("x", np.arange(12)[::-1], "certain"),
        ("x", 1000 + 10 * np.arange(12), "certain"),
        ("Unnamed: 0", SHUFFLED, "certain"),
        ("id", SHUFFLED * 7 + 100, "certain"),
        ("x", SHUFFLED, "possible"),
        ("time", np.cumsum(np.arange(12) % 3 + 1), "possible"),
        ("x", np.arange(12) * 0.5, "possible"),
        ("time", 3 - np.arange(12) * 0.1, "possible"),
        ("x", np.sqrt(np.arange(12)), ""),
        ("x", SHUFFLED**2, ""),
        ("id", np.arange(12) // 2, ""),
        ("year", np.arange(12) % 5, ""),
        ("x", np.arange(12) + 0.25, "possible"),
    ],
)
def test_which_columns_number_the_rows(name, column, kind):
    table = np.c_[np.random.default_rng(0).normal(size=12), column]
    numbers = row_numbers(["a", name], table)
    assert numbers.certain == ([1] if kind == "certain" else [])
    assert numbers.possible == ([1] if kind == "possible" else [])


def test_few_rows_do_not_tell():
    assert row_numbers(["x"], np.arange(5.0)[:, None]) == ([], [])
    assert row_numbers(["id"], np.arange(5.0)[:, None]) == ([0], [])


def _table(path, name, column, rows=12):
    draw = np.random.default_rng(0).normal(size=rows)
    return write(
        path, f"{name},a,kind\n" + "".join(f"{column[i]},{draw[i]:.3f},{'xyz'[i * 3 // rows]}\n" for i in range(rows))
    )


@pytest.mark.parametrize(
    ("name", "column"),
    [("Unnamed: 0", range(12)), ("n", range(1, 13)), ("Id", SHUFFLED), ("sample", [f"S{i:03}" for i in range(12)])],
)
def test_a_column_that_numbers_or_names_the_rows_is_left_out_and_named(tmp_path, name, column):
    dataset = load(_table(tmp_path / "t.csv", name, column))
    assert dataset.feature_names == ("a",)
    note = next(note for note in dataset.notes if "left out" in note)
    assert repr(name) in note
    assert "--id-columns keep" in note


def test_it_can_be_kept(tmp_path):
    path = _table(tmp_path / "t.csv", "n", range(12))
    assert load(path, id_columns="keep").feature_names == ("n", "a")
    assert load(path, required=("n",)).feature_names == ("n", "a")
    kept = load(_table(tmp_path / "u.csv", "n", [f"S{i}" for i in range(12)]), id_columns="keep")
    assert "values of few rows: 'n'" in kept.notes[-1]


def test_texts_that_repeat_are_no_identifiers(tmp_path):
    for texts in ([f"S{i % 11}" for i in range(12)], [f"S{i}" for i in range(6)]):
        dataset = load(_table(tmp_path / "t.csv", "n", texts, rows=len(texts)))
        assert dataset.feature_names == ("a",)
        assert "values of few rows: 'n'" in dataset.notes[-1]
    dataset = load(_table(tmp_path / "t.csv", "n", [f"S{i % 2}" for i in range(12)]))
    assert dataset.feature_names == ("n=S0", "n=S1", "a")


def test_a_table_of_nothing_else_is_kept(tmp_path):
    path = write(tmp_path / "t.csv", "n,kind\n" + "".join(f"{i},{'xy'[i > 5]}\n" for i in range(12)))
    assert load(path).feature_names == ("n",)


def test_from_python_such_a_column_is_refused_with_the_ways_out():
    X, y = np.c_[np.arange(12), np.random.default_rng(0).normal(size=12)], np.arange(12) // 4
    with pytest.raises(DataError, match=r"'column 0' only numbers the rows .*numpy\.delete\(X, 0, axis=1\)"):
        from_arrays(X, y)
    assert from_arrays(X, y, id_columns="keep").n_inputs == 2
    assert from_arrays(X, y, required=["column 0"]).n_inputs == 2
    pd = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="'Unnamed: 0' only numbers"):
        from_arrays(pd.DataFrame({"Unnamed: 0": SHUFFLED, "a": X[:, 1]}), y)
    images = np.arange(12 * 4).reshape(12, 2, 2)
    assert from_arrays(images, y).n_inputs == 4


def test_npz_arrays_with_such_a_column_are_refused_too(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.c_[np.arange(12), SHUFFLED % 5], y=np.arange(12) // 4)
    with pytest.raises(DataError, match="'column 0' only numbers"):
        load(tmp_path / "t.npz")
    assert load(tmp_path / "t.npz", id_columns="keep").n_inputs == 2


def test_a_permutation_of_the_row_numbers_is_said_but_kept(tmp_path):
    dataset = load(_table(tmp_path / "t.csv", "rank", SHUFFLED))
    assert dataset.feature_names == ("rank", "a")
    assert [(doubt.names, doubt.kind) for doubt in dataset.doubts] == [(("rank",), "identifier")]
    assert "--must-drop" in dataset.doubts[0].text


@pytest.mark.parametrize("kind", ["csv", "arrays"])
def test_row_numbers_are_looked_for_once(kind, tmp_path, monkeypatch):
    looked = []

    def look(names, features):
        looked.append(list(names))
        return row_numbers(names, features)

    for module in ("load", "table_files", "roles.doubts"):
        monkeypatch.setattr(f"mcprune.data.{module}.row_numbers", look)
    rows = np.random.default_rng(0).normal(size=(30, 3))
    if kind == "csv":
        text = "".join(f"{i},{a},{b},{i % 2}\n" for i, (a, b, _) in enumerate(rows))
        (tmp_path / "rows.csv").write_text("number,a,b,class\n" + text)
        assert load(str(tmp_path / "rows.csv")).n_inputs == 2
    else:
        from_arrays(rows, np.arange(30) % 2)
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["x", "y", "x", "y"], True),
        (["1", "2", "1", "2"], True),
        (["1.0", "2.0", "1.0", "1.0"], True),
        (["1.5", "2.5", "1.5", "1.5"], False),
        (["1", "2", "3", "4"], False),
        (["a", "b", "c", "d"], False),
        (["x", "x", "x"], False),
        (["", "", "x", "y"], True),
        ([str(i % 40) for i in range(100)], False),
        ([True, False, True, None], True),
        ([], False),
    ],
)
def test_what_may_be_classes(cells, expected):
    assert holds_classes(cells) is expected


@pytest.mark.parametrize("name", ["diagnosis", "Species", "outcome", "quality", "is_fraud", "churned", "survived"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_usual_name_goes_before_the_last_place_where_that_has_no_classes(tmp_path, name, place):
    names = ["a", "b"]
    names.insert(place, name)
    rows = []
    for i in range(12):
        row = [f"{i * i % 7}.5", f"{i * 5 % 11}.25"]
        row.insert(place, "xy"[i % 2])
        rows.append(",".join(row))
    dataset = load(write(tmp_path / "t.csv", "\n".join([",".join(names), *rows])))
    assert dataset.target_name == name
    assert any(f"column {name!r}" in note and "--target" in note for note in dataset.notes)


def test_a_column_with_a_usual_name_but_without_classes_is_a_feature(tmp_path):
    rows = "".join(f"{i}.5,{i * 7 % 12}.25,{i % 2}\n" for i in range(12))
    dataset = load(write(tmp_path / "t.csv", "quality,a,kind\n" + rows))
    assert dataset.feature_names == ("quality", "a")
