"""Fifty of 784 pixels: the chain beside random masks, magnitude and published figures, judged by four fresh classifiers on test rows.

All 60,000 training rows and 10,000 test rows of MNIST and Fashion-MNIST (MCPRUNE_DATA). Judges on the kept pixels, scaled to 0..1:
scikit-learn's default SVC, 1-NN, ExtraTrees with 50 trees, and an MLP 128-64, trained as the command retrains the small classifier
(for all kinds of masks alike). The published figures are their authors' (single setting
of each paper, other seeds and classifiers' details), set beside ours for orientation. The SVC judges every mask of the chain, but random
and magnitude masks at the first seed only: it takes longer than all else.

With --out each search and each judgement is written as soon as it is made, and a later run with the same options goes on from there
(delete the file after a change of the search).
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import command, machine, parser, report, row, write  # isort: skip

import numpy as np
import plots
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
MISSING = ("STG", "QuickSelection")
BARS = {
    "mnist": {"SVC": 0.970, "1-NN": 0.952, "ExtraTrees": 0.957, "MLP": 0.968},
    "fashion-mnist": {"SVC": 0.860, "1-NN": 0.838, "ExtraTrees": 0.858, "MLP": 0.859},
}
AIMS = {"mnist": {"SVC": 0.972}, "fashion-mnist": {"SVC": 0.865}}
# Over seeds, of the chain's masks.
SPREAD = 0.003
KINDS = ("chain", "random", "magnitude")
KEEP = 50
# Threads of the judges that can use several; more only fight on a small machine.
JOBS = 2


def judge(data: Any, keep: np.ndarray, seed: int, with_svc: bool) -> dict[str, float]:
    """Return test accuracies of fresh classifiers on the kept columns."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    from mcprune.config.schema import make_config
    from mcprune.models.registry import build
    from mcprune.session.build.planner import make_plan
    from mcprune.training.fit import fit
    from mcprune.training.metrics import accuracy

    x = np.concatenate([data.train.features, data.validation.features])[:, keep]
    y = np.concatenate([data.train.targets, data.validation.targets])
    xt, yt = np.ascontiguousarray(data.test.features[:, keep]), data.test.targets
    plan = make_plan(make_config(keep=KEEP, seed=seed), data)
    own = plan.config
    model = build("mlp", keep.size, data.n_classes, (128, 64), "relu", own.retrain.dropout or 0.0, seed)
    rows, classes = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)
    fit(
        model, rows, classes, epochs=plan.retrain.epochs, batch_size=plan.train.batch_size, learning_rate=own.train.learning_rate,
        weight_decay=own.train.weight_decay, seed=seed, input_noise=own.retrain.input_noise or 0.0,
    )  # fmt: skip
    out = {"MLP": accuracy(model, torch.from_numpy(xt), torch.from_numpy(yt))}
    out["ExtraTrees"] = float(ExtraTreesClassifier(50, random_state=seed, n_jobs=JOBS).fit(x, y).score(xt, yt))
    out["1-NN"] = float(KNeighborsClassifier(1, n_jobs=JOBS).fit(x, y).score(xt, yt))
    if with_svc:
        out["SVC"] = float(SVC(cache_size=2000).fit(x, y).score(xt, yt))
    return out


def magnitude(data: Any, seed: int) -> np.ndarray:
    """Return the pixels with the largest first-layer norm times deviation in a network trained on all of them."""
    from mcprune.models.registry import build
    from mcprune.training.fit import fit

    model = build("mlp", data.n_inputs, data.n_classes, (128, 64), "relu", 0.0, seed)
    rows, classes = torch.from_numpy(data.train.features), torch.from_numpy(data.train.targets)
    fit(model, rows, classes, epochs=10, batch_size=256, learning_rate=2e-3, weight_decay=0.0, seed=seed)
    norm = model.layers[0].weight.detach().norm(dim=0).numpy() * data.train.features.std(axis=0)
    return np.sort(np.argsort(-norm, kind="stable")[:KEEP])


def search(name: str, seed: int, options: list[str]) -> tuple[np.ndarray, float]:
    """Run the chain; return the pixels that it keeps and the seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        given = ["run", "--data", name, "--keep", str(KEEP), "--seed", str(seed), "--out", str(out), "--quiet"]
        took, _, code = command([*given, "--compare", "no", *options])
        if code:
            raise SystemExit(f"the run on {name} ended with code {code}")
        return np.array(json.loads((out / "mask.json").read_text())["indices"]), took


def one(name: str, data: Any, seed: int, kind: str, options: list[str], with_svc: bool) -> dict[str, Any]:
    """One mask, found and judged."""
    took = None
    if kind == "chain":
        keep, took = search(name, seed, options)
    elif kind == "random":
        keep = np.sort(np.random.default_rng(seed).choice(data.n_inputs, KEEP, replace=False))
    else:
        keep = magnitude(data, seed)
    began = time.monotonic()
    scores = judge(data, keep, seed, with_svc)
    return {
        "data": name, "seed": seed, "kind": kind, "options": options, "scores": scores, "seconds": took,
        "judged in": time.monotonic() - began, "keep": keep.tolist(),
    }  # fmt: skip


def rows_of(name: str, found: list[dict[str, Any]], why: str) -> list[dict[str, Any]]:
    """The rows of one data set."""
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for judge_, bar in BARS[name].items():
            values = [run["scores"][judge_] for run in found if run["kind"] == kind and judge_ in run["scores"]]
            mean = statistics.mean(values) if values else None
            spread = statistics.stdev(values) if len(values) > 1 else None
            note = None if values else why
            is_ours = kind == "chain"
            rows.append(
                row(
                    f"{name}, {kind}: {judge_}",
                    mean,
                    "",
                    bar if is_ours else None,
                    "higher",
                    note,
                    spread=spread,
                    values=values,
                )
            )
            if is_ours and judge_ in AIMS[name]:
                rows.append(row(f"{name}, {kind}: {judge_}, the aim", mean, "", AIMS[name][judge_], "higher", note))
            if is_ours:
                few = "too few seeds" if values else why
                rows.append(
                    row(
                        f"{name}, {kind}: {judge_}, spread over seeds",
                        spread,
                        "std",
                        SPREAD,
                        "lower",
                        None if spread is not None else few,
                    )
                )
    times = [run["seconds"] for run in found if run["kind"] == "chain"]
    took = statistics.median(times) if times else None
    rows.append(row(f"{name}, chain: seconds of the whole command", took, "s", 180.0, "lower"))
    for who, figures in PUBLISHED[name].items():
        rows += [
            row(f"{name}, {who}: {judge_}", value, "", None, "higher", "published") for judge_, value in figures.items()
        ]
    rows += [row(f"{name}, {who}: SVC", None, "", None, "higher", "published figure not at hand") for who in MISSING]
    return rows


def main() -> None:
    """Search, judge, print, write; go on where an earlier run with the same options stopped."""
    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.environment import cores, use_threads

    asked = parser(__doc__ or "")
    asked.add_argument("--data", choices=tuple(BARS), help="one data set (both)")
    asked.add_argument("--seeds", type=int, default=3, help="how many (3; 1 with --quick)")
    chosen = asked.parse_args()
    if not os.environ.get("MCPRUNE_DATA"):
        raise SystemExit("MCPRUNE_DATA names no folder with mnist and fashion-mnist; set it and run again")
    use_threads(cores())
    seeds = range(1 if chosen.quick else chosen.seeds)
    options = ["--epochs", "4"] if chosen.quick else []
    names = [chosen.data] if chosen.data else list(BARS)
    runs: list[dict[str, Any]] = []
    if chosen.out is not None and chosen.out.exists():
        runs = json.loads(chosen.out.read_text()).get("runs", [])
    why = "--quick" if chosen.quick else "not judged"

    def mine(name: str) -> list[dict[str, Any]]:
        return [run for run in runs if run["data"] == name and run["options"] == options and run["seed"] in seeds]

    for name in names:
        for seed in seeds:
            data = None
            for kind in KINDS:
                if any(run["seed"] == seed and run["kind"] == kind for run in mine(name)):
                    print(f"  {name} seed {seed} {kind}: judged already", flush=True)
                    continue
                data = data or prepare(load(name), seed=seed, validation=0.15, test=0.2, scale="auto")
                with_svc = not chosen.quick and (kind == "chain" or seed == 0)
                runs.append(one(name, data, seed, kind, options, with_svc))
                if chosen.out is not None:
                    write(chosen.out, {"machine": machine(cores()), "runs": runs, "rows": []})
                shown = {judge_: round(value, 4) for judge_, value in runs[-1]["scores"].items()}
                took = "" if runs[-1]["seconds"] is None else f"search {runs[-1]['seconds']:.0f} s, "
                print(
                    f"  {name} seed {seed} {kind}: {shown}, {took}judged in {runs[-1]['judged in']:.0f} s", flush=True
                )
    rows = [one for name in BARS if mine(name) for one in rows_of(name, mine(name), why)]
    # The bars of accuracy hold no spread and no seconds: those have their own scale.
    figures = tuple(
        plots.bars(
            sorted((one for one in rows if one["name"].startswith(f"{name},") and one["unit"] == "" and ", the aim" not in one["name"]),
                   key=lambda one: one["name"].rsplit(": ", 1)[-1]),
            f"{name}: {KEEP} pixels, test accuracy by judge",
        )
        for name in names
    )  # fmt: skip
    report(rows, cores(), chosen.out, chosen.plot, f"{KEEP} of 784 pixels", figures, seeds=list(seeds), runs=runs)


if __name__ == "__main__":
    main()
