"""Fixed-point networks: how large at which test loss, by training with rounding (mcprune, HGQ2), alone and with the chain over digits.

Two sets: jets of five kinds, simulated by jets_simulation.py (16 of their features; every such figure is of simulated jets), and
satimage (36 features, 6 classes). Networks N-32-16-C, at most 8,192 training rows. Every way is measured alike on its exact integers:
cross-entropy and accuracy of test rows that nothing has used, with a scale of the logits that is fitted on the training rows; adders and
look-up tables by alkaid (estimates; nothing was synthesised); seconds of the processor.

Equal time: the chain takes over HGQ2's run at a part of its epochs, and has at most the seconds that HGQ2 had for the rest. Greedy removal
with moves of biases has as many proposals of the same engine, training on at frozen bits the epochs that HGQ2 had left.

    pip install 'mcprune[firmware]' hgq2 jax
    python benchmarks/jets_simulation.py jets.csv --jets 30000
    python benchmarks/firmware.py --jets jets.csv --satimage satimage.npz --out benchmarks/results/firmware.json

Each job is stored when it is done, and a second call goes on with those that are left.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import firmware_ways as ways
import numpy as np
from common import machine, parser, write

from mcprune.data.prepare import Splits
from mcprune.firmware.counting.costs import Unit, costs
from mcprune.firmware.counting.solver import counter
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.polish.engine.chain import Chain, Walk
from mcprune.firmware.polish.polish import polish
from mcprune.firmware.polish.settings import PolishSettings

FRONT = 16  # networks of a front that are measured, of at most LARGEST digits
LARGEST = 600
STARTS = (0.55, 0.75)  # parts of HGQ2's epochs at which the chain takes over
BUDGETS = (0.75, 0.5)  # of a start's cost
UNIT: Unit = "luts"
PROPOSALS = {0.55: 150_000, 0.75: 80_000}
FROZEN_SEEDS = 2  # of which HGQ2's networks are also trained on at frozen bits
OWN_DIGITS, OWN_BUDGETS = 160, (80, 55, 40)  # the start of mcprune's own training, and the digits to come to
Point = dict[str, Any]
Job = tuple[str, list[Point]]


def hgq2_jobs(splits: Splits, seed: int, epochs: int, scale: float) -> Iterator[Job]:
    """Yield HGQ2 alone, then what the chain, greedy removal and training on make of its networks."""
    trained = ways.hgq2(splits, seed, epochs)
    small = [place for place, one in enumerate(trained.networks) if costs(remove_dead(one)).digits <= LARGEST]
    ranks = np.unique(np.linspace(0, len(small) - 1, FRONT).round().astype(int))
    front = [
        {**ways.measure(trained.networks[small[rank]], splits), "progress": trained.progress[small[rank]]}
        for rank in ranks
    ]
    yield "HGQ2", [{**point, "seconds": round(trained.total, 1)} for point in front]
    chained, greedy, frozen = [], [], []
    for share in STARTS:
        place = int(np.argmin([abs(progress - share) for progress in trained.progress]))
        start = remove_dead(trained.networks[place])
        note = {"start": share, "seconds_left": round(trained.total - trained.seconds[place], 1)}
        whole, proposals = costs(start).of(UNIT), int(scale * PROPOSALS[share])
        for part in BUDGETS:
            settings = PolishSettings(round(part * whole), UNIT, proposals=proposals, seed=seed)
            chained.append({**_polished(start, splits, settings), **note, "share": part})
        if share != STARTS[0]:
            continue
        settings = PolishSettings(
            round(BUDGETS[0] * whole),
            UNIT,
            proposals=proposals,
            seed=seed,
            temperature=0.0,
            drops=0,
            moves="bias,remove",
        )
        greedy.append({**_polished(start, splits, settings), **note, "share": BUDGETS[0]})
        if seed < FROZEN_SEEDS:
            began = time.process_time()
            network = ways.tune_frozen(splits, trained.states[place], max(round((1 - share) * epochs), 2))
            frozen.append({**ways.measure(network, splits), "seconds": round(time.process_time() - began, 1), **note})
    yield "HGQ2 + chain", chained
    yield "HGQ2 + greedy", greedy
    if frozen:
        yield "HGQ2, frozen bits", frozen


def own_jobs(splits: Splits, seed: int, epochs: int, scale: float) -> Iterator[Job]:
    """Yield mcprune's own training alone and with the chain."""
    trained = ways.straight_through(splits, seed, epochs)
    small = [one for one in trained.networks if costs(one).digits <= LARGEST]
    ranks = np.unique(np.linspace(0, len(small) - 1, FRONT).round().astype(int))
    yield "own", [{**ways.measure(small[rank], splits), "seconds": round(trained.total, 1)} for rank in ranks]
    start = min(small, key=lambda one: abs(costs(one).digits - OWN_DIGITS))
    whole, points = costs(start), []
    for digits in OWN_BUDGETS:
        budget = round(whole.of(UNIT) * min(digits / whole.digits, 1.0))
        for drops in (1, 0):  # with and without unit moves
            settings = PolishSettings(budget, UNIT, proposals=int(scale * PROPOSALS[STARTS[0]]), seed=seed, drops=drops)
            points.append({**_polished(start, splits, settings), "share": digits, "drops": drops})
    yield "own + chain", [point for point in points if point["drops"]]
    yield "own + chain, no unit moves", [point for point in points if not point["drops"]]


def rejection_jobs(splits: Splits, seed: int, epochs: int, scale: float) -> Iterator[Job]:
    """Yield networks of as many adders by cross-entropy and by the background that passes at half of the signal."""
    trained = ways.straight_through(splits, seed, epochs // 2)
    start = min(trained.networks, key=lambda one: abs(costs(one).digits - OWN_DIGITS))
    budget = counter("adders")(start) // 2
    for objective, proposals in (("cross-entropy", 100_000), (ways.REJECTION, 8_000)):
        settings = PolishSettings(budget, "adders", proposals=int(scale * proposals), seed=seed)
        point = _polished(start, splits, settings, objective=objective, solver_count=counter("adders"))
        yield f"own + chain by {objective.split(':')[0]}", [{**point, "budget": budget}]


def _polished(start: FixedNetwork, splits: Splits, settings: PolishSettings, **options: Any) -> Point:
    result = polish(start, splits, settings, **options)
    point = {**ways.measure(result.network, splits), "seconds": round(result.seconds, 1), "budget": settings.budget}
    return {**point, **ways.background(result.network, splits)} if "objective" in options else point


def speed_jobs(splits: Splits, seed: int, epochs: int, scale: float) -> Iterator[Job]:
    """Yield the decisions a second of the processor on a dense network and on one of about 80 digits."""
    trained = ways.straight_through(splits, seed, max(epochs // 10, 10))
    dense = trained.networks[0]
    half = polish(dense, splits, PolishSettings(80, proposals=int(scale * 100_000), seed=seed)).network
    points = []
    for network in (dense, half):
        chain = Chain(remove_dead(network), splits.train, UNIT, seed)
        chain.walk(Walk(1000, chain.cost, chain.cost, 0.0))
        began = time.process_time()
        evaluated = chain.walk(Walk(int(scale * 50_000), chain.cost, chain.cost, 0.0))
        spent = time.process_time() - began
        points.append(
            {
                "digits": costs(network).digits,
                "rows": len(splits.train.targets),
                "decisions_a_second": round(evaluated / spent),
            }
        )
    yield "speed", points


GROUPS: dict[str, tuple[Callable[[Splits, int, int, float], Iterator[Job]], tuple[str, ...]]] = {
    "speed": (speed_jobs, ("speed",)),
    "hgq2": (hgq2_jobs, ("HGQ2", "HGQ2 + chain", "HGQ2 + greedy", "HGQ2, frozen bits")),
    "own": (own_jobs, ("own", "own + chain", "own + chain, no unit moves")),
    "rejection": (rejection_jobs, ("own + chain by cross-entropy", "own + chain by rejection")),
}
ONLY = {"speed": ("jets", (0,)), "rejection": ("jets", tuple(range(5)))}  # sets and seeds of some groups


def against_front(points: list[Point], front: list[Point], figure: str) -> list[float]:
    """Return the cost of each point over that of a front at the point's own test loss.

    The logarithm of the front's cost is interpolated over its loss. Taking the cheapest network that is no worse would count each gap
    of a sparse front as a gain. Points beyond the losses of the front are left out. The front is that of the test rows themselves:
    where it is lucky, that is to its advantage.
    """
    best: list[tuple[float, float]] = []
    for one in sorted(front, key=lambda one: (one[figure], one["test_loss"])):
        if one[figure] > 0 and (not best or one["test_loss"] < best[-1][0]):
            best.append((one["test_loss"], float(np.log(one[figure]))))
    if len(best) < 2:
        return []
    losses, costs_ = np.array(best[::-1]).T
    return [
        float(point[figure] / np.exp(np.interp(point["test_loss"], losses, costs_)))
        for point in points
        if losses[0] <= point["test_loss"] <= losses[-1] and point[figure] > 0
    ]


def summarize(records: list[Point]) -> list[Point]:
    """Return, for each set and way, the medians over seeds of their costs over the HGQ2 front that is pooled over all seeds."""
    rows = []
    names = [way for _, group in GROUPS.values() for way in group]
    for data, way in product(("jets", "satimage"), names):
        mine = [one for one in records if (one["data"], one["way"]) == (data, way)]
        if not mine or way == "speed":
            continue
        front = [point for one in records if (one["data"], one["way"]) == (data, "HGQ2") for point in one["points"]]
        row: Point = {"data": data, "way": way, "seeds": len(mine), "points": sum(len(one["points"]) for one in mine)}
        for figure in ("adders", "luts"):
            by_seed = [against_front(one["points"], front, figure) for one in mine]
            medians = [round(float(np.median(ratios)), 3) for ratios in by_seed if ratios]
            row[f"{figure}_over_front"] = round(float(np.median(medians)), 3) if medians and way != "HGQ2" else None
            row[f"{figure}_by_seed"] = medians if way != "HGQ2" else []
            row["compared"] = sum(map(len, by_seed))
        rows.append(row)
    return rows


def _run(asked: Namespace, name: str, path: Path, seed: int, group: str, records: list[Point]) -> None:
    """Make the jobs of a group that are left, and store each."""
    make, names = GROUPS[group]
    known = {one["way"] for one in records if (one["data"], one["seed"]) == (name, seed)}
    if all(way in known for way in names if way != "HGQ2, frozen bits"):
        return
    splits = ways.splits_of(name, path, seed)
    epochs = 40 if asked.quick else asked.epochs
    for way, points in make(splits, seed, epochs, 0.1 if asked.quick else 1.0):
        if way in known:
            continue
        records.append(
            {
                "data": name,
                "way": way,
                "seed": seed,
                "rows": len(splits.train.targets),
                "epochs": epochs,
                "points": points,
            }
        )
        print(name, way, "seed", seed, flush=True)
        for point in points:
            print(
                "   ",
                *(f"{key} {value}" for key, value in point.items() if key not in ("ebops", "digit_bits")),
                flush=True,
            )
        if asked.out:
            write(
                asked.out,
                {"machine": machine(1), "quick": asked.quick, "records": records, "summary": summarize(records)},
            )


def main() -> None:
    """Measure what is left, and print the summary."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--jets", type=Path, help="csv of jets_simulation.py")
    options.add_argument("--satimage", type=Path, help="npz of satimage")
    options.add_argument("--seeds", default="0,1,2,3,4")
    options.add_argument("--epochs", type=int, default=800)
    options.add_argument("--groups", default=",".join(GROUPS), help="what is measured, of " + ", ".join(GROUPS))
    asked = options.parse_args()
    records: list[Point] = []
    if asked.out and asked.out.exists():
        records = json.loads(asked.out.read_text())["records"]
    sets = [(name, path) for name, path in (("jets", asked.jets), ("satimage", asked.satimage)) if path]
    for group in asked.groups.split(","):
        for seed, (name, path) in product(map(int, asked.seeds.split(",")), sets):
            only_set, only_seeds = ONLY.get(group, (name, (seed,)))
            if name == only_set and seed in only_seeds:
                _run(asked, name, path, seed, group, records)
    for row in summarize(records):
        print(row)


if __name__ == "__main__":
    main()
