"""Decisions a second of every evaluator against the plain loop over candidates, `model(x * mask)`, in the same process.

One thread each side. The state is that of a short search on MNIST (MCPRUNE_DATA; without it digits-sized random rows): a trained
classifier, 50 of 784 inputs kept. Acceptances are forced at the stated rates, so that what is evaluated in vain behind an acceptance, and
following it, is paid for. Speed is consumed decisions a second; limits are those of T = 0, so `fused` stops a candidate where its
rows so far decide. Alpha is 0, so none is rejected unevaluated.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from common import median, parser, report, row, seconds  # isort: skip

import numpy as np
import plots
import torch
from torch.nn import functional

from mcprune.chain import engine, moves, state
from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays, load
from mcprune.environment import use_threads
from mcprune.errors import ModelError
from mcprune.evaluators import choose
from mcprune.evaluators.base import Evaluator
from mcprune.evaluators.cuda_graph import GraphEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.methods.base import Batch
from mcprune.methods.markov.lookahead import Lookahead, LookaheadState
from mcprune.session.build.markov import make_method
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.interrupt import Interrupt
from mcprune.session.search import Search

ACCEPTANCES = (0.0, 0.001, 0.01, 0.1)
CHAINS = np.zeros(1, np.int64)


class Adaptive(NamedTuple):
    """K by measured cost and acceptance, and what it has measured so far."""

    lookahead: Lookahead
    state: LookaheadState


class Bench:
    """A plan after a short search, with the position and a batch to judge on."""

    def __init__(self, data: str, hidden: str, keep: int, sites: str, rows: int, epochs: int, **more: Any) -> None:
        dataset = load(data) if data != "random" else random_rows()
        given = {
            "data": "digits",
            "hidden": hidden,
            # The stated net searches too, and on rows as they are: with input noise no row is unchanged by a move.
            "search_hidden": hidden,
            "input_noise": 0.0,
            "keep": keep,
            "sites": sites,
            "epochs": epochs,
            "threads": 1,
            **more,
        }
        self.plan: Plan = make_plan(make_config(**given), dataset)
        use_threads(1)
        search = Search(self.plan, make_method(self.plan))
        for _ in search.run(Interrupt(), time.monotonic()):
            pass
        self.position = search.position().copy()
        self.batch: Batch = search.rows.batch(search.state.evaluation, rows)
        self.plan.model.eval()

    def plain(self, plan: moves.MovePlan, count: int = 16) -> Callable[[], None]:
        """Return the plain loop over `count` candidates: the gated model on each, nothing shared."""
        gated, x, y = self.plan.gated, self.batch.features.contiguous(), self.batch.targets
        start = state.new_state(self.position, sharpness=np.inf)
        candidates = moves.propose(start, count, plan=plan, delta=1.0, sharpness=np.inf, seed=0, chains=CHAINS)
        gates = torch.from_numpy((moves.dense(start, candidates)[0] > 0).astype(np.float32)).to(x.device)

        @torch.no_grad()
        def loop() -> None:
            for one in gates:
                functional.cross_entropy(gated(x, one), y)
            if x.is_cuda:
                torch.cuda.synchronize()

        return loop

    def block(
        self, evaluator: Evaluator, plan: moves.MovePlan, acceptance: float, count: int, ahead: int | Adaptive
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
                size = ahead if isinstance(ahead, int) else ahead.lookahead.size(ahead.state)
                few = min(size, count - done)
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
                if isinstance(ahead, Adaptive):
                    ahead.lookahead.observe(ahead.state, few, took, int(info.consumed[0]), int(info.index[0] >= 0))

        return block

    def evaluator(self, early_reject: float | None = None) -> FusedEvaluator:
        """Return the evaluator that is measured."""
        return FusedEvaluator(self.plan.gated, self.plan.objective, early_reject=early_reject)

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


def gemm_limit(widths: tuple[int, ...], rows: int, device: str = "cpu") -> float:
    """Candidates a second if the dense products of the whole net ran at this machine's speed for a large product."""
    size = 2048 if device == "cpu" else 8192
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)

    def product() -> None:
        a @ b
        if a.is_cuda:
            torch.cuda.synchronize()

    product()
    return size**3 / median(lambda: seconds(product)) / (rows * sum(i * o for i, o in pairwise(widths)))


def in_turns(ways: dict[Any, tuple[Callable[[], None], int]], repeats: int) -> dict[Any, float]:
    """Median decisions a second of each way, (call, decisions in it): in turns, so that what else the machine does meets all."""
    times: dict[Any, list[float]] = {key: [] for key in ways}
    for turn in range(repeats + 1):
        for key, (call, _) in ways.items():
            took = seconds(call)
            if turn:  # the first one compiles and warms caches
                times[key].append(took)
    return {key: ways[key][1] / sorted(took)[len(took) // 2] for key, took in times.items()}


def ladder(bench: Bench, plan: moves.MovePlan, quick: bool, early_reject: float | None = None) -> dict[str, Any]:
    """Ratios to the plain loop at every acceptance; the evaluator ahead by what suits the acceptance."""
    repeats, count = (3, 400) if quick else (5, 2_000)
    # As many candidates of the loop as take about as long: 16 are too short a time on a small net.
    few = 64 if bench.plan.splits.n_inputs < 100 else 16
    ways: dict[Any, tuple[Callable[[], None], int]] = {"plain": (bench.plain(plan, few), few)}
    for acceptance in ACCEPTANCES:
        ahead = 64 if acceptance < 0.01 else 8 if acceptance < 0.1 else 4
        ways[acceptance] = (bench.block(bench.evaluator(early_reject), plan, acceptance, count, ahead), count)
    rates = in_turns(ways, repeats)
    return {"plain": rates["plain"], **{f"at {rate:g}": rates[rate] / rates["plain"] for rate in ACCEPTANCES}}


def speculation(bench: Bench, plan: moves.MovePlan, quick: bool) -> dict[str, Any]:
    """Decisions a second with K of `Lookahead` against K = 1 and the best fixed K, at every acceptance."""
    repeats, count = (3, 400) if quick else (7, 1_000)
    out: dict[str, Any] = {}
    for acceptance in ACCEPTANCES:
        lookahead = Lookahead(64)
        ahead = Adaptive(lookahead, lookahead.init())
        sizes: dict[int, int | Adaptive] = {0: ahead, 1: 1, 4: 4, 16: 16, 64: 64}
        rates = in_turns(
            {key: (bench.block(bench.evaluator(), plan, acceptance, count, way), count) for key, way in sizes.items()},
            repeats,
        )
        adapted, fixed = rates.pop(0), rates
        best = max(fixed, key=lambda size: fixed[size])
        out[f"at {acceptance:g}"] = {
            "fixed": fixed, "best": best, "adapted": adapted, "size": lookahead.best(ahead.state), "against 1": adapted / fixed[1],
            "against best": adapted / fixed[best],
        }  # fmt: skip
        print(f"  K at {acceptance:g}: {out[f'at {acceptance:g}']}", flush=True)
    return out


def overhead(bench: Bench) -> float:
    """Share of a block's wall time that is not spent in the evaluators, at this batch."""
    method = make_method(bench.plan)
    where = method.init()
    where.chain.position[0] = bench.position
    state.refresh(where.chain, sharpness=np.inf)
    inside = 0.0

    def timed(call: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            began = time.perf_counter()
            out = call(*args, **kwargs)
            inside += time.perf_counter() - began
            return out

        return wrapper

    for one in (method.evaluation.evaluator, method.evaluation.canonical):
        for name in ("begin", "current", "losses", "moved", "at"):
            if hasattr(one, name):
                setattr(one, name, timed(getattr(one, name)))
    for _ in range(3):
        method.step(where, bench.batch, 1.0)
    inside, began = 0.0, time.perf_counter()
    for _ in range(20):
        method.step(where, bench.batch, 1.0)
    return 1.0 - inside / (time.perf_counter() - began)


# A linear model on a million inputs of 20 rows; moves of every site, of two, and of eight.
MILLION = """
import numpy as np, torch, mcprune
draw = np.random.default_rng(0)
x = draw.normal(size=(20, 1_000_000)).astype(np.float32)
model = torch.nn.Sequential(torch.nn.Linear(1_000_000, 2))
mcprune.prune(x, np.arange(20) % 2, keep=500_000, model=model, keep_schedule="constant", pool="none", epochs=2, threads=1,
              moves={"uniform": 1.0, "exchange": 1.0, "block": 1.0}, lookahead=64, eval_on="train", retrain_epochs=1,
              evaluator=EVALUATOR)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def million(evaluator: str) -> float:
    """Return the peak memory in GiB of a process that runs a million sites, 64 candidates ahead at most."""
    program = MILLION.replace("EVALUATOR", repr(evaluator))
    # The process tells its own: what wait4 says begins at the memory of the process that it was forked from.
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise SystemExit(f"the run of a million sites ended with {ended.returncode}")
    return int(ended.stdout.split()[-1]) / 2**20


def every_evaluator(bench: Bench, plan: moves.MovePlan, limit: float, quick: bool) -> list[dict[str, Any]]:
    """Each evaluator against the plain loop at an acceptance of .1%, ahead by 16, and its share of the GEMM limit."""
    problem = choose.EvaluationProblem(
        bench.plan.gated, bench.plan.objective, bench.batch.features, bench.batch.targets, plan, 50, 4.0, np.inf, 16
    )
    title = "evaluator {}, 784-256-128-10, inputs, against the plain loop"
    ways: dict[Any, tuple[Callable[[], None], int]] = {"the plain loop": (bench.plain(plan), 16)}
    rows = []
    for name in choose.NAMES:
        try:
            count = 1_000 if name == "fused" else 128
            ways[name] = (bench.block(choose.build(name, problem), plan, 0.001, count, 16), count)
        except ModelError as error:
            rows.append(row(title.format(name), None, "x", None, "higher", f"does not serve: {error}"))
    rates = in_turns(ways, 2 if quick else 5)
    for name, rate in rates.items():
        note = f"{rate:,.0f} decisions/s, {rate / limit:.0%} of the GEMM limit"
        value = rate / rates["the plain loop"]
        rows.append(row(title.format(name), value, "x", None, "higher", note, rate=rate, limit=limit))
    return rows


GPU = "on a GPU, 784-256-128-10, B = 4,096, exchange, best K, against the plain loop on that GPU"


def gpu_rows(data: str, quick: bool, device: str = "cuda", rows: int = 4096) -> list[dict[str, Any]]:
    """The recorded batches against the plain loop on the same GPU; float32, then the better of two screens."""
    names = ((GPU, 25.0, ("none",)), (f"{GPU}, TF32 or bf16 screen", 60.0, ("tf32", "bf16")))
    if device == "cuda" and not torch.cuda.is_available():
        return [row(name, None, "x", bar, "higher", note="not run on a GPU: torch sees none") for name, bar, _ in names]
    bench = Bench(data, "256,128", 50, "inputs", rows, 2 if quick else 6, decisions=64, device=device)
    exchange, out = moves.move_plan(exchange=1.0), []
    limit = gemm_limit((784, 256, 128, 10), rows, device)
    plain = in_turns({0: (bench.plain(exchange), 16)}, 5)[0]
    for name, bar, screens in names:
        rates: dict[str, float] = {}
        for screen in screens:
            for ahead in (16,) if quick else (16, 64, 256):
                built = GraphEvaluator(
                    bench.plan.gated, bench.plan.objective, batch=ahead, screen=screen, max_memory=2**33
                )
                count = 4 * ahead if quick else 40 * ahead
                block = bench.block(built, exchange, 0.001, count, ahead)
                rates[f"{screen}, K = {ahead}"] = in_turns({0: (block, count)}, 3)[0]
        best = max(rates, key=lambda way: rates[way])
        note = f"{best}; {rates[best] / limit:.0%} of the dense products' limit in float32, the plain loop at {plain / limit:.0%}"
        out.append(row(name, rates[best] / plain, "x", bar, "higher", note, plain=plain, rates=rates))
    return out


def memory_rows(quick: bool) -> list[dict[str, Any]]:
    """Peak memory of a million sites: the evaluator that takes most of it, then each."""
    peaks = {name: million(name) for name in (("fused",) if quick else choose.NAMES)}
    worst = max(peaks, key=lambda name: peaks[name])
    note = f"N = 1,000,000, --max-memory 1G, up to 64 ahead; most by {worst}" + (" (the only one run)" if quick else "")
    return [row("memory", peaks[worst], "GiB", 2.0, "lower", note)] + [
        row(f"memory with evaluator {name}", peak, "GiB", 2.0, "lower") for name, peak in peaks.items()
    ]


def main() -> None:
    """Measure, print, write."""
    chosen = parser(__doc__ or "").parse_args()
    quick = chosen.quick
    data = "mnist" if os.environ.get("MCPRUNE_DATA") else "random"
    both = moves.move_plan(site=0.5, exchange=0.5)
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[tuple[float, float]]] = {}

    def add(name: str, bar: float | None, measured: dict[str, Any], note: str = "") -> None:
        by_rate = {key: value for key, value in measured.items() if key.startswith("at")}
        shown = ", ".join(f"{key} {value:.1f}x" for key, value in by_rate.items())
        rows.append(row(name, measured["at 0.001"], "x", bar, "higher", note=f"{shown}{note}", **measured))
        curves[name[:34]] = [(max(rate, 1e-4), by_rate[f"at {rate:g}"]) for rate in ACCEPTANCES]
        print(f"  {name}: {shown}{note}", flush=True)

    epochs = 2 if quick else 6
    wide = Bench(data, "256,128", 50, "inputs", 1024, epochs, decisions=64)
    limit = gemm_limit((784, 256, 128, 10), 1024)
    measured = ladder(wide, both, quick)
    share = (
        f"; {measured['plain'] * measured['at 0.001'] / limit:.2g} times the GEMM limit of {limit:.0f}/s, "
        f"plain loop at {measured['plain'] / limit:.0%} of it"
    )
    add("784-256-128-10, B = 1,024, inputs, site and exchange moves, exact decisions", 9.0, measured, share)
    wrong, lost = wide.wrong(wide.evaluator(0.01), both, 1_000 if quick else 8_000)
    note = f"; wrong decisions {wrong:.2%} of all, {lost:.1%} of what the whole batch accepts"
    add("the same, staged decisions, wrong decisions measured at most 1%", 20.0, ladder(wide, both, quick, 0.01), note)
    units = Bench(data, "256,128", 96, "units:layers.0", 1024, epochs)
    add("the same net, units of the first hidden layer, exact", 15.0, ladder(units, both, quick))
    small = Bench("digits", "64", 16, "inputs", 1024, 60, eval_on="train", test=0.1, validation=0.05)
    add("64-64-10, B = 1,024, inputs, exact", 12.0, ladder(small, both, quick))
    add("uniform moves (every site changes)", 1.05, ladder(wide, moves.move_plan(uniform=1.0), True))
    rows += gpu_rows(data, quick)
    rows.append(row("engine, chooser and Python around the evaluators", overhead(wide), "share", 0.10, "lower"))
    rows += memory_rows(quick)
    sizes = speculation(wide, both, quick)
    for against, bar in (("against 1", 0.95), ("against best", 0.9)):
        worst = min(one[against] for one in sizes.values())
        rows.append(
            row(f"K by measured cost and acceptance, {against}, worst acceptance", worst, "x", bar, "higher", **sizes)
        )
    rows.append(
        row("wrong decisions of staged decisions", wrong, "share", 0.01, "lower", f"{lost:.1%} of what is accepted")
    )
    rows += every_evaluator(wide, both, limit, quick)
    noisy = Bench(data, "256,128", 50, "inputs", 1024, epochs, decisions=64, input_noise=0.1)
    add(
        "784-256-128-10, rows with input noise of .1, site and exchange moves, exact",
        None,
        ladder(noisy, both, quick),
    )
    dense = Bench("random", "256,128", 50, "inputs", 1024, epochs, eval_on="train")
    add("dense random rows, 784-256-128-10, exchange, exact", None, ladder(dense, moves.move_plan(exchange=1.0), quick))
    figure = plots.lines(
        curves, "Decisions a second over those of the plain loop", "acceptance (0 drawn at 1e-4)", "times the plain loop",
        logarithmic=(True, True),
    )  # fmt: skip
    report(rows, 1, chosen.out, chosen.plot, "Throughput of the evaluators", (figure,))


if __name__ == "__main__":
    main()
