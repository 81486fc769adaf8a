"""Fixed-point networks: how large at which test loss, by training with rounding (mcprune, HGQ2), alone and with the chain over digits.

Two sets: jets of five kinds, simulated by jets_simulation.py (16 of their features; every such figure is of simulated jets), and
satimage (36 features, 6 classes). Networks N-32-16-C. Every way is measured alike on its exact integers: cross-entropy and accuracy of
test rows that nothing has used, with a scale of the logits that is fitted on the training rows; adders and look-up tables by alkaid
(estimates; nothing was synthesised); seconds of the processor.

    pip install 'mcprune[firmware]' hgq2 jax
    python benchmarks/jets_simulation.py jets.csv --jets 30000
    python benchmarks/firmware.py --jets jets.csv --satimage satimage.npz --out benchmarks/results/firmware.json

Each job is stored when it is done, and a second call goes on with those that are left.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np
from common import machine, parser, write

from mcprune.data.base import Dataset
from mcprune.data.load import load
from mcprune.data.prepare import Rows, Splits, prepare
from mcprune.firmware.costs import costs
from mcprune.firmware.csd import signed_digits
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork, Origin
from mcprune.firmware.polish.engine.chain import accuracy, fit_scale, mean_loss
from mcprune.firmware.polish.polish import polish
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.firmware.qat.choose import train_choices
from mcprune.firmware.qat.fit import Training, default_batch
from mcprune.firmware.solver import solve

JETS = (
    "mass", "constituents", "charged_share", "largest_share", "tau21", "tau32", "tau43", "c2", "d2", "c2_beta2", "d2_beta2", "ptd",
    "lha", "width", "softdrop_mass", "rg",
)  # fmt: skip
HIDDEN = (32, 16)
FRONT = 12  # networks of a front that are measured
STARTS = (0.85, 0.55)  # of a front, by rank from the largest to the smallest
BUDGETS = (0.8, 0.6)  # of a start's digit-bits
TRIED, TRIED_ROWS = 32, 2048  # digits of a step of the greedy removal, and rows
Networks = list[FixedNetwork]


def splits_of(name: str, path: Path, seed: int) -> Splits:
    """Return a data set in parts; the test rows are the same for all seeds."""
    data = load(path)
    if name == "jets":
        places = [data.feature_names.index(column) for column in JETS]
        data = replace(data, features=np.ascontiguousarray(data.features[:, places]), feature_names=JETS)
    test = np.sort(np.random.default_rng(2026).permutation(data.n_rows)[: round(0.2 * data.n_rows)])
    return prepare(_with_test(data, test), seed=seed, validation=0.15)


def _with_test(data: Dataset, test: Any) -> Dataset:
    return replace(data, test_rows=test.astype(np.int64))


def measure(network: FixedNetwork, splits: Splits) -> dict[str, Any]:
    """Return what a network costs and how good it is."""
    network = remove_dead(network)
    logits = network.forward(network.quantize_inputs(splits.train.features))
    network = network.but(logit_scale=fit_scale(logits.T, splits.train, network.logit_scale))
    counted, solved = costs(network), solve(network)
    return {
        "widths": list(network.widths), "digits": counted.digits, "digit_bits": counted.digit_bits, "ebops": counted.ebops,
        "adders": solved.adders, "luts": solved.luts,
        **{
            f"{part}_{name}": round(float(value(network, getattr(splits, part))), 5)
            for part in ("train", "validation", "test")
            for name, value in (("loss", mean_loss), ("accuracy", accuracy))
        },
    }  # fmt: skip


def straight_through(splits: Splits, seed: int, epochs: int) -> Networks:
    """Train by mcprune's own rounding."""
    batch = default_batch(len(splits.train.targets))
    settings = Training(
        hidden=HIDDEN, epochs=epochs, batch_size=batch, learning_rate=0.005, penalty=(1e-6, 2e-3), seed=seed
    )
    return [choice.network for choice in train_choices(splits, settings)]


def hgq2(splits: Splits, seed: int, epochs: int, tuned: list[Any] | None = None) -> Networks:
    """Train by HGQ2; its integers are compared with Keras on all training rows. `tuned` takes (model, weights) of the front."""
    import keras
    from hgq.config import LayerConfigScope, QuantizerConfigScope
    from hgq.layers import QDense
    from hgq.utils import trace_minmax
    from hgq.utils.sugar import BetaScheduler

    keras.utils.set_random_seed(seed)
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP", f0=4),
        LayerConfigScope(enable_ebops=True, beta0=1e-6),
    ):
        layers = [QDense(units, activation="relu") for units in HIDDEN] + [QDense(splits.n_classes)]
        model = keras.Sequential([keras.layers.Input((splits.n_inputs,)), *layers])
    model.compile(
        keras.optimizers.Adam(0.005), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True
    )
    betas = np.geomspace(1e-6, 2e-3, epochs)
    snapshots: list[list[Any]] = []
    every = max(epochs // 24, 1)
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: snapshots.append(model.get_weights()) if epoch % every == 0 else None
    )
    x, y = splits.train.features, splits.train.targets
    model.fit(
        x, y, batch_size=default_batch(len(y)), epochs=epochs, verbose=0,
        callbacks=[BetaScheduler(lambda epoch: float(betas[epoch])), keep],
    )  # fmt: skip
    ranked = []
    for weights in snapshots:
        model.set_weights(weights)
        trace_minmax(model, x, verbose=0)
        network = _imported(model, splits, x[:2000])
        ranked.append((mean_loss(network, splits.validation), costs(network).ebops, len(ranked)))
    chosen = _front(ranked)
    networks = []
    for _, _, place in chosen:
        model.set_weights(snapshots[place])
        trace_minmax(model, x, verbose=0)
        networks.append(_imported(model, splits, x))
        if tuned is not None:
            tuned.append((model, model.get_weights()))
    return networks


def _imported(model: Any, splits: Splits, rows: Any) -> FixedNetwork:
    from mcprune.firmware.importers.hgq2 import import_hgq2

    width = splits.n_inputs
    return import_hgq2(model, Origin(np.arange(width), width, splits.names, splits.labels), rows)


def _front(ranked: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """Return what nothing else beats in loss and cost, from large to small."""
    best: list[tuple[float, int, int]] = []
    for one in sorted(ranked, key=lambda one: (one[1], one[0])):
        if not best or one[0] < best[-1][0]:
            best.append(one)
    return best[::-1]


def tune_frozen(splits: Splits, start: tuple[Any, list[Any]], epochs: int) -> FixedNetwork:
    """Train an HGQ2 network on with all numbers of bits as they are: the control of the chain."""
    import keras
    from hgq.utils import trace_minmax
    from hgq.utils.sugar import BetaScheduler

    model, weights = start
    model.set_weights(weights)
    bits = [layer for layer in model._flatten_layers() if hasattr(layer, "round_mode")]
    for layer in bits:
        layer.trainable = False
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * (len(splits.train.targets) // 512))
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(
        splits.train.features, splits.train.targets, batch_size=512, epochs=epochs, verbose=0,
        callbacks=[BetaScheduler(lambda epoch: 0.0)],
    )  # fmt: skip
    trace_minmax(model, splits.train.features, verbose=0)
    return _imported(model, splits, splits.train.features)


def greedy(network: FixedNetwork, splits: Splits, budget: int, seed: int) -> FixedNetwork:
    """Remove digits: of some at random, a hundredth of all of them at a time, those without which the loss is least.

    Each is tried on 2,048 training rows.
    """
    draw = np.random.default_rng(seed)
    network = remove_dead(network)
    while costs(network).digit_bits > budget:
        rows = draw.choice(len(splits.train.targets), min(TRIED_ROWS, len(splits.train.targets)), replace=False)
        some = Rows(splits.train.features[rows], splits.train.targets[rows])
        places = []
        for number, layer in enumerate(network.layers):
            digits = signed_digits(layer.weight)
            places += [
                (number, int(output), int(source), int(digits[output, source, power]) << int(power))
                for output, source, power in np.argwhere(digits)
            ]
        chosen = [places[one] for one in draw.choice(len(places), min(TRIED, len(places)), replace=False)]
        losses = [mean_loss(_without(network, *place), some) for place in chosen]
        for one in np.argsort(losses)[: max(len(places) // 100, 1)]:
            if costs(network).digit_bits > budget:
                network = _without(network, *chosen[one])
        network = remove_dead(network)
    return network


def _without(network: FixedNetwork, number: int, output: int, source: int, digit: int) -> FixedNetwork:
    layer = network.layers[number]
    weight = layer.weight.copy()
    weight[output, source] -= digit
    layers = [replace(layer, weight=weight) if place == number else other for place, other in enumerate(network.layers)]
    return network.but(layers=tuple(layers))


def jobs(
    splits: Splits, seed: int, quick: bool, skip_hgq2: bool, has: Callable[[str], bool]
) -> Iterator[tuple[str, list[Any]]]:
    """Yield the points of each way on a split, way by way; ways that are there already are left out."""
    epochs = 40 if quick else 400
    proposals = 30_000 if quick else 400_000
    for way in ("straight-through",) if skip_hgq2 else ("straight-through", "HGQ2"):
        parts = [f"{way} + chain"] + ([f"{way} + greedy", f"{way}, frozen bits"] if way == "HGQ2" else [])
        if has(way) and all(map(has, parts)):
            continue
        began = time.process_time()
        tuned: list[Any] = []
        networks = straight_through(splits, seed, epochs) if way != "HGQ2" else hgq2(splits, seed, epochs, tuned)
        spent = time.process_time() - began
        ranks = np.unique(np.linspace(0, len(networks) - 1, FRONT).round().astype(int))
        yield way, [{**measure(networks[rank], splits), "seconds": round(spent, 1)} for rank in ranks]
        starts = sorted({round((len(networks) - 1) * share) for share in STARTS})
        chain, removed, frozen = [], [], []
        for rank in starts:
            start = remove_dead(networks[rank])
            whole = costs(start).digit_bits
            for share in BUDGETS:
                budget = round(share * whole)
                note = {"start": rank, "share": share, "budget": budget}
                done = polish(start, splits, PolishSettings(budget, unit="digit-bits", proposals=proposals, seed=seed))
                chain.append({**measure(done.network, splits), "seconds": round(done.seconds, 1), **note})
                if way == "HGQ2":
                    began = time.process_time()
                    small = greedy(start, splits, budget, seed)
                    removed.append({**measure(small, splits), "seconds": round(time.process_time() - began, 1), **note})
            if way == "HGQ2":
                began = time.process_time()
                net = tune_frozen(splits, tuned[rank], 5 if quick else 60)
                frozen.append({**measure(net, splits), "seconds": round(time.process_time() - began, 1), "start": rank})
        yield from zip(parts, (chain, removed, frozen), strict=False)


def against_front(points: list[dict[str, Any]], front: list[dict[str, Any]], figure: str) -> list[float]:
    """Return the cost of each point over that of a front at the point's own test loss.

    The logarithm of the front's cost is interpolated over its loss. Taking the cheapest network that is no worse would count each gap
    of a sparse front as a gain. Points beyond the losses of the front are left out.
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


def summarize(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each set and way, the medians over all points of their costs over the pooled HGQ2 front of the set."""
    rows = []
    for data, way in product(("jets", "satimage"), dict.fromkeys(record["way"] for record in records)):
        front = [point for one in records if one["data"] == data and one["way"] == "HGQ2" for point in one["points"]]
        points = [point for one in records if one["data"] == data and one["way"] == way for point in one["points"]]
        seeds = len([one for one in records if one["data"] == data and one["way"] == way])
        if not points:
            continue
        row: dict[str, Any] = {"data": data, "way": way, "seeds": seeds, "points": len(points)}
        for figure in ("adders", "luts"):
            ratios = against_front(points, front, figure) if front and way != "HGQ2" else []
            row[f"{figure}_over_front"] = round(float(np.median(ratios)), 3) if ratios else None
            row["compared"] = len(ratios)
        rows.append(row)
    return rows


def main() -> None:
    """Measure what is left, and print the summary."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--jets", type=Path, help="csv of jets_simulation.py")
    options.add_argument("--satimage", type=Path, help="npz of satimage")
    options.add_argument("--seeds", default="0,1,2,3,4")
    options.add_argument("--no-hgq2", action="store_true", help="leave HGQ2 out")
    asked = options.parse_args()
    records: list[dict[str, Any]] = []
    if asked.out and asked.out.exists():
        records = json.loads(asked.out.read_text())["records"]
    sets = [(name, path) for name, path in (("jets", asked.jets), ("satimage", asked.satimage)) if path]
    for seed, (name, path) in product(map(int, asked.seeds.split(",")), sets):
        splits = splits_of(name, path, seed)
        known = {one["way"] for one in records if (one["data"], one["seed"]) == (name, seed)}
        for way, points in jobs(splits, seed, asked.quick, asked.no_hgq2, known.__contains__):
            if way in known:
                continue
            records.append(
                {"data": name, "way": way, "seed": seed, "rows": len(splits.train.targets), "points": points}
            )
            print(name, way, "seed", seed, flush=True)
            for point in points:
                figures = ("digits", "adders", "luts", "train_loss", "test_loss", "test_accuracy", "seconds")
                print("   ", point["widths"], *(f"{figure} {point[figure]}" for figure in figures), flush=True)
            if asked.out:
                content = {
                    "machine": machine(1),
                    "quick": asked.quick,
                    "records": records,
                    "summary": summarize(records),
                }
                write(asked.out, content)
    for row in summarize(records):
        print(row)


if __name__ == "__main__":
    main()
