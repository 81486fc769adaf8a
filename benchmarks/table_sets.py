"""Tables of ordinary size: the eight real sets, and generators whose useful columns are known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Divisors of sets whose columns are pixels; every other set is standardised on its training rows.
PIXELS = {"coil20": 1.0, "yale": 255.0}
USUAL_N = (25, 50, 100)
REAL = {
    "spambase": (10,),
    "satimage": (8,),
    "isolet": USUAL_N,
    "pcmac": USUAL_N,
    "basehock": USUAL_N,
    "coil20": USUAL_N,
    "yale": USUAL_N,
    "prostate-ge": USUAL_N,
}
GENERATED = {"hypercube": (20,), "xor": (12,), "copies": (10,)}
# 6,000 training rows of MNIST, and all of its test rows.
LARGER = {"mnist-6000": (50,)}
MNIST_ROWS = 6_000
SETS = REAL | GENERATED | LARGER
SPLIT_SEED, TEST_SHARE = 42, 0.2


class Table(NamedTuple):
    """Scaled training and test rows; `group` (N,) numbers the useful columns, -1 for noise, where that is known."""

    name: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    group: np.ndarray | None = None

    def useful(self, keep: np.ndarray) -> int | None:
        """Return how many of the useful columns, or of their groups, are kept."""
        if self.group is None:
            return None
        groups = self.group[keep]
        return int(np.unique(groups[groups >= 0]).size)


def folder() -> Path:
    """Return where the real sets are: MCPRUNE_TABLES."""
    return Path(os.environ.get("MCPRUNE_TABLES", "data"))


def load(name: str, seed: int = 0) -> Table:
    """Return a set by name, split and scaled; a generator draws by the seed."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    if name == "mnist-6000":
        return mnist(name)
    group = None
    if name in GENERATED:
        x, y, group = {"hypercube": hypercube, "xor": xor_pairs, "copies": copies}[name](np.random.default_rng(seed))
    else:
        path = folder() / f"{name}.npz"
        if not path.exists():
            raise SystemExit(f"There is no {path}. Set MCPRUNE_TABLES to the folder with the npz files.")
        with np.load(path) as arrays:
            x, y = arrays["X"].astype(np.float64), np.unique(arrays["y"], return_inverse=True)[1]
    x, x_test, y, y_test = train_test_split(x, y, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=y)
    if name in PIXELS:
        x, x_test = x / PIXELS[name], x_test / PIXELS[name]
    else:
        scaler = StandardScaler().fit(x)
        x, x_test = scaler.transform(x), scaler.transform(x_test)
    return Table(name, x.astype(np.float32), y.astype(np.int64), x_test.astype(np.float32), y_test, group)


def mnist(name: str) -> Table:
    """Return some training rows of MNIST, each class in its proportion, and the test rows."""
    from sklearn.model_selection import train_test_split

    from mcprune.data.named import load_named

    data = load_named("mnist")
    x, y = data.features.astype(np.float32) / 255.0, data.targets
    assert data.test_rows is not None
    rest = np.setdiff1d(np.arange(len(y)), data.test_rows)
    chosen, _ = train_test_split(rest, train_size=MNIST_ROWS, random_state=SPLIT_SEED, stratify=y[rest])
    return Table(name, x[chosen], y[chosen], x[data.test_rows], y[data.test_rows])


def hypercube(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2,600 rows of clusters on the corners of a hypercube: 5 informative, 15 redundant and 480 noise columns, as in madelon."""
    from sklearn.datasets import make_classification

    x, y = make_classification(
        2600,
        500,
        n_informative=5,
        n_redundant=15,
        n_clusters_per_class=16,
        shuffle=False,
        random_state=int(rng.integers(2**31)),
    )
    return _shuffled(rng, x, y, np.where(np.arange(500) < 20, np.arange(500), -1))


def xor_pairs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2,000 rows of 200 columns; the class is the sign of the sum of six products of pairs, so that no column alone tells it."""
    x = rng.normal(size=(2000, 200))
    y = ((x[:, :12:2] * x[:, 1:12:2]).sum(axis=1) > 0).astype(int)
    return _shuffled(rng, x, y, np.where(np.arange(200) < 12, np.arange(200), -1))


def copies(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2,000 rows of 300 columns: ten signals of falling weight, each in ten noisy copies, and 200 columns of noise."""
    signals = rng.normal(size=(2000, 10))
    y = (signals @ np.linspace(1.0, 0.5, 10) > 0).astype(int)
    repeated = np.repeat(signals, 10, axis=1) + 0.3 * rng.normal(size=(2000, 100))
    x = np.hstack([repeated, rng.normal(size=(2000, 200))])
    return _shuffled(rng, x, y, np.where(np.arange(300) < 100, np.arange(300) // 10, -1))


def _shuffled(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns, rows = rng.permutation(x.shape[1]), rng.permutation(len(y))
    return x[rows][:, columns], y[rows], group[columns]
