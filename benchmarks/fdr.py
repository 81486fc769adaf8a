"""Measured false discovery rate and power at fdr=.1 on known-answer tables: ours beside Boruta, knockoffs and stability selection.

Twenty tables of eleven kinds (fdr_tables.py), two of them noise alone. The false discovery rate is the mean over all tables of the share
of false columns among the kept ones (0 where none is kept), the power the mean over the tables with informative columns of the share of
these that is kept; intervals are 95% of bootstraps over the tables. Every method gets all rows. The options of `mcprune` were chosen on
tables of other seeds.

    python benchmarks/fdr.py --out benchmarks/results/fdr.json

Boruta and knockpy are measured where they are installed. Each table is written as soon as it is done, and a later run with the same --out
goes on from there.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import fdr_tables
import numpy as np

Q, SLACK, SEED = 0.1, 0.05, 100
SUBSAMPLES, THRESHOLD, FALSE = 50, 0.75, 1.0  # of stability selection: false columns that are expected at most
BOOTSTRAPS = 4000


def ours(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    from mcprune import MarkovSelector

    return np.flatnonzero(MarkovSelector(fdr=Q, random_state=seed).fit(x, y).support_)


def blind_shadows(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Ours with shadows that are permuted blindly: they lose the dependence on the other columns."""
    from mcprune.fdr.copies import Shadows

    kept = Shadows.draw
    try:
        Shadows.draw = lambda self, draw: np.take_along_axis(
            self._x, draw.random(self._x.shape).argsort(axis=0), axis=0
        )  # type: ignore[method-assign]
        return ours(x, y, seed)
    finally:
        Shadows.draw = kept  # type: ignore[method-assign]


def without_chain(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Ours without the chain: the statistic of a column is the loss without it, all others kept."""
    from mcprune.session.shadows import compete

    kept = compete.share_of_blocks
    try:
        compete.share_of_blocks = loss_without
        return ours(x, y, seed)
    finally:
        compete.share_of_blocks = kept


def loss_without(plan: Any) -> np.ndarray:
    """Return by how much the held-out loss rises without each site (N,)."""
    from mcprune.session.build.markov import make_chain
    from mcprune.session.search_parts import make_rows

    method, rows = make_chain(plan), make_rows(plan, plan.folds)
    masks = np.concatenate([np.ones((1, plan.sites.size), bool), ~np.eye(plan.sites.size, dtype=bool)])
    losses = method.mask_losses(method.init(), rows.batch(rows.init(), plan.folds.rows), masks)
    return losses[1:] - losses[0]


def boruta(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    from boruta import BorutaPy
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(max_depth=5, class_weight="balanced", n_jobs=1)
    return np.flatnonzero(BorutaPy(forest, n_estimators="auto", random_state=seed).fit(x, y).support_)


def coefficients(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Summed absolute coefficients of a cross-validated logistic regression under an L1 penalty."""
    from sklearn.linear_model import LogisticRegressionCV

    z = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    model = LogisticRegressionCV(
        Cs=np.logspace(-2.5, 0, 8), cv=4, penalty="l1", solver="saga", max_iter=300, tol=1e-3, random_state=seed
    )
    return np.abs(model.fit(z, y).coef_).sum(axis=0)


def knockoffs(x: np.ndarray, y: np.ndarray, seed: int, offset: int = 1) -> np.ndarray:
    """Gaussian knockoffs of our own with the difference of L1 coefficients, and the threshold of knockoff+."""
    from mcprune.fdr.copies import Shadows

    columns = x.shape[1]
    shadows = Shadows(x.astype(np.float32)).draw(np.random.default_rng(seed))
    size = coefficients(np.concatenate([x, shadows], axis=1), y, seed)
    lead = size[:columns] - size[columns:]
    for value in np.sort(np.abs(lead[lead != 0])):
        if (offset + (lead <= -value).sum()) / max(1, (lead >= value).sum()) <= Q:
            return np.flatnonzero(lead >= value)
    return np.empty(0, np.int64)


def knockoffs_without_offset(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    return knockoffs(x, y, seed, 0)


def by_knockpy(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Knockpy's Gaussian sampler (maximum entropy) with a random forest's statistic."""
    from knockpy.knockoff_filter import KnockoffFilter

    np.random.seed(seed)  # noqa: NPY002 - knockpy draws from it
    filter_ = KnockoffFilter(ksampler="gaussian", fstat="lasso", knockoff_kwargs={"method": "maxent"})
    kept = filter_.forward(X=x, y=y.astype(float), fdr=Q, shrinkage="ledoitwolf")
    return np.flatnonzero(kept)


def stability(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Stability selection: L1 on halves of the rows with random penalties, at most one false column expected (Meinshausen, Buhlmann)."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    z = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    columns = x.shape[1]
    most = max(1, int(np.sqrt((2 * THRESHOLD - 1) * FALSE * columns)))
    counts = np.zeros(columns)
    for _ in range(SUBSAMPLES):
        half = rng.permutation(len(y))[: len(y) // 2]
        weight = rng.choice([0.5, 1.0], columns)
        for c in np.logspace(-2, 0, 12):
            model = LogisticRegression(C=c, penalty="l1", solver="liblinear" if y.max() == 1 else "saga", tol=1e-3)
            size = np.abs(model.fit(z[half] * weight, y[half]).coef_).sum(axis=0)
            if np.count_nonzero(size) >= most:
                break
        chosen = np.argsort(-size)[:most]
        counts[chosen[size[chosen] > 0]] += 1
    return np.flatnonzero(counts >= THRESHOLD * SUBSAMPLES)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "mcprune": ours,
    "shadows without the chain": without_chain,
    "mcprune, blind shadows": blind_shadows,
    "Boruta": boruta,
    "knockoff+, L1": knockoffs,
    "knockoff, L1": knockoffs_without_offset,
    "knockpy": by_knockpy,
    "stability selection": stability,
}


def measure(kind: str, seed: int, name: str) -> dict[str, Any]:
    """Choose the columns of a table and compare them with the true ones."""
    table = fdr_tables.KINDS[kind](seed)
    clock, processor = time.perf_counter(), time.process_time()
    kept = METHODS[name](table.x, table.y, seed)
    run = {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - processor}
    right = int(np.isin(kept, table.true).sum())
    return {
        "kind": kind, "seed": seed, "method": name, **run, "kept": kept.tolist(), "true": table.true.tolist(),
        "false": (len(kept) - right) / max(1, len(kept)), "power": right / len(table.true) if len(table.true) else None,
    }  # fmt: skip


def interval(values: list[float]) -> list[float]:
    """Return the middle 95% of the means of bootstraps."""
    draw = np.random.default_rng(0)
    means = np.asarray(values)[draw.integers(0, len(values), (BOOTSTRAPS, len(values)))].mean(axis=1)
    return np.quantile(means, [0.025, 0.975]).round(4).tolist()


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return false discovery rate and power of each method with intervals, and the median time."""
    out = []
    for name in METHODS:
        own = [run for run in runs if run["method"] == name and "error" not in run]
        if not own:
            continue
        false, power = [run["false"] for run in own], [run["power"] for run in own if run["power"] is not None]
        out.append(
            {
                "method": name, "tables": len(own), "fdr": float(np.mean(false)), "fdr_interval": interval(false),
                "power": float(np.mean(power)) if power else None, "power_interval": interval(power) if power else None,
                "cpu": float(np.median([run["cpu"] for run in own])),
                "seconds": float(np.median([run["seconds"] for run in own])),
            }
        )  # fmt: skip
    return out


def rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures beside their bars."""
    by_name = {one["method"]: one for one in results}
    out = []
    for name, one in by_name.items():
        is_ours = name == "mcprune"
        peer = by_name.get("Boruta", {}).get("power") if is_ours else None
        out += [
            common.row(f"{name}: false discovery rate", one["fdr"], "", Q + SLACK if is_ours else None, "lower"),
            common.row(f"{name}: power", one["power"], "", peer, "higher"),
            common.row(f"{name}: processor, median", one["cpu"], "s", 30.0 if is_ours else None, "lower"),
        ]
    return out


def main() -> None:
    """Measure, print and write; go on where an earlier run stopped."""
    warnings.filterwarnings("ignore")
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), help="these methods")
    asked = parser.parse_args()
    tables = fdr_tables.tables(SEED)[:: 7 if asked.quick else 1]
    out: Path | None = asked.out
    runs: list[dict[str, Any]] = json.loads(out.read_text())["runs"] if out is not None and out.exists() else []
    done = {(run["kind"], run["seed"], run["method"]) for run in runs}
    content = {"machine": common.machine(1), "q": Q, "seed": SEED, "peers": peers()}
    for kind, seed in tables:
        for name in asked.methods:
            if (kind, seed, name) in done:
                continue
            try:
                run = measure(kind, seed, name)
            except (ImportError, ValueError) as error:  # not installed, or more than it can take
                run = {"kind": kind, "seed": seed, "method": name, "error": f"{type(error).__name__}: {error}"[:200]}
            runs.append({**run, "load": round(os.getloadavg()[0], 1)})
            print(kind, seed, name, {key: run.get(key) for key in ("false", "power", "cpu", "error")}, flush=True)
            if out is not None:
                common.write(out, {**content, "summary": summary(runs), "runs": runs})
    common.report(rows(summary(runs)), 1, out, q=Q, seed=SEED, peers=peers(), summary=summary(runs), runs=runs)


def peers() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("boruta", "knockpy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
