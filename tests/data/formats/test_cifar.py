"""CIFAR's binary batches."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcprune.data.formats.cifar import read_batch
from mcprune.data.load import load
from mcprune.data.new_rows import read_rows
from mcprune.errors import DataError


def batch(rows, *, label_bytes=1, seed=0):
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (rows, label_bytes + 3072), dtype=np.uint8)
    records[:, label_bytes - 1] = np.arange(rows) % 3
    return records


def test_batches_follow_in_order_and_the_test_batch_is_the_test_part(tmp_path):
    first, second, last = batch(6, seed=1), batch(9, seed=2), batch(3, seed=3)
    for name, records in (("data_batch_1", first), ("data_batch_2", second), ("test_batch", last)):
        records.tofile(tmp_path / f"{name}.bin")
    dataset = load(tmp_path)
    whole = np.concatenate([first, second, last])
    np.testing.assert_array_equal(dataset.features, whole[:, 1:])
    np.testing.assert_array_equal(dataset.targets, whole[:, 0])
    np.testing.assert_array_equal(dataset.test_rows, [15, 16, 17])
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.features.dtype == np.uint8
    # pixel 1024 is the first of the green plane
    assert dataset.feature_names[1024] == "pixel_1_0_0"
    np.testing.assert_array_equal(read_rows(tmp_path / "test_batch.bin", dataset).values, last[:, 1:])


def test_of_the_hundred_classes_the_fine_label_is_taken(tmp_path):
    records = batch(6, label_bytes=2)
    records[:, 0] = 77
    records.tofile(tmp_path / "train.bin")
    dataset = load(tmp_path)
    assert dataset.labels == (0, 1, 2)
    assert dataset.test_rows is None
    np.testing.assert_array_equal(dataset.features, records[:, 2:])


def test_a_label_beyond_nine_and_a_partial_record_are_refused(tmp_path):
    records = batch(6)
    records[4, 0] = 10
    records.tofile(tmp_path / "data_batch_1.bin")
    with pytest.raises(DataError, match="record 5 has the label 10"):
        load(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(batch(6).tobytes()[:-7])
    with pytest.raises(DataError, match=r"5 records of 3,073 bytes and 3,066 bytes more"):
        load(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        load(tmp_path)


@pytest.mark.slow
@settings(max_examples=60)
@given(cut=st.none() | st.integers(0, 4 * 3073), flips=st.lists(st.integers(0, 8 * 4 * 3073 - 1), max_size=3))
def test_a_damaged_batch_loads_or_gives_a_data_error(tmp_path_factory, cut, flips):
    raw = bytearray(batch(4).tobytes())
    for bit in flips:
        raw[bit // 8] ^= 1 << bit % 8
    path = Path(tmp_path_factory.getbasetemp()) / "damaged.bin"
    path.write_bytes(bytes(raw[:cut]))
    whole = cut is None or (cut > 0 and cut % 3073 == 0)
    try:
        pixels, labels = read_batch(path)
    except DataError:
        # refused only if it is cut within a record or a flipped bit made a label of 10 or more
        assert not whole or any(raw[i * 3073] > 9 for i in range(4))
        return
    assert whole
    assert pixels.shape == (len(labels), 3072)
    assert labels.max() <= 9
