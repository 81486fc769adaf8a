"""What firmware.py compares: data sets, training with rounding by mcprune and by HGQ2, and the controls of the chain over digits."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np

from mcprune.data.load import load
from mcprune.data.prepare import Rows, Splits, prepare
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.counting.solver import solve
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork, Origin
from mcprune.firmware.polish.engine.chain import accuracy, fit_scale, mean_loss
from mcprune.firmware.polish.objective_walk import fast_value
from mcprune.firmware.qat.choose import train_choices
from mcprune.firmware.qat.fit import Training
from mcprune.objectives.named import make_objective
from mcprune.objectives.ranking import BackgroundAt

JETS = (
    "mass", "constituents", "charged_share", "largest_share", "tau21", "tau32", "tau43", "c2", "d2", "c2_beta2", "d2_beta2", "ptd",
    "lha", "width", "softdrop_mass", "rg",
)  # fmt: skip
HIDDEN = (32, 16)
ROWS = 8192  # training rows at most
PARTS = {"jets": (0.4, 0.22), "satimage": (0.31, 0.2)}  # test rows of all, validation rows of the rest
SNAPSHOTS = 40  # of an HGQ2 run
FIRST = 0.4  # part of its epochs before which its networks are too large to be of use
RATES = (5e-3, 5e-4)  # of Adam, from the first epoch to the last, by a cosine
REJECTION = "rejection:0.5:W"


def batch_of(rows: int) -> int:
    """Return the rows of a step."""
    return 512 if rows > 4096 else 256


def splits_of(name: str, path: Path, seed: int) -> Splits:
    """Return a data set in parts; the test rows are the same for all seeds."""
    data = load(path)
    if name == "jets":
        places = [data.feature_names.index(column) for column in JETS]
        data = replace(data, features=np.ascontiguousarray(data.features[:, places]), feature_names=JETS)
    of_test, of_validation = PARTS[name]
    test = np.sort(np.random.default_rng(2026).permutation(data.n_rows)[: round(of_test * data.n_rows)])
    splits = prepare(replace(data, test_rows=test.astype(np.int64)), seed=seed, validation=of_validation)
    return splits._replace(train=Rows(splits.train.features[:ROWS], splits.train.targets[:ROWS]))


def measure(network: FixedNetwork, splits: Splits) -> dict[str, Any]:
    """Return what a network costs, by counting and by alkaid, and how good it is."""
    network = remove_dead(network)
    logits = network.forward(network.quantize_inputs(splits.train.features))
    network = network.but(logit_scale=fit_scale(logits.T, splits.train, network.logit_scale))
    counted, solved = costs(network), solve(network)
    judged = network.forward(network.quantize_inputs(splits.validation.features))
    calibrated = network.but(logit_scale=fit_scale(judged.T, splits.validation, network.logit_scale))
    return {
        "widths": list(network.widths), "digits": counted.digits, "digit_bits": counted.digit_bits, "ebops": counted.ebops,
        "adders_unshared": counted.adders, "luts_unshared": counted.luts, "adders": solved.adders, "luts": solved.luts,
        **{
            f"{part}_{name}": round(float(value(network, getattr(splits, part))), 5)
            for part in ("train", "validation", "test")
            for name, value in (("loss", mean_loss), ("accuracy", accuracy))
        },
        "calibrated_test_loss": round(mean_loss(calibrated, splits.test), 5),
    }  # fmt: skip


def background(network: FixedNetwork, splits: Splits) -> dict[str, float]:
    """Return the background that passes at the signal efficiency of `REJECTION`, on training and test rows."""
    objective = make_objective(REJECTION, splits.labels, splits.names)
    assert isinstance(objective, BackgroundAt)
    passed = {}
    for part in ("train", "test"):
        rows = getattr(splits, part)
        logits = network.forward(network.quantize_inputs(rows.features)) * network.logit_scale
        passed[f"{part}_background"] = round(fast_value(objective, rows, logits.astype(np.float32)), 5)
    return passed


class Trained(NamedTuple):
    """Networks of one training, from the largest to the smallest; the seconds and the share of the epochs at which each was reached."""

    networks: list[FixedNetwork]
    seconds: list[float]
    progress: list[float]
    total: float
    states: list[Any]


def straight_through(splits: Splits, seed: int, epochs: int) -> Trained:
    """Train by mcprune's own rounding."""
    began = time.process_time()
    batch = batch_of(len(splits.train.targets))
    settings = Training(
        hidden=HIDDEN, epochs=epochs, batch_size=batch, learning_rate=0.003, penalty=(1e-6, 1e-3), every=epochs // SNAPSHOTS, seed=seed
    )  # fmt: skip
    choices = train_choices(splits, settings)
    total = time.process_time() - began
    progress = [choice.epoch / epochs for choice in choices]
    return Trained(
        [choice.network for choice in choices],
        [share * total for share in progress],
        progress,
        total,
        [None] * len(choices),
    )


def penalties(seed: int, epochs: int) -> Any:
    """Return HGQ2's beta of each epoch: a ramp for even seeds; for odd ones fast to 4e-5, then slowly to 8e-4."""
    if seed % 2 == 0:
        return np.geomspace(1e-6, 1e-3, epochs)
    fast = epochs // 5
    return np.concatenate([np.geomspace(1e-6, 4e-5, fast), np.geomspace(4e-5, 8e-4, epochs - fast)])


def hgq2(splits: Splits, seed: int, epochs: int) -> Trained:
    """Train by HGQ2; its integers are compared with Keras on the training rows.

    The seconds are those of the training alone, without compilation and the choice of snapshots.
    """
    import keras
    from hgq.utils import trace_minmax
    from hgq.utils.sugar import BetaScheduler

    model = hgq2_model(splits, seed)
    x, y = splits.train.features, splits.train.targets
    betas = penalties(seed, epochs)
    model.compile(
        keras.optimizers.Adam(RATES[0]), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True
    )
    every, clock, snapshots = max(epochs // SNAPSHOTS, 1), [0.0], []

    def rate(epoch: int) -> float:
        return RATES[1] + (RATES[0] - RATES[1]) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    def store(epoch: int, logs: Any) -> None:
        if epoch == 0:
            clock[0] = time.process_time()
        elif epoch >= FIRST * epochs and (epoch % every == 0 or epoch == epochs - 1):
            snapshots.append((epoch, time.process_time() - clock[0], model.get_weights()))

    model.fit(
        x, y, batch_size=batch_of(len(y)), epochs=epochs, verbose=0,
        callbacks=[
            BetaScheduler(lambda epoch: float(betas[epoch])), keras.callbacks.LearningRateScheduler(rate),
            keras.callbacks.LambdaCallback(on_epoch_end=store),
        ],
    )  # fmt: skip
    total = time.process_time() - clock[0]
    ranked, networks = [], []
    for place, (_, _, weights) in enumerate(snapshots):
        model.set_weights(weights)
        trace_minmax(model, x, batch_size=len(x), verbose=0)
        networks.append(imported(model, splits, x))
        ranked.append((mean_loss(networks[-1], splits.validation), costs(remove_dead(networks[-1])).ebops, place))
    out = Trained([], [], [], total, [])
    for _, _, place in front(ranked):
        epoch, seconds, weights = snapshots[place]
        out.networks.append(networks[place])
        out.seconds.append(seconds)
        out.progress.append((epoch + 1) / epochs)
        out.states.append((model, weights))
    return out


def hgq2_model(splits: Splits, seed: int) -> Any:
    """Return an untrained model of HGQ2."""
    import keras
    from hgq.config import LayerConfigScope, QuantizerConfigScope
    from hgq.layers import QDense

    keras.utils.set_random_seed(seed)
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP", f0=4),
        LayerConfigScope(enable_ebops=True, beta0=1e-6),
    ):
        layers = [QDense(units, activation="relu") for units in HIDDEN] + [QDense(splits.n_classes)]
        return keras.Sequential([keras.layers.Input((splits.n_inputs,)), *layers])


def imported(model: Any, splits: Splits, rows: Any) -> FixedNetwork:
    """Return the integers of a model, compared with its outputs on rows."""
    from mcprune.firmware.importers.hgq2 import import_hgq2

    width = splits.n_inputs
    return import_hgq2(model, Origin(np.arange(width), width, splits.names, splits.labels), rows)


def front(ranked: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """Return what nothing else beats in loss and cost, from large to small."""
    best: list[tuple[float, int, int]] = []
    for one in sorted(ranked, key=lambda one: (one[1], one[0])):
        if not best or one[0] < best[-1][0]:
            best.append(one)
    return best[::-1]


def tune_frozen(splits: Splits, start: tuple[Any, list[Any]], epochs: int) -> FixedNetwork:
    """Train an HGQ2 network on with all numbers of bits as they are: a control of the chain."""
    import keras
    from hgq.utils import trace_minmax
    from hgq.utils.sugar import BetaScheduler

    model, weights = start
    model(splits.train.features[:1])
    model.set_weights(weights)
    bits = [layer for layer in model._flatten_layers() if hasattr(layer, "round_mode")]
    for layer in bits:
        layer.trainable = False
    size = batch_of(len(splits.train.targets))
    decay = keras.optimizers.schedules.CosineDecay(1e-3, epochs * math.ceil(len(splits.train.targets) / size))
    model.compile(
        keras.optimizers.Adam(decay), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True
    )
    model.fit(
        splits.train.features, splits.train.targets, batch_size=size, epochs=epochs, verbose=0,
        callbacks=[BetaScheduler(lambda epoch: 0.0)],
    )  # fmt: skip
    trace_minmax(model, splits.train.features, batch_size=len(splits.train.features), verbose=0)
    network = imported(model, splits, splits.train.features)
    for layer in bits:
        layer.trainable = True
    return network
