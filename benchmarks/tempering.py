"""Which replica the classifier trains under, and which replica's mask is taken: judged on validation rows of digits.

Four replicas from temperature 3e-4 to 3e-3 keep 16 of 64 pixels. The classifier trains under the coldest replica's mask, or under
one replica's a step in turn; the mask is the coldest replica's, or that with the lowest loss on the last evaluation batch.

    python benchmarks/tempering.py --out benchmarks/results/tempering_digits.json
"""

from __future__ import annotations

import json
import time
from typing import Any

from common import machine, parser  # isort: skip

import numpy as np
from study import scores

REPLICAS = 4
CHOSEN = {"replicas": f"{REPLICAS},hottest=3e-3,swap_every=16", "temperature": 3e-4}


def both_masks(seed: int, train: str) -> list[dict[str, Any]]:
    """Search once; judge the coldest replica's mask and the best replica's."""
    from mcprune.chain import state
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.environment import use_threads
    from mcprune.evaluators.base import gates_of
    from mcprune.session.build.markov import make_method
    from mcprune.session.build.plan import make_plan
    from mcprune.session.interrupt import Interrupt
    from mcprune.session.search import Search

    plan = make_plan(make_config(data="digits", keep=16, seed=seed, threads=1, **CHOSEN), load("digits"))
    use_threads(1)
    method = make_method(plan)
    search = Search(plan, method)
    step = search.trainer.run

    def in_turn(count: int, gates: Any, weights: Any, progress: float) -> None:
        for number in range(count):
            weights = method.state.position[(method.blocks * count + number) % REPLICAS]
            step(1, gates_of(weights, method.sharpness), weights, progress)

    if train == "in turn":
        search.trainer.run = in_turn  # type: ignore[method-assign]
    for _ in search.run(Interrupt(), time.monotonic()):
        pass
    method._begin(search.judges.batch(plan.evaluation.rows))
    losses = method.evaluator.current()
    by_rung = losses[np.argsort(method.ladder.rung)]
    told = {
        "seed": seed, "train": train, "losses": by_rung.tolist(), "trips": int(method.ladder.trips.sum()),
        "swap_rates": (method.ladder.swaps / method.ladder.attempts).tolist(),
    }  # fmt: skip
    taken = {"coldest": method.coldest, "best": int(np.argmin(losses))}
    return [
        {**told, "mask": name, **scores(plan, state.mask(method.state.position[replica], 16))}
        for name, replica in taken.items()
    ]


def main() -> None:
    """Run the four ways, print a line each, write the runs."""
    chosen = parser(__doc__ or "", with_plot=False).parse_args()
    found: list[dict[str, Any]] = []
    for train in ("coldest", "in turn"):
        for seed in range(2 if chosen.quick else 6):
            found += both_masks(seed, train)
        for mask in ("coldest", "best"):
            mine = [run for run in found if run["train"] == train and run["mask"] == mask]
            means = {
                name: f"{np.mean([run[name] for run in mine]):.4f}±{np.std([run[name] for run in mine], ddof=1):.4f}"
                for name in ("mlp", "svc", "nn", "trees")
            }
            print(f"training {train}, mask {mask}: {means}", flush=True)
    if chosen.out is not None:
        chosen.out.write_text(json.dumps({"machine": machine(1), "options": CHOSEN, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
