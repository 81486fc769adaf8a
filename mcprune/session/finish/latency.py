"""A result within a bound on its measured latency: the limit of the fit is moved until the cut model keeps the bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from mcprune.config.budgets import PICOSECONDS
from mcprune.errors import ConfigError
from mcprune.exporters.latency import DECISIVE, PER_SECOND
from mcprune.methods.base import AnyMethod
from mcprune.session.build.latency import latency_model
from mcprune.session.build.plan import Plan
from mcprune.session.search_state import SearchState
from mcprune.types import BoolArray

# A result takes at least this share of the bound and at most that one, since the next measurement differs; the limit is moved towards
# the one between them, at most so often.
LEAST, AIM, MOST, TURNS = 0.95, 0.97, 0.99, 12


class Searched(Protocol):
    """A search that is done."""

    plan: Plan
    method: AnyMethod
    state: SearchState

    def finish(self, rows: int) -> BoolArray:
        """Return the mask of the method, which it chooses on so many evaluation rows."""
        ...


def within_latency(search: Searched, mask: BoolArray) -> BoolArray:
    """Return a mask (N,) whose cut model takes no longer than the budget says, and 95% of it where one more site is not too much.

    The mask itself where no latency is bounded. The plan holds what was measured.

    Raises
    ------
    ConfigError
        No smaller model keeps the bound.
    """
    plan, problem = search.plan, search.plan.config.bounded_latency()
    if problem is None or problem.latency is None:
        return mask
    place = next(place for place, cost in enumerate(plan.space.budget.costs) if cost.unit == "latency")
    timed = latency_model(problem, plan.model, plan.sites, plan.splits.n_inputs)
    bound, space = round(problem.latency * PICOSECONDS), plan.space
    best, best_time, best_space = None, 0, space
    for _ in range(TURNS):
        taken = round(float(timed.measure([mask], DECISIVE).seconds[0]) * PER_SECOND)
        if best_time < taken <= MOST * bound:
            best, best_time, best_space = mask, taken, plan.space
        if LEAST * bound <= taken <= MOST * bound or (mask.all() and taken <= bound):
            break
        limit = max(int(space.smallest[place]), round(int(space.costs_of(mask)[place]) * AIM * bound / taken))
        costs = list(space.budget.costs)
        costs[place] = costs[place]._replace(limit=limit)
        plan.space = replace(space, budget=space.budget._replace(costs=tuple(costs)))
        search.method.bound(plan.space)
        search.method.adopt(search.state.method, mask)
        other = search.finish(plan.evaluation.rows)
        if (other == mask).all():
            break
        mask = other
    if best is None:
        raise ConfigError(
            f"latency={problem.latency:g}: the smallest model that was found takes {taken / PICOSECONDS:,.2f} microseconds. Choose a "
            "larger latency, or measure on an idle machine."
        )
    plan.space, plan.measured_latency = best_space, best_time
    search.method.bound(best_space)
    search.method.adopt(search.state.method, best)
    return best
