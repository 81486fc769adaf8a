"""Columns for numbers: ours beside the Lasso path, forest, RFE and LassoNet on diabetes and Friedman's first law.

Friedman's law has five columns that tell, of 10 and of 100 in all. A figure of a mask is the mean R2 of two fresh judges on test rows,
an SVR and a gradient boosting, on standardised columns; columns found are those of the law.

    python benchmarks/regression.py --out benchmarks/results/regression.json

Each mask is written as soon as it is judged, and a later run with the same --out goes on from there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

SEEDS, ROWS, TEST = 5, 500, 1_000
SETS = ("diabetes", "friedman-10", "friedman-100")
KEEP = 5


class Table(NamedTuple):
    """Rows of a set; `useful` are the columns of its law, none where that is not known."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    useful: tuple[int, ...]


def load(name: str, seed: int) -> Table:
    """Return the rows of a set; a seed draws the rows of a law, or the test rows of diabetes."""
    from sklearn.datasets import load_diabetes, make_friedman1
    from sklearn.model_selection import train_test_split

    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
        x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, random_state=seed)
        return Table(x, y, x_test, y_test, ())
    columns = int(name.partition("-")[2])
    x, y = make_friedman1(ROWS + TEST, columns, noise=1.0, random_state=seed)
    return Table(x[:ROWS], y[:ROWS], x[ROWS:], y[ROWS:], tuple(range(5)))


def ours(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the columns of `mcprune.prune`."""
    import mcprune

    return mcprune.prune(x, y, keep=n, task="regression", seed=seed, test=0, progress=False).mask.indices


def lasso(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the first n columns that enter the Lasso path and stay."""
    from sklearn.linear_model import lasso_path

    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    _, coefficients, _ = lasso_path(standard, y - y.mean(), n_alphas=200)
    counts = (coefficients != 0).sum(axis=0)
    place = np.flatnonzero(counts >= n)[0]
    return np.sort(np.argsort(-np.abs(coefficients[:, place]), kind="stable")[:n])


def forest(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the columns of the highest importance in a forest."""
    from sklearn.ensemble import RandomForestRegressor

    return np.sort(np.argsort(-RandomForestRegressor(300, random_state=seed).fit(x, y).feature_importances_)[:n])


def rfe(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return what recursive elimination by a forest leaves."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.feature_selection import RFE

    step = 0.2 if x.shape[1] > 20 else 1
    return np.flatnonzero(
        RFE(RandomForestRegressor(100, random_state=seed), n_features_to_select=n, step=step).fit(x, y).support_
    )


def univariate(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the columns of the highest F."""
    from sklearn.feature_selection import f_regression

    return np.sort(np.argsort(-f_regression(x, y)[0])[:n])


def lassonet(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the columns that LassoNet keeps where at most n are left."""
    from lassonet import LassoNetRegressor

    standard = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    model = LassoNetRegressor(hidden_dims=(64,), verbose=0, random_state=seed, torch_seed=seed)
    path = model.path(standard, ((y - y.mean()) / y.std()).astype(np.float32))
    last = [one for one in path if int(one.selected.sum()) >= n][-1]
    order = np.asarray(model.feature_importances_)
    chosen = np.flatnonzero(np.asarray(last.selected))
    return np.sort(chosen[np.argsort(-order[chosen], kind="stable")[:n]])


SELECTORS: dict[str, Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]] = {
    "prune": ours, "f": univariate, "lasso": lasso, "forest": forest, "rfe": rfe, "lassonet": lassonet,
}  # fmt: skip


def judge(table: Table, keep: np.ndarray) -> dict[str, float]:
    """Return the R2 of fresh judges on the test rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.svm import SVR

    scale = (table.x.mean(axis=0)[keep], table.x.std(axis=0)[keep])
    x, x_test = ((rows[:, keep] - scale[0]) / scale[1] for rows in (table.x, table.x_test))
    shift, unit = table.y.mean(), table.y.std()
    judges = {"SVR": SVR(), "boosting": HistGradientBoostingRegressor(random_state=0)}
    return {
        name: float(one.fit(x, (table.y - shift) / unit).score(x_test, (table.y_test - shift) / unit))
        for name, one in judges.items()
    }


def measure(name: str, method: str, seed: int) -> dict[str, Any]:
    """Choose columns and judge them."""
    table = load(name, seed)
    began = time.perf_counter()
    keep = SELECTORS[method](table.x, table.y, KEEP, seed)
    seconds = time.perf_counter() - began
    scores = judge(table, keep)
    return {
        "set": name, "method": method, "seed": seed, "keep": keep.tolist(), "seconds": seconds, "scores": scores,
        "r2": statistics.mean(scores.values()),
        "found": len({*table.useful} & {*keep.tolist()}) / len(table.useful) if table.useful else None,
    }  # fmt: skip


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each set and method: means over the seeds, and the paired lead of ours with its standard error."""
    rows = []
    for name in dict.fromkeys(run["set"] for run in runs):
        of_set = [run for run in runs if run["set"] == name]
        own = {run["seed"]: run["r2"] for run in of_set if run["method"] == "prune"}
        for method in dict.fromkeys(run["method"] for run in of_set):
            mine = [run for run in of_set if run["method"] == method]
            lead = [own[run["seed"]] - run["r2"] for run in mine if run["seed"] in own]
            hits = [run["found"] for run in mine if run["found"] is not None]
            rows.append(
                {
                    "set": name, "method": method, "seeds": len(mine), "r2": statistics.mean(run["r2"] for run in mine),
                    "found": statistics.mean(hits) if hits else None,
                    "seconds": statistics.median(run["seconds"] for run in mine),
                    "lead": statistics.mean(lead) if lead else None,
                    "lead_error": statistics.stdev(lead) / len(lead) ** 0.5 if len(lead) > 1 else None,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    """Measure what is missing and write all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/regression.json"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    given = parser.parse_args()
    content = json.loads(given.out.read_text()) if given.out.exists() else {"runs": []}
    runs = content["runs"]
    has_lassonet = importlib.util.find_spec("lassonet") is not None
    methods = [name for name in SELECTORS if name != "lassonet" or has_lassonet]
    done = {(run["set"], run["method"], run["seed"]) for run in runs}
    for seed in range(given.seeds):
        for name in given.sets:
            for method in methods:
                if (name, method, seed) in done:
                    continue
                runs.append(measure(name, method, seed))
                print(json.dumps(runs[-1]), flush=True)
                notes = [] if has_lassonet else ["lassonet is not installed here, so it is not among the peers"]
                content = {"machine": common.machine(1), "rows": summary(runs), "notes": notes, "runs": runs}
                given.out.write_text(json.dumps(content, indent=1) + "\n")
    for row in summary(runs):
        found = "-" if row["found"] is None else f"{row['found']:.2f}"
        print(
            f"{row['set']:14s} {row['method']:9s} R2 {row['r2']:.3f} found {found} {row['seconds']:6.1f} s  lead {row['lead']:+.3f}"
        )


if __name__ == "__main__":
    main()
