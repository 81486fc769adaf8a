"""From `--keep`, `--macs` and `--parameters` to a budget that the sites can satisfy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mcprune.chain.schedules import parse
from mcprune.config.schema import Config
from mcprune.data.prepare import Prepared
from mcprune.errors import ConfigError
from mcprune.methods.markov.cost_budget import CostBudget
from mcprune.sites.costs import model_costs
from mcprune.sites.groups import settle_groups
from mcprune.sites.site_map import SiteMap

# Groups that a message names.
NAMED = 4


def settle_budget(
    config: Config, model: nn.Module, sites: SiteMap, prepared: Prepared
) -> tuple[int, CostBudget | None]:
    """Return n, the sites to keep, and None; or with a budget that is a cost N, which bounds nothing, and that budget.

    Raises
    ------
    ConfigError
        A budget above the whole model or below the smallest one, or options that contradict a cost.
    ModelError
        What the model costs without some of its sites is not known.
    """
    limits = _limits(config)
    if len(limits) + (config.problem.keep is not None) > 1 or isinstance(config.problem.keep, dict):
        raise ConfigError("Budgets cannot be combined yet. Give one of --keep N, --macs N and --parameters N.")
    if not limits:
        keep = config.problem.keep if config.problem.keep is not None else max(1, sites.size // 4)
        if keep > sites.size:
            raise ConfigError(
                f"keep={keep}, but {prepared.name!r} has {sites.size} sites of kind {config.problem.sites!r}; "
                f"choose 1 <= keep <= {sites.size}"
            )
        return keep, None
    unit, limit = next(iter(limits.items()))
    is_traced = bool(sites.channels or sites.weights)  # by running the network on rows
    costs = model_costs(model, sites, unit, input_shape=(prepared.n_inputs,) if is_traced else None)
    smallest, whole = costs.smallest, costs.whole
    if limit > whole:
        raise ConfigError(
            f"{unit}={limit:,}, but the whole model has {whole:,} {costs.words}; choose {smallest:,} <= {unit} <= {whole:,}"
        )
    if limit < smallest:
        some = ["one input" if group.kind == "inputs" else f"one site of {group.layer}" for group in sites.groups]
        one = " and ".join(some if len(some) <= NAMED else [*some[:NAMED], f"of {len(some) - NAMED} more places"])
        raise ConfigError(
            f"{unit}={limit:,}, but the smallest model, of {one}, has {smallest:,} {costs.words}; "
            f"choose {smallest:,} <= {unit} <= {whole:,}"
        )
    return sites.size, _under_a_wall(config, CostBudget(costs, limit))


def _limits(config: Config) -> dict[str, int]:
    """Return the bounds on costs by unit."""
    given = {"macs": config.problem.macs, "parameters": config.problem.parameters}
    return {unit: limit for unit, limit in given.items() if limit is not None}


def settle_ties(config: Config, sites: SiteMap, feature_names: Sequence[str], name: str) -> CostBudget | None:
    """Return the budget of a search among groups of tied sites, whose costs are `TiedCosts`; None without groups.

    Raises
    ------
    ConfigError
        Groups that do not fit the sites or the budget, or options that contradict them.
    """
    if config.problem.groups is None:
        return None
    if limits := _limits(config):
        raise ConfigError(f"groups with --{next(iter(limits))}: groups bring costs of their own; leave one of them out")
    if isinstance(config.problem.keep, dict):
        raise ConfigError("groups with keep for each kind of site: groups have one budget; give --keep one number")
    if sites.channels or sites.weights:
        raise ConfigError(
            f"groups with sites={config.problem.sites!r}: inputs and units can be tied; leave --groups out"
        )
    if config.chain.start is not None or config.chain.proposals.is_measure:
        raise ConfigError("--start and --proposals MEASURE score single sites: leave them out, or leave --groups out")
    names = sites.names(feature_names)
    given = (config.problem.must_keep or (), config.problem.must_drop or ())
    limit = config.problem.keep
    if limit is None:
        all_of_it = settle_groups(config.problem.groups, names, 2**31, *given)
        limit = max(all_of_it.smallest, all_of_it.whole // 4)
    costs = settle_groups(config.problem.groups, names, limit, *given)
    if limit > costs.whole:
        raise ConfigError(
            f"keep={limit:,}, but all that {name!r} may keep costs {costs.whole:,}; choose keep of at most {costs.whole:,}"
        )
    return _under_a_wall(config, CostBudget(costs, limit))


def _under_a_wall(config: Config, budget: CostBudget) -> CostBudget:
    """Return the budget; options that contradict a wall are refused."""
    option = "groups" if config.problem.groups is not None else f"{budget.costs.unit}={budget.limit}"
    if config.chain.pool.is_off:
        raise ConfigError(
            f"{option} with pool=none: a cost is a wall, which the chain cannot come from above; leave --pool none out"
        )
    alpha = parse(config.chain.alpha)
    if config.is_given("alpha") and max(alpha.start, alpha.end) > 0:
        raise ConfigError(
            f"alpha={config.chain.alpha} with {option}: a cost is a wall, and nothing pushes towards it; leave --alpha out"
        )
    return budget
