"""Archives (npz) of the user's, and paths that lead nowhere."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data.load import load
from mcprune.errors import ConfigError, DataError


def test_an_archive_of_rows_and_of_images(tmp_path):
    rng = np.random.default_rng(0)
    y = np.array(["b", "a"] * 5)
    np.savez_compressed(tmp_path / "rows.npz", X=rng.normal(size=(10, 3)), y=y)
    dataset = load(tmp_path / "rows.npz")
    assert dataset.labels == ("a", "b")
    assert dataset.image_shape is None
    images = rng.integers(0, 256, (10, 3, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", X=images, y=y, coarse=np.arange(10) // 5)
    dataset = load(tmp_path / "images.npz", target="coarse")
    assert dataset.image_shape == (3, 5, 5)
    assert dataset.labels == (0, 1)
    np.testing.assert_array_equal(dataset.features, images.reshape(10, 75))
    np.savez(tmp_path / "images.npz", X=images.transpose(0, 2, 3, 1), y=y)
    with pytest.raises(DataError, match=r"transpose\(0, 3, 1, 2\)"):
        load(tmp_path / "images.npz")


class Trap:
    """Unpickling this would show."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_object_arrays_are_refused_unopened(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.ones((4, 2)), y=np.array([Trap(), "a", "b", "a"], dtype=object))
    with pytest.raises(DataError, match=r"array 'y' holds Python objects"):
        load(tmp_path / "t.npz")


def test_missing_arrays_get_the_nearest_name(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.ones((4, 2)), labels=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"no array 'y'.*It holds: 'X', 'labels'"):
        load(tmp_path / "t.npz")
    with pytest.raises(DataError, match="Did you mean 'labels'"):
        load(tmp_path / "t.npz", target="label")


def test_lengths_must_agree(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.ones((4, 2)), y=[0, 1, 0])
    with pytest.raises(DataError, match="4 rows of features, but 3 targets"):
        load(tmp_path / "t.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path, method):
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (2**31, 784)})
    with zipfile.ZipFile(tmp_path / "t.npz", "w", method) as archive:
        archive.writestr("X.npy", member.getvalue() + bytes(100))
    with pytest.raises(DataError, match=r"truncated: its header claims 2147483648 x 784"):
        load(tmp_path / "t.npz")


def archive_bytes():
    file = io.BytesIO()
    np.savez_compressed(file, X=np.arange(12.0).reshape(6, 2), y=np.array([0, 1] * 3))
    return file.getvalue()


ARCHIVE = archive_bytes()


@pytest.mark.slow
@given(
    cut=st.none() | st.integers(1, len(ARCHIVE)),
    flips=st.lists(st.integers(0, 8 * len(ARCHIVE) - 1), max_size=3),
)
def test_a_damaged_archive_loads_or_gives_a_data_error(tmp_path_factory, cut, flips):
    raw = bytearray(ARCHIVE)
    for bit in flips:
        raw[bit // 8] ^= 1 << bit % 8
    path = Path(tmp_path_factory.getbasetemp()) / "damaged.npz"
    path.write_bytes(bytes(raw[:cut]))
    try:
        dataset = load(path)
    except DataError:
        return
    # what still loads is what was written: zip keeps a checksum of each array
    assert dataset.features.tolist() == np.arange(12.0).reshape(6, 2).tolist()


# --- paths


def test_a_path_that_does_not_exist_and_a_misspelt_name(tmp_path):
    with pytest.raises(DataError, match=r"does not exist.*Did you mean 'digits'"):
        load("digist")
    with pytest.raises(DataError, match=r"nothing\.csv' does not exist"):
        load(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="no data set is named"):
        load("")


def test_empty_folders_and_files_of_other_kinds(tmp_path):
    with pytest.raises(DataError, match="the folder is empty"):
        load(tmp_path)
    (tmp_path / "notes.md").write_text("a,b\n")
    with pytest.raises(DataError, match=r"it has notes\.md"):
        load(tmp_path)
    with pytest.raises(DataError, match="not a kind of file"):
        load(tmp_path / "notes.md")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        load("/dev/null")


def test_a_target_for_data_without_columns_is_a_configuration_error():
    with pytest.raises(ConfigError, match="classes fixed"):
        load("digits", target="label")
