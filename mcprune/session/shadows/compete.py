"""`--fdr`: columns and their shadows compete as sites of the chain, and the kept set is the largest within the stated rate."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from mcprune.config.schema import Config, make_config
from mcprune.data.base import Dataset
from mcprune.data.coding.coding import Coding
from mcprune.data.prepare import Rows, Splits, prepare
from mcprune.errors import ConfigError
from mcprune.fdr.classifiers import train_classifiers
from mcprune.fdr.copies import Shadows
from mcprune.fdr.threshold import Selection, select, shadow_sets
from mcprune.random import Stream, generator
from mcprune.session.build.budget import tie_columns
from mcprune.session.build.markov import make_chain
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.search_parts import make_rows
from mcprune.storage.events import ColumnStatistic, ErrorRate
from mcprune.types import Float32Array, FloatArray

# The classifiers of a set: hidden units, dropout, folds.
WIDTH, DROPOUT, FOLDS = 48, 0.2, 4
# Rows and columns at most: more rows cost more than they tell, and shadows of more columns take minutes.
MOST_ROWS, MOST_COLUMNS = 5_000, 2_048
# Blocks of the chain of a set, in which n(t) falls from all sites to LAST, and the decisions of a block.
BLOCKS, DECISIONS, LAST = 60, 64, 1


def compete(dataset: Dataset, config: Config) -> ErrorRate:
    """Let the columns compete with their shadows on the training and validation rows of a run.

    Parameters
    ----------
    dataset : Dataset
    config : Config
        Of the run; its `fdr` is q.

    Returns
    -------
    ErrorRate

    Raises
    ------
    ConfigError
        More columns than shadows can be drawn of.
    """
    began, q, seed = time.monotonic(), config.problem.fdr, config.runtime.seed
    assert q is not None
    if dataset.n_inputs > MOST_COLUMNS:
        numbers = "columns" if dataset.coding is None else "numbers, its categories as 0 and 1 included"
        raise ConfigError(
            f"fdr={q:g}, but the table has {dataset.n_inputs:,} {numbers}, and shadows are drawn of {MOST_COLUMNS:,} at most. "
            "Leave some out, or choose a number of columns by keep."
        )
    tie_columns(config, dataset.coding, is_users_model=False)
    splits = prepare(dataset, seed=seed, validation=config.data.validation, test=config.data.test, scale="standard")
    sets, draw = shadow_sets(q), generator(seed, Stream.SHADOWS)
    rows = _rows(splits, draw)
    columns, shadows = statistics(splits, rows, sets, draw, seed)
    chosen = select(columns, shadows, q)
    names = splits.names if splits.coding is None else splits.coding.original_names
    return _event(chosen, q, names, sets, len(rows.targets), time.monotonic() - began)


def statistics(
    splits: Splits, rows: Rows, sets: int, draw: np.random.Generator, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return the statistics (sets, p) of the columns and of their shadows: the share of a chain's blocks in which each is kept."""
    coding, owner = splits.coding, None
    categories: list[int] = []
    if coding is not None:
        owner = np.append(coding.owner, coding.owner + len(coding.columns))
        categories = [j for j, column in enumerate(coding.columns) if column.values is not None]
    shadows = Shadows(rows.features, None if coding is None else coding.owner, categories)
    tables = [np.concatenate([rows.features, shadows.draw(draw)], axis=1) for _ in range(sets)]
    plans = [_plan(splits, rows, table, seed + number) for number, table in enumerate(tables)]
    models = [gated.model for plan in plans for gated in plan.stack]
    training = [part for plan in plans for part in plan.folds.training]
    train_classifiers(
        models, tables, rows.targets, training, rows.weights, draw=draw, row_loss=plans[0].row_loss, owner=owner
    )
    of_sites = np.stack([share_of_blocks(plan) for plan in plans])
    if owner is not None:  # those of a column are kept together
        of_sites = of_sites[:, np.unique(owner, return_index=True)[1]]
    columns = of_sites.shape[1] // 2
    return of_sites[:, :columns], of_sites[:, columns:]


def _event(chosen: Selection, q: float, names: Sequence[str], sets: int, rows: int, seconds: float) -> ErrorRate:
    kept = set(chosen.columns.tolist())
    order = np.lexsort((np.arange(len(names)), -chosen.statistic))
    return ErrorRate(
        fdr=q,
        rate=chosen.rate,
        threshold=chosen.threshold if math.isfinite(chosen.threshold) else None,
        columns=tuple(
            ColumnStatistic(
                int(j),
                str(names[j]),
                float(chosen.statistic[j]),
                float(chosen.shadow[j]),
                float(chosen.rates[j]),
                int(j) in kept,
            )
            for j in order
        ),
        sets=sets,
        rows=rows,
        seconds=seconds,
    )


def share_of_blocks(plan: Plan) -> FloatArray:
    """Return the share of the blocks in which each site (N,) is kept while n(t) falls from all sites, the classifiers at rest."""
    method, rows = make_chain(plan), make_rows(plan, plan.folds)
    batch = rows.batch(rows.init(), plan.folds.rows)
    state, share = method.init(), np.zeros(plan.sites.size)
    for block in range(BLOCKS):
        state, _ = method.step(state, batch, (block + 1) / BLOCKS)
        share += method.position(state) > 0
    return share / BLOCKS


def _rows(splits: Splits, draw: np.random.Generator) -> Rows:
    """Return the training and validation rows, some of them where there are many."""
    rows = splits.all_but_test()
    if len(rows.targets) <= MOST_ROWS:
        return rows
    some = np.sort(draw.choice(len(rows.targets), MOST_ROWS, replace=False))
    weights = None if rows.weights is None else rows.weights[some]
    entities = None if rows.entities is None else rows.entities[some]
    return Rows(np.ascontiguousarray(rows.features[some]), rows.targets[some], weights, entities=entities)


def _plan(splits: Splits, rows: Rows, table: Float32Array, seed: int) -> Plan:
    """Return the plan of the chain of a set: its sites are the columns and their shadows, those of a column tied."""
    names = tuple(f"{kind}{j}" for kind in ("column", "shadow") for j in range(splits.n_inputs))
    train = Rows(np.ascontiguousarray(table), rows.targets, rows.weights, entities=rows.entities)
    nothing = Rows(train.features[:0], train.targets[:0], None if train.weights is None else train.weights[:0])
    both = splits._replace(train=train, validation=nothing, test=nothing, names=names, doubts=(), notes=(), coding=None)
    config = make_config(
        data=splits.name, keep=LAST, seed=seed, hidden=(WIDTH,), search_hidden=(WIDTH,), dropout=DROPOUT,
        eval_on="folds", eval_folds=FOLDS, evaluation_rows=len(rows.targets), start="all", decisions=DECISIONS,
        keep_schedule="geometric:1", evaluator="fused", compare="no", threads=1, **_tied(splits.coding, names),
    )  # fmt: skip
    return make_plan(config, both)


def _tied(coding: Coding | None, names: Sequence[str]) -> dict[str, object]:
    """Return the groups of the numbers of a column, and of those of its shadow, as an option; none where columns are numbers."""
    if coding is None:
        return {}
    width = len(names) // 2
    groups: dict[str, object] = {}
    for number, column in enumerate(coding.columns):
        places = np.flatnonzero(coding.owner == number).tolist()
        for kind, first in (("all of column", 0), ("all of shadow", width)):
            if len(column.names) > 1:
                sites = [names[first + place] for place in places]
                groups[f"{kind} {number}"] = {"sites": sites, "cost": 1}
    return {"groups": groups}
