"""Cheap masks on constructed tables of nine kinds with few rows: which selector is good where, and what models by distances say of them.

Each kind has other columns, classes and noise; a seed draws another table. Columns are chosen on the training rows and scored by SVC(),
1-NN and ExtraTrees(50) on 1,500 other rows. `picked` is the mask with the lowest loss of kernel ridge regression and nearest neighbours out
of fold on the training rows: what the playoff adds to its networks.

    python benchmarks/table_kinds.py --out benchmarks/results/table_kinds.json
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import common
import numpy as np
from table_selectors import highest, mrmr
from tables import accuracies

TEST_ROWS, FOLDS = 1_500, 4
SELECTORS = ("f", "forest", "l1", "mutual-information", "ranks")
Table = tuple[np.ndarray, np.ndarray]


class Kind(NamedTuple):
    """How tables of a kind are drawn, the training rows, and the columns to keep."""

    draw: Callable[[np.random.Generator, int], Table]
    rows: int
    n: int


def linear(rng: np.random.Generator, rows: int) -> Table:
    """60 columns, the class by a noisy sum of twelve."""
    x = rng.normal(size=(rows, 60))
    return x, (x[:, :12] @ rng.normal(size=12) + rng.normal(size=rows) > 0).astype(int)


def clusters(rng: np.random.Generator, rows: int) -> Table:
    """100 columns, three classes of three clusters each."""
    from sklearn.datasets import make_classification

    return make_classification(
        rows, 100, n_informative=6, n_redundant=8, n_classes=3, n_clusters_per_class=3, class_sep=1.5, flip_y=0.03,
        random_state=int(rng.integers(2**31)),
    )  # fmt: skip


def rules(rng: np.random.Generator, rows: int) -> Table:
    """40 columns, the class by four rules of two thresholds."""
    x = rng.normal(size=(rows, 40))
    chosen = rng.choice(40, 8, replace=False)
    score = sum((1 + 0.15 * i) * ((x[:, chosen[i]] > 0) & (x[:, chosen[i + 1]] < 0)) for i in range(0, 8, 2))
    x[:, ::3] = np.exp(x[:, ::3])
    return x, (score + 0.3 * rng.normal(size=rows) > np.median(score)).astype(int)


def ten_classes(rng: np.random.Generator, rows: int) -> Table:
    """200 columns that mix eight signals with noise, ten classes."""
    y = rng.integers(0, 10, rows)
    signals = 1.6 * rng.normal(size=(10, 8))[y] + rng.normal(size=(rows, 8))
    mixing = rng.normal(size=(8, 200)) * (rng.random((8, 200)) < 0.3)
    return signals @ mixing + 1.5 * rng.normal(size=(rows, 200)), y


def words(rng: np.random.Generator, rows: int) -> Table:
    """1,200 counts of words under six topics; 120 words depend on the class."""
    y = rng.integers(0, 2, rows)
    lift = np.where(np.arange(1200) < 120, rng.normal(0, 0.9, 1200), 0.0)
    topics = rng.dirichlet(np.full(6, 0.5), rows) @ np.exp(0.8 * rng.normal(size=(6, 1200)))
    rate = np.exp(rng.normal(-3.2, 1, 1200)) * topics * np.exp((y[:, None] - 0.5) * lift)
    return rng.poisson(rate).astype(float), y


def copies(rng: np.random.Generator, rows: int) -> Table:
    """Ten signals in ten noisy copies each, and 200 columns of noise."""
    signals = rng.normal(size=(rows, 10))
    x = np.hstack([np.repeat(signals, 10, 1) + 0.3 * rng.normal(size=(rows, 100)), rng.normal(size=(rows, 200))])
    return x, (signals @ np.linspace(1, 0.5, 10) > 0).astype(int)


def genes(rng: np.random.Generator, rows: int) -> Table:
    """2,000 columns, each of a few of 25 factors and much noise; four classes that shift a third of the factors."""
    y = rng.integers(0, 4, rows)
    shift = 0.7 * rng.normal(size=(4, 25)) * (rng.random((4, 25)) < 0.35)
    loadings = rng.normal(size=(25, 2000)) * (rng.random((25, 2000)) < 0.08)
    return (rng.normal(size=(rows, 25)) + shift[y]) @ loadings + rng.gamma(2, 0.5, 2000) * rng.normal(
        size=(rows, 2000)
    ), y


def faces(rng: np.random.Generator, rows: int) -> Table:
    """Smooth pictures of 24 x 24 pixels: twelve classes, each row another deviation and another light."""
    size = 24
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    power = (frequency + 0.04) ** -1.6

    def fields(count: int) -> np.ndarray:
        return np.fft.irfft2(power * np.fft.rfft2(rng.normal(size=(count, size, size))), s=(size, size)).reshape(
            count, -1
        )

    y = rng.integers(0, 12, rows)
    x = fields(12)[y] + 0.9 * fields(rows) + 0.7 * rng.normal(size=(rows, 4)) @ fields(4)
    return 1 / (1 + np.exp(-1.2 * x / x.std())) + 0.05 * rng.normal(size=x.shape), y


def mixed(rng: np.random.Generator, rows: int) -> Table:
    """25 columns of levels, flags and skewed numbers; three classes by a sum of curves and one product."""
    z = rng.normal(size=(rows, 25))
    x = z.copy()
    x[:, :8], x[:, 8:12], x[:, 12:16] = np.round(1.5 * z[:, :8]), z[:, 8:12] > 1, np.exp(1.3 * z[:, 12:16])
    c = z[:, rng.permutation(25)]
    score = (
        0.8 * c[:, 0]
        + np.abs(c[:, 1])
        - 0.6 * np.tanh(c[:, 2])
        + 0.8 * np.tanh(c[:, 3] * c[:, 4])
        + 0.5 * np.sign(c[:, 5])
    )
    return x, np.digitize(score + 0.4 * rng.normal(size=rows), np.quantile(score, [0.4, 0.75]))


KINDS = {
    "linear": Kind(linear, 100, 10), "clusters": Kind(clusters, 150, 10), "rules": Kind(rules, 150, 8),
    "ten classes": Kind(ten_classes, 150, 20), "words": Kind(words, 200, 50), "copies": Kind(copies, 100, 10),
    "genes": Kind(genes, 100, 50), "faces": Kind(faces, 120, 50), "mixed": Kind(mixed, 300, 6),
}  # fmt: skip


def load(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and test rows, standardised, the columns in a random order."""
    rng, kind = np.random.default_rng([seed, sorted(KINDS).index(name)]), KINDS[name]
    x, y = kind.draw(rng, kind.rows + TEST_ROWS)
    x = x[:, rng.permutation(x.shape[1])]
    mean, scale = x[: kind.rows].mean(axis=0), x[: kind.rows].std(axis=0)
    x = ((x - mean) / np.where(scale > 0, scale, 1.0)).astype(np.float32)
    y = np.unique(y, return_inverse=True)[1].astype(np.int64)
    return x[: kind.rows], y[: kind.rows], x[kind.rows :], y[kind.rows :]


def measure(name: str, seed: int) -> dict[str, Any]:
    """Choose by all selectors on one table and score the masks."""
    from mcprune.methods.columns import column_scores
    from mcprune.training.cross_validation.distances import distance_losses

    x, y, x_test, y_test = load(name, seed)
    n, began = KINDS[name].n, time.process_time()
    masks = {one: highest(column_scores(one, x, y, None, keep=n, seed=seed), n) for one in SELECTORS}
    masks["mrmr"] = mrmr(x, y, n, seed)
    fold = np.random.default_rng(seed).permutation(len(y)) % FOLDS
    losses = {one: distance_losses(x[:, keep], y, None, fold).mean(axis=1).tolist() for one, keep in masks.items()}
    means = {
        one: statistics.mean(accuracies(x[:, keep], y, x_test[:, keep], y_test, 0).values())
        for one, keep in masks.items()
    }
    picked = min(losses, key=lambda one: sum(losses[one]))
    return {
        "kind": name, "seed": seed, "rows": len(y), "columns": x.shape[1], "n": n, "means": means, "losses": losses,
        "picked": picked, "cpu": time.process_time() - began,
    }  # fmt: skip


def main() -> None:
    """Measure, print and write; go on where an earlier run stopped."""
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument("--only", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="these kinds")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2, 3))
    asked = parser.parse_args()
    runs: list[dict[str, Any]] = []
    if asked.out is not None and asked.out.exists():
        runs = json.loads(asked.out.read_text())["runs"]
    done = {(run["kind"], run["seed"]) for run in runs}
    for seed, name in itertools.product(asked.seeds[:1] if asked.quick else asked.seeds, asked.only):
        if (name, seed) in done:
            continue
        runs.append(measure(name, seed))
        if asked.out is not None:
            common.write(asked.out, {"machine": common.machine(1), "runs": runs})
    for name in KINDS:
        of_kind = [run for run in runs if run["kind"] == name]
        if of_kind:
            means = {one: statistics.mean(run["means"][one] for run in of_kind) for one in of_kind[0]["means"]}
            picked = statistics.mean(run["means"][run["picked"]] for run in of_kind)
            best = statistics.mean(max(run["means"].values()) for run in of_kind)
            shown = {one: round(mean, 4) for one, mean in means.items()}
            print(f"{name}, {len(of_kind)} seeds: {shown}, picked {picked:.4f}, best {best:.4f}")


if __name__ == "__main__":
    main()
