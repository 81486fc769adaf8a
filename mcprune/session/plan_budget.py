"""From `--keep` and `--budget-in` to a budget that the sites can meet."""

from __future__ import annotations

import math

from torch import nn

from mcprune.chain.schedules import parse
from mcprune.data.prepare import Prepared
from mcprune.errors import ConfigError
from mcprune.methods.cost_pool import CostBudget
from mcprune.pruning.costs import model_costs
from mcprune.pruning.sites import SiteMap
from mcprune.session.config import RunConfig

# Groups that a message names.
NAMED = 4


def settle_budget(
    config: RunConfig, model: nn.Module, sites: SiteMap, prepared: Prepared
) -> tuple[int, CostBudget | None]:
    """Return n, the sites to keep, and None; or with a budget that is a cost N, which bounds nothing, and that budget.

    Raises
    ------
    ConfigError
        A budget above the whole model or below the smallest one, or options that contradict a cost.
    ModelError
        What the model costs without some of its sites is not known.
    """
    if config.budget_in == "sites":
        keep = config.keep if config.keep is not None else max(1, sites.size // 4)
        if keep > sites.size:
            raise ConfigError(
                f"keep={keep}, but {prepared.name!r} has {sites.size} sites of kind {config.sites!r}; "
                f"choose 1 <= keep <= {sites.size}"
            )
        return keep, None
    is_traced = bool(sites.channels or sites.weights)  # by running the network on rows
    costs = model_costs(model, sites, config.budget_in, input_shape=(prepared.n_inputs,) if is_traced else None)
    smallest, whole = costs.smallest, costs.whole
    limit = config.keep if config.keep is not None else max(smallest, math.ceil(whole / 4))
    met = f"keep={limit:,} {costs.words}"
    if limit > whole:
        raise ConfigError(f"{met}, but the whole model has {whole:,}; choose {smallest:,} <= keep <= {whole:,}")
    if limit < smallest:
        some = ["one input" if group.kind == "inputs" else f"one site of {group.layer}" for group in sites.groups]
        one = " and ".join(some if len(some) <= NAMED else [*some[:NAMED], f"of {len(some) - NAMED} more places"])
        raise ConfigError(
            f"{met}, but the smallest model, of {one}, has {smallest:,}; choose {smallest:,} <= keep <= {whole:,}"
        )
    if config.budget_drops == "chain":
        raise ConfigError(
            f"budget_in={config.budget_in} with budget_drops=chain: a cost is a wall, which the chain cannot come from above; "
            "use --budget-drops pool"
        )
    alpha = parse(config.alpha)
    if "alpha" in config.model_fields_set and max(alpha.start, alpha.end) > 0:
        raise ConfigError(
            f"alpha={config.alpha} with budget_in={config.budget_in}: a cost is a wall, and nothing pushes towards it; "
            "leave --alpha out"
        )
    return sites.size, CostBudget(costs, limit)
