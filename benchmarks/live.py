"""What the live page costs the chain: proposals a second with a reader of its event stream and without, how fast it answers, its memory.

Pairs of runs of the same settings, each in a process of its own: `mcprune tune` with nobody looking, and with one client that reads
the stream at full rate, or with the page open in chromium. The rate of a run is taken from the run's own record, between fixed
proposals, so that the start counts in neither. Pinned to one core (`taskset -c 1`), the browser draws on the core that the chain runs on.
The page's memory is its JavaScript heap after a forced collection, while a run on digits goes on at full speed.

    python benchmarks/live.py --quick
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import live_page
from common import parser, report, row

PAIRS = 5
# Pairs with the page in a browser, and seconds over which its memory is watched.
BROWSERS = {False: 3, True: 1}
WATCHED = {False: 600.0, True: 30.0}
LONG = ["--keep", "16", "--epochs", "1000000"]
# What is run: some 4 s of search when quick, else about a minute, which is longer than a browser takes to start beside it.
TASKS = {False: ["--data", "mnist", "--keep", "50", "--epochs", "45"], True: ["--keep", "16", "--epochs", "300"]}
USUAL = ["--keep-schedule", "geometric", "--threads", str(os.cpu_count() or 1)]
BASE = ["--threads", "1", "--compare", "no", "--retrain-epochs", "1", "--keep-schedule", "constant"]


class Live:
    """One `mcprune tune` in a process of its own."""

    def __init__(self, folder: Path, *more: str) -> None:
        command = [
            sys.executable,
            "-m",
            "mcprune",
            "tune",
            "--no-browser",
            "--quiet",
            "--port",
            "0",
            "--out",
            str(folder),
        ]
        self.folder = folder
        self.process = subprocess.Popen(
            [*command, *BASE, *more], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        self.printed = time.perf_counter()
        self.spent = 0.0
        parts = urlsplit(self.address)
        self.port, self.token = int(parts.port or 0), parts.query.split("=", 1)[1]

    def request(self, text: str, body: bytes = b"") -> socket.socket:
        """Send a request and leave the connection open."""
        line = socket.create_connection(("127.0.0.1", self.port))
        head = f"{text} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nX-Mcprune-Token: {self.token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        line.sendall(head.encode() + b"\r\n" + body)
        return line

    def cpu(self) -> float:
        """Return the processor seconds of the process so far; nan where there is no /proc."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Wait until the search is over; what comes after it is not waited for."""
        record = self.folder / "events.jsonl"
        while self.process.poll() is None and not (record.exists() and '"event": "hardened"' in record.read_text()):
            time.sleep(0.2)
        self.spent = self.cpu()
        self.kill()

    def kill(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def rate(self) -> float:
        """Return proposals a second between the first tenth of the record and its end."""
        lines = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        told = [line for line in lines if line["event"] == "progress"]  # once the engine runs
        first = next(line for line in told if line["seconds"] > told[-1]["seconds"] / 4)
        return float((told[-1]["proposals"] - first["proposals"]) / (told[-1]["seconds"] - first["seconds"]))


class Reader(threading.Thread):
    """A raw client: reads all bytes at full rate, notes when messages with figures came."""

    def __init__(self, live: Live) -> None:
        super().__init__(daemon=True)
        self.line = live.request("GET /events")
        self.times: list[float] = []
        self.knobs: list[tuple[float, dict[str, Any]]] = []
        self.first: float | None = None

    def run(self) -> None:
        kind = b""
        try:
            for line in self.line.makefile("rb"):
                if line.startswith(b"event: "):
                    kind = line[7:].strip()
                elif line.startswith(b"data: "):
                    now = time.perf_counter()
                    if kind == b"figures" or (kind == b"state" and b'"figures"' in line):
                        self.first = self.first or now
                        self.times.append(now)
                    elif kind == b"knob_changed":
                        self.knobs.append((now, json.loads(line[6:])))
        except OSError:
            pass


def one(folder: Path, *, watched: str, more: list[str]) -> dict[str, float]:
    """Run once: `watched` by nobody, a reader, idle connections, or the page in a browser."""
    live = Live(folder, *more)
    at = live.cpu()
    found: dict[str, float] = {}
    reader = None
    idle: list[socket.socket] = []
    if watched in ("reader", "knobs", "idle"):
        reader = Reader(live)
        reader.start()
    if watched == "idle":
        idle = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(200)]
    if watched == "knobs":
        assert reader is not None
        time.sleep(3.0)
        taken = []
        for value in (0.5, 0.7, 0.9, 1.1, 1.3):
            began, known = time.perf_counter(), len(reader.knobs)
            body = json.dumps({"delta": value}).encode()
            with live.request("POST /knobs", body):
                while len(reader.knobs) == known and time.perf_counter() < began + 5:
                    time.sleep(0.001)
            taken.append(reader.knobs[-1][0] - began)
            time.sleep(0.2)
        found["knob"] = 1000 * max(taken)
    with live_page.opened(live.address) if watched == "browser" else contextlib.nullcontext():
        live.end()
    for line in idle:
        line.close()
    if reader is not None and reader.first is not None:
        found["first"] = reader.first - live.printed
        found["updates"] = (len(reader.times) - 1) / (reader.times[-1] - reader.times[0])
    found["rate"] = live.rate()
    found["cpu"] = live.spent - at
    return found


def watch(folder: Path, seconds: float) -> dict[str, Any]:
    """Return the memory of a page beside a run that goes on for longer than it is watched."""
    live = Live(folder, *LONG)
    try:
        return live_page.memory(live.address, seconds)
    finally:
        live.kill()


def usual_rows(runs: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Return the rows of how soon a run with a falling n(t) answers."""
    words = f"slowest of {len(runs)} runs, n(t) falling"
    return [
        row("first data after the printed address", max(run["first"] for run in runs), "s", 1.5, "lower", words),
        row(
            "a knob in force and told, from its POST, slowest of 5",
            max(run["knob"] for run in runs),
            "ms",
            200,
            "lower",
            words,
        ),
    ]


def browser_rows(
    pairs: list[dict[str, Any]], memory: dict[str, Any] | None, seconds: float, missing: str
) -> list[dict[str, Any]]:
    """Return the rows of the page in a browser; not measured where there is none."""
    attached = "proposals/s with the page in chromium / with none, median of pairs"
    heap = f"JS heap over {seconds:.0f} s, highest after the first {live_page.WARM:.0f} s / then"
    if memory is None:
        return [row(attached, None, "x", None, "higher", missing), row(heap, None, "x", 1.2, "lower", missing)]
    ratios = [pair["browser"]["rate"] / pair["nobody"]["rate"] for pair in pairs if "browser" in pair]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = [(at, size) for at, size in memory["heap"] if at >= live_page.WARM] or memory["heap"]
    sizes = [size for _, size in told]
    at, first = memory["heap"][0]
    note = f"{first} MiB after {at:.0f} s, highest {max(sizes)}, at the end {sizes[-1]}; {memory['messages']} messages"
    return [
        row(
            attached,
            statistics.median(ratios),
            "x",
            None,
            "higher",
            f"chromium and the run on {cores} core(s)",
            pairs=ratios,
        ),
        row(heap, max(sizes) / sizes[0], "x", 1.2, "lower", note, **memory),
    ]


def main() -> None:
    """Measure and print."""
    chosen = parser(__doc__.splitlines()[0], with_plot=False).parse_args()
    more, missing, seconds = TASKS[chosen.quick], live_page.missing(), WATCHED[chosen.quick]
    with tempfile.TemporaryDirectory() as place:
        one(Path(place) / "warm", watched="nobody", more=[*more[:-1], "1"])  # compiles
        pairs = []
        for number in range(PAIRS):
            both = {}
            # The order turns, so that what changes slowly on the machine falls on both.
            for watched in ("nobody", "reader") if number % 2 == 0 else ("reader", "nobody"):
                both[watched] = one(Path(place) / f"{number}-{watched}", watched=watched, more=more)
            pairs.append(both)
            if number < BROWSERS[chosen.quick] and not missing:
                both["browser"] = one(Path(place) / f"{number}-browser", watched="browser", more=more)
            print(*(f"{name} {part['rate']:,.0f}/s" for name, part in sorted(both.items())), flush=True)
        # A person's run: all cores, and n(t) falls, where `BASE` drops all but n of the sites in the first block, which no page can hasten.
        usual = [one(Path(place) / f"usual-{run}", watched="knobs", more=[*more, *USUAL]) for run in range(3)]
        idle = one(Path(place) / "idle", watched="idle", more=more)
        memory = None if missing else watch(Path(place) / "memory", seconds)
    ratios = [pair["reader"]["rate"] / pair["nobody"]["rate"] for pair in pairs]
    work = statistics.median(pair["nobody"]["cpu"] / pair["reader"]["cpu"] for pair in pairs)
    free = statistics.median(pair["nobody"]["rate"] for pair in pairs)
    rows = [
        row(
            "proposals/s with one reader / with none, median of pairs",
            statistics.median(ratios),
            "x",
            0.9,
            "higher",
            pairs=ratios,
        ),
        row(
            "the same in proposals for each second of the processor",
            work,
            "x",
            0.9,
            "higher",
            "a busy machine does not change it",
        ),
        row("proposals/s with nobody", free, "1/s", None, "higher"),
        row("proposals/s with a reader and 200 idle connections / with none", idle["rate"] / free, "x", 0.9, "higher"),
        row("updates a second", statistics.median(pair["reader"]["updates"] for pair in pairs), "1/s", 5, "higher"),
        *usual_rows(usual),
        *browser_rows(pairs, memory, seconds, missing),
    ]
    report(rows, 1, chosen.out, options=[*BASE, *more])


if __name__ == "__main__":
    main()
