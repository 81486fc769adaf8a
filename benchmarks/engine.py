"""Speed and size of the engine and of the main job, each beside the bar that it must reach.

MNIST and Fashion-MNIST are read from MCPRUNE_DATA; without them their rows say so.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import command, median, parser, report, row, seconds

SEEDS = (0, 1, 2)
PROPOSALS = 2_000_000


def engine_rows() -> list[dict[str, Any]]:
    """The engine alone on one core: moves, budget, decision; the loss is a table of zeros."""
    import numba

    from mcprune.chain import engine, moves, state
    from mcprune.chain.ranks import gates, table

    numba.set_num_threads(1)

    def cost(sites: int) -> float:
        """Nanoseconds a `site` proposal; L_pru alone decides, at delta 1 from weights of 4, so acceptances happen."""
        start = state.new_state(np.full((1, sites), 4.0), sharpness=1.0)
        engine.set_loss(start, 0.0, alpha=1.0, n=sites // 10)
        plan = moves.move_plan(site=1.0)

        def steps(count: int) -> None:
            engine.run_table(
                start, count, table=np.zeros(1), plan=plan, delta=1.0, temperature=0.0, alpha=1.0, n=sites // 10,
                modified=False, sharpness=1.0, seed=0, chains=np.zeros(1, np.int64),
            )  # fmt: skip

        steps(10_000)
        return 1e9 * median(lambda: seconds(lambda: steps(PROPOSALS))) / PROPOSALS

    def ahead(sites: int) -> float:
        """Proposals a second through propose and advance, 256 ahead, none accepted: what an evaluator meets."""
        start = state.new_state(np.full((1, sites), 4.0), sharpness=1.0)
        engine.set_loss(start, 0.0, alpha=0.0, n=sites // 10)
        plan, chains, zeros = moves.move_plan(site=1.0), np.zeros(1, np.int64), np.zeros((1, 256))

        def steps() -> None:
            for _ in range(400):
                batch = moves.propose(start, 256, plan=plan, delta=1.0, sharpness=1.0, seed=0, chains=chains)
                engine.advance(
                    start, batch, zeros, temperature=0.0, alpha=0.0, n=sites // 10, sharpness=1.0, seed=0, chains=chains
                )

        steps()
        return 400 * 256 / median(lambda: seconds(steps))

    def by_rank(sites: int) -> float:
        """Nanoseconds a `site` proposal under gates by rank, walks included; every tenth site is kept, ties are rejected."""
        weights = gates.draw_weights(0, np.zeros(1, np.int64), sites)
        start = state.new_state(np.where(gates.top(weights, sites // 10), 1.0, -1.0), sharpness=np.inf)
        ranks, plan = gates.new_ranks(start, weights), moves.move_plan(site=1.0, box=gates.BOX)

        def steps(count: int) -> None:
            table.run_table(
                start, ranks, count, table=np.zeros(1), plan=plan, delta=1.0, temperature=0.0, seed=0,
                chains=np.zeros(1, np.int64),
            )  # fmt: skip

        steps(10_000)
        return 1e9 * median(lambda: seconds(lambda: steps(PROPOSALS))) / PROPOSALS

    small, large = cost(1_000), cost(1_000_000)
    small_ranks, large_ranks = by_rank(1_000), by_rank(1_000_000)
    return [
        row("site proposals a second by rank, N = 1,000, one core", 1e9 / small_ranks, "1/s", 1e6, "higher"),
        row(
            "cost of a site proposal by rank, N = 1,000,000 over 1,000",
            large_ranks / small_ranks,
            "ratio",
            2.0,
            "lower",
        ),
        row("site proposals a second, N = 1,000, one core", 1e9 / small, "1/s", 1e6, "higher"),
        row("cost of a site proposal, N = 1,000,000 over N = 1,000", large / small, "ratio", 2.0, "lower"),
        row("site proposals a second through propose and advance, K = 256", ahead(1_000), "1/s", None, "higher"),
    ]


def run_rows(
    data: str, arguments: list[str], bars: dict[str, float], folder: Path, seeds: tuple[int, ...]
) -> list[dict[str, Any]]:
    """The whole command at several seeds: seconds, peak memory, retrained test accuracy."""
    times, peaks, scores = [], [], []
    for seed in seeds:
        out = folder / f"{Path(data).name}-{seed}"
        took, peak, code = command(
            ["run", "--data", data, "--seed", str(seed), "--out", str(out), "--quiet", *arguments]
        )
        if code:
            return [
                row(f"{data}: seconds", None, "s", bars["seconds"], "lower", note=f"the run ended with code {code}")
            ]
        result = json.loads((out / "result.json").read_text())
        scores.append(next(r["accuracy"] for r in result["scores"] if r["name"] == "hard mask, retrained"))
        times.append(took)
        peaks.append(peak)
        print(f"  {data} seed {seed}: {took:.1f} s, {peak:.0f} MiB, retrained {scores[-1]:.4f}", flush=True)
    spread = statistics.stdev(scores) if len(scores) > 1 else None
    more = {"seeds": list(seeds), "values": scores}
    return [
        row(f"{data}: seconds of the whole command, median", statistics.median(times), "s", bars["seconds"], "lower"),
        row(f"{data}: peak memory", max(peaks), "MiB", bars["memory"], "lower"),
        row(
            f"{data}: retrained test accuracy, mean",
            statistics.mean(scores),
            "",
            bars["accuracy"],
            "higher",
            spread=spread,
            **more,
        ),
    ]


def main() -> None:
    """Measure, print, write."""
    chosen = parser(__doc__ or "").parse_args()
    rows = engine_rows()
    rows.append(row("--help: seconds", median(lambda: command(["--help"])[0]), "s", 0.5, "lower"))
    rows.append(row("run --help: seconds", median(lambda: command(["run", "--help"])[0]), "s", 0.5, "lower"))
    data = os.environ.get("MCPRUNE_DATA")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, _, _ = command(
            ["run", "--quiet", "--out", str(folder / "first")], env={"NUMBA_CACHE_DIR": str(folder / "cache")}
        )
        rows.append(row("digits: seconds of the very first command (nothing compiled yet)", first, "s", 60.0, "lower"))
        rows += run_rows("digits", [], {"seconds": 30.0, "memory": 1024, "accuracy": 0.935}, folder, SEEDS)
        for dataset, bar in (("mnist", 0.955), ("fashion-mnist", 0.845)):
            if data is None or chosen.quick:
                why = "--quick" if chosen.quick else "MCPRUNE_DATA is not set"
                rows.append(row(f"{dataset}: retrained test accuracy, mean", None, "", bar, "higher", note=why))
                continue
            bars = {"seconds": 180.0, "memory": 3072, "accuracy": bar}
            rows += run_rows(dataset, ["--keep", "50"], bars, folder, SEEDS)
    report(rows, 2, chosen.out, chosen.plot, "The engine and the main job")


if __name__ == "__main__":
    main()
