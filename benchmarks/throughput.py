"""Decisions a second of every evaluator against the plain loop over candidates, `model(x * mask)`, in the same process.

One thread each side. The state is that of a short search on MNIST (MCPRUNE_DATA; without it digits-sized random rows): a trained
classifier, 50 of 784 inputs kept. Acceptances are forced at the stated rates, so that what is evaluated in vain behind an acceptance, and
following it, is paid for. Speed is consumed decisions a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from common import median, options, report, row, seconds  # isort: skip

import numpy as np
import torch
import torch.nn.functional as functional

from mcprune.chain import engine, moves, state
from mcprune.data.load import from_arrays, load
from mcprune.evaluate.base import Evaluator
from mcprune.evaluate.fused import FusedEvaluator
from mcprune.methods.ahead import Ahead
from mcprune.methods.base import Batch
from mcprune.session.config import make_config
from mcprune.session.loop import Interrupt, _Search
from mcprune.session.machine import use_threads
from mcprune.session.plan import Plan, make_method, make_plan

ACCEPTANCES = (0.0, 0.001, 0.01, 0.1)
CHAINS = np.zeros(1, np.int64)


class Bench:
    """A plan after a short search, with the position and a batch to judge on."""

    def __init__(self, data: str, hidden: str, keep: int, sites: str, rows: int, epochs: int, **more: Any) -> None:
        dataset = load(data) if data != "random" else random_rows()
        given = {
            "data": "digits",
            "hidden": hidden,
            "keep": keep,
            "sites": sites,
            "epochs": epochs,
            "threads": 1,
            **more,
        }
        self.plan: Plan = make_plan(make_config(**given), dataset)
        use_threads(1)
        search = _Search(self.plan, make_method(self.plan))
        for _ in search.run(Interrupt(), time.monotonic()):
            pass
        self.position = search.method.position().copy()
        self.batch: Batch = search.judges.batch(rows)
        self.plan.model.eval()

    def plain(self, plan: moves.MovePlan, repeats: int) -> float:
        """Decisions a second of the plain loop: the gated model on each candidate, nothing shared."""
        gated, x, y = self.plan.gated, self.batch.features.contiguous(), self.batch.targets
        start = state.new_state(self.position, sharpness=np.inf)
        candidates = moves.propose(start, 16, plan=plan, delta=1.0, sharpness=np.inf, seed=0, chains=CHAINS)
        gates = torch.from_numpy((moves.dense(start, candidates)[0] > 0).astype(np.float32))

        @torch.no_grad()
        def loop() -> None:
            for one in gates:
                functional.cross_entropy(gated(x, one), y)

        loop()
        return len(gates) / median(lambda: seconds(loop), repeats)

    def decisions(
        self,
        evaluator: Evaluator,
        plan: moves.MovePlan,
        acceptance: float,
        count: int,
        ahead: int | Ahead,
        repeats: int,
    ) -> float:
        """Consumed decisions a second, acceptances forced at the given rate."""
        block = self.block(evaluator, plan, acceptance, count, ahead)
        block()
        return count / median(lambda: seconds(block), repeats)

    def block(
        self, evaluator: Evaluator, plan: moves.MovePlan, acceptance: float, count: int, ahead: int | Ahead
    ) -> Callable[[], None]:
        """Return a block of decisions to be timed."""
        draw = np.random.default_rng(0)

        def block() -> None:
            current = state.new_state(self.position, sharpness=np.inf)
            evaluator.begin(self.batch.features, self.batch.targets, current.position, np.inf)
            engine.set_loss(current, evaluator.current(), alpha=0.0, n=1)
            done = 0
            while done < count:
                began = time.perf_counter()
                few = min(ahead if isinstance(ahead, int) else ahead.size(), count - done)
                batch = moves.propose(current, few, plan=plan, delta=1.0, sharpness=np.inf, seed=1, chains=CHAINS)
                rule: dict[str, Any] = {"temperature": 0.0, "alpha": 0.0, "n": 1, "seed": 0, "chains": CHAINS}
                limits = engine.thresholds(current, batch, **rule)
                losses = evaluator.losses(current, batch, limits)
                losses = np.where(draw.random(losses.shape) < acceptance, -1.0, np.abs(losses) + 100.0)
                _, info = engine.advance(current, batch, losses, sharpness=np.inf, **rule)
                took = time.perf_counter() - began
                if info.index[0] >= 0:
                    evaluator.moved(current.position, batch, info.index)
                    engine.set_loss(current, evaluator.current(), alpha=0.0, n=1)
                done += int(info.consumed[0])
                if isinstance(ahead, Ahead):
                    ahead.observe(few, took, int(info.consumed[0]), int(info.index[0] >= 0))

        return block

    def evaluator(self, wrong_rate: float | None = None) -> FusedEvaluator:
        """Return the evaluator that is measured."""
        return FusedEvaluator(self.plan.gated, self.plan.objective, wrong_rate=wrong_rate)

    def wrong(self, evaluator: FusedEvaluator, plan: moves.MovePlan, count: int) -> tuple[float, float]:
        """Wrong rejections of staged decisions: as a share of all decisions, and of what the whole batch accepts."""
        exact = self.evaluator()
        current = state.new_state(self.position, sharpness=np.inf)
        batch = moves.propose(current, count, plan=plan, delta=1.0, sharpness=np.inf, seed=2, chains=CHAINS)
        for one in (exact, evaluator):
            one.begin(self.batch.features, self.batch.targets, current.position, np.inf)
        engine.set_loss(current, exact.current(), alpha=0.0, n=1)
        limits = engine.thresholds(current, batch, temperature=0.0, alpha=0.0, n=1, seed=0, chains=CHAINS)
        good = exact.losses(current, batch)[0] < limits[0]
        lost = good & (evaluator.losses(current, batch, limits)[0] >= limits[0])
        return float(lost.mean()), float(lost.sum() / max(1, good.sum()))


def random_rows() -> Any:
    """Dense rows of MNIST's width: no input is ever at the dropped value."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(6_000, 784)).astype(np.float32)
    return from_arrays(x, (x @ draw.normal(size=(784, 10))).argmax(axis=1), name="random")


def gemm_limit(widths: tuple[int, ...], rows: int) -> float:
    """Candidates a second if the dense products of the whole net ran at this machine's speed for a large product."""
    size = 2048
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    rate = size**3 / median(lambda: seconds(lambda: a @ b))
    return rate / (rows * sum(i * o for i, o in pairwise(widths)))


def ladder(bench: Bench, plan: moves.MovePlan, quick: bool, wrong_rate: float | None = None) -> dict[str, Any]:
    """Ratios to the plain loop at every acceptance; the evaluator ahead by what suits the acceptance."""
    repeats, count = (3, 400) if quick else (5, 2_000)
    plain = bench.plain(plan, repeats)
    out: dict[str, Any] = {"plain": plain}
    for acceptance in ACCEPTANCES:
        ahead = 64 if acceptance < 0.01 else 8 if acceptance < 0.1 else 4
        out[f"at {acceptance:g}"] = (
            bench.decisions(bench.evaluator(wrong_rate), plan, acceptance, count, ahead, repeats) / plain
        )
    return out


def speculation(bench: Bench, plan: moves.MovePlan, quick: bool) -> dict[str, Any]:
    """Decisions a second with K of `Ahead` against K = 1 and the best fixed K, at every acceptance."""
    repeats, count = (3, 400) if quick else (7, 1_000)
    out: dict[str, Any] = {}
    for acceptance in ACCEPTANCES:
        ahead = Ahead(64)
        ways: dict[int, int | Ahead] = {0: ahead, 1: 1, 4: 4, 16: 16, 64: 64}
        blocks = {key: bench.block(bench.evaluator(), plan, acceptance, count, way) for key, way in ways.items()}
        times: dict[int, list[float]] = {key: [] for key in blocks}
        for turn in range(repeats + 1):  # in turns, so that what else the machine does meets all alike
            for key, block in blocks.items():
                took = seconds(block)
                if turn:
                    times[key].append(took)
        rates = {key: count / sorted(took)[len(took) // 2] for key, took in times.items()}
        adapted, fixed = rates.pop(0), rates
        best = max(fixed, key=lambda size: fixed[size])
        out[f"at {acceptance:g}"] = {
            "fixed": fixed, "best": best, "adapted": adapted, "size": ahead.best(), "against 1": adapted / fixed[1],
            "against best": adapted / fixed[best],
        }  # fmt: skip
        print(f"  K at {acceptance:g}: {out[f'at {acceptance:g}']}", flush=True)
    return out


def overhead(bench: Bench) -> float:
    """Share of a block's wall time that is not spent in the evaluators, at this batch."""
    method = make_method(bench.plan)
    method.state.position[0] = bench.position
    state.refresh(method.state, sharpness=np.inf)
    inside = 0.0

    def timed(call: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            began = time.perf_counter()
            out = call(*args, **kwargs)
            inside += time.perf_counter() - began
            return out

        return wrapper

    for one in (method.evaluator, method.canonical):
        for name in ("begin", "current", "losses", "moved", "at"):
            if hasattr(one, name):
                setattr(one, name, timed(getattr(one, name)))
    for _ in range(3):
        method.update(bench.batch, 1.0)
    inside, began = 0.0, time.perf_counter()
    for _ in range(20):
        method.update(bench.batch, 1.0)
    return 1.0 - inside / (time.perf_counter() - began)


# A linear model on a million inputs of 20 rows; moves of every site, of two, and of eight.
MILLION = """
import numpy as np, torch, mcprune
draw = np.random.default_rng(0)
x = draw.normal(size=(20, 1_000_000)).astype(np.float32)
model = torch.nn.Sequential(torch.nn.Linear(1_000_000, 2))
mcprune.prune(model, (x, np.arange(20) % 2), keep=500_000, budget="constant", budget_drops="chain", epochs=2, threads=1,
              moves={"uniform": 1.0, "exchange": 1.0, "block": 1.0}, speculate=64, judge_on="train", retrain_epochs=1,
              evaluator=EVALUATOR)
"""


def million(evaluator: str) -> float:
    """Return the peak memory in GiB of a process that runs a million sites, 64 candidates ahead at most."""
    program = MILLION.replace("EVALUATOR", repr(evaluator))
    process = subprocess.Popen([sys.executable, "-c", program])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the run of a million sites ended with {process.returncode}")
    return usage.ru_maxrss / 2**20


def main() -> None:
    """Measure, print, write."""
    chosen = options(__doc__ or "")
    quick = chosen.quick
    data = "mnist" if os.environ.get("MCPRUNE_DATA") else "random"
    both = moves.move_plan(site=0.5, exchange=0.5)
    rows: list[dict[str, Any]] = []

    def add(name: str, bar: float, measured: dict[str, Any], note: str = "") -> None:
        shown = ", ".join(f"{key} {value:.1f}x" for key, value in measured.items() if key.startswith("at"))
        rows.append(row(name, measured["at 0.001"], "x", bar, "higher", note=f"{shown}{note}", **measured))
        print(f"  {name}: {shown}{note}", flush=True)

    epochs = 2 if quick else 6
    wide = Bench(data, "256,128", 50, "inputs", 1024, epochs, decisions=64)
    limit = gemm_limit((784, 256, 128, 10), 1024)
    measured = ladder(wide, both, quick)
    share = f"; plain loop at {measured['plain'] / limit:.0%} of the GEMM limit of {limit:.0f}/s"
    add("784-256-128-10, B = 1,024, inputs, site and exchange moves, exact decisions", 9.0, measured, share)
    wrong, lost = wide.wrong(wide.evaluator(0.01), both, 1_000 if quick else 8_000)
    note = f"; wrong decisions {wrong:.2%} of all, {lost:.1%} of what the whole batch accepts"
    add("the same, staged decisions, wrong decisions measured at most 1%", 20.0, ladder(wide, both, quick, 0.01), note)
    add("uniform moves (every site changes)", 1.05, ladder(wide, moves.move_plan(uniform=1.0), True))
    rows.append(row("engine, chooser and Python around the evaluators", overhead(wide), "share", 0.10, "lower"))
    sizes = speculation(wide, both, quick)
    for against, bar in (("against 1", 0.95), ("against best", 0.9)):
        worst = min(one[against] for one in sizes.values())
        rows.append(
            row(f"K by measured cost and acceptance, {against}, worst acceptance", worst, "x", bar, "higher", **sizes)
        )
    for name in ("fused",) if quick else ("fused", "full", "suffix", "incremental", "graph"):
        rows.append(row(f"peak memory at N = 1,000,000, --max-memory 1G, {name}", million(name), "GiB", 2.0, "lower"))
    dense = Bench("random", "256,128", 50, "inputs", 1024, epochs, judge_on="train")
    add("dense random rows, 784-256-128-10, exchange, exact", None, ladder(dense, moves.move_plan(exchange=1.0), quick))  # type: ignore[arg-type]
    units = Bench(data, "256,128", 96, "units:layers.0", 1024, epochs)
    add("the same net, units of the first hidden layer, exact", 15.0, ladder(units, both, quick))
    small = Bench("digits", "64", 16, "inputs", 1024, 60, judge_on="train", test=0.1, validation=0.05)
    add("64-64-10, B = 1,024, inputs, exact", 12.0, ladder(small, both, quick))
    rows.append(
        row("on a GPU, 784-256-128-10, B = 4,096, exchange, best K, against the plain loop on that GPU", None, "x", 25.0,
            "higher", note="not run on a GPU")
    )  # fmt: skip
    report(rows, 1, chosen.out)


if __name__ == "__main__":
    main()
