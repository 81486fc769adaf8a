"""A fit on all rows that are given, weighted: the search and the small model behind the scikit-learn estimators.

Rows are first brought into one canonical order, equal rows of one class merged into one with the sum of their weights. So
the fit is a function of the weighted set of rows alone: their order has no say, a weight of 2 is a repeated row, and a
weight of 0 is a row left out, all to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import nn

from mcprune.config.schema import Config, make_config
from mcprune.data.prepare import Parts, Prepared
from mcprune.data.scale import Scaler
from mcprune.errors import ConfigError
from mcprune.models.registry import build
from mcprune.objectives.specs import PLAIN
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.interrupt import Interrupt
from mcprune.session.loop import search_planned
from mcprune.training.fit import fit
from mcprune.types import BoolArray, FloatArray, IntArray

# Steps of backprop in a search and while the small model is trained; more for more sites, fewer never.
SEARCH_STEPS, STEPS_A_SITE, MOST_STEPS, RETRAIN_STEPS = 320, 8, 2_000, 600
ROWS_A_BATCH = 64
# Rows under weights are judged by this evaluator; the fused one knows the plain mean only.
FOR_WEIGHTS = "incremental"


class Rows(NamedTuple):
    """Distinct rows in canonical order."""

    features: FloatArray  # (rows, N)
    targets: IntArray  # (rows,) class indices
    weights: FloatArray | None  # (rows,), above 0; None where all are alike


def merged(features: FloatArray, targets: IntArray, weights: FloatArray) -> Rows:
    """Return the rows of positive weight, sorted, equal ones of one class merged.

    Parameters
    ----------
    features : ndarray of float64, shape (rows, N), finite
    targets : ndarray of int64, shape (rows,)
    weights : ndarray of float64, shape (rows,), not negative, some above 0
    """
    used = weights > 0
    table = np.empty((int(used.sum()), features.shape[1] + 1))
    table[:, 0] = targets[used]
    table[:, 1:] = features[used]
    table += 0.0  # -0 and 0 are one value
    weights = weights[used]
    # Bytes compare much faster than columns; any order serves as long as it is one.
    keys = table.view(np.dtype((np.void, table.strides[0])))[:, 0]
    order = np.argsort(keys, kind="stable")
    table, weights = table[order], weights[order]
    is_first = np.append(True, (table[1:] != table[:-1]).any(axis=1))
    starts = np.flatnonzero(is_first)
    # Sums that do not depend on the order in which equal rows came.
    total = np.array([math.fsum(part) for part in np.split(weights, starts[1:])])
    table = table[starts]
    alike = total if total.min() < total.max() else None
    return Rows(np.ascontiguousarray(table[:, 1:]), table[:, 0].astype(np.int64), alike)


def weighted_scaler(rows: Rows) -> Scaler:
    """Return the scaling of every column to mean 0 and standard deviation 1 under the rows' weights."""
    weights = np.ones(len(rows.targets)) if rows.weights is None else rows.weights
    share = weights / weights.sum()
    # Around a value of the column itself: the mean of squares of large values would lose all digits.
    first = rows.features[0]
    with np.errstate(over="ignore", invalid="ignore"):
        away = rows.features - first
        mean = share @ away
        deviation = np.sqrt(share @ (away - mean) ** 2)
    factor = np.ones(first.size)
    varies = (rows.features.max(axis=0) > rows.features.min(axis=0)) & (deviation > np.finfo(np.float32).tiny)
    varies &= np.isfinite(deviation)
    factor[varies] = 1.0 / deviation[varies]
    return Scaler("standard", first + mean, factor)


def prepared_from(
    rows: Rows, labels: Sequence[Any], names: Sequence[str], *, is_scaled: bool = True, groups: IntArray | None = None
) -> Prepared:
    """Return all rows as the training part; there is no validation and no test part."""
    columns = rows.features.shape[1]
    scaler = weighted_scaler(rows) if is_scaled else Scaler("none", np.zeros(columns), np.ones(columns))
    none = np.empty(0, np.int64)
    empty = np.empty((0, columns), np.float32)
    return Prepared(
        name="the rows of the fit",
        x_train=scaler.apply(rows.features),
        y_train=rows.targets,
        x_validation=empty,
        y_validation=none,
        x_test=empty,
        y_test=none,
        scaler=scaler,
        labels=tuple(labels),
        feature_names=tuple(names),
        image_shape=None,
        parts=Parts(np.arange(len(rows.targets)), none, none),
        weights=rows.weights,
        groups=groups,
    )


def config_of(rows: Rows, keep: int, seed: int, options: dict[str, Any]) -> Config:
    """Return the options of a fit: epochs scaled to the rows, one thread, no timing of evaluators.

    Raises
    ------
    ConfigError
        An option that does not exist or is out of range.
    """
    count, columns = rows.features.shape
    given = {"keep": keep, "seed": seed, "threads": 1, "device": "cpu", "compare": "no", **options}
    size = min(int(given.get("batch_size") or ROWS_A_BATCH), count)
    steps = max(1, count // size)
    wanted = min(MOST_STEPS, SEARCH_STEPS + STEPS_A_SITE * columns)
    given.setdefault("epochs", max(4, math.ceil(wanted / steps)))
    given.setdefault("retrain_epochs", max(10, math.ceil(RETRAIN_STEPS / steps)))
    given.setdefault("batch_size", size)
    objective = given.get("objective", PLAIN)
    plain = rows.weights is None and objective == PLAIN
    # Nothing is timed: a fit should be as quick as it is repeatable.
    given.setdefault("evaluator", "fused" if plain else FOR_WEIGHTS if objective == PLAIN else "full")
    config = make_config(**given)
    if config.retrain.distill:
        raise ConfigError(
            "retrain_distill: no estimator is taught; leave it out, or use `mcprune.prune` or `mcprune run`"
        )
    return config


def search_mask(
    config: Config, prepared: Prepared, function: Callable[..., Any] | None = None
) -> tuple[Plan, BoolArray]:
    """Return the plan and the mask that the chain finds; torch's and numba's threads are as they were afterwards.

    Raises
    ------
    McpruneError
        What cannot be run, or diverged.
    """
    threads, kernels = torch.get_num_threads(), numba.get_num_threads()
    try:
        plan, mask, _ = search_planned(config, make_plan(config, prepared, function=function), Interrupt())
    finally:
        torch.set_num_threads(threads)
        numba.set_num_threads(kernels)
    return plan, mask


def train_small(plan: Plan, mask: BoolArray) -> nn.Module:
    """Return a fresh classifier on the kept columns, trained on all rows, in float64.

    Raises
    ------
    NumericalError
        It diverged.
    """
    config, data = plan.config, plan.prepared
    keep = np.flatnonzero(mask)
    model = build(
        "mlp",
        keep.size,
        data.n_classes,
        config.model.hidden,
        config.model.activation,
        config.retrain.dropout or 0.0,
        config.runtime.seed,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(config.runtime.threads or 1)
    try:
        fit(
            model,
            torch.from_numpy(np.ascontiguousarray(data.x_train[:, keep])),
            torch.from_numpy(data.y_train),
            epochs=plan.retrain.epochs,
            batch_size=plan.train.batch_size,
            learning_rate=plan.retrain.learning_rate,
            weight_decay=config.train.weight_decay,
            seed=config.runtime.seed,
            input_noise=config.retrain.input_noise or 0.0,
            weights=None if data.weights is None else torch.from_numpy(data.weights.astype(np.float32)),
        )
    finally:
        torch.set_num_threads(threads)
    # Rows must have the same answer whatever stands beside them; in float32 the last bits differ with the batch's size.
    return model.double().requires_grad_(False).eval()
