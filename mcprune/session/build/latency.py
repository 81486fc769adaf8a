"""A budget in measured time: the table of latencies that a run searches by, and the limit that its fit puts on masks."""

from __future__ import annotations

import copy

import numpy as np
from torch import nn

from mcprune.config.budgets import PICOSECONDS
from mcprune.config.schema import Config
from mcprune.config.sections.problem import Problem
from mcprune.errors import ConfigError
from mcprune.exporters.latency import LatencyModel, LatencyTable
from mcprune.sites.budget import CostBudget
from mcprune.sites.costs.count import model_costs
from mcprune.sites.site_map import SiteMap

MICRO = 1e-6


def latency_model(problem: Problem, model: nn.Module, sites: SiteMap, n_inputs: int) -> LatencyModel:
    """Return what measures and predicts the latencies of a classifier cut to masks."""
    costs = model_costs(model, sites, "macs", input_shape=(n_inputs,))
    return LatencyModel(copy.deepcopy(model).to("cpu"), sites, costs, problem.latency_rows, (n_inputs,))


def settle_latency(config: Config, model: nn.Module, sites: SiteMap, n_inputs: int) -> Config:
    """Return the configuration with the table of latencies, measured now where it has none and a latency is bounded.

    Raises
    ------
    ConfigError
        Single weights are sites, whose zeros save no time; or a table without a bound.
    ModelError
        The classifier cannot be cut, or how its widths act together is not known.
    """
    problem = config.problem
    if problem.latency is None:
        if problem.latency_table is not None:
            raise ConfigError("latency_table without a bound on the latency. Give --latency too, or leave it out.")
        return config
    if sites.weights:
        raise ConfigError(
            f"latency={problem.latency:g} with sites={problem.sites!r}: the zeros of single weights save no time. Choose inputs, units "
            "or channels, or bound --parameters."
        )
    if problem.latency_table is None:
        table = latency_model(problem, model, sites, n_inputs).table(problem.latency * MICRO, config.runtime.seed)
        return config.replace(
            latency_table={
                "rows": table.rows,
                "counts": table.counts.tolist(),
                "microseconds": (table.seconds / MICRO).tolist(),
            }
        )
    if problem.latency_table["rows"] != problem.latency_rows:
        raise ConfigError(
            f"latency_rows={problem.latency_rows}, but the table was measured with {problem.latency_table['rows']} rows. Give that "
            "number, or another table."
        )
    return config


def latency_budget(problem: Problem, model: nn.Module, sites: SiteMap, n_inputs: int) -> CostBudget:
    """Return the bound on the latency, in picoseconds, by the fit of the recorded table."""
    assert problem.latency is not None
    assert problem.latency_table is not None
    record = problem.latency_table
    table = LatencyTable(
        np.array(record["counts"], np.int64), np.array(record["microseconds"]) * MICRO, problem.latency_rows
    )
    costs = latency_model(problem, model, sites, n_inputs).fit(table)
    return CostBudget("latency", round(problem.latency * PICOSECONDS), costs)
