"""LeNet-300-100 on MNIST under one budget of multiply-accumulates: inputs and units are sites of one chain.

Each seed is one `mcprune run`: search on 51,000 rows, then a fresh small net on all 60,000 training rows, tested once on the 10,000
test rows (MCPRUNE_DATA). The small net learns the outputs of a whole one on warped images (shifts, turns, scales), as OPTIONS say; how
was chosen on validation rows.
Beside it the figure of the best published net of about that cost, 97-71-33 (9,560 multiply-accumulates) at 1.6% error.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import command, parser, report, row  # isort: skip

LIMIT = 9_600
PUBLISHED = {"architecture": "97-71-33", "macs": 97 * 71 + 71 * 33 + 33 * 10, "error": 0.016}
BAR, AIM = 0.019, 0.016
SITES = {
    "--sites": "inputs,units",
    "--hidden": "300,100",
    "--macs": str(LIMIT),
    "--compare": "no",
}
OPTIONS = {
    "--moves": "exchange=3,toggle=1",
    "--epochs": "20",
    "--keep-schedule": "geometric:0.6",
    "--retrain-epochs": "200",
}
OPTIONS |= {
    "--retrain-warp": "1",
    "--retrain-input-noise": "0",
    "--retrain-dropout": "0",
    "--retrain-distill": "2",
    "--retrain-learning-rate": "4e-3",
}
QUICK = {**OPTIONS, "--epochs": "2", "--retrain-epochs": "4"}


def one(seed: int, options: dict[str, str], data: str, threads: int) -> dict[str, Any]:
    """Search and retrain with a seed; return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        given = {**SITES, **options, "--data": data, "--seed": str(seed), "--threads": str(threads), "--out": str(out)}
        seconds, memory, code = command(["run", "--quiet", *[part for pair in given.items() for part in pair]])
        if code:
            raise SystemExit(f"seed {seed}: the run ended with code {code}")
        result = json.loads((out / "result.json").read_text())
    rows = {line["name"]: line for line in result["scores"]}
    cost = result["cost"]
    return {
        "seed": seed,
        "architecture": "-".join(map(str, cost["groups"])),
        "macs": cost["used"],
        "parameters": result["parameters"]["after"],
        "found": 1.0 - rows["hard mask, not retrained"]["accuracy"],
        "error": 1.0 - rows["hard mask, retrained"]["accuracy"],
        "validation_found": 1.0 - result["hardened"]["validation_accuracy"],
        "seconds": seconds,
        "memory": memory,
    }


def main() -> None:
    """Run the seeds and report."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    options.add_argument("--data", default="mnist", help="data set of images of 784 pixels")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="another option of run")
    given = options.parse_args()
    used = dict(QUICK if given.quick else OPTIONS)
    used |= {f"--{name.removeprefix('--')}": value for name, _, value in (part.partition("=") for part in given.set)}
    found = []
    for seed in range(1 if given.quick else given.seeds):
        found.append(one(seed, used, given.data, given.threads))
        last = found[-1]
        print(
            f"seed {seed}: {last['architecture']}-10, {last['macs']:,} MACs, test error {last['error']:.2%}", flush=True
        )
    errors = [run["error"] for run in found]
    spread = statistics.stdev(errors) if len(errors) > 1 else None
    nets = ", ".join(run["architecture"] for run in found)
    rows = [
        row(
            "test error, retrained",
            statistics.mean(errors),
            "share",
            BAR,
            "lower",
            f"{len(errors)} seed(s): {nets}",
            spread=spread,
        ),
        row("test error, retrained, beside the aim", statistics.mean(errors), "share", AIM, "lower"),
        row("most multiply-accumulates of a seed", max(run["macs"] for run in found), "MACs", LIMIT, "lower"),
        row("most parameters of a seed", max(run["parameters"] for run in found), "", None, "lower"),
        row("test error of the mask as found", statistics.mean(run["found"] for run in found), "share", None, "lower"),
        row("search and retraining of a seed", statistics.median(run["seconds"] for run in found), "s", None, "lower"),
        row(
            "published 97-71-33, test error", PUBLISHED["error"], "share", None, "lower", f"{PUBLISHED['macs']:,} MACs"
        ),
    ]
    report(rows, given.threads, given.out, runs=found, options={**SITES, **used}, published=PUBLISHED)


if __name__ == "__main__":
    main()
