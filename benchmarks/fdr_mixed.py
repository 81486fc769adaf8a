"""Measured false discovery rate and power at fdr=.1 on tables with gaps and categories whose informative columns are known.

Twelve tables of four kinds, three of them noise alone: 20 numbers, of which every other one has gaps, and 12 categories of 2 to 8 values;
three of each kind of column tell. A false column is one that the classes do not depend on once all others are known. The controls:
shadows that are permuted blindly, and numbers that are made beforehand, each tested alone, a column being kept with the first of them.

    python benchmarks/fdr_mixed.py --out benchmarks/results/fdr_mixed.json

Each table is written as soon as it is done, and a later run with the same --out goes on from there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import common
import fdr
import fdr_tables
import numpy as np
import pandas as pd

Q, SEEDS, FIRST = 0.1, 3, 500
ROWS, NUMBERS, CATEGORIES, TRUE = 600, 20, 12, 3


class Mixed(NamedTuple):
    """A frame, classes, and the names of the informative columns."""

    frame: pd.DataFrame
    y: np.ndarray
    true: frozenset[str]


def mixed(seed: int, *, rho: float, informative: bool = True, gaps_follow: bool = False) -> Mixed:
    """Return a table whose columns lean on one another by `rho`.

    Values of a category are ranges of a latent number, in an order that is drawn; with `gaps_follow` a number is missing where the
    latent number before it is high.
    """
    draw = np.random.default_rng(seed)
    latent = fdr_tables.leaning(draw, ROWS, NUMBERS + CATEGORIES, rho)[:, draw.permutation(NUMBERS + CATEGORIES)]
    frame, effects = {}, {}
    for j in range(NUMBERS):
        x = latent[:, j].copy()
        if j % 2 == 0:
            chance = 0.4 * (latent[:, j - 1] > 0.5) if gaps_follow else 0.15
            x[draw.random(ROWS) < chance] = np.nan
        frame[f"number {j}"] = x
        effects[f"number {j}"] = np.where(np.isnan(x), 0.8, x)
    for j in range(CATEGORIES):
        levels = (2, 3, 5, 8)[j % 4]
        cuts = np.sort(draw.uniform(-1.2, 1.2, levels - 1))
        codes = draw.permutation(levels)[np.searchsorted(cuts, latent[:, NUMBERS + j])]
        values = draw.normal(size=levels)
        frame[f"category {j}"] = pd.Categorical.from_codes(codes, [f"v{k}" for k in range(levels)])
        effect = values[codes]
        effects[f"category {j}"] = (effect - effect.mean()) / max(effect.std(), 1e-9)
    kinds = ([f"number {j}" for j in range(1, NUMBERS, 2)], [f"number {j}" for j in range(0, NUMBERS, 2)],
             [f"category {j}" for j in range(CATEGORIES)])  # fmt: skip
    true = [name for kind in kinds for name in draw.choice(kind, TRUE, replace=False)] if informative else []
    score = sum((1.3 * draw.choice([-1, 1]) * effects[name] for name in true), np.zeros(ROWS))
    return Mixed(pd.DataFrame(frame), fdr_tables.two_classes(draw, score - score.mean()), frozenset(true))


KINDS: dict[str, Callable[[int], Mixed]] = {
    "independent": lambda seed: mixed(seed, rho=0.0),
    "leaning (.6)": lambda seed: mixed(seed, rho=0.6),
    "gaps follow other columns": lambda seed: mixed(seed, rho=0.6, gaps_follow=True),
    "noise": lambda seed: mixed(seed, rho=0.6, informative=False, gaps_follow=True),
}


def ours(table: Mixed, seed: int) -> set[str]:
    """Return what `MarkovSelector` keeps."""
    from mcprune import MarkovSelector

    selector = MarkovSelector(fdr=Q, random_state=seed).fit(table.frame, table.y)
    return set(selector.get_feature_names_out())


def blind(table: Mixed, seed: int) -> set[str]:
    """Return the same with shadows whose columns are permuted blindly, each as a whole."""
    from mcprune.fdr.copies import Shadows

    kept, begin = Shadows.draw, Shadows.__init__

    def remember(self: Any, x: np.ndarray, owner: np.ndarray | None = None, categories: Any = ()) -> None:
        begin(self, x, owner, categories)
        self.owner = np.arange(x.shape[1]) if owner is None else owner

    def permuted(self: Any, draw: np.random.Generator) -> np.ndarray:
        orders = np.stack([draw.permutation(len(self._x)) for _ in range(int(self.owner[-1]) + 1)], axis=1)
        return np.take_along_axis(self._x, orders[:, self.owner], axis=0)

    try:
        Shadows.__init__, Shadows.draw = remember, permuted  # type: ignore[method-assign]
        return ours(table, seed)
    finally:
        Shadows.__init__, Shadows.draw = begin, kept  # type: ignore[method-assign]


def encoded(table: Mixed, seed: int) -> set[str]:
    """Return the columns of which a number is kept that was made beforehand."""
    from mcprune import MarkovSelector

    parts = []
    for name, column in table.frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            parts.append(pd.get_dummies(column, prefix=name, prefix_sep="=", dtype=float))
        elif column.isna().any():
            parts.append(
                pd.DataFrame({f"{name}=value": column.fillna(column.mean()), f"{name}=gap": column.isna() * 1.0})
            )
        else:
            parts.append(column.to_frame())
    selector = MarkovSelector(fdr=Q, random_state=seed).fit(pd.concat(parts, axis=1), table.y)
    return {name.partition("=")[0] for name in selector.get_feature_names_out()}


METHODS: dict[str, Callable[[Mixed, int], set[str]]] = {
    "mcprune": ours, "blind shadows": blind, "numbers made beforehand": encoded,
}  # fmt: skip


def measure(kind: str, seed: int, name: str) -> dict[str, Any]:
    """Choose the columns of a table and compare them with the true ones."""
    table = KINDS[kind](seed)
    clock, processor = time.perf_counter(), time.process_time()
    kept = METHODS[name](table, seed)
    run = {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - processor}
    right = len(kept & table.true)
    return {
        "kind": kind, "seed": seed, "method": name, **run, "kept": sorted(kept), "true": sorted(table.true),
        "false": (len(kept) - right) / max(1, len(kept)), "power": right / len(table.true) if table.true else None,
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return false discovery rate and power of each method with intervals, and the median time of the processor."""
    out = []
    for name in METHODS:
        own = [run for run in runs if run["method"] == name]
        if own:
            false, power = [run["false"] for run in own], [run["power"] for run in own if run["power"] is not None]
            out.append(
                {
                    "method": name, "tables": len(own), "fdr": float(np.mean(false)), "fdr_interval": fdr.interval(false),
                    "power": float(np.mean(power)) if power else None,
                    "power_interval": fdr.interval(power) if power else None,
                    "cpu": float(np.median([run["cpu"] for run in own])),
                }
            )  # fmt: skip
    return out


def main() -> None:
    """Measure what is missing and write all."""
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), help="these methods")
    options = parser.parse_args()
    out: Path | None = options.out
    runs: list[dict[str, Any]] = json.loads(out.read_text())["runs"] if out is not None and out.exists() else []
    done = {(run["kind"], run["seed"], run["method"]) for run in runs}
    for seed in range(FIRST, FIRST + (1 if options.quick else SEEDS)):
        for kind in KINDS:
            for name in options.methods:
                if (kind, seed, name) in done:
                    continue
                runs.append(measure(kind, seed, name))
                print({key: runs[-1][key] for key in ("kind", "seed", "method", "false", "power", "cpu")}, flush=True)
                if out is not None:
                    common.write(out, {"machine": common.machine(1), "q": Q, "summary": summary(runs), "runs": runs})
    for one in summary(runs):
        print(one)


if __name__ == "__main__":
    main()
