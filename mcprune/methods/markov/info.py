"""The description of a block of a chain."""

from __future__ import annotations

import math

from mcprune.chain import budget
from mcprune.chain.moves import KINDS
from mcprune.methods.base import Adaptation, BlockInfo
from mcprune.methods.markov.rule import Rule
from mcprune.methods.markov.settings import ChainSettings
from mcprune.methods.markov.state import MarkovState, Tally
from mcprune.types import FloatArray


def block_info(
    state: MarkovState, settings: ChainSettings, rule: Rule, tally: Tally, kept: int, cost: int | None
) -> BlockInfo:
    """Return the description of a block of decisions.

    Parameters
    ----------
    state : MarkovState
    settings : ChainSettings
    rule : Rule
    tally : Tally
    kept : int
        Sites that the coldest replica keeps.
    cost : int or None
        Of its mask, where the budget is a cost.
    """
    cold, sites = state.coldest, state.chain.position.shape[1]
    sums, target = state.chain.sums[cold], rule.target if cost is None else kept
    sel = float(budget.selection_loss(sums[0], target, sites))
    pru = float(budget.pruning_loss(sums, target, sites, settings.modified))
    by_move = tally.by_rung.sum(axis=1)
    return BlockInfo(
        loss=float(state.chain.loss[cold]),
        cla=float(state.chain.cla[cold]),
        sel=sel if cost is None or settings.cost is None else abs(cost - rule.target) / settings.cost.costs.whole,
        rej=pru - sel,
        alpha=rule.alpha,
        delta=float(rule.delta[0]),
        temperature=rule.temperature,
        gate_sum=float(sums[0]),
        kept=kept,
        target=target,
        proposals=int(by_move[0].sum()),
        accepted=int(by_move[1].sum()),
        nonfinite=tally.nonfinite,
        null_moves=tally.null,
        rejected_by_bound=tally.by_bound,
        moves={kind: (int(by_move[0, k]), int(by_move[1, k])) for k, kind in enumerate(KINDS) if by_move[0, k]},
        evaluated=tally.evaluated,
        adapted=adaptation(state, settings, rule.rungs, rule.delta),
        cost=cost,
        cost_target=None if cost is None else rule.target,
        rejected_by_cost=tally.by_cost,
        spread=math.sqrt(tally.squares / tally.changes) if tally.changes else math.nan,
    )


def adaptation(state: MarkovState, settings: ChainSettings, rungs: FloatArray, delta: FloatArray) -> Adaptation | None:
    """Return what was adapted; None where nothing is."""
    if settings.replicas == 1 and state.step_size is None:
        return None
    adapted = Adaptation(frozen_at=state.frozen_at)
    if settings.replicas > 1:
        counts = zip(state.ladder.swaps.tolist(), state.ladder.attempts.tolist(), strict=True)
        adapted = adapted._replace(
            temperatures=rungs.tolist(),
            swap_rates=[swaps / attempts if attempts else None for swaps, attempts in counts],
            round_trips=int(state.ladder.trips.sum()),
        )
    return adapted if state.step_size is None else adapted._replace(deltas=delta.tolist())


def waiting_info(state: MarkovState, rule: Rule, kept: int, evaluated: int) -> BlockInfo:
    """Return the description of a block before a start by a measure: all sites are kept, and only their loss is computed."""
    cold, sites = state.coldest, state.chain.position.shape[1]
    loss, cla = float(state.chain.loss[cold]), float(state.chain.cla[cold])
    gate_sum = float(state.chain.sums[cold, 0])
    sel = abs(gate_sum - sites) / sites
    return BlockInfo(
        loss=loss,
        cla=cla,
        sel=sel,
        rej=(loss - cla) / rule.alpha - sel if rule.alpha else 0.0,
        alpha=rule.alpha,
        delta=float(rule.delta[0]),
        temperature=rule.temperature,
        gate_sum=gate_sum,
        kept=kept,
        target=sites,
        proposals=0,
        accepted=0,
        nonfinite=0,
        null_moves=0,
        rejected_by_bound=0,
        moves={},
        evaluated=evaluated,
    )
