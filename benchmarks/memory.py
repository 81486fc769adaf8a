"""A long search on Fashion-MNIST: does its memory grow? The resident memory is sampled from outside, once a second.

python benchmarks/memory.py --minutes 60 --out benchmarks/results/memory.json

The network and the evaluation batch are small, so that many blocks are done; the batch has its full size from the start, since by
default it is planned to double once n(t) has fallen, and n(t) falls early. Checkpoints, events and `--json` are on. Time counts from the
first event on, when the data are read; what is compared is memory from the fifth minute on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import common

SETTLED = 5 * 60.0  # seconds
BAR = 0.05


def main() -> None:
    """Run, sample and report."""
    parser = common.parser((__doc__ or "").splitlines()[0], with_plot=False)
    parser.add_argument("--minutes", type=float, help="of the search (default: 60, with --quick 1)")
    parser.add_argument("--data", default="fashion-mnist")
    given = parser.parse_args()
    minutes = given.minutes or (1.0 if given.quick else 60.0)
    settled = min(SETTLED, minutes * 60 / 3)
    with tempfile.TemporaryDirectory() as scratch:
        options = [
            "--data", given.data, "--keep", "50", "--epochs", "20000", "--max-time", f"{60 * minutes:g}",
            "--keep-schedule", "geometric:0.001",
            "--hidden", "32,16", "--search-hidden", "32,16", "--evaluator", "fused", "--evaluation-rows", "512,early=512",
            "--retrain-epochs", "1", "--compare", "no", "--threads", "1",
            "--out", str(Path(scratch) / "run"), "--json",
        ]  # fmt: skip
        seen = sampled([sys.executable, "-m", "mcprune", "run", *options])
    samples = [(when, held) for when, held in seen["samples"] if when <= seen["search_seconds"]]
    at = next(held for when, held in samples if when >= settled)
    later = [held for when, held in samples if when >= settled]
    rows = [
        common.row("growth of memory from then on, at its highest", max(later) / at - 1, "", BAR, "lower", settled_seconds=settled),
        common.row("growth of memory at the end of the search", later[-1] / at - 1, "", BAR, "lower"),
        common.row("resident memory when it had settled", at, "MiB", None, "lower"),
        common.row("seconds of the search", seen["search_seconds"], "s", None, "higher"),
        common.row("processor seconds", seen["cpu_seconds"], "s", None, "higher"),
        common.row("blocks done", seen["blocks"], "", None, "higher"),
        common.row("proposals", seen["proposals"], "", None, "higher"),
        common.row("exit code", seen["code"], "", 0, "lower"),
    ]  # fmt: skip
    by_minute: dict[int, float] = {}
    for when, held in samples:
        by_minute[int(when // 60)] = max(by_minute.get(int(when // 60), 0.0), held)
    common.report(rows, 1, given.out, options=options[:-3], mib_highest_in_minute=list(by_minute.values()))
    if rows[0]["value"] > BAR or seen["code"]:
        sys.exit(1)


def sampled(arguments: list[str]) -> dict[str, Any]:
    """Run a command that tells events, and sample its resident memory (MiB) beside its age (s)."""
    out: dict[str, Any] = {
        "samples": [],
        "blocks": 0,
        "proposals": 0,
        "cpu_seconds": 0.0,
        "search_seconds": float("inf"),
    }
    born = began = time.monotonic()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            nonlocal began
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "run_started":
                    began = time.monotonic()
                if event["event"] == "hardened":
                    out["search_seconds"] = time.monotonic() - born
                out["blocks"] = event.get("block", out["blocks"])
                out["proposals"] = event.get("proposals", out["proposals"])

        reader = threading.Thread(target=read)
        reader.start()
        about, page, tick = Path("/proc") / str(process.pid), os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
        while process.poll() is None:
            pages = int((about / "statm").read_text().split()[1])
            fields = (about / "stat").read_text().rpartition(")")[2].split()
            if pages:  # none is held by one that has just ended
                out["samples"].append((time.monotonic() - born, pages * page / 2**20))
                out["cpu_seconds"] = (int(fields[11]) + int(fields[12])) / tick
            time.sleep(1.0)
        reader.join()
        out["code"] = process.returncode
    start = began - born
    out["samples"] = [(when - start, held) for when, held in out["samples"] if when >= start]
    out["search_seconds"] = min(out["search_seconds"], time.monotonic() - born) - start
    return out


if __name__ == "__main__":
    main()
