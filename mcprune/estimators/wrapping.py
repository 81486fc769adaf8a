"""The chain around any scikit-learn classifier or regressor: no torch model is trained, the evaluator fits it on columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.base import ClassifierMixin, is_classifier, is_regressor

from mcprune.config.facts import Facts
from mcprune.config.resolve import Resolved
from mcprune.config.rules import POOL
from mcprune.config.schema import Config
from mcprune.data.roles.targets import Label
from mcprune.data.roles.tasks import CLASSIFICATION, REGRESSION, TargetScaler, fit_target_scaler
from mcprune.data.scale import column_means, filled
from mcprune.errors import ConfigError
from mcprune.estimators.columns import Columns
from mcprune.estimators.fitted import WAYS, FittedEvaluator, FoldedEstimator, seeded
from mcprune.estimators.fitting import WeightedRows
from mcprune.methods.base import Batch
from mcprune.methods.columns import without_constants
from mcprune.methods.markov.method import ChainSettings, Markov
from mcprune.objectives.base import Rows as ObjectiveRows
from mcprune.objectives.named import make_loss, make_objective
from mcprune.objectives.specs import objective_of_task
from mcprune.session.build.budget import check_count, make_space
from mcprune.session.build.markov import budget_over_time, move_plan
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.named_sites import fixed_sites
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.training.folds import Folds, split_rows
from mcprune.training.metrics import coded_groups
from mcprune.types import BoolArray, FloatArray, IntArray

# Blocks of a search, and its decisions in exchanges that there are at n: each mask is fitted once, however often it comes up.
BLOCKS, EXCHANGES, FEWEST, MOST = 24, 3, 192, 4_800


def search_estimator(
    rows: WeightedRows,
    labels: Sequence[Label],
    columns: Columns,
    estimator: ClassifierMixin,
    objective: str | Callable[..., object],
    config: Config,
    *,
    way: str = "refit",
    n_jobs: int | None = None,
    task: str = CLASSIFICATION,
    folds: Folds | None = None,
) -> tuple[BoolArray, FloatArray, int]:
    """Return the mask (M,) of exactly `config.problem.keep` columns, the chain's weights (M,), and how many masks were evaluated.

    Targets that are numbers are standardised before the estimator gets them. A mask and weights are given for the columns of numbers, of
    which those of one column of X are equal. The objective is that of the estimator on `config.chain.eval_fraction` of the rows, on which
    it is never fitted; with `folds` its mean over the folds.

    Raises
    ------
    ConfigError, ModelError
        An estimator that cannot be fitted on columns, a way that does not exist.
    """
    if config.problem.groups is not None:
        raise ConfigError("groups are for a network of mcprune's own: leave estimator out, or the option groups")
    if way not in WAYS:
        raise ConfigError(f"evaluation={way!r} is unknown; choose 'refit' or 'mask'")
    if config.problem.fdr is not None:
        raise ConfigError(
            f"fdr={config.problem.fdr:g} with an estimator, but columns and their shadows are evaluated by the network. Leave one of "
            "the two out."
        )
    if not isinstance(config.problem.keep, int):
        raise ConfigError(f"keep={config.problem.keep!r}, but a number of columns is needed; give keep one number")
    if task == CLASSIFICATION and is_regressor(estimator):
        raise ConfigError(
            f"estimator={estimator!r} is a regressor, but y has classes. Give a classifier, or y of numbers."
        )
    if task == REGRESSION and is_classifier(estimator):
        raise ConfigError(
            f"estimator={estimator!r} is a classifier, but y has numbers. Give a regressor, or task='classification'."
        )
    coding = columns.coding
    owner = np.arange(rows.features.shape[1]) if coding is None else coding.owner
    names = columns.names if coding is None else coding.original_names
    sites, keep = len(names), config.problem.keep
    if folds is None:
        fraction, seed = config.chain.eval_fraction, config.runtime.seed
        folds = split_rows(rows.targets, "held-out", fraction=fraction, folds=1, seed=seed)
    text = objective if callable(objective) else objective_of_task(objective, task)
    units: TargetScaler | None = None
    if task != CLASSIFICATION:
        link = "identity" if callable(text) else make_loss(text, task).link
        units = fit_target_scaler(rows.targets, rows.weights, task, link)
        rows = rows._replace(targets=units.apply(rows.targets))
    site_map = SiteMap((SiteGroup("inputs", "", 0, sites),))
    fixed = fixed_sites(config.problem.must_keep, config.problem.must_drop, names)
    space = make_space(site_map, Budget((CountBudget("sites", (0,), keep),)), fixed)
    check_count(space.budget.counts[0], space)
    free, chosen = space.size, space.keep
    exchanges = chosen * (free - chosen)
    blocks = BLOCKS if config.train.epochs is None else config.train.epochs
    decisions = min(MOST, max(FEWEST, EXCHANGES * exchanges)) // blocks
    chain = Resolved.of(config, Facts.of_columns(len(folds.training[0]), sites, keep)).chain
    if config.chain.decisions is not None:
        decisions = chain.decisions
    if chain.temperature.unit:
        raise ConfigError(
            f"temperature={config.chain.temperature}, but standard errors are measured on a network of mcprune's own. Give a number, "
            "or leave estimator out."
        )
    settings = ChainSettings(
        plan=move_plan(chain, free),
        delta=chain.delta,
        temperature=chain.temperature,
        alpha=chain.alpha,
        sharpness=None,
        targets=budget_over_time(chain.keep_schedule, space),
        modified=False,
        pooled=True,
        pool=POOL.rules[-1].value if chain.pool_size is None else chain.pool_size,
        start_weight=chain.start_weight,
        decisions=max(1, decisions),
        lookahead=chain.lookahead,
        seed=config.runtime.seed,
        learned=chain.is_informed,
        by_rank=chain.is_by_rank,
    )
    is_weighted = rows.weights is not None

    def part(fit: IntArray, evaluate: IntArray) -> FittedEvaluator:
        loss = make_objective(text, labels, columns.number_names, is_weighted=is_weighted, units=units)
        groups = coded_groups(loss, rows.features)
        loss.begin(
            ObjectiveRows(*(None if one is None else torch.from_numpy(one[evaluate]) for one in (rows.weights, groups)))
        )
        weights = [None if rows.weights is None else rows.weights[part] for part in (fit, evaluate)]
        fill = column_means(rows.features[fit], weights[0])
        fitting, evaluation = (
            (filled(rows.features[part], fill), rows.targets[part], weight)
            for part, weight in zip((fit, evaluate), weights, strict=True)
        )
        return FittedEvaluator(
            seeded(estimator, config.runtime.seed),
            loss,
            fitting,
            evaluation,
            owner=owner,
            classes=len(labels),
            way=way,
            n_jobs=n_jobs,
            link=None if units is None else units.link,
        )

    parts = [part(*one) for one in zip(*folds, strict=True)]
    with FoldedEstimator(parts) if len(parts) > 1 else parts[0] as evaluator:
        # It is its own canonical evaluator: no decision is settled by another.
        bound = evaluator.objective.lower_bound
        markov = Markov(space, settings, evaluator, evaluator, bound)  # type: ignore[arg-type]
        batch = Batch(torch.empty(0), evaluator.targets)  # the evaluator has the rows
        state = markov.init()
        if exchanges:
            for block in range(blocks):
                state, _ = markov.step(state, batch, (block + 1) / blocks)
        state, mask = markov.finish(state, batch)
        scores = markov.position(state).copy()
        if coding is None:
            mask = without_constants(np.asarray(mask), scores, space, rows.features)
        return np.asarray(mask)[owner], scores[owner], evaluator.fits
