"""Header lines, targets by name, and columns that are no measurements."""

import numpy as np
import pytest

from mcprune.data.columns import find_header, is_identifier_name, known_header, row_numbers
from mcprune.data.load import from_arrays, load
from mcprune.errors import DataError


def _header(first, *rows, target=None):
    return find_header(first, lambda: iter(rows), target)


@pytest.mark.parametrize(
    ("first", "rows", "expected"),
    [
        (["a", "b"], [["1", "2"]], True),
        (["1", "2"], [["3", "4"]], False),
        (["5.1", "3.5", "Iris-setosa"], [["4.9", "3.0", "Iris-setosa"]], False),
        (["400", "402", "label"], [["0.1", "0.2", "1"]], True),
        (["0", "1", "2", "species"], [["5.1", "3.5", "1.4", "setosa"]], True),
        (["0", "1", "2"], [["5.1", "3.5", "1.4"]], True),
        (["a", "b"], [], True),
        (["900", "905", "910", "quality"], [["1", "2", "3", "ripe"], ["1", "2", "3", "rotten"]], True),
        (["1", "2", "3", "ripe"], [["1", "2", "3", "rotten"], ["1", "2", "3", "ripe"]], False),
        (["r1", "5.1", "setosa"], [["r2", "4.9", "other"], ["r3", "4.9", "setosa"]], False),
        (["5.1", "?", "setosa"], [["4.9", "3.0", "setosa"]], False),
        (["5.1", "NA", "setosa"], [["4.9", "3.0", "other"], ["1", "2", "setosa"]], False),
        (["0", "1", "2"], [["0", "1", "2"]], False),
        (["900", "905", "910", "915", "920"], [["0.1", "0.2", "0.2", "0.3", "1"]], True),
        (["1", "2", "3"], [["2", "2", "1"]], False),
        (["900.5", "903", "910", "915", "920"], [["0.1", "0.2", "0.2", "0.3", "1"]], False),
        (["3a", "1"], [["31", "2"], ["3a", "3"]], False),
        (["400.1", "410.7", "420.3", "0"], [[".1", ".2", ".3", str(i % 2)] for i in range(12)], True),
        (["400.1", "410.7", "420.3", "0"], [[".1", ".2", ".3", str(i % 2)] for i in range(8)], False),
        (["400.1", ".2", "420.3", "0"], [[".1", ".2", ".3", str(i % 2)] for i in range(12)], False),
        (["1.5", "2.5", "3.5", "0"], [[str(2.5 + i), str(3.5 + i), str(4.5 + i), "1"] for i in range(12)], False),
    ],
)
def test_what_counts_as_a_header(first, rows, expected):
    assert _header(first, *rows).is_header is expected


def test_a_header_that_is_not_beyond_doubt_is_said_with_the_way_to_say_otherwise():
    assert _header(["a", "b"], ["1", "2"]).note == ""
    assert _header(["1", "2", "x"], ["1", "2", "x"]).note == ""
    assert "--header no" in _header(["900", "905", "quality"], ["1", "2", "ripe"]).note
    assert "--header no" in _header(["900", "905", "910", "915", "920"], ["1", "1", "2", "3", "1"]).note
    assert "--header yes" in _header(["900.5", "903", "910", "915", "920"], ["1", "1", "2", "3", "1"]).note


def test_the_target_s_name_tells_the_header():
    assert _header(["1", "5", "9"], ["1", "2", "3"], target="9") == (True, "")
    assert not _header(["1", "5", "9"], ["1", "2", "3"], target="7").is_header


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


# --- names known from a run


def _known(first, *rows, names=("900", "905", "910", "915"), required=None, target="quality"):
    return known_header(first, lambda: iter(rows), names, names if required is None else required, target).is_header


def test_known_numbers_are_a_header_with_or_without_the_class_in_any_order_with_others():
    rows = [["0.5", "0.25", "1", "2"], ["1", "1", "1", "1"]]
    assert _known(["900", "905", "910", "915"], *rows)
    assert _known(["915", "900", "910", "905"], *rows)
    assert _known(["915", "900", "910", "905", "quality"], *rows)
    assert _known(["900", "905", "910", "915", "920", "925"], *rows)
    assert _known(["905", "915"], *rows, required=("905", "915"))
    assert _known(["905"], ["3"], required=("905",))
    assert _known(["900", "905", "910", "916"], *rows)  # one is missing: the reader says which
    assert not _known(["0.5", "0.25", "1", "2"], ["900", "905", "910", "915"])
    assert not _known(["900", "3", "4", "5"], *rows)
    assert not _known(["900", "900", "910", "915"], *rows)


def test_rows_of_ranks_under_names_of_numbers_are_rows():
    names = ("0", "1", "2", "3")
    assert _known(["0", "1", "2", "3"], ["3", "1", "2", "0"], names=names)
    assert not _known(["3", "1", "2", "0"], ["0", "1", "3", "2"], names=names)
    assert not _known(["1", "1", "0", "1"], ["0", "1", "1", "1"], names=names, required=("0", "1"))


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
    with pytest.raises(DataError, match="holds 'S0' in row 1"):
        load(_table(tmp_path / "u.csv", "n", [f"S{i}" for i in range(12)]), id_columns="keep")


def test_texts_that_repeat_are_no_identifiers(tmp_path):
    with pytest.raises(DataError, match=r"'n' holds 'S0' in row 1 \(line 2\)"):
        load(_table(tmp_path / "t.csv", "n", [f"S{i % 11}" for i in range(12)]))
    with pytest.raises(DataError, match=r"'n' holds 'S0' in row 1 \(line 2\)"):
        load(_table(tmp_path / "t.csv", "n", [f"S{i}" for i in range(6)], rows=6))


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

    for module in ("load", "doubts"):
        monkeypatch.setattr(f"mcprune.data.{module}.row_numbers", look)
    rows = np.random.default_rng(0).normal(size=(30, 3))
    if kind == "csv":
        text = "".join(f"{i},{a},{b},{i % 2}\n" for i, (a, b, _) in enumerate(rows))
        (tmp_path / "rows.csv").write_text("number,a,b,class\n" + text)
        assert load(str(tmp_path / "rows.csv")).n_inputs == 2
    else:
        from_arrays(rows, np.arange(30) % 2)
    assert len(looked) == 1
