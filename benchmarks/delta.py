"""What delta and temperature do to the chain itself: a classifier at rest, masks of exactly n, as many decisions for every value.

A classifier is trained under random masks of many sizes and then rests. From the same random masks of n sites chains make the same number
of decisions on the same evaluation rows; only the moves, delta or the temperature differ. No pool of candidates and no falling n(t) takes
part, so that what is seen is the chain's own doing. The figure of merit is the loss of the last mask on validation rows.

The optimum of a curve is beside what a tenth and ten times of it lose; `is_lost` says whether that loss, paired by start and
classifier, is more than two standard errors.

    MCPRUNE_DATA=... MCPRUNE_TABLES=... python benchmarks/delta.py --out benchmarks/results/delta.json --figures docs/figures
    # goes on where an earlier run with the same settings stopped; delete the file after a change of the study
    python benchmarks/delta.py --redraw benchmarks/results/delta.json --figures docs/figures
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common import machine, parser, write  # isort: skip

import numpy as np
import plots
import table_sets
import torch
from torch import nn

# n, decisions of each chain, and starts for each classifier.
SETS = {
    "digits": (16, 1024, 4), "spambase": (10, 1024, 4), "isolet": (25, 1024, 2), "mnist": (50, 2048, 2), "fashion-mnist": (50, 2048, 2),
}  # fmt: skip
HIDDEN, STEPS, BATCH, RATE = (128, 64), 3000, 128, 2e-3
ROWS, BLOCK = 2048, 64  # evaluation rows; decisions of a block
SEEDS = 3
DELTAS = (0.03, 0.1, 0.3, 1.0, 3.0)
TEMPERATURES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)  # in standard errors
MIXTURES = {"site": {"site": 1.0}, "site and exchange": {"site": 1.0, "exchange": 1.0}, "exchange": {"exchange": 1.0}}
MIXTURES["site 9, exchange 1"] = {"site": 0.9, "exchange": 0.1}
MARKS = 5  # losses are noted after all decisions, half of them, a quarter, ...


def classifier(x: torch.Tensor, y: torch.Tensor, n: int, seed: int) -> nn.Sequential:
    """Train a perceptron under random masks of n to all inputs."""
    torch.manual_seed(seed)
    draw, sites = np.random.default_rng(seed), x.shape[1]
    widths = (sites, *HIDDEN, int(y.max()) + 1)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for step in range(STEPS):
        rows = torch.from_numpy(draw.choice(len(y), BATCH))
        share = torch.from_numpy(np.exp(draw.uniform(math.log(n / sites), 0.0, (BATCH, 1)))).float()
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2.0 * (1.0 - step / STEPS) + 0.02)
        loss = nn.functional.cross_entropy(net(x[rows] * (torch.rand(BATCH, sites) < share)), y[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return net.eval()


class Bench:
    """The chain on a classifier at rest; each call of `run` starts again."""

    def __init__(self, name: str, seed: int) -> None:
        import mcprune
        from mcprune.data.load import load
        from mcprune.data.prepare import prepare

        self.n, self.decisions, starts = SETS[name]
        is_image = name in ("mnist", "fashion-mnist", "digits")
        source: str | Path = name if is_image else table_sets.folder() / f"{name}.npz"
        data = load(str(source))
        splits = prepare(data, seed=seed, validation=0.3, test=0.2, scale="auto")
        # The evaluation rows train nothing.
        draw = np.random.default_rng(seed)
        order = draw.permutation(len(splits.train.targets))
        count = min(ROWS, len(order) // 3)
        x, y = torch.from_numpy(splits.train.features), torch.from_numpy(splits.train.targets)
        rows, others = order[:count], order[count:]
        self.net = classifier(x[others], y[others], self.n, seed)
        self.validation = (
            torch.from_numpy(splits.validation.features[:8192]),
            torch.from_numpy(splits.validation.targets[:8192]),
        )
        self.problem = mcprune.Problem(
            self.net, (splits.train.features, splits.train.targets), keep=self.n, scale="none", validation=0.0, test=0.0
        )
        search = mcprune.Markov(keep_schedule="constant", decisions=BLOCK, lookahead=BLOCK, eval_on="train")
        self.step = search.init(self.problem, seed=seed, frozen=True, threads=1, evaluator="fused")
        method = self.step.search.method
        self.method, self.settings = method, method.settings
        batch = self.step.search.rows.batch(self.step.search.state.evaluation, 2)
        columns = np.ascontiguousarray(x.numpy()[rows].T)
        self.batch = batch._replace(features=torch.from_numpy(columns).T, targets=y[rows])
        self.masks = np.zeros((starts, x.shape[1]), bool)
        for mask in self.masks:
            mask[draw.choice(mask.size, self.n, replace=False)] = True

    @torch.no_grad()
    def loss(self, mask: np.ndarray) -> float:
        """Return the loss on the validation rows."""
        x, y = self.validation
        return float(nn.functional.cross_entropy(self.net(x * torch.from_numpy(mask)), y))

    def run(self, moves: str, delta: float, temperature: str, start: int) -> dict[str, Any]:
        """Run one chain."""
        from mcprune.chain.schedules import parse, parse_temperature
        from mcprune.session.build.markov import move_plan

        method, search = self.method, self.step.search
        chain = search.plan.chain._replace(moves=MIXTURES[moves])
        state = method.init()
        method.steered(state).steer(
            dataclasses.replace(
                self.settings, plan=move_plan(chain, self.masks.shape[1]), delta=parse(str(delta)),
                temperature=parse_temperature(temperature), seed=start,
            )
        )  # fmt: skip
        method.adopt(state, self.masks[start])
        steps = decisions = accepted = 0
        tail, marks = [], {self.decisions >> k: math.nan for k in range(MARKS)}
        began = time.process_time()
        while decisions < self.decisions:
            state, info = method.step(state, self.batch, 1.0)
            steps, decisions, accepted = steps + info.proposals, decisions + info.decisions, accepted + info.accepted
            if decisions in marks:
                marks[decisions] = self.loss(method.position(state) > 0)
            if decisions > 0.75 * self.decisions:
                tail.append(info.cla)
        return {
            "validation": marks[self.decisions], "marks": {str(at): round(loss, 5) for at, loss in marks.items()},
            "loss": mean(tail), "steps": steps, "decisions": decisions, "accepted": accepted,
            "standard_error": state.standard_error, "seconds": round(time.process_time() - began, 2),
        }  # fmt: skip


def points(is_quick: bool) -> list[tuple[str, str, float]]:
    """Return curve, moves and value of each point."""
    deltas, temperatures = (DELTAS[1::2], TEMPERATURES[1::2]) if is_quick else (DELTAS, TEMPERATURES)
    over_delta = [("delta", moves, value) for moves in ("site", "site and exchange") for value in deltas]
    mixed = [("delta", "site 9, exchange 1", value) for value in deltas if value in (0.1, 1.0)]
    return [
        *over_delta,
        *mixed,
        ("delta", "exchange", 0.0),
        *(("temperature", "site", value) for value in temperatures),
    ]


def run_set(name: str, seed: int, is_quick: bool) -> list[dict[str, Any]]:
    """Run all chains of a data set and a classifier."""
    bench, out = Bench(name, seed), []
    for start in range(len(bench.masks) if not is_quick else 1):
        for curve, moves, value in points(is_quick):
            is_delta = curve == "delta"
            figures = bench.run(moves, (value or 1.0) if is_delta else 1.0, "0" if is_delta else f"{value:g}se", start)
            out.append(
                {"set": name, "seed": seed, "start": start, "curve": curve, "moves": moves, "value": value, **figures}
            )
    return out


def error(values: list[float]) -> float:
    """Return the standard error of a mean."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of each curve: means over classifiers and starts, with standard errors."""
    out = []
    for key in dict.fromkeys((run["set"], run["curve"], run["moves"], run["value"]) for run in runs):
        here = [run for run in runs if (run["set"], run["curve"], run["moves"], run["value"]) == key]
        point = dict(zip(("set", "curve", "moves", "value"), key, strict=True)) | {"chains": len(here)}
        for field in ("validation", "loss"):
            values = [run[field] for run in here]
            point |= {field: round(mean(values), 5), f"{field}_error": round(error(values), 5)}
        point["acceptance"] = round(mean(run["accepted"] / run["decisions"] for run in here), 4)
        point["steps per decision"] = round(mean(run["steps"] / run["decisions"] for run in here), 1)
        point["seconds"] = round(mean(run["seconds"] for run in here), 3)
        out.append(point)
    return out


def optima(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the optimum of each curve, and what a tenth and ten times of it lose, paired by classifier and start."""
    out = []
    for key in dict.fromkeys((run["set"], run["curve"], run["moves"]) for run in runs if run["moves"] != "exchange"):
        here = [run for run in runs if (run["set"], run["curve"], run["moves"]) == key]
        line = {
            value: {(r["seed"], r["start"]): r["validation"] for r in here if r["value"] == value}
            for value in {r["value"] for r in here}
        }
        best = min(line, key=lambda value: mean(line[value].values()))
        row = dict(zip(("set", "curve", "moves"), key, strict=True)) | {
            "best": best,
            "validation": round(mean(line[best].values()), 5),
        }
        for words, way in (("a tenth", 0.1), ("ten times", 10.0)):
            near = min(line, key=lambda value: abs(math.log(value / (best * way))))
            if near == best:
                continue
            changes = [line[near][place] - loss for place, loss in line[best].items() if place in line[near]]
            row[words] = {
                "value": near, "loses": round(mean(changes), 5), "error": round(error(changes), 5),
                "is_lost": mean(changes) > 2.0 * error(changes),
            }  # fmt: skip
        out.append(row)
    return out


def draw(points: list[dict[str, Any]], folder: Path) -> None:
    """Write the curves over delta and over the temperature, each relative to the best of its data set."""
    for curve, x in (("delta", "delta"), ("temperature", "temperature in standard errors")):
        series = {}
        for name in dict.fromkeys(point["set"] for point in points):
            line = {
                p["value"]: p["validation"]
                for p in points
                if (p["set"], p["curve"], p["moves"]) == (name, curve, "site")
            }
            low = min(line.values())
            series[f"{name}, {SETS[name][0]}"] = [(value, line[value] / low) for value in sorted(line)]
        figure = plots.lines(series, "", x, "validation loss, over the lowest", logarithmic=(True, False))
        (folder / f"{curve}.svg").write_text(
            figure.removeprefix("<h2></h2>").replace("<svg ", '<svg style="background:#fff" ', 1) + "\n"
        )


def main() -> None:
    """Run the chains, print a line a point, write both and the figures."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    options.add_argument("--seeds", type=int, default=SEEDS)
    options.add_argument("--redraw", type=Path, help="use what this file holds, run nothing")
    options.add_argument("--figures", type=Path, help="write delta.svg and temperature.svg into this folder")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    earlier = chosen.redraw if chosen.redraw or not (chosen.out and chosen.out.exists()) else chosen.out
    content: dict[str, Any] = json.loads(earlier.read_text()) if earlier else {"runs": []}
    runs = content["runs"]
    for seed in range(1 if chosen.quick else chosen.seeds) if not chosen.redraw else ():
        for name in chosen.sets:
            if any((run["set"], run["seed"]) == (name, seed) for run in runs):
                continue  # of an earlier run with the same settings
            began = time.process_time()
            runs += run_set(name, seed, chosen.quick)
            print(f"{name}, seed {seed}: {time.process_time() - began:.0f} s", flush=True)
            settings = {"sets": SETS, "hidden": HIDDEN, "steps": STEPS, "rows": ROWS, "block": BLOCK}
            content = {
                "machine": machine(1),
                "settings": settings,
                "optima": optima(runs),
                "points": summary(runs),
                "runs": runs,
            }
            if chosen.out is not None:
                write(chosen.out, content)
    for point in summary(runs):
        print(
            f"{point['set']:<14} {point['curve']:<12} {point['moves']:<18} {point['value']:<6g} "
            f"{point['validation']:.4f} ± {point['validation_error']:.4f}  accepted {point['acceptance']:.1%}  {point['chains']} chains"
        )
    for row in optima(runs):
        print(json.dumps(row))
    if chosen.figures is not None:
        draw(summary(runs), chosen.figures)


if __name__ == "__main__":
    main()
