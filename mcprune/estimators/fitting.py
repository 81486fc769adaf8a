"""A fit on all rows: the search and the small model behind the scikit-learn estimators.

The search is planned as that of `mcprune.prune` with test=0 and validation=0: the same rows, seed and options give the same mask.
Both bring the rows into canonical order, so a fit is a function of the weighted set of rows alone.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import nn

from mcprune.config.schema import Config
from mcprune.data.base import Dataset, names_of_targets
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.roles.checks import as_features
from mcprune.data.roles.pixels import square_shape
from mcprune.data.roles.targets import Label
from mcprune.data.roles.tasks import CLASSIFICATION
from mcprune.errors import ConfigError
from mcprune.estimators.columns import Columns
from mcprune.path.call import solve, split_levels
from mcprune.path.search.levels import AUTO
from mcprune.path.search.store import PathRequest, PathStore
from mcprune.problem import Options, problem_and_rest
from mcprune.report.screens.choose import progress_screen
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.finish.retrain import Refit
from mcprune.session.interrupt import Interrupt
from mcprune.session.loop import make_search, start_event
from mcprune.session.shadows.outcome import check_and_compete
from mcprune.session.steering.callbacks import Callbacks
from mcprune.storage.events import ErrorRate
from mcprune.storage.path_curve import Curve
from mcprune.training.folds import Folds
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

# Whole weights are repeated rows while these are not more than so many, or so many times the rows.
REPEATED, REPEATED_TIMES = 100_000, 8
# Of the rows, kept from the search where n is chosen.
AUTO_VALIDATION = 0.2
# What an estimator has as a parameter, or decides itself.
NOT_OPTIONS = ("keep", "sites", "seed", "objective", "must_keep", "must_drop", "fdr", "data", "out")
FOLDER_OPTIONS = ("checkpoint_every", "force")  # a fit writes none


class WeightedRows(NamedTuple):
    """Rows of a fit; weights are above 0, and None where all rows count alike."""

    features: FloatArray  # (rows, N)
    targets: AnyArray  # (rows,) class indices, or (rows, T) numbers
    weights: FloatArray | None  # (rows,)


def weighted_rows(features: FloatArray, targets: AnyArray, weights: FloatArray) -> WeightedRows:
    """Return the rows of positive weight: repeated by whole weights, or with equal rows merged under other weights.

    Parameters
    ----------
    features : ndarray of float, shape (rows, N)
        NaN are gaps.
    targets : ndarray of int64, shape (rows,), or of float64, shape (rows, T)
    weights : ndarray of float64, shape (rows,), not negative, some above 0
    """
    used = weights > 0
    features, targets, weights = features[used], targets[used], weights[used]
    if (weights == weights[0]).all() and not (weights[0] > 1 and _is_whole(weights)):
        return WeightedRows(features, targets, None)
    if _is_whole(weights) and weights.sum() <= max(REPEATED, REPEATED_TIMES * len(weights)):
        times = weights.astype(np.int64)
        return WeightedRows(features.repeat(times, axis=0), targets.repeat(times, axis=0), None)
    return merged(features, targets, weights)


def _is_whole(weights: FloatArray) -> bool:
    return bool((weights == np.rint(weights)).all())


def merged(features: FloatArray, targets: AnyArray, weights: FloatArray) -> WeightedRows:
    """Return the rows sorted, equal ones of one class merged into one with the sum of their weights."""
    width = targets.size // len(targets)
    table = np.empty((len(targets), features.shape[1] + width))
    table[:, :width] = targets.reshape(len(targets), width)
    table[:, width:] = features
    table += 0.0  # -0 and 0 are one value
    table[np.isnan(table)] = np.nan
    # Bytes compare much faster than columns; any order serves as long as it is one.
    keys = table.view(np.dtype((np.void, table.strides[0])))[:, 0]
    order = np.argsort(keys, kind="stable")
    table, weights = table[order], weights[order]
    # By bytes too: a gap equals a gap.
    is_first = np.append(True, keys[order][1:] != keys[order][:-1])
    starts = np.flatnonzero(is_first)
    # Sums that do not depend on the order in which equal rows came.
    total = np.array([math.fsum(part) for part in np.split(weights, starts[1:])])
    table = table[starts]
    unequal = total if total.min() < total.max() else None
    answers = np.ascontiguousarray(table[:, :width]) if targets.ndim == 2 else table[:, 0].astype(np.int64)
    return WeightedRows(np.ascontiguousarray(table[:, width:]), answers, unequal)


def rows_of_fit(
    estimator: object, X: FloatArray, targets: AnyArray, weights: FloatArray, *, is_weighted: bool
) -> WeightedRows:
    """Return the rows of positive weight as the network takes them, or an estimator in its place.

    Raises
    ------
    ConfigError
        Weights that the estimator cannot take.
    """
    from mcprune.estimators.fitted import takes_weights

    if estimator is None:
        return weighted_rows(X, targets, weights)
    used = weights > 0
    rows = merged(X[used], targets[used], weights[used])
    if rows.weights is None or takes_weights(estimator):
        return rows
    if is_weighted and (weights != np.rint(weights)).any():
        raise ConfigError(
            f"sample_weight is given, but {type(estimator).__name__}.fit takes none; leave the weights out, or "
            "choose another estimator"
        )
    # Whole weights are repeated rows.
    times = rows.weights.astype(np.int64)
    return WeightedRows(rows.features.repeat(times, axis=0), rows.targets.repeat(times, axis=0), None)


def rows_in_place(features: FloatArray, targets: AnyArray, weights: FloatArray) -> tuple[WeightedRows, IntArray]:
    """Return the rows of positive weight in their order, repeated by whole weights, and the index of each in what came."""
    times = (weights > 0).astype(np.int64)
    repeats = _is_whole(weights) and weights.sum() <= max(REPEATED, REPEATED_TIMES * len(weights))
    index = np.repeat(np.arange(len(weights)), weights.astype(np.int64) if repeats else times)
    own = weights[index]
    unequal = None if repeats or (own == own[0]).all() else own
    return WeightedRows(features[index], targets[index], unequal), index


def dataset_of_rows(
    rows: WeightedRows, labels: Sequence[Label], columns: Columns, task: str = CLASSIFICATION
) -> Dataset:
    """Return the rows of a fit as a data set."""
    names, coding = columns.number_names, columns.coding
    features = as_features(FROM_PYTHON, rows.features, names, may_gap=coding is not None)
    targets = names_of_targets(rows.targets.shape[1], None) if task != CLASSIFICATION else ()
    return Dataset(
        FROM_PYTHON,
        features,
        rows.targets,
        tuple(labels),
        names,
        None if coding is not None else square_shape(features),
        weights=rows.weights,
        coding=coding,
        task=task,
        target_names=targets,
    )


def config_of(dataset: Dataset, settings: Options, options: Options) -> Config:
    """Return the configuration of a fit: that of `mcprune.prune` with all rows in the training part.

    Parameters
    ----------
    dataset : Dataset
    settings : dict
        Options by flat name that the estimator's own parameters set.
    options : dict
        Its parameter `options`.

    Raises
    ------
    ConfigError
        An option that does not exist, is out of range, or is not for `options`.
    """
    for name in options:
        if name in NOT_OPTIONS:
            raise ConfigError(f"options names {name}, which is no option of a fit. Use the estimator's parameters.")
        if name in FOLDER_OPTIONS:
            raise ConfigError(f"options names {name}, but a fit writes no folder. Leave it out.")
    problem, rest = problem_and_rest(None, dataset, {"test": 0.0, "validation": 0.0, **settings, **options})
    return problem.config(None, rest)


def search_mask(
    config: Config,
    dataset: Dataset,
    function: Callable[..., object] | None = None,
    *,
    folds: Folds | None = None,
    is_shown: bool = False,
) -> tuple[Plan, BoolArray, FloatArray, ErrorRate | None]:
    """Return the plan, the mask and the weights (N,) of a search; torch's and numba's threads are as they were afterwards.

    With `fdr` there is no search: the mask holds the columns that beat their shadows, possibly none, and the outcome comes last.
    `folds` name rows of the data set; with `is_shown` the progress is on standard error.

    Raises
    ------
    McpruneError
        What cannot be run, or diverged.
    """
    threads, kernels = torch.get_num_threads(), numba.get_num_threads()
    began = time.monotonic()
    try:
        if config.false_discovery_rate() is not None:
            return _columns_by_rate(config, dataset, function)
        search = make_search(config, make_plan(config, dataset, function=function, folds=folds), began)
        with progress_screen(is_shown) as screen:
            for _ in Callbacks([screen]).watch(chain([start_event(search, None)], search.run(Interrupt(), began))):
                pass
        mask, _ = search.harden()
    finally:
        torch.set_num_threads(threads)
        numba.set_num_threads(kernels)
    return search.plan, mask, search.position().copy(), None


def _columns_by_rate(
    config: Config, dataset: Dataset, function: Callable[..., object] | None
) -> tuple[Plan, BoolArray, FloatArray, ErrorRate]:
    outcome = check_and_compete(config, dataset)
    plan = make_plan(config.replace(fdr=None, keep=max(1, len(outcome.indices))), dataset, function=function)
    scores = np.zeros(len(outcome.columns))
    for column in outcome.columns:
        scores[column.index] = column.statistic
    owner = np.arange(dataset.n_inputs) if dataset.coding is None else dataset.coding.owner
    return plan, np.isin(owner, outcome.indices), scores[owner], outcome


def mask_file(mask: BoolArray) -> str:
    """Return the path of a new temporary file of a mask, from which a search can start."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False, encoding="utf-8") as file:
        json.dump({"n_sites": mask.size, "indices": np.flatnonzero(mask).tolist()}, file)
    return file.name


def search_auto(
    dataset: Dataset, settings: Options, options: Options, function: Callable[..., object] | None = None
) -> tuple[Config, Plan, BoolArray, Curve]:
    """Choose n by a path; return the configuration and the plan of a fit with it, its mask, and the curve.

    A part of the rows is kept from the search, and shows where more columns no longer help.

    Raises
    ------
    McpruneError
        What cannot be run, or diverged.
    """
    threads, kernels = torch.get_num_threads(), numba.get_num_threads()
    levels, rest = split_levels({"keep": AUTO, **options})
    config = config_of(dataset, {**settings, "validation": AUTO_VALIDATION}, rest)
    try:
        curve = solve(PathStore(request=PathRequest(config, levels)), dataset, (), function=function).curve
    finally:
        torch.set_num_threads(threads)
        numba.set_num_threads(kernels)
    config = config_of(dataset, {**settings, "keep": curve.enough.level}, options)
    plan = make_plan(config, dataset, function=function)
    mask = np.zeros(plan.sites.size, bool)
    mask[list(curve.enough.indices)] = True
    return config, plan, mask, curve


def train_small(plan: Plan, mask: BoolArray) -> nn.Module:
    """Return the classifier on the kept columns that `mcprune.prune` trains, in float64.

    Raises
    ------
    NumericalError
        It diverged.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.runtime.threads)
    try:
        model = Refit(plan, lambda: False).pruned(mask, plan.runtime.seed)
    finally:
        torch.set_num_threads(threads)
    # Rows must have the same answer whatever stands beside them; in float32 the last bits differ with the batch's size.
    return model.double().requires_grad_(False).eval()
