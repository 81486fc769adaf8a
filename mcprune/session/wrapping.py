"""The chain around any scikit-learn classifier: no torch model is trained, the evaluator fits and judges."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcprune.arrays import BoolArray
from mcprune.chain import moves
from mcprune.chain.schedules import Schedule, parse
from mcprune.errors import ConfigError
from mcprune.evaluate.fitted import WAYS, FittedEvaluator, seeded
from mcprune.methods.base import Batch
from mcprune.methods.markov import ChainSettings, Markov
from mcprune.objective.base import Objective
from mcprune.session.config import RunConfig
from mcprune.session.fitting import Rows
from mcprune.session.rows import judge_split

# Blocks of a search, and its decisions in exchanges that there are at n: each mask is fitted once, however often it is met.
BLOCKS, EXCHANGES, FEWEST, MOST = 24, 3, 192, 4_800


def search_estimator(
    rows: Rows,
    classes: int,
    estimator: Any,
    objective: Objective,
    config: RunConfig,
    *,
    way: str = "refit",
    n_jobs: int | None = None,
) -> tuple[BoolArray, int]:
    """Return the mask of exactly `config.keep` columns, and how many masks were judged.

    The objective is that of the estimator on `config.judge_share` of the rows, on which it is never fitted.

    Raises
    ------
    ConfigError, ModelError
        An estimator that cannot be fitted on columns, a way that does not exist.
    """
    if way not in WAYS:
        raise ConfigError(f"evaluation={way!r} is unknown; choose 'refit' or 'mask'")
    sites, keep = rows.features.shape[1], config.keep or 1
    fit, judge = judge_split(rows.targets, "held-out", config.judge_share, config.seed)
    parts = [
        (rows.features[part], rows.targets[part], None if rows.weights is None else rows.weights[part])
        for part in (fit, judge)
    ]
    exchanges = keep * (sites - keep)
    blocks = config.epochs or BLOCKS
    decisions = min(MOST, max(FEWEST, EXCHANGES * exchanges)) // blocks
    if "decisions" in config.model_fields_set:
        decisions = config.decisions
    settings = ChainSettings(
        plan=moves.move_plan(**config.moves, block_size=config.move_sites, box=config.weight_bound),
        delta=parse(config.delta),
        temperature=parse(config.temperature),
        alpha=parse(config.alpha),
        sharpness=None,
        target=Schedule("geometric", float(sites), float(keep), config.budget_until or 0.5)
        if keep < sites
        else Schedule("constant", float(keep), float(keep)),
        keep=keep,
        modified=False,
        pooled=True,
        pool=config.pool,
        start_weight=config.start_weight,
        decisions=max(1, decisions),
        speculate=config.speculate,
        seed=config.seed,
    )
    with FittedEvaluator(
        seeded(estimator, config.seed), objective, parts[0], parts[1], classes=classes, way=way, n_jobs=n_jobs
    ) as evaluator:
        # It is its own canonical evaluator: no decision is settled by another.
        chain = Markov(sites, settings, evaluator, evaluator, objective.lower_bound)  # type: ignore[arg-type]
        batch = Batch(None, evaluator.targets)  # type: ignore[arg-type]
        if keep < sites:
            for block in range(blocks):
                chain.update(batch, (block + 1) / blocks)
        mask = chain.harden(batch)
        return np.asarray(mask), evaluator.fits
