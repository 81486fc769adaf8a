"""Paths over the number of kept columns: beside RFE and LassoNet, `keep="auto"` on known answers, and beside dedicated runs.

    MCPRUNE_TABLES=../shared/data python benchmarks/path.py --out benchmarks/results/path.json

- curves: accuracy of each level's columns on test rows (mean of SVC(), 1-NN and ExtraTrees(50), 80/20 split by seed 42); the figure of
  a method is the area under it over the log of n. RFE eliminates a tenth of the columns at a time by a logistic regression.
  LassoNet (PyPI) is measured where it is installed; its path has its own numbers of columns, and for each level the largest of
  them that is not above it counts.
- known: ten tables with 3 to 12 informative columns, each of another kind; how far `keep="auto"` is from their number.
- mnist: one path of 12 levels from 10 to 200 pixels beside dedicated runs of some levels with the same seed.

What was measured is written at once, and a later run with the same --out goes on from there.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import path_sets
import table_sets as sets
from tables import accuracies

LEVELS = {"breast-cancer": "1:20:8", "isolet": "5:150:8"}
MNIST_LEVELS = (10, 13, 17, 23, 30, 39, 50, 68, 90, 117, 153, 200)
DEDICATED = (10, 50, 200)
PARTS = ("curves", "known", "mnist")


def table(name: str) -> sets.Table:
    """Return a table by name, split and scaled."""
    if name != "breast-cancer":
        return sets.load(name)
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=sets.TEST_SHARE, random_state=sets.SPLIT_SEED, stratify=y)
    scaler = StandardScaler().fit(x)
    return sets.Table(
        name, scaler.transform(x).astype(np.float32), y, scaler.transform(x_test).astype(np.float32), y_test
    )


def ours(data: sets.Table, levels: tuple[int, ...], seed: int) -> dict[int, list[int]]:
    """Return the columns of each level of one path."""
    import mcprune

    path = mcprune.prune_path(data.x, data.y, keep=levels, test=0.0, seed=seed, threads=1, progress=False)
    return {level.level: list(level.indices) for level in path.curve.levels}


def rfe(data: sets.Table, levels: tuple[int, ...], seed: int) -> dict[int, list[int]]:
    """Return the columns of each level: recursive elimination by a logistic regression, a tenth of the columns at a time."""
    from sklearn.linear_model import LogisticRegression

    left, out = np.arange(data.x.shape[1]), {}
    for level in sorted(levels, reverse=True):
        while left.size > level:
            fitted = LogisticRegression(max_iter=1000).fit(data.x[:, left], data.y)
            weight = (fitted.coef_**2).sum(axis=0)
            drop = min(left.size - level, max(1, left.size // 10))
            left = np.delete(left, np.argsort(weight, kind="stable")[:drop])
        out[level] = left.tolist()
    return out


def lassonet(data: sets.Table, levels: tuple[int, ...], seed: int) -> dict[int, list[int]]:
    """Return the columns of each level: the largest set of LassoNet's path that is not above it."""
    import torch
    from lassonet import LassoNetClassifier

    torch.manual_seed(seed)
    model = LassoNetClassifier(hidden_dims=(64,), verbose=0, random_state=seed, torch_seed=seed)
    path = model.path(data.x, data.y.astype(np.int64))
    masks = [np.flatnonzero(np.asarray(point.selected)) for point in path]
    out = {}
    for level in levels:
        fitting = [mask for mask in masks if 0 < mask.size <= level]
        out[level] = max(fitting, key=len).tolist() if fitting else []
    return out


METHODS = {"path": ours, "RFE": rfe, "LassoNet": lassonet}


def area(curve: dict[int, float]) -> float:
    """Return the mean accuracy over the log of n."""
    levels = sorted(curve)
    x, y = np.log(levels), [curve[level] for level in levels]
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def measure_curve(name: str, method: str, seed: int) -> dict[str, Any]:
    """Run a method on a table and judge its columns."""
    from mcprune.path.levels import parse_levels

    data, levels = table(name), parse_levels(LEVELS[name]).numbers
    began, cpu = time.perf_counter(), time.process_time()
    kept = METHODS[method](data, levels, seed)
    run = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    shares = np.bincount(data.y).max() / len(data.y)  # of a method that has no columns for a level
    curve = {
        level: statistics.mean(accuracies(data.x[:, columns], data.y, data.x_test[:, columns], data.y_test, 0).values())
        if columns
        else float(shares)
        for level, columns in kept.items()
    }
    return {"set": name, "method": method, "seed": seed, **run, "area": area(curve), "curve": curve}


def measure_known(known: path_sets.Known, seed: int) -> dict[str, Any]:
    """Choose the number of columns of a table whose answer is known."""
    import mcprune

    x, y, informative = path_sets.make(known, seed)
    began, cpu = time.perf_counter(), time.process_time()
    path = mcprune.prune_path(x, y, keep="auto", seed=seed, test=0.0, threads=1, progress=False)
    curve = path.curve
    best = max(curve.levels, key=lambda level: level.accuracy)
    by_accuracy = next(level.level for level in curve.levels if level.accuracy >= best.accuracy - best.accuracy_error)
    return {
        "name": known.name, "informative": known.informative, "columns": known.columns, "rows": known.rows, "seed": seed,
        "enough": path.enough, "of them informative": int(informative[list(curve.enough.indices)].sum()),
        "by accuracy": by_accuracy, "knee": curve.knee.level, "best": curve.best.level,
        "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu,
    }  # fmt: skip


def measure_mnist(seed: int) -> list[dict[str, Any]]:
    """Run one path; then each level of it, and dedicated runs of some levels, are retrained and tested."""
    import mcprune

    began, cpu = time.perf_counter(), time.process_time()
    path = mcprune.prune_path("mnist", keep=MNIST_LEVELS, seed=seed, threads=1, progress=False)
    run = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    out = [{"way": "path", "seed": seed, **run}]
    for level in path.levels:
        result = path.at(level)
        out.append({"way": "level", "n": level, "seed": seed, "accuracy": result.metrics["test_accuracy"]})
    for level in DEDICATED:
        began, cpu = time.perf_counter(), time.process_time()
        result = mcprune.prune("mnist", keep=level, seed=seed, threads=1, progress=False, compare="no")
        run = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        out.append({"way": "run", "n": level, "seed": seed, "accuracy": result.metrics["test_accuracy"], **run})
    return out


def summary(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the figures with their bars."""
    rows = []
    for name in LEVELS:
        areas = {
            method: statistics.mean(
                run["area"] for run in content["curves"] if (run["set"], run["method"]) == (name, method)
            )
            for method in dict.fromkeys(run["method"] for run in content["curves"] if run["set"] == name)
        }
        others = {method: value for method, value in areas.items() if method != "path"}
        if "path" in areas and others:
            rows.append(
                common.row(
                    f"{name}: area of the path", areas["path"], "accuracy", max(others.values()), "more", **others
                )
            )
    if content["known"]:
        near = sum(abs(run["enough"] - run["informative"]) <= 1 for run in content["known"])
        by_accuracy = sum(abs(run["by accuracy"] - run["informative"]) <= 1 for run in content["known"])
        tables = len(content["known"])
        rows.append(
            common.row(
                "auto within one of the informative columns", near, f"of {tables}", 0.8 * tables, "more",
                note=f"{by_accuracy} by one standard error of accuracy instead of paired losses",
            )
        )  # fmt: skip
    levels = {run["n"]: run for run in content["mnist"] if run["way"] == "level"}
    for run in content["mnist"]:
        if run["way"] == "run" and run["n"] in levels:
            behind = run["accuracy"] - levels[run["n"]]["accuracy"]
            rows.append(common.row(f"mnist {run['n']}: behind a dedicated run", behind, "accuracy", 0.003, "less"))
    return rows


def main() -> None:
    """Measure what is missing, print and write it."""
    options = common.parser(__doc__ or "", with_plot=False)
    options.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    options.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    options.add_argument("--seeds", type=int, default=1)
    chosen = options.parse_args()
    content: dict[str, Any] = {"machine": common.machine(1), **{part: [] for part in PARTS}}
    if chosen.out is not None and Path(chosen.out).exists():
        content |= json.loads(chosen.out.read_text())

    def done(part: str, runs: list[dict[str, Any]]) -> None:
        content[part] += runs
        content["summary"] = summary(content)
        for run in runs:
            print(json.dumps({name: value for name, value in run.items() if name != "curve"}), flush=True)
        if chosen.out is not None:
            common.write(chosen.out, content)

    methods = [name for name in chosen.methods if name != "LassoNet" or importlib.util.find_spec("lassonet")]
    for seed in range(1 if chosen.quick else chosen.seeds):
        if "curves" in chosen.parts:
            for name in ("breast-cancer",) if chosen.quick else LEVELS:
                for method in methods:
                    if not any(
                        (run["set"], run["method"], run["seed"]) == (name, method, seed) for run in content["curves"]
                    ):
                        done("curves", [measure_curve(name, method, seed)])
        if "known" in chosen.parts:
            for known in path_sets.KNOWN[: 2 if chosen.quick else None]:
                if not any((run["name"], run["seed"]) == (known.name, seed) for run in content["known"]):
                    done("known", [measure_known(known, seed)])
        is_new = not any(run["seed"] == seed for run in content["mnist"])
        if "mnist" in chosen.parts and not chosen.quick and is_new:
            done("mnist", measure_mnist(seed))
    for row in summary(content):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
