"""What is promised of runs that are cut off, measured: kills survived, bits equal, the cost of checkpoints, the time to resume.

python benchmarks/reliability.py --out benchmarks/results/reliability.json     # 100 kills, checkpoints on digits and MNIST
python benchmarks/reliability.py --quick                                       # 10 kills, checkpoints on digits
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import common

# Of a run a clock tells these, and how much is evaluated ahead follows a clock.
CLOCKS = {"seconds", "seconds_left", "decisions_per_second", "forwards", "folder", "out"}
RUN = {"epochs": 8, "retrain_epochs": 2, "compare": "no", "hidden": (16, 8), "keep": 16, "threads": 1}
# A checkpoint after nearly every block, so that many of the kills fall into writing.
OFTEN = {"checkpoint_every": "0.01s"}
KINDS: dict[str, dict[str, Any]] = {
    "T = 0": {},
    "T > 0, 3 replicas, informed, adapted": {
        "temperature": "geometric:3e-3:3e-4", "replicas": "3,swap_every=16", "moves": "informed=2,site=1,exchange=1",
        "adapt_delta": 0.4, "keep_schedule": "geometric:0.3", "evaluation_rows": "200,early=100",
    },
    "waves": {"keep_schedule": "geometric:0.3,regrow=4"},
    "gradient, decade": {"method": "gradient", "alpha": "decade", "gates": "hard-concrete"},
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


def go(folder: Path, options: dict[str, Any], at: int | None = None, told: Path | None = None) -> None:
    """Begin the run, or go on with it; see `counted`."""
    from mcprune.config.schema import make_config
    from mcprune.session.checkpoints.open_run import is_finished, open_run
    from mcprune.session.loop import run
    from mcprune.session.resume import resume_run

    if at is not None or told is not None:
        counted(at, told)
    if is_finished(folder):
        return
    if (folder / "request.json").exists():
        for _ in resume_run(open_run(folder)):
            pass
        return
    # A kill may have left a folder without anything in it.
    for _ in run(make_config(**options, out=str(folder))):
        pass


def finished(number: int) -> int:
    """Wait for a child; return its exit code, negative after a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def counted(at: int | None, told: Path | None = None) -> None:
    """Count what is done to files from now on; at the `at`-th of it this process is killed, a write half done."""
    real = {name: getattr(os, name) for name in ("write", "fsync", "replace")}
    count = 0

    def doing(name: str, *given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if told is not None:
            told.write_text(str(count))
        if count == at:
            if name == "write":
                real["write"](given[0], bytes(given[1])[: len(given[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*given, **named)

    for name in real:
        setattr(os, name, partial(doing, name))


def kills(count: int, seed: int, limit: float = math.inf) -> dict[str, Any]:
    """Kill runs of each kind in turns at random moments until `count` kills or the time is up, resume after each, and compare the ends."""
    draw = random.Random(seed)
    out: dict[str, Any] = {
        "kills": 0,
        "ends": 0,
        "equal": 0,
        "failed": 0,
        "in writing": 0,
        "before the first checkpoint": 0,
    }
    root, started = Path(tempfile.mkdtemp()), time.monotonic()
    wanted, lasted, writes = {}, {}, {}
    for name, options in KINDS.items():
        began = time.monotonic()
        reference = root / "whole"
        assert (
            finished(child(lambda o=options, f=reference: go(f, {**RUN, **o, **OFTEN}, None, root / "count"))) == 0
        ), name
        writes[name] = int((root / "count").read_text())
        lasted[name] = time.monotonic() - began
        wanted[name] = record(reference)
        shutil.rmtree(reference)

    def is_enough() -> bool:
        return bool(out["kills"] >= count or time.monotonic() - started > limit)

    while not is_enough():
        name = list(KINDS)[out["ends"] % len(KINDS)]
        folder = root / "cut"
        while True:  # until this run has come to its end
            # Half of them while a file is written, flushed or renamed, which are short: a clock would seldom meet them.
            is_timed = draw.random() < 0.5
            at = None if is_timed or is_enough() else draw.randint(1, max(2, writes[name] // 2))
            number = child(lambda n=name, f=folder, k=at: go(f, {**RUN, **KINDS[n], **OFTEN}, k))
            if is_timed and not is_enough():
                time.sleep(draw.uniform(0, 1.1 * lasted[name]))
                os.kill(number, signal.SIGKILL)
            code = finished(number)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                out["failed"] += 1
                shutil.copytree(folder, root / f"failed-{out['failed']}", dirs_exist_ok=True)
                break
            out["kills"] += 1
            held = {path.name for path in folder.iterdir()} if folder.exists() else set()
            out["in writing"] += at is not None
            out["before the first checkpoint"] += "checkpoint.safetensors" not in held
        out["ends"] += 1
        out["equal"] += code == 0 and record(folder) == wanted[name]
        shutil.rmtree(folder, ignore_errors=True)
        print(", ".join(f"{text}: {number}" for text, number in out.items()), file=sys.stderr, flush=True)
    if not out["failed"]:
        shutil.rmtree(root)
    return {**out, "seconds": time.monotonic() - started}


def costs(data: str, epochs: int) -> dict[str, float]:
    """Return the seconds of a search and of its checkpoints, their bytes, and how long a resume takes to its first new event."""
    from mcprune.config.schema import make_config
    from mcprune.session.checkpoints.open_run import open_run
    from mcprune.session.loop import run
    from mcprune.session.resume import resume_run
    from mcprune.storage.folder import RunFolder

    root = Path(tempfile.mkdtemp())
    spent: list[float] = []
    write = RunFolder.write_checkpoint

    def timed(self: RunFolder, tree: Any, mark: Any) -> None:
        began = time.monotonic()
        write(self, tree, mark)
        spent.append(time.monotonic() - began)

    RunFolder.write_checkpoint = timed  # type: ignore[method-assign]
    keep = 50 if data == "mnist" else 16
    config = make_config(
        data=data, keep=keep, epochs=epochs, compare="no", retrain_epochs=1, out=str(root / "run"), threads=1
    )
    began, took = time.monotonic(), 0.0
    for event in run(config):
        if event.kind == "hardened":
            took = time.monotonic() - began
            break
    size = (root / "run" / "checkpoint.safetensors").stat().st_size
    count, each, whole = len(spent), sum(spent) / max(len(spent), 1), sum(spent)
    began = time.monotonic()
    opened = open_run(root / "run")
    for place, _ in enumerate(resume_run(opened)):
        if place == len(opened.events):
            break
    ready = time.monotonic() - began
    arguments = [sys.executable, "-m", "mcprune", "resume", str(root / "run"), "--json"]
    began, command = time.monotonic(), 0.0
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for place, _ in enumerate(process.stdout):
            if place == len(opened.events):
                command = time.monotonic() - began
                break
        process.kill()
    shutil.rmtree(root)
    return {"run": took, "count": count, "each": each, "all": whole, "bytes": size, "ready": ready, "command": command}


def main() -> None:
    """Measure and report."""
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument("--kills", type=int, help="how many (default: 100, with --quick 10)")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds after which no more is killed")
    parser.add_argument("--only", choices=("kills", "costs"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    count = given.kills or (10 if given.quick else 100)
    rows = []
    if given.only != "costs":
        # Once, before all the children: modules, and what loading the data needs.
        import mcprune.session.resume  # noqa: F401
        from mcprune.data.load import load

        load("digits")
        met = kills(count, given.seed, given.limit)
        rows += [
            common.row(
                "kills at random moments, resumed after each", met["kills"], "", count, "higher", seconds=met["seconds"]
            ),
            common.row("kills after which a resume failed", met["failed"], "", 0, "lower"),
            common.row("ends of killed runs", met["ends"], "", None, "higher"),
            common.row("of them equal to the run that never stopped", met["equal"], "", met["ends"], "higher"),
            common.row("kills while a file was written, flushed or renamed", met["in writing"], "", None, "higher"),
            common.row("kills before the first checkpoint", met["before the first checkpoint"], "", None, "higher"),
        ]
    if given.only != "kills":
        for data, epochs in [("digits", 300)] + [("mnist", 12)] * (not given.quick):
            cost = costs(data, epochs)
            share = cost["all"] / cost["run"]
            rows += [
                common.row(
                    f"{data}: share of the search that checkpoints take", share, "", 0.01, "lower", seconds=cost["run"]
                ),
                common.row(
                    f"{data}: writing one of {cost['count']}", cost["each"], "s", None, "lower", bytes=cost["bytes"]
                ),
                common.row(f"{data}: from resume to the first new event", cost["ready"], "s", 3.0, "lower"),
                common.row(f"{data}: the same, the command's own start included", cost["command"], "s", None, "lower"),
            ]
    common.report(rows, 1, given.out, kinds=list(KINDS), seed=given.seed)
    missed = [one for one in rows if one["bar"] is not None and not is_met(one)]
    if missed:
        sys.exit(1)


def is_met(one: dict[str, Any]) -> bool:
    """Tell whether a figure reaches its bar."""
    return bool(one["value"] >= one["bar"] if one["better"] == "higher" else one["value"] <= one["bar"])


if __name__ == "__main__":
    main()
