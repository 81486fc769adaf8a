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
    from mcprune.chain import state as chain_state
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.environment import use_threads
    from mcprune.evaluators.base import gates_of
    from mcprune.session.build.markov import make_method
    from mcprune.session.build.planner import make_plan
    from mcprune.session.interrupt import Interrupt
    from mcprune.session.search import Search

    plan = make_plan(make_config(data="digits", keep=16, seed=seed, threads=1, **CHOSEN), load("digits"))
    use_threads(1)
    search = Search(plan, make_method(plan))
    state, step = search.state.method, search.trainer.run

    def in_turn(trainer: Any, count: int, gates: Any, weights: Any, progress: float, hook: Any = None) -> None:
        for number in range(count):
            weights = state.chain.position[(state.blocks * count + number) % REPLICAS]
            step(trainer, 1, gates_of(weights, state.sharpness), weights, progress)

    if train == "in turn":
        search.trainer.run = in_turn  # type: ignore[method-assign]
    for _ in search.run(Interrupt(), time.monotonic()):
        pass
    batch = search.rows.batch(search.state.evaluation, plan.evaluation.rows)
    evaluation = search.method.evaluation
    evaluation.begin(state.error, state.chain, batch, state.sharpness)
    losses = evaluation.evaluator.current()
    by_rung = losses[np.argsort(state.ladder.rung)]
    row = {
        "seed": seed, "train": train, "losses": by_rung.tolist(), "trips": int(state.ladder.trips.sum()),
        "swap_rates": (state.ladder.swaps / state.ladder.attempts).tolist(),
    }  # fmt: skip
    taken = {"coldest": state.coldest, "best": int(np.argmin(losses))}
    return [
        {**row, "mask": name, **scores(plan, chain_state.mask(state.chain.position[replica], 16))}
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
                for name in ("mlp", "ridge", "nn", "trees")
            }
            print(f"training {train}, mask {mask}: {means}", flush=True)
    if chosen.out is not None:
        chosen.out.write_text(json.dumps({"machine": machine(1), "options": CHOSEN, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
