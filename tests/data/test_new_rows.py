"""New rows: only the columns that the model keeps are needed, and known names tell the header."""

from typing import NamedTuple

import numpy as np
import pytest

from mcprune.data.formats.reading import TextOptions
from mcprune.data.load import load
from mcprune.data.new_rows import read_rows, take_rows
from mcprune.errors import DataError


class Layout(NamedTuple):
    """What a run knows of its columns."""

    feature_names: tuple[str, ...]
    target_name: str | None = None
    image_shape: tuple[int, ...] | None = None
    file_width: int | None = None
    coding: None = None


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


GOOD = "size,weight,species\n1,2.5,cat\n2,3e1,dog\n3,-1,cat\n\n4,.5,dog\n"


def test_new_rows_are_matched_by_name_with_or_without_the_target(tmp_path):
    layout = load(write(tmp_path / "t.csv", GOOD))
    expected = [[1, 2], [3, 4]]
    for text in (
        "size,weight\n1,2\n3,4\n",
        "species,weight,id,size\ncat,2,first,1\nbird,4,second,3\n",
        "1,2\n3,4\n",
        ",size,weight,weight \n0,1,2,2\n1,3,4,4\n".replace("weight ", "other"),
    ):
        assert read_rows(write(tmp_path / "new.csv", text), layout).values.tolist() == expected
    with pytest.raises(DataError, match=r"1 of 2 required columns are missing: 'weight'.*Did you mean 'wieght'"):
        read_rows(write(tmp_path / "new.csv", "size,wieght\n1,2\n"), layout)
    with pytest.raises(DataError, match="no header and 3 columns"):
        read_rows(write(tmp_path / "new.csv", "1,2,3\n3,4,5\n"), layout)
    with pytest.raises(DataError, match=r"1 feature value is missing"):
        read_rows(write(tmp_path / "new.csv", "size,weight\n1,\n"), layout)
    with pytest.raises(DataError, match="no rows"):
        read_rows(write(tmp_path / "new.csv", "size,weight\n"), layout)
    with pytest.raises(DataError, match="several columns are called 'size'"):
        read_rows(write(tmp_path / "new.csv", "size,weight,size\n1,2,3\n"), layout)


def test_new_rows_without_a_header_may_carry_the_target_where_it_was(tmp_path):
    layout = load(write(tmp_path / "t.csv", "5,1,7\n6,0,8\n5,1,9\n6,0,9\n"), target="column 1")
    for text in ("1,2,3\n4,5,6\n", "1,3\n4,6\n"):
        assert read_rows(write(tmp_path / "new.csv", text), layout).values.tolist() == [[1, 3], [4, 6]]
    with pytest.raises(DataError, match="no header and 4 columns"):
        read_rows(write(tmp_path / "new.csv", "1,2,3,4\n"), layout)


def test_without_a_header_the_number_of_columns_says_which_they_are(tmp_path):
    names = ("column 1", "column 2", "column 3")
    layout = Layout(names, "column 0", file_width=4)
    for text, expected in (("9,1,2,3\n", [2, 3]), ("1,2,3\n", [2, 3]), ("2,3\n", [2, 3])):
        assert read_rows(write(tmp_path / "new.csv", text), layout, [1, 2]).values.tolist() == [expected]
    rows = read_rows(write(tmp_path / "new.csv", "2,3\n"), layout, [1, 2])
    assert "'column 2', 'column 3'" in rows.notes[0]


@pytest.mark.parametrize("last", ["the weights", "row numbers"])
def test_a_file_without_a_header_may_end_in_a_column_that_is_no_feature(tmp_path, last):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, (40, 3)) + 0.5
    end = rng.integers(1, 4, 40) if last == "the weights" else np.arange(40)
    lines = [f"{a},{b},{c},{'xy'[i % 2]},{end[i]}" for i, (a, b, c) in enumerate(values)]
    path = write(tmp_path / "t.csv", "\n".join(lines))
    more = {"sample_weight": "column 4"} if last == "the weights" else {}
    layout = load(path, target="column 3", **more)
    assert (layout.n_inputs, layout.file_width) == (3, 5)
    assert read_rows(path, layout, [0, 2]).values.tolist() == values[:, [0, 2]].tolist()
    with pytest.raises(DataError, match="no header and 6 columns"):
        read_rows(write(tmp_path / "wider.csv", "\n".join(line + ",1" for line in lines)), layout, [0, 2])


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_new_rows_of_an_archive_or_a_bare_array(tmp_path, suffix):
    layout, rows = Layout(("a", "b")), np.arange(6.0).reshape(3, 2)
    path = tmp_path / f"new{suffix}"
    np.save(path, rows) if suffix == ".npy" else np.savez(path, whatever=rows)
    assert read_rows(path, layout).values.tolist() == rows.tolist()
    assert read_rows(path, layout, [1]).values.tolist() == rows[:, 1:].tolist()
    assert read_rows(path, Layout(("a", "b", "c")), [2, 0]).values.tolist() == rows.tolist()
    with pytest.raises(DataError, match=r"takes 3 columns\. Give rows of that width"):
        read_rows(path, Layout(("a", "b", "c")))
    with pytest.raises(DataError, match="takes 4 columns, or the 3 columns that it keeps"):
        read_rows(path, Layout(("a", "b", "c", "d")), [0, 1, 2])
    np.savez(tmp_path / "two.npz", y=rows, X=rows + 1)
    assert read_rows(tmp_path / "two.npz", layout).values.tolist() == (rows + 1).tolist()


# --- only the required columns

NIR = Layout(("900", "905", "910", "915"), "quality")
KEPT = [1, 3]


@pytest.mark.parametrize(
    "header",
    ["900,905,910,915", "900,905,910,915,quality", "quality,915,910,905,900", "905,915", "915,905", "quality,905,915",
     "895,900,905,910,915,920", "id,905,915,comment", "905,915,Unnamed: 0", "900,905,915"],
)  # fmt: skip
def test_a_header_of_numbers_is_known_from_the_run(tmp_path, header):
    names = header.split(",")
    values = np.random.default_rng(0).integers(0, 1000, (5, len(names)))
    lines = [
        ",".join(str(v) if names[j] not in ("id", "comment") else f"t{v}" for j, v in enumerate(r)) for r in values
    ]
    rows = read_rows(write(tmp_path / "new.csv", "\n".join([header, *lines])), NIR, KEPT)
    assert rows.values.tolist() == values[:, [names.index("905"), names.index("915")]].tolist()


def test_without_that_header_no_row_is_lost(tmp_path):
    values = np.random.default_rng(0).random((5, 4)).round(3)
    path = write(tmp_path / "new.csv", "\n".join(",".join(map(str, row)) for row in values))
    np.testing.assert_allclose(read_rows(path, NIR, KEPT).values, values[:, KEPT], rtol=1e-6)
    path = write(tmp_path / "new.csv", "\n".join(",".join(map(str, row)) for row in values[:, :2]))
    np.testing.assert_allclose(read_rows(path, NIR, KEPT).values, values[:, :2], rtol=1e-6)


def test_the_header_can_be_said_otherwise(tmp_path):
    path = write(tmp_path / "new.csv", "905,915\n1,2\n3,4\n")
    rows = read_rows(path, NIR, KEPT)
    assert rows.values.tolist() == [[1, 2], [3, 4]]
    assert "--header no" in rows.notes[0]
    assert read_rows(path, NIR, KEPT, text=TextOptions(header="no")).values.tolist() == [[905, 915], [1, 2], [3, 4]]
    with pytest.raises(DataError, match="2 of 2 required columns are missing"):
        read_rows(write(tmp_path / "new.csv", "1,2\n3,4\n"), NIR, KEPT, text=TextOptions(header="yes"))


def test_a_missing_kept_column_is_named_although_the_header_is_of_numbers(tmp_path):
    with pytest.raises(DataError, match=r"1 of 2 required columns are missing: '915'.*Did you mean '916'"):
        read_rows(write(tmp_path / "new.csv", "900,905,910,916\n1,2,3,4\n5,6,7,8\n"), NIR, KEPT)


DROPPED = ["", "NaN", "none at all", "1,5", "inf"]


@pytest.mark.parametrize("cell", DROPPED)
def test_what_a_dropped_column_holds_does_not_matter(tmp_path, cell):
    text = f'900,905,910,915\n1,2,"{cell}",4\n5,6,7,8\n'
    assert read_rows(write(tmp_path / "new.csv", text), NIR, KEPT).values.tolist() == [[2, 4], [6, 8]]
    rows = [[1, 2, cell, 4], [5, 6, 7, 8]]
    assert take_rows("rows", rows, NIR, KEPT).tolist() == [[2, 4], [6, 8]]
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows, columns=list(NIR.feature_names))
    assert take_rows("rows", frame, NIR, KEPT).tolist() == [[2, 4], [6, 8]]
    assert take_rows("rows", frame.drop(columns=["900", "910"]), NIR, KEPT).tolist() == [[2, 4], [6, 8]]
    pytest.importorskip("pyarrow")
    frame.astype({"910": str}).to_parquet(tmp_path / "new.parquet")
    assert read_rows(tmp_path / "new.parquet", NIR, KEPT).values.tolist() == [[2, 4], [6, 8]]


def test_a_gap_in_a_kept_column_names_row_and_column(tmp_path):
    with pytest.raises(DataError, match=r"'915' \(1\)\. Rows, counted from 1: 2\."):
        read_rows(write(tmp_path / "new.csv", "905,915\n1,2\n3,\n"), NIR, KEPT)
    with pytest.raises(DataError, match="'915' holds 'wet' in row 2"):
        read_rows(write(tmp_path / "new.csv", "905,915\n1,2\n3,wet\n"), NIR, KEPT)
    for rows in ([[1, 2], [3, np.nan]], [[0, 1, 0, 2], [0, 3, 0, np.inf]], [[1, 2], [3, None]]):
        with pytest.raises(DataError, match=r"row 1 \(counted from 0\), column '915' is"):
            take_rows("rows", rows, NIR, KEPT)
    with pytest.raises(DataError, match="'905', '915' have something that is not a number"):
        take_rows("rows", [[1, "wet"]], NIR, KEPT)
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"915": [1, 2], "905": [1, np.nan]})
    with pytest.raises(DataError, match=r"row 1 \(counted from 0\), column '905' is nan"):
        take_rows("rows", frame, NIR, KEPT)
    with pytest.raises(DataError, match="'915' holds 'wet' in row 2"):
        take_rows("rows", frame.assign(**{"915": [1, "wet"]}), NIR, KEPT)


def test_rows_from_python_by_name_or_by_place():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({915: [4, 8], "quality": ["x", "y"], 905: [2, 6]})  # names that are numbers
    assert take_rows("rows", frame, NIR, KEPT).tolist() == [[2, 4], [6, 8]]
    assert take_rows("rows", frame[[905, 915]].to_numpy(), NIR, KEPT).tolist() == [[2, 4], [6, 8]]
    with pytest.raises(DataError, match="1 of 2 required columns are missing: '905'"):
        take_rows("rows", frame[[915]], NIR, KEPT)
    with pytest.raises(DataError, match=r"rows of shape \(2, 3\), but the model takes 4 columns, or the 2"):
        take_rows("rows", np.zeros((2, 3)), NIR, KEPT)
    with pytest.raises(DataError, match=r"rows of shape \(4,\)"):
        take_rows("rows", np.zeros(4), NIR, KEPT)
    with pytest.raises(DataError, match="equal length"):
        take_rows("rows", [[1, 2], [3]], NIR, KEPT)


def test_a_frame_for_a_run_without_names_goes_by_place():
    pd = pytest.importorskip("pandas")
    layout = Layout(("column 0", "column 1", "column 2"))
    frame = pd.DataFrame(np.arange(6).reshape(2, 3), columns=list("xyz"))
    assert take_rows("rows", frame, layout, [2]).tolist() == [[2], [5]]
    assert take_rows("rows", frame[["z"]], layout, [2]).tolist() == [[2], [5]]


def test_images_and_tensors():
    torch = pytest.importorskip("torch")
    layout = Layout(tuple(f"pixel_{i}_{j}" for i in range(2) for j in range(3)), None, (2, 3))
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert take_rows("rows", images, layout, [0, 5]).tolist() == [[0, 5], [6, 11]]
    tensor = torch.from_numpy(images).float().requires_grad_()
    assert take_rows("rows", tensor, layout, [0, 5]).tolist() == [[0, 5], [6, 11]]
