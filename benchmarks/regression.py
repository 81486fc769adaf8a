"""Columns for numbers: ours beside the Lasso path, forest, RFE and LassoNet on diabetes, Friedman's law and tables with categories.

Friedman's law has five columns that tell, of 10 and of 100 in all; `mixed-20` and `mixed-60` are tables with categories and gaps, of whose
columns five and six tell. A figure of a mask is the mean R2 of three fresh models on test rows, a ridge regression, an SVR and a gradient
boosting, on standardised columns; columns found are those of the law. The peers get categories as 0 and 1, and gaps filled with the mean
beside an indicator; a column counts with the best of its numbers.

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
import pandas as pd

SEEDS, ROWS, TEST = 10, 500, 1_000
KEEP = {"diabetes": 5, "friedman-10": 5, "friedman-100": 5, "mixed-20": 5, "mixed-60": 6}


class Table(NamedTuple):
    """A set: rows as they are, and as numbers for the peers.

    `owner` is the column of each number; `useful` are the columns of the law, none where that is not known.
    """

    rows: Any
    y: np.ndarray
    x: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    owner: np.ndarray
    useful: tuple[int, ...]

    def best(self, scores: np.ndarray, n: int) -> np.ndarray:
        """Return the n columns of the highest score of one of their numbers, rising."""
        of_columns = np.full(int(self.owner.max()) + 1, -np.inf)
        np.maximum.at(of_columns, self.owner, scores)
        return np.sort(np.argsort(-of_columns, kind="stable")[:n])

    @property
    def standard(self) -> np.ndarray:
        """Numbers of mean 0 and standard deviation 1."""
        deviation = self.x.std(axis=0)
        return (self.x - self.x.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def load(name: str, seed: int) -> Table:
    """Return a set; a seed draws the rows of a law, or the test rows of diabetes."""
    from sklearn.datasets import load_diabetes, make_friedman1
    from sklearn.model_selection import train_test_split

    if name.startswith("mixed"):
        return mixed(int(name.partition("-")[2]), seed)
    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
        x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, random_state=seed)
        return Table(x, y, x, x_test, y_test, np.arange(x.shape[1]), ())
    columns = int(name.partition("-")[2])
    x, y = make_friedman1(ROWS + TEST, columns, noise=1.0, random_state=seed)
    return Table(x[:ROWS], y[:ROWS], x[:ROWS], x[ROWS:], y[ROWS:], np.arange(columns), tuple(range(5)))


def mixed(columns: int, seed: int) -> Table:
    """Return a table two fifths of whose columns are categories and half of whose numbers have gaps.

    Numbers 0 and 1, number 2 with what its gaps say, and categories 0 and 1 tell; of 60 columns category 2 too.
    """
    draw = np.random.default_rng([seed, columns])
    rows, categories = ROWS + TEST, 2 * columns // 5
    numbers = columns - categories
    x = draw.normal(size=(rows, numbers))
    levels = 3 + np.arange(categories) % 5
    codes = np.stack([draw.integers(0, level, rows) for level in levels], axis=1)
    is_gap = (draw.random(x.shape) < 0.15) & (np.arange(numbers) % 2 == 0)
    effects = [draw.normal(size=level) for level in levels]
    effects = [1.2 * (one - one.mean()) / one.std() for one in effects]
    useful_categories = (0, 1, 2) if columns > 20 else (0, 1)
    y = 2.0 * np.sin(1.5 * x[:, 0]) + 0.8 * x[:, 1] ** 2 + np.where(is_gap[:, 2], 2.5, 1.2 * x[:, 2])
    y = y + sum(effects[j][codes[:, j]] for j in useful_categories) + draw.normal(size=rows)
    frame = pd.DataFrame({f"number_{j}": np.where(is_gap[:, j], np.nan, x[:, j]) for j in range(numbers)})
    for j in range(categories):
        frame[f"class_{j}"] = pd.Categorical.from_codes(codes[:, j], [f"v{k}" for k in range(levels[j])])
    parts, owner = [], []
    for place, name in enumerate(frame.columns):
        column = frame[name]
        if place >= numbers:
            own = [(codes[:, place - numbers] == k).astype(float) for k in range(levels[place - numbers])]
        else:
            own = [column.fillna(column[:ROWS].mean()).to_numpy(float)]
            own += [column.isna().to_numpy(float)] if column[:ROWS].isna().any() else []
        parts += own
        owner += [place] * len(own)
    coded = np.stack(parts, axis=1)
    useful = (0, 1, 2, *(numbers + j for j in useful_categories))
    return Table(frame[:ROWS], y[:ROWS], coded[:ROWS], coded[ROWS:], y[ROWS:], np.array(owner), useful)


def ours(table: Table, n: int, seed: int) -> np.ndarray:
    """Return the columns of `MarkovSelector`."""
    import mcprune

    selector = mcprune.MarkovSelector(n, task="regression", random_state=seed).fit(table.rows, table.y)
    return selector.get_support(indices=True)


def lasso(table: Table, n: int, seed: int) -> np.ndarray:
    """Return the first n columns that enter the Lasso path and stay."""
    from sklearn.linear_model import lasso_path

    _, coefficients, _ = lasso_path(table.standard, table.y - table.y.mean(), n_alphas=200)
    counts = [len(np.unique(table.owner[one != 0])) for one in coefficients.T]
    place = next(place for place, count in enumerate(counts) if count >= n)
    return table.best(np.abs(coefficients[:, place]), n)


def forest(table: Table, n: int, seed: int) -> np.ndarray:
    """Return the columns of the highest importance in a forest, summed over their numbers."""
    from sklearn.ensemble import RandomForestRegressor

    importance = RandomForestRegressor(300, random_state=seed).fit(table.x, table.y).feature_importances_
    return table.best(np.bincount(table.owner, importance)[table.owner], n)


def rfe(table: Table, n: int, seed: int) -> np.ndarray:
    """Return what recursive elimination by a forest leaves."""
    from sklearn.ensemble import RandomForestRegressor

    kept = np.unique(table.owner)
    while kept.size > n:
        numbers = np.flatnonzero(np.isin(table.owner, kept))
        model = RandomForestRegressor(100, random_state=seed).fit(table.x[:, numbers], table.y)
        importance = np.bincount(table.owner[numbers], model.feature_importances_, int(table.owner.max()) + 1)[kept]
        drop = max(1, min(kept.size - n, kept.size // 5 if kept.size > 20 else 1))
        kept = np.sort(kept[np.argsort(-importance, kind="stable")[: kept.size - drop]])
    return kept


def univariate(table: Table, n: int, seed: int) -> np.ndarray:
    """Return the columns of the highest F."""
    from sklearn.feature_selection import f_regression

    return table.best(np.nan_to_num(f_regression(table.x, table.y)[0]), n)


def lassonet(table: Table, n: int, seed: int) -> np.ndarray:
    """Return the columns that LassoNet keeps longest."""
    from lassonet import LassoNetRegressor

    model = LassoNetRegressor(hidden_dims=(64,), verbose=0, random_state=seed, torch_seed=seed)
    model.path(table.standard.astype(np.float32), ((table.y - table.y.mean()) / table.y.std()).astype(np.float32))
    return table.best(np.asarray(model.feature_importances_, np.float64), n)


SELECTORS: dict[str, Callable[[Table, int, int], np.ndarray]] = {
    "prune": ours, "f": univariate, "lasso": lasso, "forest": forest, "rfe": rfe, "lassonet": lassonet,
}  # fmt: skip


def judge(table: Table, keep: np.ndarray) -> dict[str, float]:
    """Return the R2 of fresh models on the test rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.svm import SVR

    numbers = np.isin(table.owner, keep)
    deviation = table.x.std(axis=0)[numbers]
    scale = (table.x.mean(axis=0)[numbers], np.where(deviation > 0, deviation, 1.0))
    x, x_test = ((rows[:, numbers] - scale[0]) / scale[1] for rows in (table.x, table.x_test))
    shift, unit = table.y.mean(), table.y.std()
    models = {"ridge": RidgeCV(), "SVR": SVR(), "boosting": HistGradientBoostingRegressor(random_state=0)}
    return {
        name: float(one.fit(x, (table.y - shift) / unit).score(x_test, (table.y_test - shift) / unit))
        for name, one in models.items()
    }


def measure(name: str, method: str, seed: int) -> dict[str, Any]:
    """Choose columns and judge them."""
    table = load(name, seed)
    began = time.perf_counter()
    keep = SELECTORS[method](table, KEEP[name], seed)
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
    parser.add_argument("--methods", nargs="*", default=list(SELECTORS))
    parser.add_argument("--sets", nargs="*", default=list(KEEP))
    options = parser.parse_args()
    content = json.loads(options.out.read_text()) if options.out.exists() else {"runs": []}
    runs = content["runs"]
    has_lassonet = importlib.util.find_spec("lassonet") is not None
    methods = [name for name in options.methods if name != "lassonet" or has_lassonet]
    done = {(run["set"], run["method"], run["seed"]) for run in runs}
    for seed in range(options.seeds):
        for name in options.sets:
            for method in methods:
                if (name, method, seed) in done:
                    continue
                runs.append(measure(name, method, seed))
                print(json.dumps(runs[-1]), flush=True)
                notes = [] if has_lassonet else ["lassonet is not installed here, so it is not among the peers"]
                content = {"machine": common.machine(1), "rows": summary(runs), "notes": notes, "runs": runs}
                options.out.write_text(json.dumps(content, indent=1) + "\n")
    for row in summary(runs):
        found = "-" if row["found"] is None else f"{row['found']:.2f}"
        print(
            f"{row['set']:14s} {row['method']:9s} R2 {row['r2']:.3f} found {found} {row['seconds']:6.1f} s  lead {row['lead']:+.3f}"
        )


if __name__ == "__main__":
    main()
