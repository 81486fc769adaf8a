"""What stays the same during a block of decisions: temperatures, n(t), alpha, delta and sharpness, by the schedules of a run."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mcprune.chain import stepsize, tempering
from mcprune.methods.markov.settings import ChainSettings
from mcprune.sites.budget import Goal
from mcprune.sites.space import SearchSpace
from mcprune.types import FloatArray

# The unit of a temperature in standard errors as long as there is nothing to measure: all sites are kept.
UNMEASURED = 1e-9


class Rule(NamedTuple):
    """The rule of one block.

    Attributes
    ----------
    temperature : float
        Of the coldest rung.
    rungs, delta : ndarray of float64, shape (R,)
        Temperature and half-width of proposals at each rung.
    alpha : float
    goal : Goal
        n(t) of each count, and cost(t) of each cost.
    target : int
        n(t) in items for L_sel, which has no weight under a constraint.
    is_falling : bool
        The goal is not the final one yet.
    sharpness : float
        Of the gates; infinite: hard ones.
    is_warm : bool
        The block lies within the warm-up, in which ladder, delta and (at T > 0) scores are adapted.
    """

    temperature: float
    rungs: FloatArray
    delta: FloatArray
    alpha: float
    goal: Goal
    target: int
    is_falling: bool
    sharpness: float
    is_warm: bool

    @property
    def may_score(self) -> bool:
        """Whether the scores of `informed` may change: at T > 0 the law of the chain would be another one after the warm-up."""
        return self.is_warm or self.temperature == 0


def rule_of(
    settings: ChainSettings,
    space: SearchSpace,
    ladder: tempering.Ladder,
    step_size: stepsize.StepSize | None,
    progress: float,
    standard_error: float,
) -> Rule:
    """Return the rule of a block that ends at a share of the run; `standard_error` is the unit of temperatures in "se"."""
    unit = 1.0 if not settings.temperature.unit else standard_error if standard_error > 0 else UNMEASURED
    temperature = unit * settings.temperature.value(progress)
    goal = goal_of(settings, space, progress)
    return Rule(
        temperature=temperature,
        rungs=tempering.temperatures(ladder, temperature, unit * settings.hottest),
        delta=(
            np.full(settings.replicas, settings.delta.value(progress)) if step_size is None else step_size.delta.copy()
        ),
        # A constraint, and gates by rank, hold the budget: there is nothing for L_pru to push.
        alpha=settings.alpha.value(progress) if space.is_count and not settings.by_rank else 0.0,
        goal=goal,
        target=space.items_to_keep(goal) if space.is_count else space.size,
        is_falling=bool((np.concatenate(goal) > np.concatenate(space.goal)).any()),
        sharpness=sharpness_of(settings, progress),
        is_warm=progress <= settings.warm_up + 1e-9,
    )


def goal_of(settings: ChainSettings, space: SearchSpace, progress: float) -> Goal:
    """Return n(t) of each count, rounded up and never below n, and cost(t) of each cost, which masks of such counts can satisfy."""
    fixed = space.fixed_count if space.is_count else 0  # a single count falls in items
    ends = zip(np.concatenate(space.goal) - fixed, np.concatenate(space.whole) - fixed, strict=True)
    values = []
    for schedule, (least, most) in zip(settings.targets, ends, strict=True):
        planned = schedule.value(progress)
        if settings.pressure != 1.0:  # the way to n in logarithms, so that n itself stays n
            planned = least * (planned / least) ** (1.0 / settings.pressure)
        # Regrowth may ask for more than there is.
        values.append(max(int(least), math.ceil(min(planned, float(most)) - 1e-9)) + fixed)
    counts = space.goal.counts.size
    return space.reachable(Goal(np.array(values[:counts], np.int64), np.array(values[counts:], np.int64)))


def sharpness_of(settings: ChainSettings, progress: float) -> float:
    """Return the sharpness of the gates, infinite for hard ones."""
    return math.inf if settings.sharpness is None else settings.sharpness.value(progress)


def new_step_size(settings: ChainSettings) -> stepsize.StepSize | None:
    """Return where an adapted delta starts; None where it is not adapted."""
    if settings.adapt_delta is None:
        return None
    return stepsize.new_step_size(settings.delta.start, settings.replicas, settings.plan.box)
