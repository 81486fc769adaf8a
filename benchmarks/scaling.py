"""What a proposal costs against the sites N, the rows B, the candidates ahead K and the widths: seconds, and ratios to the first size.

One thread; exchange moves of inputs on dense random rows (no row is skipped, so nothing hides), none accepted: proposing, limits, losses by
the fused evaluator, deciding. Beside it the plain loop over candidates in the same turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from common import parser, report, row, seconds  # isort: skip

import numpy as np
import plots
import torch
from torch.nn import functional

from mcprune.chain import engine, moves, state
from mcprune.environment import use_threads
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

BASE: dict[str, Any] = {"N": 784, "B": 1024, "K": 16, "widths": (256, 128)}
SIZES: dict[str, tuple[Any, ...]] = {
    "N": (64, 196, 784, 3136, 12544),
    "B": (256, 1024, 4096, 16384),
    "K": (1, 4, 16, 64, 256),
    "widths": ((), (64,), (256,), (1024,), (128, 64), (256, 128), (512, 256), (256, 256, 256)),
}
QUICK: dict[str, tuple[Any, ...]] = {"N": (64, 784), "B": (256, 1024), "K": (1, 16, 64), "widths": ((64,), (256, 128))}
CHAINS = np.zeros(1, np.int64)
# About so long is measured at once.
SHORT = 0.1


def case(N: int, B: int, K: int, widths: tuple[int, ...]) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return (K proposals from drawing to deciding, the plain loop over one candidate)."""
    torch.manual_seed(0)
    x, y = torch.randn(N, B).T, torch.randint(0, 10, (B,))
    model = MLP((N, *widths, 10), seed=0)
    gated = GatedModel(model, site_map(model, "inputs", N))
    kept = np.random.default_rng(0).permutation(N) < max(2, N // 16)
    current = state.new_state(np.where(kept, 4.0, -4.0)[None], sharpness=np.inf)
    evaluator, plan = FusedEvaluator(gated, CrossEntropy()), moves.move_plan(exchange=1.0)
    evaluator.begin(x, y, current.position, np.inf)
    engine.set_loss(current, -1e6, alpha=0.0, n=1)  # nothing is as low: none is accepted
    rule: dict[str, Any] = {"temperature": 0.0, "alpha": 0.0, "n": 1, "seed": 0, "chains": CHAINS}
    gates, rows = torch.from_numpy(kept.astype(np.float32)), x.contiguous()

    def batch() -> None:
        ahead = moves.propose(current, K, plan=plan, delta=1.0, sharpness=np.inf, seed=0, chains=CHAINS)
        engine.thresholds(current, ahead, **rule)
        engine.advance(current, ahead, evaluator.losses(current, ahead), sharpness=np.inf, **rule)

    @torch.no_grad()
    def plain() -> None:
        functional.cross_entropy(gated(rows, gates), y)

    return batch, plain


def cost(sizes: dict[str, Any], repeats: int) -> tuple[float, float]:
    """Median seconds of a proposal and of the plain loop's candidate, in turns."""
    calls = case(**sizes)
    times: list[list[float]] = [[], []]
    counts = []
    for call in calls:
        call()
        counts.append(max(1, int(SHORT / max(seconds(call), 1e-6))))
    for _ in range(repeats):
        for mine, call, count in zip(times, calls, counts, strict=True):
            began = time.perf_counter()
            for _ in range(count):
                call()
            mine.append((time.perf_counter() - began) / count)
    ours, plain = (sorted(mine)[repeats // 2] for mine in times)
    return ours / sizes["K"], plain


def main() -> None:
    """Measure, print, write."""
    chosen = parser(__doc__ or "").parse_args()
    use_threads(1)
    rows: list[dict[str, Any]] = []
    figures = []
    for what, sizes in (QUICK if chosen.quick else SIZES).items():
        curves: dict[str, list[tuple[float, float]]] = {"a proposal": [], "the plain loop": []}
        first: tuple[float, float] | None = None
        for number, size in enumerate(sizes):
            ours, plain = cost({**BASE, what: size}, 3 if chosen.quick else 5)
            first = first or (ours, plain)
            words = "-".join(map(str, ("N", *size, 10))) if what == "widths" else f"{size:,}"
            note = f"{ours / first[0]:.3g} times the first (plain loop {plain / first[1]:.3g}), plain loop / this {plain / ours:.1f}"
            more = {
                "size": size,
                "ratio": ours / first[0],
                "plain": plain,
                "plain_ratio": plain / first[1],
                "gain": plain / ours,
            }
            rows.append(row(f"{what} = {words}: seconds a proposal", ours, "s", None, "lower", note, **more))
            print(f"  {rows[-1]['name']}: {ours:.3g}, {note}", flush=True)
            place = float(number + 1) if what == "widths" else float(size)
            curves["a proposal"].append((place, ours))
            curves["the plain loop"].append((place, plain))
        title = f"Cost against {what}, else {', '.join(f'{k} = {v}' for k, v in BASE.items() if k != what)}"
        x = "nets in the order of the rows" if what == "widths" else what
        figures.append(plots.lines(curves, title, x, "seconds", logarithmic=(what != "widths", True)))
    report(rows, 1, chosen.out, chosen.plot, "What a proposal costs", tuple(figures), base=BASE)


if __name__ == "__main__":
    main()
