"""What stays the same during a block of decisions: temperatures, n(t), alpha, delta and sharpness, by the schedules of a run."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mcprune.chain import stepsize, tempering
from mcprune.methods.markov.settings import ChainSettings
from mcprune.types import FloatArray


class Rule(NamedTuple):
    """The rule of one block.

    Attributes
    ----------
    temperature : float
        Of the coldest rung.
    rungs, delta : ndarray of float64, shape (R,)
        Temperature and half-width of proposals at each rung.
    alpha : float
    target : int
        n(t), or cost(t).
    sharpness : float
        Of the gates; infinite: hard ones.
    is_warm : bool
        The block lies within the warm-up, in which ladder, delta and (at T > 0) scores are adapted.
    """

    temperature: float
    rungs: FloatArray
    delta: FloatArray
    alpha: float
    target: int
    sharpness: float
    is_warm: bool

    @property
    def may_score(self) -> bool:
        """Whether the scores of `informed` may change: at T > 0 the law of the chain would be another one after the warm-up."""
        return self.is_warm or self.temperature == 0


def rule_of(
    settings: ChainSettings, ladder: tempering.Ladder, step_size: stepsize.StepSize | None, sites: int, progress: float
) -> Rule:
    """Return the rule of a block that ends at a share of the run, on so many sites."""
    temperature = settings.temperature.value(progress)
    return Rule(
        temperature=temperature,
        rungs=tempering.temperatures(ladder, temperature, settings.hottest),
        delta=(
            np.full(settings.replicas, settings.delta.value(progress)) if step_size is None else step_size.delta.copy()
        ),
        # A limit on the cost holds the budget: there is nothing for L_pru to push.
        alpha=settings.alpha.value(progress) if settings.cost is None else 0.0,
        target=target_of(settings, sites, progress),
        sharpness=sharpness_of(settings, progress),
        is_warm=progress <= settings.warm_up + 1e-9,
    )


def target_of(settings: ChainSettings, sites: int, progress: float) -> int:
    """Return n(t), rounded up, never below n; of a budget that is a cost, cost(t)."""
    least, most = settings.keep, sites
    if settings.cost is not None:
        least, most = settings.cost.limit, settings.cost.costs.whole
    planned = settings.target.value(progress)
    if settings.pressure != 1.0:  # the way to n in logarithms, so that n itself stays n
        planned = min(least * (planned / least) ** (1.0 / settings.pressure), float(most))
    return max(least, math.ceil(planned - 1e-9))


def sharpness_of(settings: ChainSettings, progress: float) -> float:
    """Return the sharpness of the gates, infinite for hard ones."""
    return math.inf if settings.sharpness is None else settings.sharpness.value(progress)


def new_step_size(settings: ChainSettings) -> stepsize.StepSize | None:
    """Return where an adapted delta starts; None where it is not adapted."""
    if settings.adapt_delta is None:
        return None
    return stepsize.new_step_size(settings.delta.start, settings.replicas, settings.plan.box)
