"""Paths over the number of kept columns: beside RFE and LassoNet, `keep="auto"` on known answers, and beside dedicated runs.

    MCPRUNE_TABLES=../shared/data python benchmarks/path.py --out benchmarks/results/path.json

- curves: accuracy of each level's columns on test rows (mean of SVC(), 1-NN and ExtraTrees(50), 80/20 split by seed 42); the figure of
  a method is the area under it over the log of n. RFE eliminates a tenth of the columns at a time by a logistic regression.
  LassoNet (PyPI) is measured where it is installed, with the penalty growing by its default of 2% a step and by 10%; its path has its
  own numbers of columns, and for each level the largest of them that is not above it counts. It may take five times the time of the
  path of mcprune (seconds of the processor); levels that it had not reached by then are left out of the comparison of areas.
- known: ten tables with 3 to 12 informative columns, each of another kind; how far `keep="auto"` is from their number.
- mnist: one path of 12 levels from 10 to 200 pixels, each level retrained, beside dedicated runs of levels with the same seed; the time of
  the path with all retraining, in those of a dedicated run. The path is kept in `--folder`, so that a run that is cut off goes on.

What was measured is written at once, and a later run with the same --out goes on from there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import path_sets
import table_sets as sets
from tables import accuracies

LEVELS = {"breast-cancer": "1:20:8", "isolet": "5:150:8"}
MNIST_LEVELS = (10, 13, 17, 23, 30, 39, 50, 68, 90, 117, 153, 200)
DEDICATED = (50, 10, 200, 23, 90, 13, 39, 153, 30, 68, 17, 117)  # in the order in which they are run
LASSO_TIMES, COARSE = 5.0, 1.1
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


class OutOfTimeError(Exception):
    """LassoNet has had its time."""


def lassonet(
    data: sets.Table, levels: tuple[int, ...], seed: int, limit: float = math.inf, multiplier: float = 1.02
) -> dict[int, list[int]]:
    """Return the columns of each level: the largest set of LassoNet's path that is not above it; none for a level that was not reached.

    `limit` is in seconds of the processor, `multiplier` what the penalty grows by in a step of the path.
    """
    import torch
    from lassonet import LassoNetClassifier

    torch.manual_seed(seed)
    model = LassoNetClassifier(
        hidden_dims=(64,), verbose=0, random_state=seed, torch_seed=seed, path_multiplier=multiplier
    )
    began, masks = time.process_time(), list[np.ndarray]()

    def note(_: object, history: list[Any]) -> None:
        masks.append(np.flatnonzero(np.asarray(history[-1].selected)))
        if time.process_time() - began > limit:
            raise OutOfTimeError

    with contextlib.suppress(OutOfTimeError):
        model.path(data.x, data.y.astype(np.int64), callback=note)
    out = {}
    for level in levels:
        if fitting := [mask for mask in masks if 0 < mask.size <= level]:
            out[level] = max(fitting, key=len).tolist()
    return out


def coarse_lassonet(
    data: sets.Table, levels: tuple[int, ...], seed: int, limit: float = math.inf
) -> dict[int, list[int]]:
    """Return what `lassonet` does with a penalty that grows by 10% a step."""
    return lassonet(data, levels, seed, limit, COARSE)


METHODS = {"path": ours, "RFE": rfe, "LassoNet": lassonet, "LassoNet, steps of 10%": coarse_lassonet}


def area(curve: dict[int, float]) -> float:
    """Return the mean accuracy over the log of n."""
    levels = sorted(curve)
    x, y = np.log(levels), [curve[level] for level in levels]
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def measure_curve(name: str, method: str, seed: int, limit: float) -> dict[str, Any]:
    """Run a method on a table and judge its columns; LassoNet has a limit in seconds of the processor."""
    from mcprune.path.search.levels import parse_levels

    data, levels = table(name), parse_levels(LEVELS[name]).numbers
    more = {"limit": limit} if method.startswith("LassoNet") else {}
    began, cpu = time.perf_counter(), time.process_time()
    kept = METHODS[method](data, levels, seed, **more)  # type: ignore[operator]
    run = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, **more}
    curve = {
        level: statistics.mean(accuracies(data.x[:, columns], data.y, data.x_test[:, columns], data.y_test, 0).values())
        for level, columns in kept.items()
    }
    found = area(curve) if len(curve) > 1 else None
    return {"set": name, "method": method, "seed": seed, **run, "area": found, "reached": sorted(curve), "curve": curve}


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


def measure_mnist(folder: Path, seed: int, known: list[dict[str, Any]], dedicated: int) -> Iterator[dict[str, Any]]:
    """Yield what is not known yet: a path; each level of it, retrained and tested; dedicated runs of some levels."""
    import mcprune
    from mcprune.path.folder import load_path

    ways = {(run["way"], run.get("n")) for run in known if run["seed"] == seed}
    options = {"seed": seed, "threads": 1, "progress": False}
    if ("path", None) not in ways:
        measured = Measured()
        if (folder / "unfinished").exists():
            path = mcprune.resume_path(folder, progress=False)
        else:
            path = mcprune.prune_path("mnist", keep=MNIST_LEVELS, out=str(folder), force=True, **options)
        yield {"way": "path", "seed": seed, **measured.so_far()}
    else:
        path = load_path(folder)
    for level in MNIST_LEVELS:
        if ("level", level) not in ways:
            measured = Measured()
            result = path.at(level)
            accuracy = result.metrics["test_accuracy"]
            yield {"way": "level", "n": level, "seed": seed, "accuracy": accuracy, **measured.so_far()}
    for level in DEDICATED[:dedicated]:
        if ("run", level) not in ways:
            measured = Measured()
            result = mcprune.prune("mnist", keep=level, compare="no", **options)
            accuracy = result.metrics["test_accuracy"]
            yield {"way": "run", "n": level, "seed": seed, "accuracy": accuracy, **measured.so_far()}


class Measured:
    """Seconds, and those of the processor, since it was made."""

    def __init__(self) -> None:
        self.seconds, self.cpu = time.perf_counter(), time.process_time()

    def so_far(self) -> dict[str, float]:
        """Return both."""
        return {"seconds": time.perf_counter() - self.seconds, "cpu": time.process_time() - self.cpu}


def summary(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the figures with their bars."""
    return [
        *_summary_of_curves(content["curves"]),
        *_summary_of_known(content["known"]),
        *_summary_of_mnist(content["mnist"]),
    ]


def _summary_of_curves(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for name in LEVELS:
        own = [run for run in runs if run["set"] == name]
        path = next((run for run in own if run["method"] == "path"), None)
        for run in own if path is not None else ():
            curves = [{int(level): value for level, value in one["curve"].items()} for one in (path, run)]
            both = sorted(set(curves[0]) & set(curves[1]))
            if run is path or len(both) < 2:
                continue
            ours, other = (area({level: curve[level] for level in both}) for curve in curves)
            times = run["cpu"] / path["cpu"]
            note = f"levels {', '.join(map(str, both))}; {run['method']} took {times:.2g} times as long"
            yield common.row(
                f"{name}: area of the path beside {run['method']}", ours, "accuracy", other, "more", note=note
            )


def _summary_of_known(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if runs:
        near = sum(abs(run["enough"] - run["informative"]) <= 1 for run in runs)
        by_accuracy = sum(abs(run["by accuracy"] - run["informative"]) <= 1 for run in runs)
        note = f"{by_accuracy} by one standard error of accuracy instead of paired losses"
        name, bar = "auto within one of the informative columns", 0.8 * len(runs)
        yield common.row(name, near, f"of {len(runs)}", bar, "more", note=note)


def _summary_of_mnist(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    levels = {(run["n"], run["seed"]): run for run in runs if run["way"] == "level"}
    dedicated = [run for run in runs if run["way"] == "run"]
    for run in dedicated:
        if (level := levels.get((run["n"], run["seed"]))) is not None:
            behind = run["accuracy"] - level["accuracy"]
            yield common.row(f"mnist {run['n']}: behind a dedicated run", behind, "accuracy", 0.003, "less")
    paths = [run for run in runs if run["way"] == "path"]
    if dedicated and paths and len(levels) == len(paths) * len(MNIST_LEVELS):
        whole = sum(run["cpu"] for run in [*paths, *levels.values()]) / len(paths)
        own_code = [
            run for run in dedicated if "code" not in run
        ] or dedicated  # the others are of earlier code and machines
        single = statistics.mean(run["cpu"] for run in own_code)
        yield common.row("mnist: path with all levels retrained", whole / single, "dedicated runs", 3.0, "less")


def main() -> None:
    """Measure what is missing, print and write it."""
    options = common.parser(__doc__ or "", with_plot=False)
    options.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    options.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--folder", type=Path, default=Path("runs/mnist-path"), help="where the path of MNIST is kept")
    options.add_argument("--dedicated", type=int, default=len(DEDICATED), help="dedicated runs on MNIST")
    chosen = options.parse_args()
    content: dict[str, Any] = {"machine": common.machine(1), **{part: [] for part in PARTS}}
    if chosen.out is not None and Path(chosen.out).exists():
        content |= json.loads(chosen.out.read_text())

    def done(part: str, run: dict[str, Any]) -> None:
        content[part].append(run)
        content["summary"] = summary(content)
        print(json.dumps({name: value for name, value in run.items() if name != "curve"}), flush=True)
        if chosen.out is not None:
            common.write(chosen.out, content)

    is_installed = importlib.util.find_spec("lassonet") is not None
    methods = [name for name in chosen.methods if is_installed or not name.startswith("LassoNet")]
    for seed in range(1 if chosen.quick else chosen.seeds):
        if "curves" in chosen.parts:
            for name in ("breast-cancer",) if chosen.quick else LEVELS:
                for method in methods:
                    own = {run["method"]: run for run in content["curves"] if (run["set"], run["seed"]) == (name, seed)}
                    if method not in own:
                        limit = LASSO_TIMES * own["path"]["cpu"] if "path" in own else math.inf
                        done("curves", measure_curve(name, method, seed, limit))
        if "known" in chosen.parts:
            for known in path_sets.KNOWN[: 2 if chosen.quick else None]:
                if not any((run["name"], run["seed"]) == (known.name, seed) for run in content["known"]):
                    done("known", measure_known(known, seed))
        if "mnist" in chosen.parts and not chosen.quick:
            for run in measure_mnist(chosen.folder / str(seed), seed, content["mnist"], chosen.dedicated):
                done("mnist", run)
    for row in summary(content):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
