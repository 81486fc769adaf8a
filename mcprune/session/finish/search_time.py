"""How much of the time of a command its search may take, so that what comes after it fits in."""

from __future__ import annotations

import math
import time

import numpy as np

from mcprune.config.schema import Config
from mcprune.distributed.evaluation import Ranks
from mcprune.session.build.plan import Plan
from mcprune.session.finish.retrain import Refit
from mcprune.session.playoff.compare import LEAST_SECONDS, TIME_SHARE

# Of the time of a command: the least seconds of a search; the largest share of the retraining, and its reserve over the estimate.
AT_LEAST, MOST_RETRAINING, RESERVED = 0.01, 0.5, 1.2


def with_search_time(config: Config, plan: Plan, began: float, ranks: Ranks | None) -> Config:
    """Resolve the time of the search from that of the command, the same number on every rank; all ranks must call it."""
    if math.isinf(plan.runtime.max_time) or math.isfinite(plan.runtime.search_time):
        return config
    seconds = search_seconds(plan, plan.runtime.max_time - (time.monotonic() - began))
    seconds = seconds if ranks is None else float(ranks.broadcast(seconds))
    plan.settings = plan.settings.with_search_time(seconds)
    return config.replace(search_time=seconds)


def search_seconds(plan: Plan, seconds: float) -> float:
    """Return how many of the seconds that are left the search may take, so that playoff and retraining fit after it."""
    if plan.chain.starts:
        seconds = max(AT_LEAST, seconds * (1.0 - TIME_SHARE) - LEAST_SECONDS)
    if plan.retrain.finetune == "none":
        return max(AT_LEAST, seconds)
    refit = Refit(plan, lambda: False)
    mask = np.ones(plan.sites.size, bool)
    if plan.space.is_count and plan.sites.inputs is not None and len(plan.sites.groups) == 1:
        mask = plan.space.enforce(-np.arange(float(mask.size)))  # any n inputs take as long
    retraining = plan.retrain.epochs * refit.epoch_seconds(refit.small(mask, plan.runtime.seed), mask)
    return max(AT_LEAST, seconds - min(MOST_RETRAINING * seconds, RESERVED * retraining))
