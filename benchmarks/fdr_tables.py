"""Tables whose informative columns are known, of different kinds; `true` holds the columns that the classes depend on, given all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """Columns, classes, and the places of the informative columns."""

    x: np.ndarray
    y: np.ndarray
    true: np.ndarray


def leaning(rng: np.random.Generator, rows: int, columns: int, rho: float) -> np.ndarray:
    """Gaussian columns, each of which has a correlation of rho with the one before."""
    x = rng.standard_normal((rows, columns))
    for j in range(1, columns):
        x[:, j] = rho * x[:, j - 1] + np.sqrt(1 - rho**2) * x[:, j]
    return x


def two_classes(rng: np.random.Generator, score: np.ndarray) -> np.ndarray:
    return (rng.random(len(score)) < 1 / (1 + np.exp(-score))).astype(np.int64)


def linear(seed: int, rows: int = 500, columns: int = 50, k: int = 10, rho: float = 0.0, size: float = 1.0) -> Table:
    rng = np.random.default_rng(seed)
    x = leaning(rng, rows, columns, rho)
    true = np.sort(rng.choice(columns, k, replace=False))
    return Table(x, two_classes(rng, x[:, true] @ (size * rng.choice([-1, 1], k))), true)


def hypercube(seed: int, rows: int = 500, columns: int = 50, k: int = 8) -> Table:
    """Corners of a cube, four clusters a class, of scikit-learn's make_classification."""
    from sklearn.datasets import make_classification

    x, y = make_classification(
        rows, columns, n_informative=k, n_redundant=0, n_clusters_per_class=4, class_sep=1.2, flip_y=0.02, shuffle=False,
        random_state=seed,
    )  # fmt: skip
    order = np.random.default_rng(seed).permutation(columns)
    return Table(x[:, order], y, np.flatnonzero(order < k))


def interactions(seed: int, rows: int = 800, columns: int = 40) -> Table:
    """Two products, and two columns that tell alone."""
    rng = np.random.default_rng(seed)
    x = leaning(rng, rows, columns, 0.3)
    true = np.sort(rng.choice(columns, 6, replace=False))
    a = x[:, true].T
    return Table(x, two_classes(rng, 2 * a[0] * a[1] + 2 * a[2] * a[3] + 1.2 * a[4] - 1.2 * a[5]), true)


def discrete(seed: int, rows: int = 500, columns: int = 50, k: int = 8) -> Table:
    """Columns of 2, 3, 5 and 8 levels, each leaning on the one before."""
    rng = np.random.default_rng(seed)
    latent = leaning(rng, rows, columns, 0.5)
    true = np.sort(rng.choice(columns, k, replace=False))
    x = np.empty_like(latent)
    for j in range(columns):
        levels = (2, 3, 5, 8)[j % 4]
        x[:, j] = np.searchsorted(np.quantile(latent[:, j], np.arange(1, levels) / levels), latent[:, j])
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    return Table(x, two_classes(rng, scaled[:, true] @ (1.1 * rng.choice([-1, 1], k))), true)


def bent(seed: int, rows: int = 600, columns: int = 50) -> Table:
    """Heavy tails; absolute values, a sine, a switch."""
    rng = np.random.default_rng(seed)
    x = leaning(rng, rows, columns, 0.4)
    x = np.sign(x) * np.abs(x) ** 1.5
    true = np.sort(rng.choice(columns, 8, replace=False))
    a = x[:, true].T
    score = 1.6 * np.abs(a[0]) + 1.5 * np.sin(2 * a[1]) + 1.4 * (a[2] > 0) * a[3] + a[4] - a[5] + 0.8 * a[6]
    score -= 1.2 * np.abs(a[7])
    return Table(x, two_classes(rng, 1.5 * (score - score.mean())), true)


def several_classes(seed: int, rows: int = 500, columns: int = 60, k: int = 9, classes: int = 4) -> Table:
    rng = np.random.default_rng(seed)
    x = leaning(rng, rows, columns, 0.5)
    true = np.sort(rng.choice(columns, k, replace=False))
    logits = x[:, true] @ rng.normal(0, 1.2, (k, classes))
    return Table(x, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1), true)


def noise(seed: int, rows: int = 400, columns: int = 40) -> Table:
    rng = np.random.default_rng(seed)
    return Table(leaning(rng, rows, columns, 0.5), rng.integers(0, 2, rows), np.empty(0, np.int64))


KINDS: dict[str, Callable[[int], Table]] = {
    "linear": linear,
    "correlated (AR .6)": lambda seed: linear(seed, rho=0.6, size=1.2),
    "correlated (AR .85)": lambda seed: linear(seed, rows=1000, k=8, rho=0.85, size=1.3),
    "few (3 of 50)": lambda seed: linear(seed, k=3, rho=0.5),
    "few rows (150)": lambda seed: linear(seed, rows=150, columns=40, k=6, rho=0.2, size=1.6),
    "hypercube": hypercube,
    "interactions": interactions,
    "discrete": discrete,
    "bent": bent,
    "four classes": several_classes,
    "noise": noise,
}
# Twenty tables: two of each kind but one.
ONCE = ("correlated (AR .85)", "few (3 of 50)")


def tables(first: int) -> list[tuple[str, int]]:
    """Return kind and seed of the tables, one of each kind first."""
    return [(kind, first + number) for number in range(2) for kind in KINDS if number == 0 or kind not in ONCE]
