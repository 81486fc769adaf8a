"""Tables with 3 to 12 informative columns, of different kinds, on which `keep="auto"` has a known answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Known(NamedTuple):
    """A table with a known number of informative columns."""

    name: str
    informative: int
    columns: int
    rows: int
    make: Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


def _linear(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    return (x[:, :k] @ rng.choice([-1.0, 1.0], k) > 0).astype(int)


def _logistic(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    return (rng.random(len(x)) < 1 / (1 + np.exp(-2.0 * x[:, :k] @ rng.uniform(1.0, 1.5, k)))).astype(int)


def _products(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    return ((x[:, :k:2] * x[:, 1:k:2]).sum(axis=1) > 0).astype(int)


def _friedman(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    u = 1 / (1 + np.exp(-1.7 * x))  # nearly uniform
    y = 10 * np.sin(np.pi * u[:, 0] * u[:, 1]) + 20 * (u[:, 2] - 0.5) ** 2 + 10 * u[:, 3] + 5 * u[:, 4]
    return (y > np.median(y)).astype(int)


def _blobs(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    y = rng.integers(0, 3, len(x))
    x[:, :k] += rng.normal(size=(3, k))[y] * 1.2
    return y


def _corners(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    y = rng.integers(0, 2, len(x))
    corners = rng.choice([-1.0, 1.0], (4, k))
    x[:, :k] += 1.3 * corners[2 * y + rng.integers(0, 2, len(x))]
    return y


def _all_above(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    return (x[:, :k] > np.quantile(x[:, 0], 1 - 0.5 ** (1 / k))).all(axis=1).astype(int)


def _ring(rng: np.random.Generator, x: np.ndarray, k: int) -> np.ndarray:
    radius = (x[:, :k] ** 2).sum(axis=1)
    return (radius > np.median(radius)).astype(int)


KNOWN = (
    Known("threshold on all of three", 3, 40, 1500, _all_above),
    Known("two products", 4, 20, 2000, _products),
    Known("friedman", 5, 30, 1500, _friedman),
    Known("ring", 5, 25, 2000, _ring),
    Known("linear", 6, 50, 1000, _linear),
    Known("logistic", 7, 40, 1500, _logistic),
    Known("three blobs", 8, 40, 1000, _blobs),
    Known("corners", 9, 40, 1200, _corners),
    Known("logistic, more columns", 10, 60, 2500, _logistic),
    Known("linear, more columns", 12, 60, 2500, _linear),
)


def make(known: Known, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, classes and whether each column is informative; the columns are in a random order."""
    rng = np.random.default_rng([seed, known.informative, known.columns])
    x = rng.normal(size=(known.rows, known.columns))
    y = known.make(rng, x, known.informative)
    order = rng.permutation(known.columns)
    return x[:, order], y, order < known.informative
