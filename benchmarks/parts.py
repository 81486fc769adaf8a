"""How soon a knob is in force while most of MNIST is kept: the longest part of a block, between two places where knobs may be changed.

On one thread, in seconds of the processor and of the clock. The first block of a process, which loads compiled code, is left out.

    MCPRUNE_DATA=... python benchmarks/parts.py --out benchmarks/results/parts.json
"""

from __future__ import annotations

import time
from typing import Any

from common import parser, report, row  # isort: skip

BAR = 0.2  # seconds
BLOCKS = {"n(t) falls": 9, "all but n go in one block": 1}
OPTIONS: dict[str, dict[str, Any]] = {"n(t) falls": {}, "all but n go in one block": {"keep_schedule": "constant"}}


def parts(options: dict[str, Any], blocks: int, seed: int) -> dict[str, list[float]]:
    """Run some blocks, and return the seconds of each of their parts."""
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.environment import use_threads
    from mcprune.session.build.markov import make_method
    from mcprune.session.build.planner import make_plan
    from mcprune.session.search import Search
    from mcprune.session.steering.controller import Controller

    class Watch(Controller):
        """Notes when it is asked."""

        def __init__(self) -> None:
            self.times: list[tuple[float, float]] = []

        def poll_within(self, block: int, part: int) -> tuple[dict[str, Any], ...]:
            self.times.append((time.process_time(), time.perf_counter()))
            return ()

    plan = make_plan(make_config(data="mnist", keep=50, threads=1, seed=seed, **options), load("mnist"))
    use_threads(1)
    watch = Watch()
    search = Search(plan, make_method(plan), watch)
    out: dict[str, list[float]] = {"cpu": [], "clock": [], "kept": []}
    for block in range(blocks):
        watch.times = [(time.process_time(), time.perf_counter())]
        info = search.advance(block)
        watch.times.append((time.process_time(), time.perf_counter()))
        out["kept"].append(info.kept)
        if block or blocks == 1:
            pairs = zip(watch.times[:-1], watch.times[1:], strict=True)
            for (cpu, clock), (cpu_end, clock_end) in pairs:
                out["cpu"].append(round(cpu_end - cpu, 4))
                out["clock"].append(round(clock_end - clock, 4))
    return out


def main() -> None:
    """Measure, print, write."""
    chosen = parser(__doc__ or "", with_plot=False).parse_args()
    rows, runs = [], {}
    for words, options in OPTIONS.items():
        runs[words] = parts(options, 2 if chosen.quick and len(options) == 0 else BLOCKS[words], seed=0)
        for unit in ("cpu", "clock"):
            note = f"{len(runs[words][unit])} parts, {runs[words]['kept'][0]} to {runs[words]['kept'][-1]} pixels kept"
            rows.append(
                row(f"MNIST, {words}: longest part of a block, {unit}", max(runs[words][unit]), "s", BAR, "lower", note)
            )
    report(rows, 1, chosen.out, seed=0, runs=runs)


if __name__ == "__main__":
    main()
