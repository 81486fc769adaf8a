"""What masks cost, and what the budget allows."""

from __future__ import annotations

from mcprune.config.budgets import PICOSECONDS
from mcprune.session.build.plan import Plan
from mcprune.storage.events import CostBudget, MaskCost
from mcprune.types import BoolArray


def cost_budgets(plan: Plan) -> list[CostBudget]:
    """Return the limits on costs of a plan."""
    space = plan.space
    bounds = zip(space.budget.costs, space.whole.limits.tolist(), space.smallest.tolist(), strict=True)
    bounded = plan.config.bounded_latency()
    latency = (
        None if bounded is None else bounded.latency
    )  # the limit of its fit is moved until the measured latency keeps the bound
    return [
        CostBudget(
            cost.unit,
            round(latency * PICOSECONDS) if latency is not None and cost.unit == "latency" else int(cost.limit),
            whole,
            smallest,
        )
        for cost, whole, smallest in bounds
    ]


def mask_costs(plan: Plan, mask: BoolArray) -> tuple[MaskCost, ...]:
    """Return each cost of a mask that the budget bounds."""
    space = plan.space
    names = None if space.items is None else tuple(map(str, space.names(mask)))
    costs = []
    for part, limits, used in zip(space.budget.costs, cost_budgets(plan), space.costs_of(mask).tolist(), strict=True):
        counts = space.classes.count(space.items_of(mask)) if part.costs is None else part.costs.counts(mask)
        if limits.unit == "latency" and plan.measured_latency is not None:
            used = plan.measured_latency
        costs.append(
            MaskCost(limits.unit, limits.limit, limits.total, limits.smallest, used, tuple(counts.tolist()), names)
        )
    return tuple(costs)
