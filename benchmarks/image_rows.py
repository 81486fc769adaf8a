"""n pixels from a few thousand images: the search as on many images beside the one of tables, judged by rows that neither has seen.

The rows of a run are drawn from the training rows by the seed, and up to 10,000 other training rows judge it: the small network of `prune`,
and fresh SVC(), 1-NN and ExtraTrees(50) on the kept pixels. Test rows are not used; of digits a fifth is left out as such.

    python benchmarks/image_rows.py --out benchmarks/results/image_rows.json
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from typing import Any

import common
import numpy as np
import table_selectors as selectors
from tables import accuracies

SETS, JUDGED = {"mnist": 50, "fashion-mnist": 50, "digits": 16}, 10_000  # pixels to keep
MANY = {
    "start": "all", "eval_on": "train", "keep_schedule": "geometric:0.3,regrow=40x1", "search_hidden": "256", "input_noise": 0.1,
    "epochs": 20, "dropout": 0.0, "weight_decay": 0.0, "mask_noise": 0.05, "train_steps": 8, "pool": 32, "retrain_dropout": 0.3,
    "retrain_weight_decay": 0.0,
}  # fmt: skip
SEARCHES: dict[str, dict[str, Any]] = {
    "default": {},
    "as on many rows": MANY,
    "as on many rows, without noise": MANY | {"input_noise": 0.0},
    "as on many rows, without regrowth": MANY | {"keep_schedule": "geometric:0.5,regrow=0"},
    "as on tables": {"eval_on": "folds"},
    "as on tables, standardised": {"eval_on": "folds", "scale": "standard"},
    "straight-through": {"method": "gradient", "gates": "straight-through"},
}


def draw(name: str, rows: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return images and classes of training rows, and of others that judge."""
    from mcprune.data.load import load

    data = load(name)
    test = np.arange(4 * data.n_rows // 5, data.n_rows) if data.test_rows is None else data.test_rows
    rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(data.n_rows), test))
    own, others = rest[:rows], rest[rows:][-JUDGED:]
    return data.features[own], data.targets[own], data.features[others], data.targets[others]


def measure(name: str, rows: int, search: str, seed: int) -> dict[str, Any]:
    """Choose pixels and judge them."""
    x, y, x_new, y_new = draw(name, rows, seed)
    began = time.process_time()
    side = math.isqrt(x.shape[1])
    result = selectors.pruned(x.reshape(-1, side, side), y, SETS[name], seed, **SEARCHES[search])
    seconds, keep = time.process_time() - began, result.mask.indices
    scores = accuracies(x[:, keep] / x.max(), y, x_new[:, keep] / x.max(), y_new, 0)
    scores["network"] = float((result.model.predict(x_new) == y_new).mean())
    return {
        "set": name, "rows": rows, "search": search, "seed": seed, "cpu": seconds, "scores": scores,
        "mean": statistics.mean(scores.values()), "keep": keep.tolist(),
    }  # fmt: skip


def main() -> None:
    """Choose, judge, print and write; go on where an earlier run stopped."""
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument("--only", nargs="+", choices=tuple(SETS), default=("mnist", "fashion-mnist"), help="these sets")
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--searches", nargs="+", choices=tuple(SEARCHES), default=("as on many rows", "as on tables"))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    asked = parser.parse_args()
    runs: list[dict[str, Any]] = []
    if asked.out is not None and asked.out.exists():
        runs = json.loads(asked.out.read_text())["runs"]
    done = {(run["set"], run["rows"], run["search"], run["seed"]) for run in runs}
    for seed, name, search in itertools.product(asked.seeds, asked.only, asked.searches):
        if (name, asked.rows, search, seed) in done:
            continue
        run = measure(name, asked.rows, search, seed)
        runs.append(run)
        shown = " ".join(f"{judge} {value:.4f}" for judge, value in run["scores"].items())
        print(f"{name} {asked.rows:,} rows, {search}, seed {seed}: {shown}, {run['cpu']:.0f} s", flush=True)
        if asked.out is not None:
            common.write(asked.out, {"machine": common.machine(1), "runs": runs})


if __name__ == "__main__":
    main()
