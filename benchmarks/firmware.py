"""Fixed-point networks: how large at which test loss, by training with rounding (mcprune, HGQ2), alone and with the chain over digits.

Two sets: jets of five kinds, simulated by jets_simulation.py (16 of their features; every such figure is of simulated jets), and
satimage (36 features, 6 classes). Networks N-32-16-C, at most 8,192 training rows. Every way is measured alike on its exact integers:
cross-entropy and accuracy of test rows that nothing has used, with a scale of the logits that is fitted on the training rows (and once
more on the validation rows: `calibrated_test_loss`); adders and look-up tables by alkaid (estimates; nothing was synthesised); seconds
of the processor.

Equal time: the chain takes over HGQ2's run at a part of its epochs, and has about the seconds that HGQ2 had for the rest. Greedy removal
with moves of biases and bits has the same seconds, training on at frozen bits the epochs that HGQ2 had left.

    pip install 'mcprune[firmware]' hgq2 jax
    python benchmarks/jets_simulation.py jets.csv --jets 30000
    python benchmarks/firmware.py --jets jets.csv --satimage satimage.npz --out benchmarks/results/firmware.json

Each job is stored when it is done, and a second call goes on with those that are left. Networks that later jobs start from are kept in
--starts. `--limit 800` ends after that many seconds, between two jobs.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import firmware_starts as starts
import firmware_ways as ways
import numpy as np
from common import machine, parser, write
from firmware_summary import Point, summarize

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
TAKEN_OVER = ((0.75, 0.75), (0.75, 0.5), (0.55, 0.5))  # parts of HGQ2's epochs, and of that network's cost
UNIT: Unit = "luts"
GREEDY = {"temperature": 0.0, "drops": 0, "moves": "bias,remove", "adaptive": False, "guided": False}
# Proposals that take about the seconds which HGQ2 has left of 3,000 epochs: of the chain, of greedy removal.
PROPOSALS = {("jets", 0.75): (600_000, 900_000), ("jets", 0.55): (700_000, 800_000)} | {
    ("satimage", 0.75): (400_000, 600_000),
    ("satimage", 0.55): (300_000, 400_000),
}
HIDDEN = ("ebops", "digit_bits", "train_accuracy", "validation_accuracy", "evaluated")  # figures that are not printed
# On the inputs of a copy of the rows; of 0, 0.1, 0.2, 0.3 and 0.5 by the validation rows of seeds 2 and 4.
NOISE = {"satimage": 0.3}
FROZEN = 0.75  # part of the epochs after which HGQ2 trains on with the bits as they are
OWN_DIGITS, OWN_BUDGETS, OWN_EPOCHS = (
    160,
    (80, 55, 40),
    800,
)  # the start of mcprune's own training, and the digits to come to
OWN_PROPOSALS, BY_OBJECTIVE = 200_000, 10_000
Key = tuple[str, float | None, float | None]  # the way, its start, its share of the start's cost
Job = tuple[Key, Callable[[], list[Point]]]
BEGAN = time.monotonic()


class Setting:
    """One set and seed: its rows, its folder of networks, its epochs."""

    def __init__(self, asked: Namespace, name: str, path: Path, seed: int) -> None:
        self.name, self.seed, self.scale = name, seed, 0.02 if asked.quick else 1.0
        self.epochs = 40 if asked.quick else asked.epochs
        self.own_epochs = 40 if asked.quick else OWN_EPOCHS
        self.path = path
        self.folder: Path = asked.starts / f"{name}-{seed}"

    @cached_property
    def splits(self) -> Splits:
        """The rows."""
        return ways.splits_of(self.name, self.path, self.seed)

    def settings(self, budget: int, proposals: int, **more: Any) -> PolishSettings:
        """Return the settings of a chain."""
        options = {"unit": UNIT, "seed": self.seed, **more}
        return PolishSettings(budget, proposals=max(int(self.scale * proposals), 1000), **options)


def hgq2_jobs(one: Setting) -> Iterator[Job]:
    """Yield HGQ2 alone."""

    def train() -> list[Point]:
        trained = ways.hgq2(one.splits, one.seed, one.epochs)
        starts.save_hgq2(trained, one.folder, {start for start, _ in TAKEN_OVER})
        small = [place for place, net in enumerate(trained.networks) if costs(remove_dead(net)).digits <= LARGEST]
        ranks = np.unique(np.linspace(0, len(small) - 1, FRONT).round().astype(int))
        return [
            {
                **ways.measure(trained.networks[small[rank]], one.splits),
                "progress": trained.progress[small[rank]],
                "seconds": round(trained.total, 1),
            }
            for rank in ranks
        ]

    yield ("HGQ2", None, None), train


def polish_jobs(one: Setting) -> Iterator[Job]:
    """Yield what the chain, greedy removal and training on make of networks on HGQ2's way."""
    noises = (0.0, NOISE[one.name]) if one.name in NOISE else (0.0,)
    for (taken_over, share), noise in product(TAKEN_OVER, noises):
        for place, (way, options) in enumerate((("HGQ2 + chain", {}), ("HGQ2 + greedy", GREEDY))):
            more = {**options, "input_noise": noise}

            def lower(
                start: float = taken_over, part: float = share, place: int = place, more: Any = more
            ) -> list[Point]:
                network, note = starts.load_hgq2(one.folder, start)
                proposals = PROPOSALS[one.name, start][place]
                settings = one.settings(round(part * costs(network).of(UNIT)), proposals, **more)
                return [{**_polished(network, one.splits, settings), **note}]

            yield (way + ", noise" * (noise > 0), taken_over, share), lower
    noise, solver = noises[-1], counter("luts")
    for taken_over, share in TAKEN_OVER:

        def lower_solved(start: float = taken_over, part: float = share) -> list[Point]:
            network, note = starts.load_hgq2(one.folder, start)
            settings = one.settings(round(part * solver(network)), PROPOSALS[one.name, start][0], input_noise=noise)
            return [{**_polished(network, one.splits, settings, solver_count=solver), **note}]

        yield ("HGQ2 + chain" + ", noise" * (noise > 0) + ", shared", taken_over, share), lower_solved

    def train_on() -> list[Point]:
        model = ways.hgq2_model(one.splits, one.seed)
        _, note = starts.load_hgq2(one.folder, FROZEN)
        began = time.process_time()
        epochs = max(round((1 - FROZEN) * one.epochs), 2)
        network = ways.tune_frozen(one.splits, (model, starts.load_weights(one.folder, FROZEN)), epochs)
        return [{**ways.measure(network, one.splits), "seconds": round(time.process_time() - began, 1), **note}]

    yield ("HGQ2, frozen bits", FROZEN, None), train_on


def own_jobs(one: Setting) -> Iterator[Job]:
    """Yield mcprune's own training alone, and with the chain, with and without unit moves."""

    def train() -> list[Point]:
        trained = ways.straight_through(one.splits, one.seed, one.own_epochs)
        small = [net for net in trained.networks if costs(net).digits <= LARGEST] or trained.networks
        starts.save_own(small, one.folder, OWN_DIGITS)
        ranks = np.unique(np.linspace(0, len(small) - 1, FRONT).round().astype(int))
        return [{**ways.measure(small[rank], one.splits), "seconds": round(trained.total, 1)} for rank in ranks]

    yield ("own", None, None), train
    for digits, (way, drops) in product(OWN_BUDGETS, (("own + chain", 1), ("own + chain, no unit moves", 0))):

        def lower(digits: int = digits, drops: int = drops) -> list[Point]:
            network = starts.load_own(one.folder)
            whole = costs(network)
            budget = round(whole.of(UNIT) * min(digits / whole.digits, 1.0))
            return [_polished(network, one.splits, one.settings(budget, OWN_PROPOSALS, drops=drops))]

        yield (way, None, digits), lower


def rejection_jobs(one: Setting) -> Iterator[Job]:
    """Yield networks of as many adders by cross-entropy, by the background at half of the signal, and by one after the other."""
    adders = counter("adders")

    def lower(objective: str, proposals: int, *, is_second: bool = False) -> list[Point]:
        network = starts.load_own(one.folder)
        settings = one.settings(adders(network) // 2, proposals, unit="adders")
        first = 0.0
        if is_second:
            result = polish(network, one.splits, settings, solver_count=adders)
            network, first = result.network, result.seconds
            settings = one.settings(settings.budget, BY_OBJECTIVE, unit="adders", drops=0, temperature=0.0)
        point = _polished(network, one.splits, settings, objective=objective, solver_count=adders)
        return [{**point, "seconds": round(point["seconds"] + first, 1)}]

    yield ("own + chain by cross-entropy", None, None), lambda: lower("cross-entropy", OWN_PROPOSALS)
    yield ("own + chain by rejection", None, None), lambda: lower(ways.REJECTION, BY_OBJECTIVE)
    yield (
        ("own + chain by both", None, None),
        lambda: lower(ways.REJECTION, OWN_PROPOSALS, is_second=True),
    )


def _polished(start: FixedNetwork, splits: Splits, settings: PolishSettings, **options: Any) -> Point:
    result = polish(start, splits, settings, **options)
    count = options.get("solver_count")
    point = {
        **ways.measure(result.network, splits),
        "seconds": round(result.seconds, 1),
        "budget": settings.budget,
        "used": costs(result.network).of(settings.unit) if count is None else count(result.network),
        "evaluated": result.evaluated,
        "dropped": result.dropped,
    }
    return {**point, **ways.background(result.network, splits)} if "objective" in options else point


def speed_jobs(one: Setting) -> Iterator[Job]:
    """Yield the decisions a second of the processor on a dense network and on one of about 80 digits."""

    def measure() -> list[Point]:
        trained = ways.straight_through(one.splits, one.seed, max(one.own_epochs // 10, 10))
        dense = trained.networks[0]
        small = polish(dense, one.splits, one.settings(80, 100_000, unit="digits")).network
        points = []
        for network in (dense, small):
            for unit in ("digits", "luts"):
                chain = Chain(remove_dead(network), one.splits.train, unit, one.seed)
                chain.walk(Walk(1000, chain.cost, chain.cost, 0.0))
                began = time.process_time()
                evaluated = chain.walk(Walk(int(one.scale * 50_000), chain.cost, chain.cost, 0.0))
                spent = time.process_time() - began
                points.append(
                    {
                        "unit": unit,
                        "widths": list(chain.network.widths),
                        "digits": costs(network).digits,
                        "rows": len(one.splits.train.targets),
                        "decisions": evaluated,
                        "decisions_a_second": round(evaluated / spent),
                    }
                )
        return points

    yield ("speed", None, None), measure


GROUPS: dict[str, Callable[[Setting], Iterator[Job]]] = {
    "speed": speed_jobs,
    "hgq2": hgq2_jobs,
    "polish": polish_jobs,
    "own": own_jobs,
    "rejection": rejection_jobs,
}
ONLY = {"speed": ("jets", (0,)), "rejection": ("jets", tuple(range(5)))}  # sets and seeds of some groups


def _run(asked: Namespace, one: Setting, group: str, records: list[Point]) -> None:
    """Make the jobs of a group that are left, and store each."""
    known = {
        (record["way"], record["start"], record["share"])
        for record in records
        if (record["data"], record["seed"]) == (one.name, one.seed)
    }
    for key, make in GROUPS[group](one):
        if key in known:
            continue
        if asked.limit and time.monotonic() - BEGAN > asked.limit:
            raise SystemExit(0)
        way, start, share = key
        points = make()
        records.append(
            {
                **{"data": one.name, "way": way, "seed": one.seed, "start": start, "share": share},
                **{"rows": len(one.splits.train.targets), "epochs": one.epochs, "points": points},
            }
        )
        print(one.name, way, "seed", one.seed, start or "", share or "", flush=True)
        for point in points:
            print("   ", *(f"{name} {value}" for name, value in point.items() if name not in HIDDEN), flush=True)
        if asked.out:
            content = {"machine": machine(1), "quick": asked.quick, "records": records, "summary": summarize(records)}
            write(asked.out, content)


def main() -> None:
    """Measure what is left, and print the summary."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--jets", type=Path, help="csv of jets_simulation.py")
    options.add_argument("--satimage", type=Path, help="npz of satimage")
    options.add_argument("--seeds", default="0,1,2,3,4")
    options.add_argument("--epochs", type=int, default=3000, help="of HGQ2")
    options.add_argument("--groups", default=",".join(GROUPS), help="what is measured, of " + ", ".join(GROUPS))
    options.add_argument(
        "--starts", type=Path, default=Path("firmware-starts"), help="folder of networks for later jobs"
    )
    options.add_argument("--limit", type=float, help="seconds after which no job begins")
    asked = options.parse_args()
    records: list[Point] = []
    if asked.out and asked.out.exists():
        records = json.loads(asked.out.read_text())["records"]
    sets = [(name, path) for name, path in (("jets", asked.jets), ("satimage", asked.satimage)) if path]
    groups = asked.groups.split(",")
    for seed, (name, path) in product(map(int, asked.seeds.split(",")), sets):
        one = Setting(asked, name, path, seed)
        for group in groups:
            only_set, only_seeds = ONLY.get(group, (name, (seed,)))
            if name == only_set and seed in only_seeds:
                _run(asked, one, group, records)
    for row in summarize(records):
        print(row)


if __name__ == "__main__":
    main()
