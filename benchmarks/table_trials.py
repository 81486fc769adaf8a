"""Options of the search tried on tables: columns chosen on three quarters of the training rows, judged on the rest.

Each seed is another split and another search; test rows are not used. The figure is the mean accuracy of SVC(), 1-NN and ExtraTrees(50),
and that of the small network stands beside it.

    MCPRUNE_TABLES=../shared/data python benchmarks/table_trials.py "" "input_noise=0.2" "search_hidden=128;epochs=20" --out trials.json
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from typing import Any

import common
import numpy as np
import table_selectors as selectors
import table_sets as sets
from tables import accuracies

HELD_OUT, N = 0.25, 50
SETS = ("isolet", "pcmac", "yale", "spambase", "hypercube")


def measure(name: str, variant: str, seed: int) -> dict[str, Any]:
    """Choose columns under the options of a variant, and judge them."""
    from sklearn.model_selection import train_test_split

    table = sets.load(name)
    n = N if N in sets.SETS[name] else sets.SETS[name][0]
    x, x_new, y, y_new = train_test_split(table.x, table.y, test_size=HELD_OUT, random_state=seed, stratify=table.y)
    given = dict(part.split("=", 1) for part in variant.split(";") if part)
    began = time.process_time()
    result = selectors.pruned(x, y, n, seed, **given)
    seconds, keep = time.process_time() - began, result.mask.indices
    mean = statistics.mean(accuracies(x[:, keep], y, x_new[:, keep], y_new, 0).values())
    network = float((result.model.predict(x_new) == y_new).mean())
    return {
        "set": name, "n": n, "variant": variant, "seed": seed, "mean": mean, "network": network, "cpu": seconds,
        "useful": table.useful(np.asarray(keep)), "keep": keep.tolist(),
    }  # fmt: skip


def main() -> None:
    """Run the variants, print and write; go on where an earlier run stopped."""
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument(
        "variants", nargs="+", help='options of prune, such as "input_noise=0.2;epochs=20"; "" for the defaults'
    )
    parser.add_argument("--only", nargs="+", choices=tuple(sets.SETS), default=SETS, help="these sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    asked = parser.parse_args()
    runs: list[dict[str, Any]] = []
    if asked.out is not None and asked.out.exists():
        runs = json.loads(asked.out.read_text())["runs"]
    done = {(run["set"], run["variant"], run["seed"]) for run in runs}
    for seed, name, variant in itertools.product(asked.seeds, asked.only, asked.variants):
        if (name, variant, seed) in done:
            continue
        runs.append(measure(name, variant, seed))
        print({key: value for key, value in runs[-1].items() if key != "keep"}, flush=True)
        if asked.out is not None:
            common.write(asked.out, {"machine": common.machine(1), "runs": runs})
    for name, variant in itertools.product(asked.only, asked.variants):
        ours = [run for run in runs if (run["set"], run["variant"]) == (name, variant)]
        if ours:
            means = {key: round(statistics.mean(run[key] for run in ours), 4) for key in ("mean", "network", "cpu")}
            print(f"{name}, {variant or 'defaults'}: {means}, {len(ours)} seeds")


if __name__ == "__main__":
    main()
