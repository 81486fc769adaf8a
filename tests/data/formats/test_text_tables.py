"""csv, tsv and other text tables of the user's."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data.load import load
from mcprune.errors import ConfigError, DataError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


GOOD = "size,weight,species\n1,2.5,cat\n2,3e1,dog\n3,-1,cat\n\n4,.5,dog\n"


def test_a_csv_with_its_last_column_as_the_target(tmp_path):
    dataset = load(write(tmp_path / "pets.csv", GOOD))
    assert dataset.name == "pets"
    assert dataset.feature_names == ("size", "weight")
    assert dataset.labels == ("cat", "dog")
    assert dataset.targets.tolist() == [0, 1, 0, 1]
    assert dataset.features.tolist() == [[1, 2.5], [2, 30], [3, -1], [4, 0.5]]
    assert dataset.features.dtype == np.float32
    assert dataset.target_name == "species"
    assert "last column 'species'" in dataset.notes[0]


def test_tabs_quotes_spaces_and_a_byte_order_mark(tmp_path):
    text = '\ufeff"a b"\tc\n 1\t"x, y"\n2 \tz\n3\t"x, y"\n4\tz\n'
    dataset = load(write(tmp_path / "t.tsv", text))
    assert dataset.feature_names == ("a b",)
    assert dataset.labels == ("x, y", "z")


@pytest.mark.parametrize(
    ("header", "column"),
    [("Label,a,b", 0), ("a,y,b", 1), ("a,b,c", 2), ("a,CLASS,target_x", 1)],
)
def test_the_default_target_column(tmp_path, header, column):
    dataset = load(write(tmp_path / "t.csv", header + "\n" + "0,0,0\n1,1,1\n" * 2))
    names = header.split(",")
    assert dataset.target_name == names[column]
    assert dataset.feature_names == tuple(name for name in names if name != names[column])
    assert repr(names[column]) in dataset.notes[0]


def test_a_named_target_and_the_nearest_right_name(tmp_path):
    path = write(tmp_path / "t.csv", GOOD)
    with pytest.raises(DataError, match=r"no target column 'speces'. Did you mean 'species'\?"):
        load(path, target="speces")
    path = write(tmp_path / "u.csv", "grade,a,b\n1,5,6\n2,7,8\n1,9,9\n2,9,9\n")
    dataset = load(path, target="grade")
    assert dataset.feature_names == ("a", "b")
    assert dataset.labels == (1, 2)
    assert dataset.notes == ()


def test_text_in_a_feature_column_names_column_row_and_content(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,label\n1,2,0\n1,2,1\n\n1,tall,0\n1,2,1\n")
    with pytest.raises(DataError, match=r"column 'b' holds 'tall' in row 3 \(line 5\)"):
        load(path)


@pytest.mark.parametrize("cell", ["1_000", "0x10", "1,5,5", "ten", "2024-01-01", "True"])
def test_what_only_looks_like_a_number_is_text(tmp_path, cell):
    path = write(tmp_path / "t.csv", f'some_a,b,label\n1,2,0\n1,2,1\n1,"{cell}",0\n1,2,1\n')
    with pytest.raises(DataError, match=f"column 'b' holds '{cell}' in row 3"):
        load(path)


def test_infinite_features_are_counted_by_column_and_row(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c,label\n1,,3,0\n1,inf,3,1\n1,2,3,0\nNA,-inf,1e39,1\n1,2,3,0\n")
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "3 feature values are infinite or beyond" in message
    assert "2 of 5 rows and 2 of 5 columns" in message
    assert "'b' (2), 'c' (1)" in message
    assert "Rows, counted from 1: 2, 4." in message


def test_missing_targets_are_refused(tmp_path):
    path = write(tmp_path / "t.csv", "a,label\n1,x\n2,\n3,y\n4,x\n5,nan\n")
    with pytest.raises(DataError, match=r"'label' is missing .* in 2 of 5 rows; counted from 1: 2, 5"):
        load(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b,label\n", "no rows"),
        ("a,b,label\n1,2,0\n1,2\n", r"line 3 has 2 cells, the first line has 3"),
        ("a:b:label\n1:2:0\n", "one column only, 'a:b:label'"),
        ("a,,label\n0,2,0\n1,2,1\n", r"column 1 \(counted from 0\) has no name"),
        ("b,b,label\n0,2,0\n1,2,1\n", "called 'b'"),
        ('a,label\n1,"0\n2,1\n', "not a readable table"),
        ("a,label\n1,0\n2,0\n", "all 2 rows have the class 0"),
        ("a,label\n1,0\n2,0\n3,1\n", "1 have one row only: 1"),
        ("a,label\n" + "".join(f"1,{i}\n" for i in range(9)), "looks like a measured quantity"),
    ],
)
def test_broken_tables_say_what_is_wrong(tmp_path, text, match):
    with pytest.raises(DataError, match=match):
        load(write(tmp_path / "t.csv", text))


def test_a_file_that_turns_out_not_to_be_utf_8_is_read_again(tmp_path):
    text = "größe,label\n" + "1,0\n2,1\n" * 20_000 + "3,é\n4,é\n"
    (tmp_path / "t.csv").write_bytes(text.replace("größe", "size").encode("cp1252"))
    dataset = load(tmp_path / "t.csv")
    assert dataset.labels == ("0", "1", "é")
    assert dataset.notes[0] == "read as: encoding cp1252"
    assert len(set(dataset.notes)) == len(dataset.notes)
    (tmp_path / "t.csv").write_bytes(text.encode("cp1252"))
    assert load(tmp_path / "t.csv").feature_names == ("größe",)
    with pytest.raises(DataError, match=r"not a text file in utf-8.*--encoding"):
        load(tmp_path / "t.csv", encoding="utf-8")


def test_a_table_without_a_header_loses_no_row(tmp_path):
    dataset = load(write(tmp_path / "iris.csv", "5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,2.0,other\n6.2,2.1,other\n"))
    assert dataset.features[0].tolist() == pytest.approx([5.1, 3.5])
    assert dataset.n_rows == 4
    assert dataset.feature_names == ("column 0", "column 1")
    assert dataset.target_name == "column 2"


@given(
    values=st.lists(
        st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(["x", "y_1"])),
        min_size=1,
        max_size=20,
    )
)
def test_a_written_table_is_read_back_exactly(tmp_path_factory, values):
    doubled = values + values + [(0.0, "x"), (0.0, "x"), (1.0, "y_1"), (1.0, "y_1")]
    path = Path(tmp_path_factory.getbasetemp()) / "written.csv"
    write(path, "a_1,label\n" + "".join(f"{number!r},{kind}\n" for number, kind in doubled))
    dataset = load(path)
    assert dataset.features[:, 0].tolist() == [number for number, _ in doubled]
    assert [dataset.labels[i] for i in dataset.targets] == [kind for _, kind in doubled]


@given(text=st.text(alphabet='ab1.,\n"\t -_eE', max_size=60))
def test_any_text_loads_or_gives_a_data_error(tmp_path_factory, text):
    path = Path(tmp_path_factory.getbasetemp()) / "any.csv"
    path.write_text(text, newline="")
    try:
        dataset = load(path)
    except DataError:
        return
    assert np.isfinite(dataset.features).all()
    assert np.bincount(dataset.targets).min() >= 2


def test_large_values_that_differ_little_keep_their_differences(tmp_path):
    stamps = [1_700_000_000 + i for i in range(6)]
    text = "time,b,label\n" + "".join(f"{stamp},{i},{i % 2}\n" for i, stamp in enumerate(stamps))
    dataset = load(write(tmp_path / "t.csv", text))
    assert dataset.features[:, 0].tolist() == stamps


def test_an_index_without_a_name_is_left_out_and_a_measurement_without_one_is_named(tmp_path):
    rows = [(f"{i * i % 7}.5", ["no", "yes"][i % 2]) for i in range(12)]
    path = tmp_path / "t.csv"
    path.write_text(",a,label\n" + "".join(f"{i},{a},{label}\n" for i, (a, label) in enumerate(rows)))
    dataset = load(path)
    assert dataset.feature_names == ("a",)
    assert any("left out" in note and "'Unnamed: 0'" in note for note in dataset.notes)
    path.write_text(",a,label\n" + "".join(f"{i % 5},{a},{label}\n" for i, (a, label) in enumerate(rows)))
    assert load(path).feature_names == ("Unnamed: 0", "a")


def test_the_user_goes_before_what_is_seen(tmp_path):
    path = write(tmp_path / "t.csv", "a;b;label\n1,5;2;x\n2,5;3;y\n3,5;4;x\n0,5;4;y\n")
    assert load(path).features[0].tolist() == [1.5, 2]
    assert load(path, separator="semicolon", decimal="comma", encoding="utf-8").features[0].tolist() == [1.5, 2]
    with pytest.raises(DataError, match="holds '1,5' in row 1"):
        load(path, decimal="point")
    with pytest.raises(DataError, match="one column only"):
        load(path, separator="|")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"separator": "::"}, "separator='::'"),
        ({"separator": '"'}, "one character"),
        ({"decimal": "x"}, "no decimal mark"),
        ({"encoding": "utf-99"}, "none that Python knows"),
        ({"encoding": "base64"}, "none that Python knows"),
        ({"split_by": "a", "split_time": "b"}, "Choose one"),
        ({"split_by": "a", "target": "a"}, "two of the roles"),
        ({"ignore": ("a",), "sample_weight": "a"}, "two of the roles"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, match):
    with pytest.raises(ConfigError, match=match):
        load(write(tmp_path / "t.csv", "a,b,label\n1,2.5,0\n2,3.5,1\n3,3,0\n4,2,1\n"), **options)


def test_a_column_that_is_ignored_may_hold_anything(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,label\n1,x,0\n2,,1\n3,2026-01-01,0\n4,?,1\n")
    assert load(path, ignore=("b",)).feature_names == ("a",)
    with pytest.raises(DataError, match="no column 'c' to ignore"):
        load(path, ignore=("c",))


@given(
    values=st.lists(
        st.tuples(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), st.integers(0, 10**7)), min_size=4, max_size=12
    ),
    separator=st.sampled_from([";", "\t", "|"]),
    has_points=st.booleans(),
)
def test_numbers_with_decimal_commas_are_those_with_points(tmp_path_factory, values, separator, has_points):
    path = Path(tmp_path_factory.getbasetemp()) / "commas.csv"

    def text(number):
        whole = f"{number:,.3f}" if has_points else f"{number:.3f}"
        return whole.translate(str.maketrans(",.", ".,"))

    lines = [separator.join((text(a), str(b), "xy"[i % 2])) for i, (a, b) in enumerate(values)]
    write(path, "\n".join([f"a{separator}b{separator}label", *lines]) + "\n")
    features = load(path, decimal="comma", id_columns="keep").features
    np.testing.assert_allclose(features, np.array(values), rtol=1e-6)
