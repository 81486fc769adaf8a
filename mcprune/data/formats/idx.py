"""IDX files, plain or gzipped: the format of MNIST and its relatives.

Layout [1]_: two zero bytes, a type byte, the number of dimensions, then each dimension as a big-endian
uint32, then the values in C order, big-endian.

References
----------
.. [1] LeCun, Cortes, Burges, The MNIST database of handwritten digits, 'File formats'.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mcprune.data.base import Dataset, ImageShape, assemble
from mcprune.data.roles.checks import some
from mcprune.errors import DataError
from mcprune.types import AnyArray

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# DEFLATE cannot compress by more than 1032 (RFC 1951: 258 bytes for at least two bits): a header that claims more
# is wrong.
_MAX_DEFLATE = 1032
_CHUNK = 1 << 22


def is_gzip(path: Path) -> bool:
    """Return whether a file starts as gzip files do."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_idx(path: Path) -> AnyArray:
    """Read the array of one IDX file, in native byte order.

    No more memory is allocated than the file's size allows: the header is checked against it first, and a gzipped
    file is unpacked no further than the header claims.

    Raises
    ------
    DataError
        Not an IDX file, truncated, longer than its header claims, broken gzip, unreadable.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path}: the file is empty. Copy or download it again.")
        if is_gzip(path):
            with gzip.open(path, "rb") as packed:
                return _read(path, packed, size * _MAX_DEFLATE, exact=False)  # type: ignore[arg-type]
        with path.open("rb") as plain:
            return _read(path, plain, size, exact=True)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: broken or truncated gzip file ({error}). Copy or download it again.") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error


def _read(path: Path, file: BinaryIO, size: int, *, exact: bool) -> AnyArray:
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError(f"{path}: {len(magic)} bytes, shorter than an IDX header. Copy or download the file again.")
    if magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
        raise DataError(
            f"{path}: not an IDX file: it starts with 0x{magic.hex()}, where images start with 0x00000803 "
            "and labels with 0x00000801."
        )
    raw_shape = file.read(4 * magic[3])
    if len(raw_shape) < 4 * magic[3]:
        raise DataError(f"{path}: truncated within its header. Copy or download the file again.")
    shape = tuple(np.frombuffer(raw_shape, dtype=">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    header = 4 + 4 * magic[3]
    claimed = math.prod(shape) * dtype.itemsize
    sides = " x ".join(map(str, shape))
    if (
        not claimed and math.prod(filter(None, shape)) * dtype.itemsize >= 2**63
    ):  # an empty array that numpy cannot shape
        raise DataError(
            f"{path}: the header claims {sides}, which is not a possible size. Copy or download the file again."
        )
    if header + claimed > size or (exact and header + claimed < size):
        available = f"{size - header:,}" if exact else f"at most {size - header:,}"
        fault = "truncated" if header + claimed > size else "longer than its header claims"
        raise DataError(
            f"{path}: {fault}: the header claims {sides} = {claimed:,} bytes, the file has {available}. Copy or "
            "download it again."
        )
    data = bytearray()
    while len(data) < claimed:
        piece = file.read(min(_CHUNK, claimed - len(data)))
        if not piece:
            raise DataError(
                f"{path}: truncated: the header claims {sides} = {claimed:,} bytes, the file has "
                f"{len(data):,}. Copy or download it again."
            )
        data += piece
    if file.read(1):  # this read also makes gzip check its sum
        raise DataError(
            f"{path}: longer than its header claims, {sides} = {claimed:,} bytes. Copy or download it again."
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_images(path: Path) -> tuple[AnyArray, ImageShape | None]:
    """Read the images of one IDX file as (rows, N), and their shape (None for a two-dimensional file: a table)."""
    array = read_idx(path)
    if array.ndim < 2:
        raise DataError(
            f"{path}: holds {array.ndim} dimension (labels?) where images were expected (magic 0x00000803)."
        )
    if 0 in array.shape:
        raise DataError(
            f"{path}: the header claims {' x '.join(map(str, array.shape))}: no images. Copy or download the file again."
        )
    shape = tuple(int(size) for size in array.shape[1:])
    return array.reshape(array.shape[0], -1), shape if len(shape) > 1 else None


def read_labels(path: Path) -> AnyArray:
    """Read the labels of one IDX file, shape (rows,)."""
    array = read_idx(path)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{path}: holds {array.ndim} dimensions of {array.dtype} where one of whole numbers was expected "
            "(magic 0x00000801)."
        )
    return array


def image_files(folder: Path) -> list[Path]:
    """Return the IDX image files of a folder; of a plain and a gzipped file of one name, the plain one."""
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if "images" in name and ("idx" in name or "ubyte" in name) and path.is_file():
            images.setdefault(name.removesuffix(".gz"), path)
    return list(images.values())


def load_folder(folder: Path, name: str) -> Dataset:
    """Load a folder of IDX files: train-images*, train-labels*, and t10k-* or test-* for a test part.

    Raises
    ------
    DataError
        No or several training files, labels missing or of another number than the images, and errors of `read_idx`.
    """
    images = image_files(folder)
    test = [path for path in images if "t10k" in path.name.lower() or "test" in path.name.lower()]
    train = [path for path in images if path not in test]
    if len(train) != 1 or len(test) > 1:
        raise DataError(
            f"{folder}: {len(train)} training and {len(test)} test image files "
            f"({some(path.name for path in images)}). Give a folder with one train-images-idx3-ubyte (or "
            ".gz), its labels, and at most one t10k-images-idx3-ubyte."
        )
    features, shape = read_images(train[0])
    targets = _labels_of(train[0], len(features))
    test_rows = None
    if test:
        more, test_shape = read_images(test[0])
        if test_shape != shape or more.shape[1] != features.shape[1]:
            raise DataError(
                f"{test[0]}: images of shape {test_shape or more.shape[1:]}, but {train[0].name} has "
                f"{shape or features.shape[1:]}."
            )
        test_rows = np.arange(len(features), len(features) + len(more), dtype=np.int64)
        targets = np.concatenate([targets, _labels_of(test[0], len(more))])
        features = np.concatenate([features, more])
    return assemble(name, features, targets, image_shape=shape, test_rows=test_rows)


def _labels_of(images: Path, rows: int) -> AnyArray:
    # train-images-idx3-ubyte.gz -> train-labels-idx1-ubyte.gz; either may be gzipped
    expected = images.name.lower().removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for path in sorted(images.parent.iterdir()):
        if path.name.lower().removesuffix(".gz") == expected and path.is_file():
            labels = read_labels(path)
            if len(labels) != rows:
                raise DataError(
                    f"{path}: {len(labels):,} labels, but {images.name} holds {rows:,} images. They do not "
                    "belong together."
                )
            return labels
    raise DataError(
        f"{images.parent}: {images.name} has no labels in the same folder. Put {expected} (or {expected}.gz) into it."
    )
