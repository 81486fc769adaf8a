"""What other packages reach on the same objective; run by peers.py in an environment that holds them, never by hand.

    python peer_solvers.py PEER PROBLEM.npz SECONDS SEED        prints one line of JSON

Minimised is the cross-entropy of a fixed classifier on fixed rows over masks that keep exactly n inputs. Each peer starts from the same
random mask and gets the encoding that suits it: simanneal trades a kept for a dropped input; dual_annealing, evotorch and nevergrad move
one number for each input, and the n largest are kept. LassoNet trains a network of its own on the training rows.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn


class TimeOver(Exception):  # noqa: N818
    """The peer's time is over."""


class Judge:
    """The objective, counted and timed; remembers the best mask met."""

    def __init__(self, problem: Any, seconds: float) -> None:
        layers: list[nn.Module] = []
        for number in itertools.count():
            if f"weight{number}" not in problem:
                break
            weight, bias = (torch.from_numpy(problem[f"{part}{number}"]) for part in ("weight", "bias"))
            layers += [nn.ReLU()] if layers else []
            layers.append(nn.Linear(weight.shape[1], weight.shape[0]))
            with torch.no_grad():
                layers[-1].weight.copy_(weight)
                layers[-1].bias.copy_(bias)
        self.model = nn.Sequential(*layers)
        self.x, self.y = torch.from_numpy(problem["x"]), torch.from_numpy(problem["y"])
        self.n, self.sites = int(problem["n"]), self.x.shape[1]
        self.start = problem["start"].astype(bool)
        self.seconds, self.began = seconds, time.perf_counter()
        self.best, self.mask, self.evaluations = math.inf, self.start, 0

    def restart(self) -> None:
        """Let the time begin now: packages are loaded."""
        self.began = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds since the time began."""
        return time.perf_counter() - self.began

    @torch.no_grad()
    def plain(self, mask: np.ndarray) -> float:
        """The plain loss of a mask (N,), uncounted."""
        gates = torch.from_numpy(mask.astype(np.float32))
        return float(nn.functional.cross_entropy(self.model(self.x * gates), self.y))

    def loss(self, mask: np.ndarray) -> float:
        """The loss of a mask (N,) of exactly n; TimeOver where the time is over."""
        if self.elapsed() > self.seconds:
            raise TimeOver
        value = self.plain(mask)
        self.evaluations += 1
        if value < self.best:
            self.best, self.mask = value, mask.copy()
        return value

    def of_numbers(self, numbers: Any) -> float:
        """The loss of the n largest numbers."""
        mask = np.zeros(self.sites, bool)
        mask[np.argpartition(-np.asarray(numbers, dtype=np.float64), self.n - 1)[: self.n]] = True
        return self.loss(mask)

    def exchanged(self, mask: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """A copy in which a kept and a dropped input trade places."""
        out = mask.copy()
        out[draw.choice(np.flatnonzero(mask))] = False
        out[draw.choice(np.flatnonzero(~mask))] = True
        return out


def simanneal(judge: Judge, seed: int) -> str:
    """Exchange moves; from the mean change of an exchange down to a thousandth of it, in as many steps as fit the time."""
    from simanneal import Annealer

    draw = np.random.default_rng(seed)
    for _ in range(20):  # the first calls are slow
        judge.plain(judge.start)
    judge.restart()
    first = judge.loss(judge.start)
    changes = [abs(judge.loss(judge.exchanged(judge.start, draw)) - first) for _ in range(50)]

    class Masks(Annealer):  # type: ignore[misc]
        copy_strategy = "method"

        def move(self) -> None:
            self.state = judge.exchanged(self.state, draw)

        def energy(self) -> float:
            return judge.loss(self.state)

        def update(self, *_: Any, **__: Any) -> None:
            pass

    one = Masks(judge.start.copy())
    one.Tmax = max(float(np.mean(changes)), 1e-9)
    one.Tmin = one.Tmax / 1000
    one.updates = 0
    told = []
    # The time of a step is only estimated: what is left over goes to further rounds, which begin at the best mask.
    while judge.elapsed() < 0.98 * judge.seconds:
        per_step = judge.elapsed() / judge.evaluations
        one.steps = max(10, int((judge.seconds - judge.elapsed()) / per_step))
        told.append(f"{one.steps}")
        try:
            one.anneal()
        except TimeOver:
            break
    return f"T from {one.Tmax:.2g} to {one.Tmin:.2g} in {', '.join(told)} steps"


def dual_annealing(judge: Judge, seed: int) -> str:
    """Numbers in 0..1; no local search, which needs slopes that a choice of n has not."""
    from scipy.optimize import dual_annealing as anneal

    anneal(
        judge.of_numbers, [(0.0, 1.0)] * judge.sites, maxiter=10**9, maxfun=10**12, no_local_search=True,
        x0=np.where(judge.start, 0.75, 0.25), rng=seed,
    )  # fmt: skip
    return "no_local_search"


def evotorch(judge: Judge, seed: int) -> str:
    """SNES on the numbers, its default population."""
    from evotorch import Problem
    from evotorch.algorithms import SNES
    from evotorch.tools.misc import set_default_logger_config

    set_default_logger_config(logger_level=40)
    problem = Problem(
        "min", lambda numbers: judge.of_numbers(numbers.numpy()), solution_length=judge.sites, initial_bounds=(-1.0, 1.0),
        seed=seed,
    )  # fmt: skip
    # With the start at half a deviation from its border each generation still trades several inputs.
    centre = torch.from_numpy(np.where(judge.start, 0.5, -0.5).astype(np.float32))
    searcher = SNES(problem, stdev_init=0.5, center_init=centre)
    while True:
        searcher.step()


def nevergrad(judge: Judge, seed: int) -> str:
    """DiscreteLenglerOnePlusOne: of six tried on digits, NGOpt among them, the one that got lowest."""
    import nevergrad as ng

    for _ in range(20):
        judge.loss(judge.start)
    budget = int(judge.seconds / (judge.elapsed() / judge.evaluations))
    numbers = ng.p.Array(init=np.where(judge.start, 0.5, -0.5))
    numbers.random_state.seed(seed)
    optimizer = ng.optimizers.registry["DiscreteLenglerOnePlusOne"](numbers, budget=budget)
    while True:
        asked = optimizer.ask()
        optimizer.tell(asked, judge.of_numbers(asked.value))


def lassonet(judge: Judge, seed: int, problem: Any) -> str:
    """A path of penalties on a network of the same widths; its mask: the inputs that the penalty drops last."""
    from lassonet import LassoNetClassifier

    draw = np.random.default_rng(seed)
    rows = draw.permutation(len(problem["rows"]))
    epochs = (5, 1) if len(rows) > 20_000 else (100, 10)
    net = LassoNetClassifier(
        hidden_dims=tuple(int(width) for width in problem["hidden"]), batch_size=min(512, max(32, len(rows) // 20)),
        n_iters=epochs, patience=None, verbose=0, torch_seed=seed, random_state=seed, device=torch.device("cpu"),
    )  # fmt: skip
    norms = np.zeros(judge.sites)
    reached: list[int] = []

    def penalties() -> Iterator[float]:
        # Its own search for the first penalty takes longer than the whole time. So it grows by half until an input goes, then
        # by 2%, its default, or by a quarter where the count is above a geometric fall to n over the time.
        value = 1.0
        while True:
            yield value
            left = net.model.selected_count()
            wanted = judge.sites * (judge.n / judge.sites) ** (judge.elapsed() / judge.seconds)
            value *= 1.5 if left == judge.sites else 1.25 if left > wanted else 1.02

    def seen(model: Any, _: Any) -> None:
        reached.append(int(model.model.selected_count()))
        is_done = reached[-1] <= judge.n
        if not is_done:
            norms[:] = model.model.skip.weight.detach().norm(dim=0).numpy()
        else:  # what is left first, then what went last
            norms[:] += 1e6 * (model.model.skip.weight.detach().norm(dim=0).numpy() > 0)
        if is_done or judge.elapsed() > judge.seconds:
            raise TimeOver

    with contextlib.suppress(TimeOver):
        net.path(
            problem["rows"][rows], problem["targets"][rows], lambda_seq=penalties(), callback=seen,
            disable_lambda_warning=True,
        )  # fmt: skip
    judge.mask = np.zeros(judge.sites, bool)
    judge.mask[np.argsort(-norms, kind="stable")[: judge.n]] = True
    judge.best = judge.plain(judge.mask)
    return f"{len(reached)} penalties, {reached[-1]} inputs left"


SOLVERS: dict[str, Callable[..., str]] = {
    "simanneal": simanneal,
    "dual_annealing": dual_annealing,
    "evotorch": evotorch,
    "nevergrad": nevergrad,
    "lassonet": lassonet,
}


def main() -> None:
    """Solve and print."""
    peer, path, seconds, seed = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    problem = np.load(path)
    more = (problem,) if peer == "lassonet" else ()
    judge = Judge(problem, float(seconds))
    __import__({"dual_annealing": "scipy.optimize"}.get(peer, peer))
    judge.restart()
    note = "ended by the time"
    with contextlib.suppress(TimeOver):
        note = SOLVERS[peer](judge, int(seed), *more)
    out = {
        "loss": judge.best, "evaluations": judge.evaluations, "seconds": judge.elapsed(), "note": note,
        "keep": np.flatnonzero(judge.mask).tolist(),
    }  # fmt: skip
    print(json.dumps(out))


if __name__ == "__main__":
    main()
