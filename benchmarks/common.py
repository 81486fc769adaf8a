"""What the benchmark scripts share: the machine, rows with a bar, medians, commands with their peak memory."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plots

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures depend on."""
    from mcprune.environment import cores, versions

    model = platform.processor() or "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    return {"cpu": model, "cores": cores(), "threads": threads, **versions()}


def row(
    name: str, value: float | None, unit: str, bar: float | None, better: str, note: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return one figure; an unmeasured value is None with a note."""
    out: dict[str, Any] = {"name": name, "value": value, "unit": unit, "bar": bar, "better": better, **more}
    if note:
        out["note"] = note
    return out


def median(measure: Callable[[], float], times: int = 5) -> float:
    """Return the median of repeated measurements."""
    values = sorted(measure() for _ in range(times))
    return values[len(values) // 2]


def seconds(call: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def command(arguments: list[str], env: dict[str, str] | None = None) -> tuple[float, float, int]:
    """Run `python -m mcprune ...`; return its seconds, peak memory in MiB and exit code."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcprune", *arguments], stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})}
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - began, usage.ru_maxrss / 1024, process.returncode


def parser(description: str, with_plot: bool = True) -> argparse.ArgumentParser:
    """Return the options that every script has."""
    out = argparse.ArgumentParser(description=description)
    out.add_argument("--quick", action="store_true", help="fewer repetitions and sizes")
    out.add_argument("--out", type=Path, help="write the figures as JSON")
    if with_plot:
        out.add_argument("--plot", type=Path, metavar="FILE.html", help="write a plot of the figures")
    return out


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON whole or not at all: what was measured so far is not lost to an interruption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def report(
    rows: list[dict[str, Any]],
    threads: int,
    out: Path | None,
    plot: Path | None = None,
    title: str = "",
    figures: tuple[str, ...] = (),
    **more: Any,
) -> None:
    """Print the rows, each beside its bar, and write them; with `plot` also as bars, with more figures in front."""
    for one in rows:
        value, bar, is_higher = one["value"], one["bar"], one["better"] == "higher"
        shown = "not measured" if value is None else f"{value:,.4g}"
        if one.get("spread") is not None:
            shown += f" ± {one['spread']:.2g}"
        verdict = ""
        if value is not None and bar is not None:
            verdict = "ok" if (value >= bar if is_higher else value <= bar) else "MISSED"
        limit = "" if bar is None else f"{'>=' if is_higher else '<='} {bar:,.4g}"
        print(f"{one['name']:<66} {shown:>20} {one['unit']:<6} {limit:>12} {verdict:<7}{one.get('note', '')}")
    if out is not None:
        write(out, {"machine": machine(threads), **more, "rows": rows})
        print(f"written to {out}")
    if plot is not None:
        plots.write(plot, title, machine(threads), *figures, plots.bars(rows, "What was reached beside each bar"))


def count_forwards(seen: list[int]) -> Any:
    """Return a callback that appends how many rows the candidates of a search have taken through the network, at its end."""
    from mcprune.session.steering.callbacks import Callback
    from mcprune.storage.events import Event, Hardened

    class Count(Callback):
        def on_event(self, event: Event) -> None:
            if isinstance(event, Hardened):
                seen.append(event.forwards)

    return Count()
