"""Fifty of 784 pixels: the chain beside random masks, magnitude and published figures, judged by four fresh classifiers on test rows.

All 60,000 training rows and 10,000 test rows of MNIST and Fashion-MNIST (MCPRUNE_DATA). Judges on the kept pixels, scaled to 0..1:
scikit-learn's default SVC, 1-NN, ExtraTrees with 50 trees, and an MLP 128-64. The published figures are their authors' (single setting
of each paper, other seeds and classifiers' details), set beside ours for orientation.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import command, options, report, row  # isort: skip

import numpy as np
import torch

PUBLISHED = {
    "mnist": {
        "all 784": {"SVC": 0.9792},
        "NeuroFS": {"SVC": 0.9530, "1-NN": 0.9164, "ExtraTrees": 0.9368},
        "LassoNet": {"SVC": 0.9446, "1-NN": 0.9138, "ExtraTrees": 0.9296},
        "RelChaNet (one run here, 91 s)": {"SVC": 0.9671, "ExtraTrees": 0.9526, "MLP": 0.9625},
    },
    "fashion-mnist": {
        "NeuroFS": {"SVC": 0.8378, "1-NN": 0.8012, "ExtraTrees": 0.8426},
        "RelChaNet (one run here, 223 s)": {"ExtraTrees": 0.8536, "MLP": 0.8550},
    },
}
BARS = {
    "mnist": {"SVC": 0.970, "1-NN": 0.952, "ExtraTrees": 0.957, "MLP": 0.968},
    "fashion-mnist": {"SVC": 0.860, "1-NN": 0.838, "ExtraTrees": 0.858, "MLP": 0.859},
}
KEEP = 50


def judge(data: Any, keep: np.ndarray, seed: int, with_svc: bool) -> dict[str, float]:
    """Return test accuracies of fresh classifiers on the kept columns."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    from mcprune.models.registry import build
    from mcprune.session.trainer import accuracy, fit

    x = np.concatenate([data.x_train, data.x_validation])[:, keep]
    y = np.concatenate([data.y_train, data.y_validation])
    xt, yt = np.ascontiguousarray(data.x_test[:, keep]), data.y_test
    model = build("mlp", keep.size, data.n_classes, (128, 64), "relu", 0.0, seed)
    rows, classes = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)
    fit(model, rows, classes, epochs=30, batch_size=256, learning_rate=2e-3, weight_decay=0.0, seed=seed)
    out = {"MLP": accuracy(model, torch.from_numpy(xt), torch.from_numpy(yt))}
    out["ExtraTrees"] = float(ExtraTreesClassifier(50, random_state=seed, n_jobs=2).fit(x, y).score(xt, yt))
    out["1-NN"] = float(KNeighborsClassifier(1, n_jobs=2).fit(x, y).score(xt, yt))
    if with_svc:
        out["SVC"] = float(SVC(cache_size=2000).fit(x, y).score(xt, yt))
    return out


def magnitude(data: Any, seed: int) -> np.ndarray:
    """Return the pixels with the largest first-layer norm times deviation in a network trained on all of them."""
    from mcprune.models.registry import build
    from mcprune.session.trainer import fit

    model = build("mlp", data.n_inputs, data.n_classes, (128, 64), "relu", 0.0, seed)
    rows, classes = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    fit(model, rows, classes, epochs=10, batch_size=256, learning_rate=2e-3, weight_decay=0.0, seed=seed)
    norm = model.layers[0].weight.detach().norm(dim=0).numpy() * data.x_train.std(axis=0)
    return np.sort(np.argsort(-norm, kind="stable")[:KEEP])


def main() -> None:
    """Search, judge, print, write."""
    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.session.machine import cores, use_threads

    chosen = options(__doc__ or "")
    if not os.environ.get("MCPRUNE_DATA"):
        raise SystemExit("MCPRUNE_DATA names no folder with mnist and fashion-mnist; set it and run again")
    use_threads(cores())
    seeds = (0,) if chosen.quick else (0, 1, 2)
    rows: list[dict[str, Any]] = []
    masks: dict[str, list[list[int]]] = {}
    for name, bars in BARS.items():
        found: dict[str, list[dict[str, float]]] = {"chain": [], "random": [], "magnitude": []}
        times: list[float] = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "run"
                given = ["run", "--data", name, "--keep", str(KEEP), "--seed", str(seed), "--out", str(out), "--quiet"]
                if chosen.quick:
                    given += ["--epochs", "4"]
                took, _, code = command([*given, "--compare", "no"])
                if code:
                    raise SystemExit(f"the run on {name} ended with code {code}")
                import json

                keep = np.array(json.loads((out / "mask.json").read_text())["keep"])
            times.append(took)
            masks.setdefault(name, []).append(keep.tolist())
            data = prepare(load(name), seed=seed, validation=0.15, test=0.2, scale="auto")
            draw = np.random.default_rng(seed)
            kinds = {
                "chain": keep,
                "random": np.sort(draw.choice(784, KEEP, replace=False)),
                "magnitude": magnitude(data, seed),
            }
            for kind, mask in kinds.items():
                began = time.monotonic()
                found[kind].append(judge(data, mask, seed, with_svc=not chosen.quick))
                shown = {judge_: round(value, 4) for judge_, value in found[kind][-1].items()}
                print(
                    f"  {name} seed {seed} {kind}: {shown}, search {took:.0f} s, judged in {time.monotonic() - began:.0f} s",
                    flush=True,
                )
        for kind, runs in found.items():
            for one, bar in bars.items():
                values = [run[one] for run in runs if one in run]
                rows.append(
                    row(
                        f"{name}, {kind}: {one}", statistics.mean(values) if values else None, "", bar if kind == "chain" else None,
                        "higher", None if values else "--quick", spread=statistics.stdev(values) if len(values) > 1 else None,
                        values=values,
                    )
                )  # fmt: skip
        rows.append(row(f"{name}, chain: seconds of the whole command", statistics.median(times), "s", 180.0, "lower"))
        for who, figures in PUBLISHED[name].items():
            rows += [
                row(f"{name}, {who}: {one}", value, "", None, "higher", "published") for one, value in figures.items()
            ]
        report(rows, cores(), chosen.out, seeds=list(seeds), masks=masks)


if __name__ == "__main__":
    main()
