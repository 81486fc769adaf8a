"""The default commands on digits, MNIST and Fashion-MNIST beside the accuracies aimed at, judged by fresh classifiers on test rows.

Each run is the command line as a user types it; the judges of `features.py` score the mask. With --out each run is written as soon
as it is judged, and runs that are there already with the same options are passed over (delete the file after a change of the search).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, parser, write  # isort: skip

from features import KEEP, judge

BARS = {
    "digits": {"hard mask, retrained": 0.968},
    "mnist": {"SVC": 0.970, "MLP": 0.972, "1-NN": 0.952, "ExtraTrees": 0.957},
    "fashion-mnist": {"SVC": 0.860, "MLP": 0.859, "1-NN": 0.828, "ExtraTrees": 0.858},
}
DIGITS_KEEP = 16


def run(data: str, seed: int, options: dict[str, str], threads: int, with_judges: bool) -> dict[str, Any]:
    """Run one command; return its scores, those of the judges, its seconds and its mask."""
    keep = DIGITS_KEEP if data == "digits" else KEEP
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(
            [
                *(sys.executable, "-m", "mcprune", "run", "--data", data, "--keep", str(keep), "--seed", str(seed)),
                *("--threads", str(threads), "--out", str(out), "--quiet", *flags),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        scores = json.loads((out / "result.json").read_text())["scores"]
        mask = json.loads((out / "mask.json").read_text())["indices"]
    judges = None
    if with_judges:
        import numpy as np

        from mcprune.data.load import load
        from mcprune.data.prepare import prepare

        prepared = prepare(load(data), seed=seed, validation=0.15, test=0.2, scale="auto")
        judges = judge(prepared, np.array(mask), seed, with_svc=True)
    return {
        "data": data,
        "seed": seed,
        "options": options,
        "run's own scores": {score["name"]: score["accuracy"] for score in scores},
        "judges": judges,
        "cpu seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "wall seconds": round(wall, 1),
        "load": round(os.getloadavg()[0], 1),
        "mask": mask,
    }


def main() -> None:
    """Run what is asked for, print it beside the bars, write it."""
    asked = parser(__doc__ or "", with_plot=False)
    asked.add_argument("--data", choices=tuple(BARS), action="append", help="data sets (all)")
    asked.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of `run`, in place of the default"
    )
    chosen = asked.parse_args()
    options = dict(text.split("=", 1) for text in chosen.option)
    if chosen.quick:
        options |= {"epochs": "2"}
    content: dict[str, Any] = {"machine": machine(chosen.threads), "bars": BARS, "runs": []}
    if chosen.out is not None and chosen.out.exists():
        content = {**json.loads(chosen.out.read_text()), "machine": content["machine"], "bars": BARS}
    for data in chosen.data or BARS:
        for seed in chosen.seeds[:1] if chosen.quick else chosen.seeds:
            key = {"data": data, "seed": seed, "options": options}
            if any(all(one[name] == value for name, value in key.items()) for one in content["runs"]):
                continue
            one = run(data, seed, options, chosen.threads, with_judges=data != "digits" and not chosen.quick)
            content["runs"].append(one)
            scores = one["judges"] or one["run's own scores"]
            print(
                data,
                seed,
                options,
                {name: round(value, 4) for name, value in scores.items()},
                one["cpu seconds"],
                flush=True,
            )
            if chosen.out is not None:
                write(chosen.out, content)


if __name__ == "__main__":
    main()
