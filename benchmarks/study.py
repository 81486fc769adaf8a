"""What makes a good mask: variants of the search judged on validation rows, several seeds each.

A third of the training rows is kept apart for judging; the test rows are never looked at. A mask is judged by fresh
classifiers trained on the other rows: an MLP 128-64 (10 epochs), ridge regression on 1,200 random Fourier features of
a Gaussian kernel (an SVC's kin, without its time), 1-NN and ExtraTrees; `mean` is the mean of the four accuracies.
Each line of output is one run; --out collects them, and leaves out what it holds already. Beside the options of `run` a variant takes
copies=C: the rows that train and judge the search are C times as many, all but the first copy moved and turned (warp=S, as --retrain-warp)
or drawn by up to a share towards another row of the class (mix=M).

    python benchmarks/study.py --data mnist --seeds 0,1,2 "keep_schedule=geometric,regrow=0" "search_hidden=512" "epochs=40"
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from common import machine  # isort: skip

import numpy as np
import torch


def ridge(x: np.ndarray, y: np.ndarray, xv: np.ndarray, yv: np.ndarray, count: int = 1200) -> float:
    """Return the validation accuracy of ridge regression of the classes on random Fourier features."""
    draw = np.random.default_rng(0)
    spread = np.sqrt(2.0 / (x.shape[1] * x.var()))
    w = draw.normal(size=(x.shape[1], count)).astype(np.float32) * spread
    b = (draw.random(count) * 2 * np.pi).astype(np.float32)
    z, zv = (np.cos((part - x.mean(axis=0)) @ w + b) for part in (x, xv))
    wanted = np.eye(y.max() + 1, dtype=np.float32)[y] - 1.0 / (y.max() + 1)
    fitted = np.linalg.solve(z.T @ z + np.eye(count, dtype=np.float32), z.T @ wanted)
    return float(((zv @ fitted).argmax(axis=1) == yv).mean())


def scores(plan: Any, mask: np.ndarray) -> dict[str, float]:
    """Return validation accuracies of fresh classifiers on the kept inputs, and their mean."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.neighbors import KNeighborsClassifier

    from mcprune.models.registry import build
    from mcprune.training.fit import fit
    from mcprune.training.metrics import accuracy

    data = plan.splits
    x, xv = (np.ascontiguousarray(part[:, mask]) for part in (data.train.features, data.validation.features))
    y, yv = data.train.targets, data.validation.targets
    model = build("mlp", x.shape[1], data.n_classes, (128, 64), "relu", 0.0, 1)
    rows, classes = torch.from_numpy(x), torch.from_numpy(y)
    fit(
        model, rows, classes, epochs=max(10, plan.retrain.epochs // 3), batch_size=plan.train.batch_size, learning_rate=2e-3,
        weight_decay=0.0, seed=1,
    )  # fmt: skip
    found = {
        "mlp": accuracy(model, torch.from_numpy(xv), torch.from_numpy(yv)),
        "ridge": ridge(x, y, xv, yv),
        "nn": float(KNeighborsClassifier(1, algorithm="brute").fit(x, y).score(xv, yv)),
        "trees": float(ExtraTreesClassifier(30, random_state=0).fit(x, y).score(xv, yv)),
    }
    return {**found, "mean": float(np.mean(list(found.values())))}


def more_rows(prepared: Any, copies: int, warp: float, mix: float, seed: int) -> Any:
    """Return the data with `copies` - 1 changed copies of the training rows behind them, in a random order."""
    from mcprune.training.augment import RandomAffine

    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    rows, count = prepared.train.features, len(prepared.train.targets)
    parts = [rows]
    for _ in range(copies - 1):
        part = rows
        if warp:
            view = RandomAffine(torch.from_numpy(rows), prepared.image_shape, np.arange(rows.shape[1]), warp)
            part = np.concatenate([view(torch.arange(i, min(i + 512, count))).numpy() for i in range(0, count, 512)])
        if mix:
            other = np.empty(count, np.int64)
            for label in np.unique(prepared.train.targets):
                members = np.flatnonzero(prepared.train.targets == label)
                other[members] = draw.permutation(members)
            part = part + (mix * draw.random((count, 1))).astype(np.float32) * (rows[other] - part)
        parts.append(part.astype(np.float32))
    order = draw.permutation(copies * count)
    x, y = np.concatenate(parts)[order], np.tile(prepared.train.targets, copies)[order]
    return prepared._replace(train=prepared.train._replace(features=np.ascontiguousarray(x), targets=y))


def one(data: str, keep: int, seed: int, variant: str, threads: int) -> dict[str, Any]:
    """Search with the variant's options, then judge."""
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.environment import use_threads
    from mcprune.session.build.markov import make_method
    from mcprune.session.build.planner import make_plan
    from mcprune.session.interrupt import Interrupt
    from mcprune.session.search import Search

    given = {"validation": "0.33", **dict(part.split("=", 1) for part in variant.split(";") if "=" in part)}
    copies, warp, mix = (float(given.pop(name, 0)) for name in ("copies", "warp", "mix"))
    config = make_config(data=data, keep=keep, seed=seed, threads=threads, **given)
    prepared = prepare(
        load(data), seed=seed, validation=config.data.validation, test=config.data.test, scale=config.data.scale
    )
    plan = make_plan(config, more_rows(prepared, int(copies), warp, mix, seed) if copies > 1 else prepared)
    use_threads(threads)
    began, cpu = time.monotonic(), time.process_time()
    search = Search(plan, make_method(plan))
    for _ in search.run(Interrupt(), began):
        pass
    mask, _ = search.harden()
    took = {"seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    plan.splits = prepared  # the rows themselves judge
    return {
        "data": data, "variant": variant, "seed": seed, **took, "proposals": search.state.totals.proposals,
        "accepted": search.state.totals.accepted, **scores(plan, mask), "keep": np.flatnonzero(mask).tolist(),
    }  # fmt: skip


def main() -> None:
    """Run the variants, print a line each, then the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--keep", type=int, default=50)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    seeds = [int(part) for part in chosen.seeds.split(",")]
    found: list[dict[str, Any]] = []
    if chosen.out is not None and chosen.out.exists():
        found = json.loads(chosen.out.read_text())["runs"]
    for variant in chosen.variants:
        for seed in seeds:
            if any((run["data"], run["variant"], run["seed"]) == (chosen.data, variant, seed) for run in found):
                continue
            found.append(one(chosen.data, chosen.keep, seed, variant, chosen.threads))
            print({name: value for name, value in found[-1].items() if name != "keep"}, flush=True)
            if chosen.out is not None:
                chosen.out.write_text(json.dumps({"machine": machine(chosen.threads), "runs": found}, indent=1) + "\n")
        mine = [run for run in found if (run["data"], run["variant"]) == (chosen.data, variant)]
        means = {
            name: f"{np.mean([run[name] for run in mine]):.4f}±{np.std([run[name] for run in mine]):.4f}"
            for name in ("mlp", "ridge", "nn", "trees", "mean")
        }
        print(
            f"== {chosen.data} {variant}: {means} in {np.mean([run['cpu_seconds'] for run in mine]):.0f} s of a core",
            flush=True,
        )


if __name__ == "__main__":
    main()
