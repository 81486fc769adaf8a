"""What a GPU gives, in one script of under six minutes: every evaluator beside its CPU twin, throughput, MNIST end to end, a transformer.

    python benchmarks/gpu.py --out gpu.json            # the first NVIDIA GPU; MCPRUNE_DATA is the folder with MNIST
    python benchmarks/gpu.py --device cpu --quick      # the same code without a GPU, on small sizes

Each part is left out, with a note, where the time is over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from common import parser, report, row  # isort: skip

import numpy as np
import prefix
import throughput
import torch
from torch import nn

import mcprune
from mcprune.chain import moves, state
from mcprune.environment import use_threads
from mcprune.errors import ModelError
from mcprune.evaluators import choose
from mcprune.evaluators.full import FullEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

SECONDS = 330.0
CHAINS = np.zeros(1, np.int64)
# The largest difference of a loss from that of the CPU, relative to max(1, loss).
DIFFERENCE = 1e-4


def convolutions() -> nn.Module:
    """Return a small convolutional network of flat rows."""
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "perceptron": (lambda: MLP((64, 48, 32, 10)), "inputs,units"),
    "perceptron, inputs": (lambda: MLP((64, 48, 32, 10)), "inputs"),
    "convolutions, channels": (convolutions, "channels"),
    "transformer": (
        lambda: prefix.Transformer(4, 32),
        "heads,neurons",
    ),
}


def equality(device: str, quick: bool) -> list[dict[str, Any]]:
    """Compare the losses of every evaluator on the device with the canonical ones of the same model on the CPU."""
    rows, count = 200 if quick else 1000, 24
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(rows, 64, generator=draw), torch.randint(0, 10, (rows,), generator=draw)
    plan, out = moves.move_plan(exchange=1.0, toggle=1.0, site=1.0), []
    for title, (build, kinds) in MODELS.items():
        torch.manual_seed(0)
        model = build().eval()
        sites = site_map(model, kinds, 64)
        position = np.random.default_rng(0).normal(0.0, 3.0, (1, sites.size))
        current = state.new_state(position, sharpness=np.inf)
        batch = moves.propose(current, count, plan=plan, delta=3.0, sharpness=np.inf, seed=0, chains=CHAINS)
        canonical = FullEvaluator(GatedModel(model, sites), CrossEntropy())
        canonical.begin(x, y, current.position, np.inf)
        expected = np.append(canonical.losses(current, batch)[0], canonical.current())
        twin = build().to(device).eval()
        twin.load_state_dict(model.state_dict())
        problem = choose.EvaluationProblem(
            GatedModel(twin, sites), CrossEntropy(), x.to(device), y.to(device), plan, sites.size // 2, 4.0, np.inf, 16
        )
        for name in choose.NAMES:
            try:
                evaluator = choose.build(name, problem)
                evaluator.begin(problem.features, problem.targets, current.position, np.inf)
                losses = np.append(evaluator.losses(current, batch)[0], evaluator.current())
            except ModelError as error:
                out.append(row(f"{title}: {name}", None, "", None, "lower", f"not usable: {error}"))
                continue
            usual = np.isfinite(expected)
            away = float((np.abs(losses - expected) / np.maximum(1.0, np.abs(expected)))[usual].max())
            out.append(row(f"{title}: {name}, difference from the CPU", away, "", DIFFERENCE, "lower"))
    return out


def end_to_end(device: str, quick: bool) -> list[dict[str, Any]]:
    """Run MNIST with 50 pixels from the rows to the retrained network; the digits where there is no MNIST."""
    is_large = bool(os.environ.get("MCPRUNE_DATA")) and not quick
    data, keep = ("mnist", 50) if is_large else ("digits", 20)
    options: dict[str, Any] = {"epochs": 6, "retrain_epochs": 4} if quick else {}
    began = time.monotonic()
    result = mcprune.prune(data, keep=keep, device=device, seed=0, max_time=150.0, compare="no", **options)
    took = time.monotonic() - began
    accuracy = result.metrics["test_accuracy"]
    name = f"{data}, {keep} inputs, end to end"
    return [
        row(f"{name}: seconds", took, "s", None, "lower"),
        row(f"{name}: test accuracy", accuracy, "", None, "higher"),
    ]


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--device", default="cuda", help="cuda, or cpu to try the script")
    chosen = options.parse_args()
    device, quick = chosen.device, chosen.quick
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("not run on a GPU: torch sees none. Give --device cpu to try the script.")
    use_threads(1)
    data = "mnist" if os.environ.get("MCPRUNE_DATA") and not quick else "digits"
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "equality": lambda: equality(device, quick),
        "the transformer": lambda: prefix.throughput(prefix.Bench(quick, device), quick),
        "throughput": lambda: throughput.gpu_rows(data, quick, device, 256 if quick else 4096),
        "end to end": lambda: end_to_end(device, quick),
    }
    began, rows = time.monotonic(), []
    for name, part in parts.items():
        if time.monotonic() - began > SECONDS:
            rows.append(row(name, None, "", None, "lower", "not run: the time is over"))
            continue
        print(f"{name} ...", flush=True)
        rows += part()
        report(rows, 1, chosen.out, device=torch.cuda.get_device_name() if device == "cuda" else "cpu")
    rows.append(row("seconds in all", time.monotonic() - began, "s", 360.0, "lower"))
    report(rows, 1, chosen.out, device=torch.cuda.get_device_name() if device == "cuda" else "cpu")


if __name__ == "__main__":
    main()
