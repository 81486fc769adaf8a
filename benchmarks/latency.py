"""Budgets in measured latency: what the cut model of a result takes, beside its budget, on one thread.

Networks on the digits: units of 64-512-256-10, and heads and neurons of a transformer of 2 blocks. Each budget is a part of what the
whole network takes, and has several runs; the figure is the largest relative distance from the budget. What a result takes is measured
again after its run: the median of several medians, in time of the processor, the small and the whole network in turns. Other programs
share the caches: `drift` is how the latency of the whole network changed in the meantime.

    python benchmarks/latency.py --out benchmarks/results/latency.json
"""

from __future__ import annotations

import statistics
from typing import Any

from common import parser, report, row  # isort: skip

import numpy as np
import torch
from prefix import Transformer, patches
from sklearn.datasets import load_digits

import mcprune
from mcprune.environment import use_threads
from mcprune.exporters.latency import DECISIVE, cut_latency
from mcprune.models.mlp import MLP

ROWS, SEEDS = 64, 3


def measured(*models: torch.nn.Module, times: int = 5) -> list[float]:
    """Return the microseconds of a batch in each model; in turns, each long enough to have the caches to itself."""
    taken = [[cut_latency([model], [(64,)], ROWS, DECISIVE)[0] for model in models] for _ in range(times)]
    return [float(1e6 * each) for each in np.median(taken, axis=0)]


def of_budget(name: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    """Return the figure of a budget."""
    shares = [run["share"] for run in runs]
    note = "; ".join(f"{run['taken']:.1f} of {run['budget']:.1f} us, drift {run['drift']:.3f}" for run in runs)
    away = max(abs(share - 1.0) for share in shares)
    title = f"{name}: largest distance of the latency from the budget"
    return row(title, away, "", 0.05, "lower", note, median=statistics.median(shares), runs=runs)


def main() -> None:
    """Measure, print, write."""
    chosen = parser(__doc__ or "", with_plot=False).parse_args()
    use_threads(1)
    digits = load_digits()
    x, y = patches(digits.data).astype(np.float32), digits.target
    torch.manual_seed(0)
    cases: list[tuple[str, torch.nn.Module, dict[str, Any]]] = [
        ("units of 64-512-256-10", MLP((64, 512, 256, 10)), {"sites": "units"}),
        ("heads and neurons of a transformer", Transformer(2, 32), {"sites": "heads,neurons"}),
    ]
    rows = []
    for name, model, options in cases:
        for share in (0.6,) if chosen.quick else (0.5, 0.75):
            runs = []
            for seed in range(1 if chosen.quick else SEEDS):
                (whole,) = measured(model)
                budget = round(share * whole, 1)
                result = mcprune.prune(
                    x, y, model=model, latency=budget, latency_rows=ROWS, epochs=3, decisions=16, retrain_epochs=1,
                    compare="no", threads=1, seed=seed, **options,
                )  # fmt: skip
                taken, after = measured(result.model.model, model)
                runs.append({"budget": budget, "taken": taken, "share": taken / budget, "drift": after / whole})
                print(f"{name}, {share:.0%}: {runs[-1]}", flush=True)
            rows.append(of_budget(f"{name}, {share:.0%} of the whole", runs))
            report(rows, 1, chosen.out)


if __name__ == "__main__":
    main()
