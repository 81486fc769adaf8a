"""CIFAR's binary batches [1]_.

Each record is one label byte (CIFAR-100: two) and 3 x 32 x 32 pixels, the red plane first.

References
----------
.. [1] Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images; the data's page, 'Binary
version'.
"""

from pathlib import Path

import numpy as np

from mcprune.data.base import Dataset, assemble
from mcprune.errors import DataError
from mcprune.types import AnyArray

SHAPE = (3, 32, 32)
_PIXELS = 3072


def record_bytes(label_bytes: int) -> int:
    """Return the bytes of one record."""
    return label_bytes + _PIXELS


def batch_files(folder: Path) -> tuple[list[Path], Path | None, int]:
    """Return training batches, test batch and number of label bytes; no batches if it is not a CIFAR folder."""
    ten = sorted(folder.glob("data_batch*.bin"))
    if ten:
        return ten, _if_there(folder / "test_batch.bin"), 1
    hundred = _if_there(folder / "train.bin")
    return ([hundred], _if_there(folder / "test.bin"), 2) if hundred else ([], None, 0)


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def count_records(path: Path, label_bytes: int = 1) -> int:
    """Return how many records the file has by its size, which is checked before anything is allocated."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error
    record = record_bytes(label_bytes)
    if size == 0:
        raise DataError(f"{path}: the file is empty. Copy or download it again.")
    if size % record:
        raise DataError(
            f"{path}: truncated, or no CIFAR batch: {size:,} bytes are {size // record:,} records of "
            f"{record:,} bytes and {size % record:,} bytes more. Copy or download it again."
        )
    return size // record


def read_batch(path: Path, label_bytes: int = 1) -> tuple[AnyArray, AnyArray]:
    """Read pixels (rows, 3072) and labels (rows,), both uint8; of CIFAR-100's two labels the fine one.

    Raises
    ------
    DataError
        Empty, truncated, unreadable, or a label beyond the last class (then it is some other file).
    """
    rows = count_records(path, label_bytes)
    try:
        raw = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error
    if raw.size != rows * record_bytes(label_bytes):
        raise DataError(f"{path}: its size changed while it was read. Try again when it is complete.")
    records = raw.reshape(rows, record_bytes(label_bytes))
    labels = records[:, label_bytes - 1]
    classes = 10 if label_bytes == 1 else 100
    wrong = np.flatnonzero(labels >= classes)
    if wrong.size:
        raise DataError(
            f"{path}: record {wrong[0] + 1} has the label {labels[wrong[0]]}, but CIFAR-{classes} has "
            f"0..{classes - 1}. Is it a CIFAR batch?"
        )
    return records[:, label_bytes:], labels


def load_folder(folder: Path, name: str) -> Dataset:
    """Load a folder with data_batch_*.bin and test_batch.bin, or with train.bin and test.bin (CIFAR-100)."""
    train, test, label_bytes = batch_files(folder)
    counts = [count_records(path, label_bytes) for path in (*train, *([test] if test else []))]
    features = np.empty((sum(counts), _PIXELS), dtype=np.uint8)
    targets = np.empty(sum(counts), dtype=np.uint8)
    start = 0
    for path in (*train, *([test] if test else [])):
        pixels, labels = read_batch(path, label_bytes)
        stop = start + len(labels)
        features[start:stop], targets[start:stop] = pixels, labels
        start = stop
    test_rows = np.arange(sum(counts[: len(train)]), sum(counts), dtype=np.int64) if test else None
    return assemble(name, features, targets, image_shape=SHAPE, test_rows=test_rows)
