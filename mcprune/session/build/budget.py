"""Make the search space from the options of the budget; a budget that no mask satisfies is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from mcprune.config.budgets import COST_UNITS, cost_number, counts_items
from mcprune.config.rule import PerRow
from mcprune.config.schema import Config
from mcprune.config.sections.problem import Problem
from mcprune.data.coding.coding import Coding
from mcprune.data.prepare import Splits
from mcprune.data.roles.checks import some
from mcprune.errors import ConfigError
from mcprune.methods.columns import best_columns
from mcprune.session.build.latency import latency_budget
from mcprune.sites.budget import Budget, CostBudget, CountBudget
from mcprune.sites.costs.count import model_costs
from mcprune.sites.items import NOTHING_FIXED, Fixed
from mcprune.sites.named_sites import TiedItems, fixed_sites, settle_groups
from mcprune.sites.patterns import pattern_of
from mcprune.sites.site_map import SiteMap
from mcprune.sites.space import SearchSpace

# More columns than these are screened by F beforehand, to so many candidates or more: few rows tell few columns apart.
WIDE, CANDIDATES = PerRow(8, 2_048, 8_192), PerRow(4, 2_048, 4_096)
# Kinds of sites of which a layer that is built needs one.
BUILT = ("channels", "units", "heads", "neurons", "experts", "states")
# The most layers that a message names.
NAMED = 4


def settle_space(problem: Problem, model: nn.Module, sites: SiteMap, splits: Splits) -> SearchSpace:
    """Return the search space: the masks in which a run may end.

    Raises
    ------
    ConfigError
        A budget above the whole model or below the smallest one, budgets that no mask satisfies together, or options that
        contradict them.
    ModelError
        The cost of the model without some of its sites is not known.
    """
    names = sites.names(splits.names)
    must = (problem.must_keep or (), problem.must_drop or ())
    costs = [
        CostBudget(unit, limit, model_costs(model, sites, unit, input_shape=(splits.n_inputs,)))
        for unit, limit in (("macs", problem.macs), ("parameters", problem.parameters))
        if limit is not None
    ]
    if problem.latency is not None:
        costs.append(latency_budget(problem, model, sites, splits.n_inputs))
    if problem.groups is not None:
        space = _tied_space(problem, sites, names, costs)
    else:
        fixed = fixed_sites(*must, names)
        pattern = None if problem.pattern is None else pattern_of(problem.pattern, sites)
        if pattern is not None:
            problem = problem.model_copy(update={"keep": pattern.count(_one_number(problem))})
        counts = _counts(problem, sites, splits.name, bounded=bool(costs))
        space = replace(make_space(sites, Budget(counts, tuple(costs)), fixed), pattern=pattern)
        for count in counts:
            check_count(count, space)
    if not space.is_count:
        _check_limits(space)
    return space


def tie_columns(config: Config, coding: Coding | None, *, is_users_model: bool) -> Config:
    """Return the configuration of a table with gaps or categories: the sites of a column are a group, of the cost of one.

    Raises
    ------
    ConfigError
        What such columns cannot be combined with.
    """
    tied = {} if coding is None else coding.groups()
    if not tied or config.problem.groups == tied:
        return config
    names = some(map(repr, tied), 4)
    if is_users_model:
        raise ConfigError(
            f"A model of your own takes numbers without gaps, but {names} have gaps or categories. Fill and encode them beforehand, or "
            "leave model out."
        )
    if config.problem.groups is not None:
        raise ConfigError(
            f"groups with columns of gaps or categories, {names}: their sites are groups already. Leave groups out, or fill and encode the "
            "columns beforehand."
        )
    if config.method != "markov":
        raise ConfigError(
            f"method={config.method} keeps or drops sites one by one, but {names} have gaps or categories, each with several sites. Use "
            "method=markov, or fill and encode the columns beforehand."
        )
    return config.replace(groups=tied)


def screen(space: SearchSpace, splits: Splits) -> tuple[SearchSpace, str]:
    """Return the search space of many columns with those of low F dropped beforehand, and a note; as it is where they are not many.

    Only where a single number of inputs is kept, and no site is fixed or tied.
    """
    is_single = space.is_count and space.is_plain and len(space.sites.groups) == 1 and space.sites.inputs is not None
    rows, size = splits.train, space.sites.size
    count = max(CANDIDATES.at(len(rows.targets)), 4 * space.n)
    if not is_single or size <= max(count, WIDE.at(len(rows.targets))):
        return space, ""
    dropped = np.ones(size, bool)
    dropped[best_columns(rows.features, rows.targets, rows.weights, count)] = False
    fixed = Fixed(dropped=np.flatnonzero(dropped))
    note = f"{size:,} columns: the {count:,} with the highest F on the training rows are candidates, the others are dropped"
    return make_space(space.sites, space.budget, fixed), note


def make_space(
    sites: SiteMap, budget: Budget, fixed: Fixed = NOTHING_FIXED, tied: TiedItems | None = None
) -> SearchSpace:
    """Return a search space whose layers keep the sites that a network needs.

    A layer without channels, heads or neurons cannot be built, and an empty layer of units passes a constant only. Where such are sites,
    or costs are limited, every layer keeps a site at every step; else the final mask keeps one site of each layer. Whole sub-blocks may
    all be dropped.
    """
    several = len(sites.groups) > 1
    is_count = not budget.costs and len(budget.counts) == 1
    is_built = bool(sites.channels or sites.blocks or sites.states)
    may_be_empty = [group.kind == "blocks" for group in sites.groups]
    always = [not is_count or (is_built and group.kind in BUILT) for group in sites.groups]
    least = tuple(int(one and not empty) for one, empty in zip(always, may_be_empty, strict=True))
    final = tuple(int((several or one) and not empty) for one, empty in zip(always, may_be_empty, strict=True))
    space = SearchSpace(sites, budget, fixed, least=least, final_least=final)
    if tied is None:
        return space
    return SearchSpace(sites, budget, NOTHING_FIXED, tied.items, tied.always, least, final)


def _counts(problem: Problem, sites: SiteMap, name: str, *, bounded: bool) -> tuple[CountBudget, ...]:
    """Return the numbers of kept sites, of all sites or of each kind."""
    everything = tuple(range(len(sites.groups)))
    kinds = list(dict.fromkeys(group.kind for group in sites.groups))
    keep = problem.keep
    if keep is None and bounded:
        return ()
    if keep is None:
        layers = sum(group.kind != "blocks" for group in sites.groups)
        return (CountBudget("sites", everything, max(1, sites.size // 4, layers)),)
    if isinstance(keep, int):
        if not (bounded and "inputs" in kinds and len(kinds) > 1):
            if keep > sites.size:
                raise ConfigError(
                    f"keep={keep}, but {name!r} has {sites.size} sites of kind {problem.sites!r}. "
                    f"Choose 1 <= keep <= {sites.size}."
                )
            return (CountBudget("sites", everything, keep),)
        keep = {"inputs": keep}
    for kind in keep:
        if kind not in kinds:
            raise ConfigError(
                f"keep names {kind}, but sites={problem.sites!r} has {' and '.join(kinds)}. Leave {kind} out."
            )
    if unbound := [kind for kind in kinds if kind not in keep and not bounded]:
        raise ConfigError(
            f"keep={_text(keep)} gives no number of {unbound[0]}, and nothing else bounds them. Add {unbound[0]}=N, --macs N or "
            f"--parameters N, or leave {unbound[0]} out of --sites."
        )
    if len(kinds) == 1:
        return (CountBudget("sites", everything, keep[kinds[0]]),)
    return tuple(
        CountBudget(kind, tuple(place for place in everything if sites.groups[place].kind == kind), keep[kind])
        for kind in kinds
        if kind in keep
    )


def _one_number(problem: Problem) -> int | None:
    if isinstance(problem.keep, dict):
        raise ConfigError(
            f"keep={_text(problem.keep)} with pattern={problem.pattern}. Give one number, or leave keep out."
        )
    return problem.keep


def _text(keep: dict[str, int]) -> str:
    return ",".join(f"{kind}={number}" for kind, number in keep.items())


def check_count(count: CountBudget, space: SearchSpace) -> None:
    """Refuse a count that contradicts the sites that must be kept or dropped, or the least sites of the layers."""
    groups = [space.sites.groups[place] for place in count.layers]
    option = f"keep={count.n}" if count.name == "sites" else f"keep {count.name}={count.n}"
    inside = np.concatenate([np.arange(group.start, group.stop) for group in groups])
    kept = int(space.kept[inside].sum())
    dropped = int(np.isin(inside, space.fixed.dropped).sum())
    left = inside.size - dropped
    if kept > count.n:
        raise ConfigError(f"must_keep names {kept} sites, but {option}. Name fewer, or choose at least {kept}.")
    if left < count.n and dropped:
        raise ConfigError(
            f"must_drop names {dropped} of {inside.size} sites, which leaves {left}, but {option}. "
            f"Name fewer, or choose at most {left}."
        )
    if left < count.n:
        raise ConfigError(f"{option}, but there are {left} {count.name}. Choose at most {left}.")
    if space.is_count and kept == count.n:
        raise ConfigError(
            f"must_keep names {kept} sites and {option}, so nothing is left to choose. Choose a larger number."
        )
    empty = []
    for place, group in zip(count.layers, groups, strict=True):
        part = slice(group.start, group.stop)
        if space.final_least[place] and not space.kept[part].any():
            empty.append(group.layer or "the inputs")
            if not (space.owner[part] >= 0).any():
                raise ConfigError(
                    f"must_drop names all sites of {empty[-1]}, and nothing passes an empty layer. Leave one out."
                )
    if count.n - kept < len(empty):
        most = f" <= {left}" if not kept else ""
        one = f"{len(empty)} {'more ' if kept else ''}layers must keep one site each, or no network is left"
        cause = f"must_keep names {kept} of {option} sites" if kept else option
        raise ConfigError(f"{cause}, but {one}. Choose {kept + len(empty)} <= keep{most}.")


def _tied_space(problem: Problem, sites: SiteMap, names: tuple[str, ...], costs: list[CostBudget]) -> SearchSpace:
    """Return the search space of groups of tied sites, with their costs and those of the model."""
    assert problem.groups is not None
    if isinstance(problem.keep, dict):
        raise ConfigError(
            f"groups with keep={_text(problem.keep)}: what groups cost is one budget, whatever the kind of their sites. "
            "Give --keep one number."
        )
    if sites.channels or sites.weights or sites.blocks or sites.states:
        raise ConfigError(
            f"groups with sites={problem.sites!r}: only inputs and units can be tied. Leave --groups out."
        )
    must = (problem.must_keep or (), problem.must_drop or ())
    limit = problem.keep
    if limit is None and not costs:
        tied = settle_groups(problem.groups, names, None, *must)
        cheapest = 0 if tied.always else min(item.cost for item in tied.items)
        limit = max(tied.price_of_always + cheapest, tied.whole // 4)
    tied = settle_groups(problem.groups, names, limit, *must)
    if limit is not None and not costs and counts_items(problem.groups, problem.sites):
        _check_items(limit, tied)
        return make_space(sites, Budget((CountBudget("sites", (0,), limit),)), tied=tied)
    own = () if limit is None else (CostBudget(tied.unit, limit),)
    return make_space(sites, Budget((), (*own, *costs)), tied=tied)


def _check_items(keep: int, tied: TiedItems) -> None:
    """Refuse a number of items of cost 1 that cannot be kept.

    Raises
    ------
    ConfigError
    """
    least = len(tied.always)
    if least >= keep and tied.items:
        raise ConfigError(
            f"must_keep names {least} columns or groups and keep={keep}, so nothing is left to choose. Choose a larger number."
        )
    if keep > tied.whole:
        raise ConfigError(
            f"keep={keep}, but there are {tied.whole} columns or groups that may be kept. Choose {least + 1} <= keep <= {tied.whole}."
        )


def _check_limits(space: SearchSpace) -> None:
    """Refuse limits above the whole model or below the smallest one, and budgets that no mask satisfies together."""
    bounds = zip(space.whole.limits.tolist(), space.smallest.tolist(), strict=True)
    for cost, (whole, smallest) in zip(space.budget.costs, bounds, strict=True):
        option = "keep" if cost.costs is None else cost.unit
        units = COST_UNITS[cost.unit]
        limit, largest, least = (cost_number(one, cost.unit) for one in (cost.limit, whole, smallest))
        if smallest < 0:
            raise ConfigError(
                f"No mask satisfies {describe_budget(space)}. Name fewer sites to keep or drop, or choose other numbers."
            )
        if cost.limit > whole:
            most = "all that may be kept" if space.has_fixed or cost.costs is None else "the whole model"
            raise ConfigError(
                f"{option}={limit}, but {most} has {largest} {units}. Choose {least} <= {option} <= {largest}."
            )
        if cost.limit < smallest:
            raise ConfigError(
                f"{option}={limit}, but the smallest model, {_smallest_model(space)}, has {least} {units}. "
                f"Choose {least} <= {option} <= {largest}."
            )
    classes = space.classes
    if classes.completion(np.zeros_like(classes.sizes), classes.sizes, space.goal) is None:
        raise ConfigError(
            f"No mask was found that satisfies {describe_budget(space)} together. Choose larger limits, or other counts."
        )


def describe_budget(space: SearchSpace) -> str:
    """Return the budget as options, for messages."""
    counts = [
        f"keep={count.n}" if count.name == "sites" else f"keep {count.name}={count.n}" for count in space.budget.counts
    ]
    costs = [
        f"{'keep' if cost.costs is None else cost.unit}={cost_number(cost.limit, cost.unit)}"
        for cost in space.budget.costs
    ]
    return " and ".join([*counts, *costs])


def _smallest_model(space: SearchSpace) -> str:
    """Return a description of the smallest model."""
    counted = {layer for count in space.budget.counts for layer in count.layers}
    parts = [f"of {count.n} {count.name}" for count in space.budget.counts]
    some = [
        "one input" if group.kind == "inputs" else f"one site of {group.layer}"
        for place, group in enumerate(space.sites.groups)
        if place not in counted
    ]
    if some:
        parts.append(
            "of " + " and ".join(some if len(some) <= NAMED else [*some[:NAMED], f"of {len(some) - NAMED} more places"])
        )
    if space.has_fixed:
        parts.append("with what must be kept")
    return " and ".join(parts)
