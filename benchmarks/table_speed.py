"""Seconds of processor and peak memory of whole commands on tables, beside a forest of 300 trees: `benchmarks/tables.py --speed`.

Each figure is that of `python -m mcprune run` with its defaults on one thread, comparisons and imports included, in a process of its own.
Seconds of processor count, since other work of the machine changes the seconds of the clock; both are written.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
import table_sets as sets

TREES, TIMES = 300, 3
MOST_RATIO = 8.0


class Case(NamedTuple):
    """A table, the columns to keep, and the bars: seconds, ratio to the forest, GiB, and useful columns that must be kept."""

    make: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray | None]]
    n: int
    seconds: float
    has_ratio: bool = True
    gib: float | None = None
    useful: int | None = None
    times: int = TIMES


def real(name: str) -> tuple[np.ndarray, np.ndarray, None]:
    """Return the rows of a real set."""
    with np.load(sets.folder() / f"{name}.npz") as arrays:
        return arrays["X"], arrays["y"], None


def gaussian(
    rows: int, columns: int, useful: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows whose class is the sign of a sum of some columns and noise, and these columns."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns), np.float32)
    chosen = np.sort(rng.choice(columns, useful, replace=False))
    weights = rng.choice([-1.0, 1.0], useful) * rng.uniform(0.7, 1.3, useful)
    return x, (x[:, chosen] @ weights + noise * rng.normal(size=rows) > 0).astype(np.int64), chosen


CASES = {
    "200 x 40": Case(lambda: gaussian(200, 40, 10, 1.0), 10, 5.0),
    "prostate-ge, 102 x 5,966": Case(lambda: real("prostate-ge"), 50, 30.0),
    "isolet, 1,560 x 617": Case(lambda: real("isolet"), 50, 30.0),
    "2,000 x 30,000": Case(lambda: gaussian(2_000, 30_000, 10, 0.3), 10, 60.0, has_ratio=False, useful=9, times=1),
    "1,000,000 x 28": Case(lambda: gaussian(1_000_000, 28, 10, 1.0), 10, 120.0, has_ratio=False, times=1),
    "pcmac, 1,943 x 3,289": Case(lambda: real("pcmac"), 50, 30.0, times=1),
    "19,020 x 10": Case(lambda: gaussian(19_020, 10, 5, 1.0), 5, 30.0, times=1),
    "2,000 x 200,000": Case(
        lambda: gaussian(2_000, 200_000, 10, 0.3), 10, 300.0, has_ratio=False, gib=4.0, useful=9, times=1
    ),
}
QUICK = ("200 x 40",)


def command(data: Path, n: int, out: Path) -> tuple[float, float, float]:
    """Run mcprune on a file; return its seconds of processor, its seconds by the clock, and its peak memory in GiB."""
    began = time.perf_counter()
    arguments = ["run", "--data", str(data), "--keep", str(n), "--threads", "1", "--out", str(out), "--force"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mcprune", *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"mcprune ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss / 2**20


def forest_seconds(x: np.ndarray, y: np.ndarray) -> float:
    """Return the seconds of processor of a forest on four fifths of the rows, as many as mcprune trains and validates on."""
    from sklearn.ensemble import RandomForestClassifier

    rows = np.random.default_rng(0).permutation(len(y))[: 4 * len(y) // 5]
    began = time.process_time()
    RandomForestClassifier(TREES, random_state=0).fit(x[rows], y[rows])
    return time.process_time() - began


def measure(name: str, times: int | None) -> list[dict[str, Any]]:
    """Return the rows of the report of one case."""
    case = CASES[name]
    x, y, useful = case.make()
    runs, out = [], []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "table.npz")
        np.savez(data, X=x, y=y)
        forest = forest_seconds(x, y) if case.has_ratio else None
        del x, y
        for _ in range(times or case.times):
            runs.append(command(data, case.n, Path(folder, "run")))
        kept = set(json.loads(Path(folder, "run", "mask.json").read_text())["indices"])
    processor, clock, memory = (statistics.median(values) for values in zip(*runs, strict=True))
    more = {"clock": clock, "runs": len(runs)}
    out.append(common.row(f"{name}, n = {case.n}: processor", processor, "s", case.seconds, "lower", **more))
    if forest is not None:
        out.append(common.row(f"{name}: forest of {TREES} trees", forest, "s", None, "lower"))
        out.append(common.row(f"{name}: ratio to the forest", processor / forest, "", MOST_RATIO, "lower"))
    out.append(common.row(f"{name}: peak memory", memory, "GiB", case.gib, "lower"))
    if useful is not None and case.useful is not None:
        found = float(len(kept & set(useful.tolist())))
        out.append(common.row(f"{name}: useful columns kept", found, "", case.useful, "higher"))
    return out


def run(*, is_quick: bool, out: Path | None) -> None:
    """Measure all cases, write after each, and report; cases that the file already has are left out."""
    rows: list[dict[str, Any]] = []
    if out is not None and out.exists():
        rows = json.loads(out.read_text())["rows"]
    for name in QUICK if is_quick else CASES:
        if any(row["name"].startswith(name) for row in rows):
            continue
        rows += measure(name, 1 if is_quick else None)
        common.report(rows[-5:], 1, None)
        if out is not None:
            common.write(out, {"machine": common.machine(1), "rows": rows})
    common.report(rows, 1, out)
