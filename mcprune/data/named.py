"""Data sets by name: those bundled with scikit-learn, and MNIST, Fashion-MNIST and CIFAR-10 from a folder or from OpenML."""

import importlib.util
import os
import socket
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.base import Dataset, ImageShape, assemble
from mcprune.data.formats import cifar, idx
from mcprune.data.roles.tasks import REGRESSION
from mcprune.errors import DataError
from mcprune.types import AnyArray

# where Debian's dataset-* packages put their files
DEBIAN = Path("/usr/share/datasets")
_TIMEOUT = 10.0  # seconds without an answer after which there is no network


class Source(NamedTuple):
    """Where a named data set is found: folders, its name at OpenML, and a Debian package."""

    folders: tuple[str, ...]
    openml: str
    image_shape: ImageShape
    test_size: int  # so many last rows in OpenML's order are the test part; 0: the order is not documented
    package: str


NAMED = {
    "mnist": Source(("mnist",), "mnist_784", (28, 28), 10_000, ""),
    "fashion-mnist": Source(("fashion-mnist",), "Fashion-MNIST", (28, 28), 10_000, "dataset-fashion-mnist"),
    "cifar-10": Source(("cifar-10-batches-bin", "cifar-10"), "CIFAR_10", (3, 32, 32), 0, ""),
}


BUNDLED = ("digits", "breast-cancer", "wine", "diabetes")


def load_bundled(name: str) -> Dataset:
    """Load `digits` (1,797 x 64, classes 0..9), `breast-cancer` (569 x 30), `wine` (178 x 13) or `diabetes` (442 x 10, a regression).

    The classes of the two tables are their names ('benign', 'malignant'), so in alphabetical order: the
    reverse of scikit-learn's numbers for breast-cancer.
    """
    from sklearn import datasets

    if name == "digits":
        bunch = datasets.load_digits()
        return assemble(name, bunch.data.astype(np.float32), bunch.target, image_shape=(8, 8))
    if name == "diabetes":
        bunch = datasets.load_diabetes()
        return assemble(
            name,
            bunch.data,
            bunch.target,
            feature_names=bunch.feature_names,
            target_name="progression",
            task=REGRESSION,
        )
    bunch = datasets.load_breast_cancer() if name == "breast-cancer" else datasets.load_wine()
    return assemble(
        name,
        bunch.data,
        np.asarray(bunch.target_names)[bunch.target],
        feature_names=[str(each) for each in bunch.feature_names],
        target_name="target",
    )


def load_named(name: str) -> Dataset:
    """Load one of `NAMED`: below the folder MCPRUNE_DATA, else below /usr/share/datasets, else from OpenML.

    OpenML's CIFAR-10 has no test part of its own (the order of its rows is not documented): test rows are split off
    as from any table.

    Raises
    ------
    DataError
        Present but broken (then it is not fetched), or neither present nor fetched, with both remedies.
    """
    source = NAMED[name]
    folder = find_folder(source)
    if folder is not None:
        return cifar.load_folder(folder, name) if name == "cifar-10" else idx.load_folder(folder, name)
    try:
        pixels, labels = _fetch(source.openml)
    except (OSError, HTTPException, ValueError, EOFError, zlib.error) as error:
        if isinstance(error, TypeError):
            raise  # a wrong call, which scikit-learn reports as a ValueError too: not a fault of the network
        package = f", or install the Debian package {source.package}" if source.package else ""
        files = (
            "data_batch_1.bin ... test_batch.bin"
            if name == "cifar-10"
            else "train-images-idx3-ubyte and its three companions (or .gz)"
        )
        raise DataError(
            f"{name!r} is neither in a folder of this machine nor could it be fetched from OpenML "
            f"({_brief(error)}). Either put {files} into FOLDER/{source.folders[0]} and set "
            f"MCPRUNE_DATA=FOLDER{package}; or run it once with a network, so that scikit-learn's "
            "fetch_openml keeps a copy."
        ) from error
    expected = int(np.prod(source.image_shape))
    if pixels.ndim != 2 or pixels.shape[1] != expected:
        raise DataError(
            f"{name!r}: OpenML's {source.openml} has the shape {pixels.shape}, expected (rows, {expected})."
        )
    test_rows = np.arange(len(pixels) - source.test_size, len(pixels), dtype=np.int64) if source.test_size else None
    return assemble(name, _as_bytes(pixels), labels, image_shape=source.image_shape, test_rows=test_rows)


def find_folder(source: Source) -> Path | None:
    """Return the first folder that has the files, MCPRUNE_DATA before Debian's."""
    own = os.environ.get("MCPRUNE_DATA")
    for root in ([Path(own).expanduser()] if own else []) + [DEBIAN]:
        for folder in source.folders:
            path = root / folder
            try:
                if path.is_dir() and (idx.image_files(path) or cifar.batch_files(path)[0]):
                    return path
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error}). Check MCPRUNE_DATA.") from error
    return None


def _fetch(openml: str) -> tuple[AnyArray, AnyArray]:
    from sklearn.datasets import fetch_openml

    # Its parser 'auto' needs pandas, which is only in an extra.
    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    with warnings.catch_warnings(), _network_timeout():
        warnings.simplefilter("ignore")
        bunch = fetch_openml(openml, version=1, as_frame=False, parser=parser, n_retries=1, delay=0.1)
    return np.asarray(bunch.data), np.asarray(bunch.target).astype(np.int64)


@contextmanager
def _network_timeout() -> Iterator[None]:
    # fetch_openml sets no time limit of its own
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _as_bytes(pixels: AnyArray) -> AnyArray:
    with np.errstate(invalid="ignore"):
        narrow = pixels.astype(np.uint8)
    return narrow if np.array_equal(narrow, pixels) else pixels


def _brief(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0][:120]}" if first else type(error).__name__
