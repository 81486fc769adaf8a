"""What is promised of runs that are cut off, measured: kills survived, bits equal, the cost of checkpoints, the time to resume.

python benchmarks/reliability.py --out benchmarks/results/reliability.json     # 100 kills, checkpoints on MNIST
python benchmarks/reliability.py --quick                                       # 10 kills, checkpoints on digits
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

# Of a run a clock tells these, and how much is evaluated ahead follows a clock.
CLOCKS = {"seconds", "seconds_left", "proposals_per_second", "forwards", "folder", "out"}
RUN = {"epochs": 8, "retrain_epochs": 2, "compare": "no", "hidden": (16, 8), "keep": 16, "threads": 1}
# A checkpoint after nearly every block, so that many of the kills fall into writing.
OFTEN = {"checkpoint_every": "0.01s"}
KINDS: dict[str, dict[str, Any]] = {
    "T = 0": {},
    "T > 0, 3 replicas, informed, adapted": {
        "temperature": "geometric:3e-3:3e-4", "replicas": 3, "swap_every": 16, "moves": "informed=2,site=1,exchange=1",
        "adapt_delta": 0.4, "budget_until": 0.3, "evaluation_rows": 200, "evaluation_rows_early": 100,
    },
    "waves": {"waves": 4, "budget_until": 0.3},
    "gradient, decade": {"method": "gradient", "schedule": "decade", "gate_kind": "hard-concrete"},
}  # fmt: skip


def without_clocks(value: Any) -> Any:
    """Return what must be equal."""
    if isinstance(value, dict):
        return {name: without_clocks(part) for name, part in value.items() if name not in CLOCKS}
    return [without_clocks(part) for part in value] if isinstance(value, list) else value


def record(folder: Path) -> list[Any]:
    """Return mask, model, result and events of a finished run."""
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    files = [(folder / name).read_bytes() for name in ("mask.json", "model.safetensors")]
    return [*files, without_clocks(json.loads((folder / "result.json").read_text())), without_clocks(told)]


def child(work: Any) -> int:
    """Run in a process of its own, whose output goes nowhere; return its id."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        os.setsid()
        if not os.environ.get("SHOW"):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
        work()
        code = 0
    finally:
        os._exit(code)


def go(folder: Path, options: dict[str, Any]) -> None:
    """Begin the run, or go on with it."""
    from mcprune.session.config import make_config
    from mcprune.session.loop import run
    from mcprune.session.resume import events_of, has_ended, open_run

    if has_ended(folder):
        return
    if (folder / "begun.json").exists():
        for _ in events_of(open_run(folder)):
            pass
        return
    # A kill may have left a folder without anything in it.
    for _ in run(make_config(**options, out=str(folder))):
        pass


def finished(number: int) -> int:
    """Wait for a child; return its exit code, negative after a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def meet_writing(folder: Path, seconds: float = 0.5) -> None:
    """Wait until a file is half written, at most so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            is_higher = {True: lambda one: one["value"] >= one["bar"], False: lambda one: one["value"] <= one["bar"]}
    if not all(is_higher[one["better"] == "higher"](one) for one in rows if one["bar"] is not None):
        sys.exit(1)


if __name__ == "__main__":
    main()
