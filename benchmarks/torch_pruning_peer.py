"""Torch-Pruning beside our chain: LeNet-300-100 on MNIST at the multiply-accumulates of `structured.py`.

Torch-Pruning (`pip install torch-pruning`) cuts the units of a trained 784-300-100 by global magnitude, in steps, with a short training
between them, until the network needs at most 9,600 multiply-accumulates. It cuts layers' outputs, so all 784 inputs stay. The widths that
it ends with are then trained by `mcprune run` in the same way as those of the chain: from new weights, on warped images, by the outputs of
a whole network.

    MCPRUNE_DATA=... python benchmarks/torch_pruning_peer.py --out benchmarks/results/torch_pruning.json
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import structured
import torch
import torch_pruning
from common import command, parser, report, row
from torch import nn

HIDDEN = (300, 100)
EPOCHS, BETWEEN, STEPS = 10, 1, 100  # of training before, and between two of the steps
RATIO = 0.97  # of the channels are dropped in the last step, were the bound not reached before


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> None:
    """Train by Adam with a falling learning rate."""
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(x) // 256))
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=draw).split(256)[: len(x) // 256]:
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def macs(model: nn.Sequential) -> int:
    """Return the multiply-accumulates of a row."""
    return sum(layer.weight.numel() for layer in model if isinstance(layer, nn.Linear))


def widths(x: torch.Tensor, y: torch.Tensor, seed: int, *, quick: bool) -> tuple[tuple[int, int], int]:
    """Return the hidden widths that Torch-Pruning ends with, and the multiply-accumulates."""
    torch.manual_seed(seed)
    first, second = HIDDEN
    model = nn.Sequential(
        nn.Linear(x.shape[1], first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 10)
    )
    train(model, x, y, 1 if quick else EPOCHS, seed)
    pruner = torch_pruning.pruner.MetaPruner(
        model, x[:2], importance=torch_pruning.importance.MagnitudeImportance(p=2), global_pruning=True,
        pruning_ratio=RATIO, max_pruning_ratio=0.99, iterative_steps=STEPS, ignored_layers=[model[4]],
    )  # fmt: skip
    while macs(model) > structured.LIMIT:
        before = macs(model)
        pruner.step()
        if macs(model) == before:
            raise SystemExit(f"seed {seed}: Torch-Pruning stays at {before:,} multiply-accumulates")
        if macs(model) > structured.LIMIT:
            train(model, x, y, BETWEEN, seed)
    return (model[0].out_features, model[2].out_features), macs(model)


def retrained(hidden: tuple[int, int], seed: int, threads: int, *, quick: bool) -> tuple[float, float]:
    """Train such a network as `structured.py` trains those of the chain; return its test error, and the seconds."""
    kept = [*range(hidden[0]), *range(HIDDEN[0], HIDDEN[0] + hidden[1])]
    free = hidden[0]  # a run wants something to choose: one of two units of the first layer
    dropped = [unit for unit in range(sum(HIDDEN)) if unit not in (*kept, free)]
    options = structured.QUICK if quick else structured.OPTIONS
    given = {
        **{name: value for name, value in options.items() if name.startswith("--retrain")},
        "--data": "mnist", "--sites": "units", "--hidden": ",".join(map(str, HIDDEN)), "--keep": str(len(kept)),
        "--must-keep": ",".join(map(str, kept[1:])), "--must-drop": ",".join(map(str, dropped)),
        "--epochs": "1", "--compare": "no", "--seed": str(seed), "--threads": str(threads),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        seconds, _, code = command(
            ["run", "--quiet", *[part for pair in given.items() for part in pair], "--out", str(out)]
        )
        if code:
            raise SystemExit(f"seed {seed}: the run ended with code {code}")
        scores = json.loads((out / "result.json").read_text())["scores"]
    return 1.0 - next(line["accuracy"] for line in scores if line["name"] == "hard mask, retrained"), seconds


def main() -> None:
    """Prune and train the seeds, and report."""
    from mcprune.data.load import load
    from mcprune.data.prepare import prepare

    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    runs: list[dict[str, Any]] = []
    for seed in range(1 if given.quick else given.seeds):
        rows = prepare(load("mnist"), seed=seed).train
        hidden, cost = widths(torch.from_numpy(rows.features), torch.from_numpy(rows.targets), seed, quick=given.quick)
        error, seconds = retrained(hidden, seed, given.threads, quick=given.quick)
        runs.append(
            {
                "seed": seed,
                "architecture": "-".join(map(str, (784, *hidden))),
                "macs": cost,
                "error": error,
                "seconds": seconds,
            }
        )
        print(f"seed {seed}: {runs[-1]['architecture']}-10, {cost:,} MACs, test error {error:.2%}", flush=True)
    errors = [run["error"] for run in runs]
    spread = statistics.stdev(errors) if len(errors) > 1 else None
    note = f"{len(runs)} seed(s): {', '.join(run['architecture'] for run in runs)}"
    lines = [
        row(
            "Torch-Pruning, test error, retrained", statistics.mean(errors), "share", None, "lower", note, spread=spread
        ),
        row("most multiply-accumulates of a seed", max(run["macs"] for run in runs), "MACs", structured.LIMIT, "lower"),
    ]
    report(lines, given.threads, given.out, runs=runs, version=torch_pruning.__version__)


if __name__ == "__main__":
    main()
