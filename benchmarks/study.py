"""What makes a good mask: variants of the search judged on validation rows, several seeds each.

A mask is judged by fresh classifiers that are trained on training rows and scored on validation rows: the MLP, an SVC on 15,000
rows, 1-NN and ExtraTrees. The test rows are never looked at. Each line of output is one run; --out collects them.

    python benchmarks/study.py --data mnist --seeds 0,1,2 "default" "decisions=128" "hidden=256,128;epochs=40"
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


def scores(plan: Any, mask: np.ndarray, widths: tuple[int, ...] = (128, 64)) -> dict[str, float]:
    """Return validation accuracies of fresh classifiers on the kept inputs."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    from mcprune.models.registry import build
    from mcprune.session.trainer import accuracy, fit

    data = plan.prepared
    x, xv = (np.ascontiguousarray(part[:, mask]) for part in (data.x_train, data.x_validation))
    y, yv = data.y_train, data.y_validation
    some = np.random.default_rng(0).permutation(len(y))[:15_000]
    model = build("mlp", x.shape[1], data.n_classes, widths, "relu", 0.0, 1)
    fit(
        model, torch.from_numpy(x), torch.from_numpy(y), epochs=plan.retrain_epochs, batch_size=plan.batch_size,
        learning_rate=2e-3, weight_decay=0.0, seed=1,
    )  # fmt: skip
    return {
        "mlp": accuracy(model, torch.from_numpy(xv), torch.from_numpy(yv)),
        "svc": float(SVC().fit(x[some], y[some]).score(xv, yv)),
        "nn": float(KNeighborsClassifier(1).fit(x, y).score(xv, yv)),
        "trees": float(ExtraTreesClassifier(50, random_state=0).fit(x, y).score(xv, yv)),
    }


def one(data: str, keep: int, seed: int, variant: str) -> dict[str, Any]:
    """Search with the variant's options, then judge."""
    from mcprune.data.load import load
    from mcprune.session.config import make_config
    from mcprune.session.loop import Interrupt, _Search
    from mcprune.session.machine import use_threads
    from mcprune.session.plan import make_method, make_plan

    given = dict(part.split("=", 1) for part in variant.split(";") if "=" in part)
    plan = make_plan(make_config(data=data, keep=keep, seed=seed, **given), load(data))
    use_threads(plan.config.threads or 1)
    began = time.monotonic()
    search = _Search(plan, make_method(plan))
    for _ in search.run(Interrupt(), began):
        pass
    mask, _ = search.harden()
    took = time.monotonic() - began
    return {
        "data": data, "variant": variant, "seed": seed, "seconds": round(took, 1), "proposals": search.proposals,
        "accepted": search.accepted, **scores(plan, mask), "keep": np.flatnonzero(mask).tolist(),
    }  # fmt: skip


def main() -> None:
    """Run the variants, print a line each, then the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--keep", type=int, default=50)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    seeds = [int(part) for part in chosen.seeds.split(",")]
    found: list[dict[str, Any]] = []
    for variant in chosen.variants:
        for seed in seeds:
            found.append(one(chosen.data, chosen.keep, seed, variant))
            print({name: value for name, value in found[-1].items() if name != "keep"}, flush=True)
            if chosen.out is not None:
                chosen.out.write_text(json.dumps({"machine": machine(0), "runs": found}, indent=1) + "\n")
        mine = [run for run in found if run["variant"] == variant]
        means = {
            name: f"{np.mean([run[name] for run in mine]):.4f}±{np.std([run[name] for run in mine]):.4f}"
            for name in ("mlp", "svc", "nn", "trees")
        }
        print(f"== {chosen.data} {variant}: {means} in {np.mean([run['seconds'] for run in mine]):.0f} s", flush=True)


if __name__ == "__main__":
    main()
