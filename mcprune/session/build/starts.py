"""From a plan to what its chains start from, and to what scores its sites."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from mcprune.config.budgets import COST_UNITS, cost_number
from mcprune.config.measures import ALL_SITES, COLUMN_SELECTORS, COMBINED, INLINE, is_mask_file
from mcprune.config.resolved import MeasureSettings
from mcprune.config.schema import Config
from mcprune.config.sections.measure import Start
from mcprune.data.prepare import Splits
from mcprune.errors import ConfigError
from mcprune.methods.columns import column_scores, combined_places
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.methods.markov.start import (
    TRAINING,
    AllSites,
    Measured,
    ScoredColumns,
    Source,
    StartMask,
    Starts,
)
from mcprune.session.build.external_mask import resolve_mask
from mcprune.session.build.mask_files import ExternalMask, read_start
from mcprune.session.build.plan import Plan
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.types import BoolArray, FloatArray


def scorer_of(plan: Plan, measure: MeasureSettings) -> Scorer:
    """Return what scores the sites of a plan by a measure, on its training rows."""
    data = plan.splits
    targets = torch.from_numpy(data.train.targets).to(plan.device)
    settings = ScoreSettings(measure.name, measure.rows, measure.temperature or None, plan.runtime.seed)
    return Scorer(
        plan.model, plan.sites, plan.rows(data.train.features), targets, plan.objective, settings, data.train.weights
    )


def make_starts(plan: Plan) -> Starts | None:
    """Return what a plan's chains start from; None for one chain from all sites.

    Raises
    ------
    ConfigError
        A mask file that cannot be read, or of other sites.
    """
    chain = plan.chain
    if not chain.starts:
        return None
    scores = functools.cache(lambda name: _column_scores(plan, name))

    def combined(name: str) -> FloatArray:
        """Return the scores of a selector; one that combines others takes those that are known."""
        return combined_places([scores(part) for part in COMBINED[name]]) if name in COMBINED else scores(name)

    sources = [_source(plan, name, combined) for name in chain.starts]
    others = [_source(plan, name, combined) for name in chain.rivals]
    training = 0.0 if plan.train.is_frozen else TRAINING
    return Starts(sources, chain.start_shares, chain.start_after / plan.train.epochs, others, training)


def _source(plan: Plan, name: str, scores: Callable[[str], FloatArray]) -> Source:
    if name == ALL_SITES:
        return AllSites()
    if name in COLUMN_SELECTORS:
        return ScoredColumns(name, functools.partial(scores, name))
    if is_mask_file(name):
        return _start_mask(plan, name)
    measure = plan.chain.start_measure
    how = "layerwise" if measure.layerwise else "global"
    return Measured(scorer_of(plan, measure), how, measure.min_per_layer)


def _column_scores(plan: Plan, name: str) -> FloatArray:
    data = plan.splits
    features = plan.seen(data.train.features)
    scores = column_scores(
        name, features, data.train.targets, data.train.weights, keep=plan.keep, seed=plan.runtime.seed
    )
    if plan.candidates is None:
        return scores
    out = np.full(plan.sites.size, -np.inf)
    out[plan.candidates] = scores
    return out


def settle_start(config: Config, sites: SiteMap, splits: Splits) -> Config:
    """Return the configuration with what follows from its start: a mask says how many sites of each kind are kept where nothing else does.

    A pattern of weights starts from the largest ones where nothing else is said.

    Raises
    ------
    ConfigError
        A mask that cannot be read, or of other sites.
    """
    problem, start = config.problem, config.chain.start
    if problem.pattern is not None:
        return config if start is not None else config.replace(start=Start(name="magnitude"))
    tied = None if splits.coding is None else splits.coding.groups()
    groups = None if problem.groups == tied else problem.groups
    is_open = not problem.bounds_costs and (problem.keep, groups, problem.fdr) == (None,) * 3
    masks = [] if start is None else [name for name in start.names if is_mask_file(name)]
    if not masks or not is_open:
        return config
    mask = _mask_of(masks[0], sites, splits)
    of_kinds = {kind: _kept_of(mask, kind, sites) for kind in dict.fromkeys(group.kind for group in sites.groups)}
    if len(of_kinds) > 1 and min(of_kinds.values()) and splits.coding is None:
        return config.replace(keep=of_kinds)
    kept = np.flatnonzero(mask).tolist()
    return config.replace(keep=len(kept) if splits.coding is None else len(splits.coding.owners(kept)))


def _kept_of(mask: BoolArray, kind: str, sites: SiteMap) -> int:
    """Return how many sites of a kind a mask (N,) keeps."""
    return sum(int(mask[group.start : group.stop].sum()) for group in sites.groups if group.kind == kind)


def _mask_of(name: str, sites: SiteMap, splits: Splits) -> BoolArray:
    """Return the mask (N,) of a start, which may be one of the columns of a table with gaps or categories."""
    external, coding = read_start(name), splits.coding
    if coding is not None and len(sites.groups) == 1 and _is_of_columns(external, coding.original_names):
        columns = SiteMap((SiteGroup("inputs", "", 0, len(coding.columns)),))
        return resolve_mask(external, columns, coding.original_names, _source_of(name))[coding.owner]
    return resolve_mask(external, sites, sites.names(splits.names), _source_of(name))


def _is_of_columns(external: ExternalMask, columns: Sequence[str]) -> bool:
    """Whether a mask is of the columns of a table, rather than of their sites."""
    if external.names:
        return set(external.names) <= set(columns)
    values = external.values
    if values is None:
        return False
    size = values.size if values.dtype == bool else external.size
    return size in (None, len(columns))


def _source_of(name: str) -> str:
    return "the mask" if name.startswith(INLINE) else name


def _start_mask(plan: Plan, name: str) -> StartMask:
    """Return the start from a mask from elsewhere.

    Raises
    ------
    ConfigError
        It is of other sites, or outside of the budget.
    """
    source, mask = _source_of(name), _mask_of(name, plan.sites, plan.splits)
    _check_budget(plan, source, mask)
    if not plan.space.allowed(mask):
        raise ConfigError(f"start: {source} {_what_is_wrong(plan, mask)}")
    return StartMask(source, mask)


def _what_is_wrong(plan: Plan, mask: BoolArray) -> str:
    """Return why a mask (N,) cannot be a start, and the remedy."""
    space, names = plan.space, plan.sites.names(plan.splits.names)
    if space.pattern is not None and not space.pattern.holds(mask):
        return f"has not pattern={space.pattern.text}. Give a mask that has it."
    missing, dropped = np.flatnonzero(space.kept & ~mask), [site for site in space.fixed.dropped if mask[site]]
    if missing.size:
        return f"drops {names[missing[0]]!r}, which must be kept. Give a mask that keeps it."
    if dropped:
        return f"keeps {names[dropped[0]]!r}, which must be dropped. Give a mask without it."
    for group, least in zip(plan.sites.groups, space.final_least, strict=False):
        if mask[group.start : group.stop].sum() < least:
            where = f"layer {group.layer!r}" if group.layer else f"the {group.kind}"
            return f"keeps no site of {where}. Give a mask that keeps one of each layer."
    return "splits a group of sites that are kept together, or exceeds the budget. Give a mask that does neither."


def _check_budget(plan: Plan, source: str, mask: BoolArray) -> None:
    """Refuse a mask (N,) that keeps another number of sites than the run, or costs more.

    Raises
    ------
    ConfigError
    """
    space = plan.space
    kept, n = space.counted(mask), plan.keep
    if space.is_count and kept != n:
        raise ConfigError(f"start: {source} keeps {kept:,} sites, but this run keeps {n:,}. Give --keep {kept}.")
    counts = () if space.is_count else space.budget.counts
    own = {count.name: _kept_of(mask, count.name, space.sites) for count in counts}
    if any(own[count.name] != count.n for count in counts):
        numbers = ",".join(f"{kind}={number}" for kind, number in own.items())
        asked = ",".join(f"{count.name}={count.n}" for count in counts)
        raise ConfigError(f"start: {source} keeps {numbers}, but this run keeps {asked}. Give --keep {numbers}.")
    for cost, value in zip(
        space.budget.costs, space.costs_of(mask).tolist() if space.budget.costs else (), strict=True
    ):
        if value > cost.limit:
            amount, limit = (cost_number(one, cost.unit) for one in (value, cost.limit))
            option = "keep" if cost.costs is None else cost.unit
            raise ConfigError(
                f"start: {source} has {amount} {COST_UNITS[cost.unit]}, but {option}={limit}. Raise {option}, or give a smaller mask."
            )
