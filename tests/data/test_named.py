"""MNIST, Fashion-MNIST and CIFAR-10 by name: where they are looked for, and where they are not there."""

import os
import socket
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from sklearn.utils import Bunch

from mcprune.data import named
from mcprune.data.load import load
from mcprune.data.prepare import prepare
from mcprune.errors import DataError

FETCH = sklearn.datasets.fetch_openml


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def fetch(*args, **kwargs):
        raise URLError("no network in this test")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)


def write_images(folder, value):
    folder.mkdir(parents=True)
    images = np.full((6, 28, 28), value, dtype=np.uint8)
    labels = np.array([0, 1] * 3, dtype=np.uint8)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 6, 28, 28) + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 6) + labels.tobytes())


def test_the_users_folder_comes_before_debians(tmp_path, monkeypatch):
    monkeypatch.setattr(named, "DEBIAN", tmp_path / "debian")
    write_images(tmp_path / "debian" / "fashion-mnist", 1)
    monkeypatch.delenv("MCPRUNE_DATA", raising=False)
    assert load("fashion-mnist").features.max() == 1
    monkeypatch.setenv("MCPRUNE_DATA", str(tmp_path / "own"))
    assert load("fashion-mnist").features.max() == 1
    write_images(tmp_path / "own" / "fashion-mnist", 2)
    dataset = load("fashion-mnist")
    assert dataset.features.max() == 2
    assert dataset.name == "fashion-mnist"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar-10"])
def test_neither_found_nor_fetched_names_both_remedies(tmp_path, monkeypatch, name):
    monkeypatch.setattr(named, "DEBIAN", tmp_path)
    monkeypatch.setenv("MCPRUNE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError) as caught:
        load(name)
    message = str(caught.value)
    assert "no network in this test" in message
    assert "MCPRUNE_DATA=FOLDER" in message
    assert "fetch_openml" in message
    assert ("dataset-fashion-mnist" in message) == (name == "fashion-mnist")


def test_the_real_fetcher_accepts_the_call_and_its_network_error_is_told(tmp_path, monkeypatch):
    tries = []

    def urlopen(request, *args, **kwargs):
        tries.append(socket.getdefaulttimeout())
        raise URLError("cable cut")

    monkeypatch.setattr(named, "DEBIAN", tmp_path)
    monkeypatch.delenv("MCPRUNE_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", FETCH)
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)
    with pytest.raises(DataError, match="cable cut"):
        load("mnist")
    assert 1 <= len(tries) <= 2
    assert None not in tries


def test_a_found_but_broken_set_is_not_fetched_in_its_stead(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPRUNE_DATA", str(tmp_path))
    write_images(tmp_path / "mnist", 1)
    os.truncate(tmp_path / "mnist" / "train-images-idx3-ubyte", 1000)
    with pytest.raises(DataError, match="truncated"):
        load("mnist")


def test_a_fetched_set_becomes_bytes_with_its_last_rows_as_the_test_part(tmp_path, monkeypatch):
    monkeypatch.setattr(named, "DEBIAN", tmp_path)
    monkeypatch.delenv("MCPRUNE_DATA", raising=False)
    asked = {}

    def fetch(name, **options):
        asked.update(options, name=name, timeout=socket.getdefaulttimeout())
        data = np.tile(np.arange(10_010, dtype=np.float64)[:, None] % 256, (1, 784))
        return Bunch(data=data, target=np.array([str(i % 10) for i in range(10_010)], dtype=object))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    before = socket.getdefaulttimeout()
    dataset = load("mnist")
    assert asked["name"] == "mnist_784"
    assert asked["version"] == 1
    assert asked["timeout"] is not None
    assert socket.getdefaulttimeout() == before
    assert dataset.features.dtype == np.uint8
    assert dataset.labels == tuple(range(10))
    assert dataset.image_shape == (28, 28)
    np.testing.assert_array_equal(dataset.test_rows, np.arange(10, 10_010))


def test_a_fetched_set_of_another_shape_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(named, "DEBIAN", tmp_path)
    monkeypatch.delenv("MCPRUNE_DATA", raising=False)
    bunch = Bunch(data=np.zeros((20, 5)), target=np.array(["0", "1"] * 10))
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda *a, **k: bunch)
    with pytest.raises(DataError, match=r"shape \(20, 5\), expected \(rows, 3072\)"):
        load("cifar-10")


# --- the real sets


def real(folder):
    root = os.environ.get("MCPRUNE_DATA")
    if not root or not (Path(root) / folder).is_dir():
        pytest.skip(f"MCPRUNE_DATA names no folder with {folder}")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "per_class"),
    [("mnist", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]), ("fashion-mnist", [6000] * 10)],
)
def test_the_real_image_sets(name, per_class):
    real(name)
    dataset = load(name)
    assert dataset.features.shape == (70_000, 784)
    assert dataset.features.dtype == np.uint8
    assert dataset.image_shape == (28, 28)
    np.testing.assert_array_equal(dataset.test_rows, np.arange(60_000, 70_000))
    assert np.bincount(dataset.targets[:60_000]).tolist() == per_class
    prepared = prepare(dataset, seed=0)
    assert (len(prepared.train.features), len(prepared.validation.features), len(prepared.test.features)) == (
        54_000,
        6_000,
        10_000,
    )
    assert prepared.train.features.dtype == np.float32
    assert prepared.train.features.max() == 1


@pytest.mark.slow
@pytest.mark.data
def test_the_real_cifar_10():
    real("cifar-10-batches-bin")
    dataset = load("cifar-10")
    assert dataset.features.shape == (60_000, 3072)
    assert dataset.image_shape == (3, 32, 32)
    assert np.bincount(dataset.targets).tolist() == [6000] * 10
    np.testing.assert_array_equal(dataset.test_rows, np.arange(50_000, 60_000))
