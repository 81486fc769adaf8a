"""The budget of a search: exact counts of kept sites, and upper bounds on costs."""

from __future__ import annotations

from typing import NamedTuple

from mcprune.sites.costs.terms import Costs
from mcprune.types import IntArray


class CountBudget(NamedTuple):
    """Exactly `n` kept sites in some layers.

    Attributes
    ----------
    name : str
        "sites" for all, else the kind.
    layers : tuple of int
        Their places among the groups of the site map.
    n : int
    """

    name: str
    layers: tuple[int, ...]
    n: int


class CostBudget(NamedTuple):
    """A cost of at most `limit`.

    Attributes
    ----------
    unit : str
        "parameters", "macs"; "sites" or "cost" for the sum of the items' own costs.
    limit : int
    costs : Costs or None
        Of the model; None: the items' own.
    """

    unit: str
    limit: int
    costs: Costs | None = None


class Budget(NamedTuple):
    """What a mask must keep exactly, and what it may cost."""

    counts: tuple[CountBudget, ...] = ()
    costs: tuple[CostBudget, ...] = ()


class Goal(NamedTuple):
    """The values of the exact counters, and the limits of the costs, at some time of a run."""

    counts: IntArray  # (Q,)
    limits: IntArray  # (J,)
