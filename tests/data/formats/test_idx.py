"""IDX files: good ones load, broken ones say what is wrong, and no header is believed."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data.formats.idx import read_idx, read_images
from mcprune.data.load import load
from mcprune.data.new_rows import read_rows
from mcprune.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_folder(folder, *, rows=12, test_rows=0, packed=False):
    rng = np.random.default_rng(0)
    made = {}
    for stem, count in (("train", rows), ("t10k", test_rows)):
        if not count:
            continue
        images = rng.integers(0, 256, (count, 3, 4), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3
        made[stem] = (images, labels)
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            raw = idx_bytes(array)
            name = f"{stem}-{what}-ubyte" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(raw) if packed else raw)
    return made


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_gives_back_the_written_images_and_its_test_part(tmp_path, packed):
    made = write_folder(tmp_path, rows=12, test_rows=6, packed=packed)
    dataset = load(tmp_path)
    images = np.concatenate([made["train"][0], made["t10k"][0]])
    assert dataset.features.dtype == np.uint8
    np.testing.assert_array_equal(dataset.features.reshape(images.shape), images)
    assert dataset.image_shape == (3, 4)
    assert dataset.feature_names[5] == "pixel_1_1"
    np.testing.assert_array_equal(dataset.test_rows, np.arange(12, 18))
    assert dataset.labels == (0, 1, 2)


def test_a_plain_file_is_preferred_to_its_gzipped_twin(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"broken")
    assert load(tmp_path).n_rows == 12


@pytest.mark.parametrize("kind", sorted(CODES))
def test_every_number_type_is_read_in_big_endian(tmp_path, kind):
    array = (np.arange(24).reshape(2, 3, 4) * 3 - 20).clip(0 if kind == "u1" else -1000).astype(kind)
    (tmp_path / "x-idx").write_bytes(idx_bytes(array))
    read = read_idx(tmp_path / "x-idx")
    assert read.dtype == np.dtype(kind)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("packed", [False, True])
def test_a_claim_of_two_to_the_31_images_is_refused_without_taking_memory(tmp_path, packed):
    raw = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 28, 28) + bytes(1000)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"claims 2147483648 x 28 x 28 = 1,683,627,180,032 bytes"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.slow
def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_claims(tmp_path):
    raw = bytes([0, 0, 8, 3]) + struct.pack(">3I", 10, 28, 28) + bytes(2**28)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(raw))
    del raw
    tracemalloc.start()
    with pytest.raises(DataError, match="longer than its header claims"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_a_gzipped_claim_within_deflates_reach_stops_where_the_data_stop(tmp_path):
    raw = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1000, 28, 28) + np.random.default_rng(0).bytes(100_000)
    (tmp_path / "short").write_bytes(gzip.compress(raw))
    with pytest.raises(DataError, match=r"truncated.*784,000 bytes, the file has 100,000"):
        read_idx(tmp_path / "short")


def test_the_message_for_a_wrong_magic_shows_what_was_met_and_what_was_wanted(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(DataError, match=r"0x89504e47.*0x00000803"):
        load(tmp_path)


def test_labels_in_the_place_of_images_are_named_so(tmp_path):
    write_folder(tmp_path)
    labels = (tmp_path / "train-labels-idx1-ubyte").read_bytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match="labels"):
        load(tmp_path)
    write_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes((tmp_path / "train-images-idx3-ubyte").read_bytes())
    with pytest.raises(DataError, match="0x00000801"):
        load(tmp_path)


def test_label_and_image_counts_must_agree(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(11, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"11 labels, but train-images-idx3-ubyte holds 12 images"):
        load(tmp_path)


def test_missing_labels_and_several_training_files_are_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="Put train-labels-idx1-ubyte"):
        load(tmp_path)
    write_folder(tmp_path)
    (tmp_path / "letters-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 training .* image files"):
        load(tmp_path)


def test_test_images_of_another_shape_are_refused(tmp_path):
    write_folder(tmp_path, test_rows=6)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((6, 4, 3), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"shape \(4, 3\).* has \(3, 4\)"):
        load(tmp_path)


def test_an_empty_file_and_no_images_are_said(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        load(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((0, 3, 4), dtype=np.uint8)))
    with pytest.raises(DataError, match="no images"):
        load(tmp_path)


@st.composite
def damage(draw, size):
    """A truncation, a flipped bit, or both."""
    cut = draw(st.none() | st.integers(0, size))
    flips = draw(st.lists(st.integers(0, 8 * size - 1), max_size=3))
    return cut, flips


def damaged(raw, cut, flips):
    broken = bytearray(raw)
    for bit in flips:
        broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken[:cut])


GOOD = idx_bytes(np.random.default_rng(1).integers(0, 256, (5, 3, 4), dtype=np.uint8))
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.slow
@pytest.mark.parametrize("raw", [GOOD, PACKED], ids=["plain", "gzip"])
@given(data=st.data())
def test_a_damaged_file_loads_or_gives_a_data_error(tmp_path_factory, raw, data):
    cut, flips = data.draw(damage(len(raw)))
    path = Path(tmp_path_factory.getbasetemp()) / f"damaged-idx-{len(raw)}"
    path.write_bytes(damaged(raw, cut, flips))
    if not cut and cut is not None:
        with pytest.raises(DataError):
            read_images(path)
        return
    try:
        features, _ = read_images(path)
    except DataError:
        return
    assert features.ndim == 2
    assert features.nbytes <= 1032 * len(raw)


@given(cut=st.integers(0, len(GOOD) - 1), packed=st.booleans())
def test_every_truncation_is_noticed(tmp_path_factory, cut, packed):
    path = Path(tmp_path_factory.getbasetemp()) / "cut-idx"
    path.write_bytes(PACKED[: cut % len(PACKED)] if packed else GOOD[:cut])
    with pytest.raises(DataError):
        read_images(path)


def test_new_images_are_read_for_a_model_of_the_same_shape_only(tmp_path):
    made = write_folder(tmp_path)
    dataset = load(tmp_path)
    rows = read_rows(tmp_path / "train-images-idx3-ubyte", dataset).values
    np.testing.assert_array_equal(rows, made["train"][0].reshape(12, 12))
    (tmp_path / "turned").write_bytes(idx_bytes(np.zeros((2, 4, 3), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"\(4, 3\), but the model takes \(3, 4\)"):
        read_rows(tmp_path / "turned", dataset)
