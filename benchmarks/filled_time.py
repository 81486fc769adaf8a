"""How much of its time a chain's search fills where `bench` plans the epochs: one thread, trials counted, and where it stood at the end.

python benchmarks/filled_time.py --out benchmarks/results/filled_time.json
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, parser, write  # isort: skip

# Data, n, seconds.
CASES = [("mnist", 50, 60), ("mnist", 20, 60), ("mnist", 100, 60), ("digits", 16, 10), ("mnist", 50, 180)]
QUICK = [("digits", 16, 4)]


def filled(data: str, keep: int, seconds: float, root: Path) -> dict[str, Any]:
    """Make one run as `bench` does; its figures."""
    from mcprune.data.load import load
    from mcprune.storage.event_log import read_log
    from mcprune.storage.events import Replanned
    from mcprune.storage.run_metrics import read_run
    from mcprune.studies.jobs import Job, Jobs

    options = {"data": data, "keep": keep, "max_time": seconds, "threads": 1, "compare": "no", "retrain_epochs": 2}
    jobs = Jobs(root, "filled time", [Job("chain", options)])
    told = list(jobs.run(load(data)))
    if told[0].status == "failed":
        raise SystemExit(told[0].message)
    folder = jobs.folder("chain")
    run = read_run(folder, jobs.spent("chain"))
    log = read_log(folder)
    start, last = log.started, run.progress[-1]
    return {
        "data": data, "n": keep, "time": seconds, "filled": run.seconds / seconds, "trial_seconds": jobs.spent("chain")[0],
        "is_cut": run.is_cut, "epochs_planned": start.epochs, "epochs": run.epochs,
        "kept_at_end": last.kept, "retrained": run.retrained,
        "paces": [[event.block, event.blocks_before, event.blocks] for event in log.of(Replanned)],
        "targets_below_110_percent": sum(event.target <= 1.1 * keep for event in run.progress) / len(run.progress),
    }  # fmt: skip


def main() -> None:
    """Measure each case, and write what there is after each."""
    given = parser(__doc__.splitlines()[0], with_plot=False).parse_args()
    rows = []
    for data, keep, seconds in QUICK if given.quick else CASES:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as root:
            rows.append(filled(data, keep, seconds, Path(root) / "runs"))
        print(f"{time.perf_counter() - began:.0f} s: {json.dumps(rows[-1])}", flush=True)
        if given.out is not None:
            write(given.out, {"machine": machine(1), "rows": rows})


if __name__ == "__main__":
    main()
