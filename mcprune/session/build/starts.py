"""From a plan to what its chains start from, and to what scores its sites."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from mcprune.config.measures import ALL_SITES, COLUMN_SELECTORS, is_mask_file
from mcprune.config.resolved import MeasureSettings
from mcprune.errors import ConfigError
from mcprune.methods.columns import column_scores
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.methods.markov.start import AllSites, Measured, ScoredColumns, Source, Starts
from mcprune.session.build.plan import Plan
from mcprune.types import FloatArray


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
    sources = [_source(plan, name) for name in chain.starts]
    others = [_source(plan, name) for name in chain.rivals]
    return Starts(sources, chain.start_shares, chain.start_after / plan.train.epochs, others)


def _source(plan: Plan, name: str) -> Source:
    if name == ALL_SITES:
        return AllSites()
    if name in COLUMN_SELECTORS:
        return ScoredColumns(name, lambda: _column_scores(plan, name))
    if is_mask_file(name):
        scores = _mask_scores(plan, name)
        return ScoredColumns(name, lambda: scores)
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


def _mask_scores(plan: Plan, name: str) -> FloatArray:
    """Return 1 for each site (N,) that a mask file keeps, 0 for the others."""
    size, n = plan.sites.size, plan.keep
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8"))
        sites, indices = int(content["n_sites"]), np.array(content["indices"], np.int64).ravel()
    except OSError as error:
        raise ConfigError(f"start: {name} cannot be read ({error.strerror}). Give the mask.json of a run.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"start: {name} is no mask file ({type(error).__name__}: {error}). Give the mask.json of a run, with n_sites and indices."
        ) from None
    if sites != size or (indices.size and not 0 <= indices.min() <= indices.max() < size):
        raise ConfigError(
            f"start: {name} is a mask of {sites:,} sites, but this run has {size:,}. Give the mask of a run of the same sites."
        )
    kept = np.unique(indices).size
    if kept != n:
        raise ConfigError(f"start: {name} keeps {kept:,} sites, but this run keeps {n:,}. Give --keep {kept}.")
    scores = np.zeros(size)
    scores[indices] = 1.0
    return scores
