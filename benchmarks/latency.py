"""Budgets in measured latency: what the cut model of a result takes, beside its budget, on one thread.

Networks on the digits: units of 64-512-256-10, and heads and neurons of a transformer of 2 blocks. Each budget is a part of what the
whole network takes. What a result takes is measured again after the run: the median of several medians, in time of the processor.
"""

from __future__ import annotations

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

ROWS = 64


def measured(model: torch.nn.Module, times: int = 5) -> float:
    """Return the microseconds of a batch."""
    return 1e6 * float(np.median([cut_latency([model], [(64,)], ROWS, DECISIVE)[0] for _ in range(times)]))


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
        whole = measured(model)
        for share in (0.6,) if chosen.quick else (0.5, 0.75):
            budget = round(share * whole, 1)
            result = mcprune.prune(
                x, y, model=model, latency=budget, latency_rows=ROWS, epochs=3, decisions=16, retrain_epochs=1,
                compare="no", threads=1, **options,
            )  # fmt: skip
            small = result.model.model
            taken = measured(small)
            note = f"{taken:.1f} of {budget:.1f} microseconds, the whole network {whole:.1f} before and {measured(model):.1f} after"
            rows.append(row(f"{name}, {share:.0%} of the whole: latency", taken / budget, "", 1.0, "lower", note))
            print(rows[-1], flush=True)
    report(rows, 1, chosen.out)


if __name__ == "__main__":
    main()
