"""The description of a block of a chain."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mcprune.chain import budget
from mcprune.chain.moves import KINDS
from mcprune.chain.state import kept_count
from mcprune.evaluators.base import gates_of
from mcprune.methods.base import Adaptation, BlockInfo, MoveCounts
from mcprune.methods.markov.rule import Rule
from mcprune.methods.markov.settings import ChainSettings
from mcprune.methods.markov.state import MarkovState, Tally
from mcprune.sites.space import SearchSpace
from mcprune.types import FloatArray, IntArray


class Shown(NamedTuple):
    """What the coldest replica keeps and its target, in the unit of the budget's count, and the sum of its gates."""

    kept: int
    target: int
    gate_sum: float


def shown(space: SearchSpace, state: MarkovState, target: int, weight: float) -> Shown:
    """Return what the events show of the coldest replica, whose target is in items; fixed sites stand at plus or minus `weight`."""
    cold = state.coldest
    kept, gate_sum = int(kept_count(state.chain)[cold]), float(state.chain.sums[cold, 0])
    if space.is_plain:
        return Shown(kept, target, gate_sum)
    position = space.expand(state.chain.position[cold], weight)
    if space.items is not None:
        if space.is_count:  # a site for each item
            position = position[[*space.first, *(item.sites[0] for item in space.always)]]
        gate_sum = float(gates_of(position, state.sharpness).astype(np.float64).sum())
        if space.is_count:
            return Shown(kept + space.fixed_count, target + space.fixed_count, gate_sum)
        kept = int((position > 0).sum())
        return Shown(kept, kept, gate_sum)
    more = int(space.kept.sum())
    through = float(gates_of(position[space.owner < 0], state.sharpness).astype(np.float64).sum())
    return Shown(kept + more, target + more, gate_sum + through)


def block_info(
    state: MarkovState,
    settings: ChainSettings,
    space: SearchSpace,
    rule: Rule,
    tally: Tally,
    of_sites: Shown,
    target: int,
    costs: IntArray | None,
) -> BlockInfo:
    """Return the description of a block of decisions.

    Parameters
    ----------
    state : MarkovState
    settings : ChainSettings
    space : SearchSpace
    rule : Rule
    tally : Tally
    of_sites : Shown
    target : int
        n(t) in items; under a constraint those that are kept.
    costs : ndarray of int64, shape (J,), or None
        Of the coldest replica's mask, under a constraint.
    """
    cold, sites = state.coldest, state.chain.position.shape[1]
    sums = state.chain.sums[cold]
    sel = float(budget.selection_loss(sums[0], target, sites))
    rej = float(budget.pruning_loss(sums, target, sites, settings.modified)) - sel
    of_mask: tuple[int, ...] = ()
    cost_targets: tuple[int, ...] = ()
    if costs is not None and costs.size:
        of_mask, cost_targets = tuple(costs.tolist()), tuple(rule.goal.limits.tolist())
        sel = abs(of_mask[0] - cost_targets[0]) / int(space.whole.limits[0])
    by_move = tally.by_rung.sum(axis=1)
    return BlockInfo(
        loss=float(state.chain.loss[cold]),
        cla=float(state.chain.cla[cold]),
        sel=sel,
        rej=rej,
        alpha=rule.alpha,
        delta=float(rule.delta[0]),
        temperature=rule.temperature,
        gate_sum=of_sites.gate_sum,
        kept=of_sites.kept,
        target=of_sites.target,
        proposals=int(by_move[0].sum()),
        decisions=int(by_move[1].sum()),
        accepted=int(by_move[2].sum()),
        nonfinite=tally.nonfinite,
        null_moves=tally.null,
        rejected_by_bound=tally.by_bound,
        moves={kind: MoveCounts(*by_move[:, k].tolist()) for k, kind in enumerate(KINDS) if by_move[0, k]},
        evaluated=tally.evaluated,
        adapted=adaptation(state, settings, rule.rungs, rule.delta),
        costs=of_mask,
        cost_targets=cost_targets,
        rejected_by_cost=tally.by_cost,
        spread=math.sqrt(tally.squares / tally.changes) if tally.changes else math.nan,
        standard_error=state.standard_error,
        samples=tuple(sample.on_sites(space.first) for sample in tally.samples)
        if not space.is_plain
        else tuple(tally.samples),
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


def waiting_info(state: MarkovState, rule: Rule, of_sites: Shown, evaluated: int) -> BlockInfo:
    """Return the description of a block before a start by a measure: all items are kept, and only their loss is computed."""
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
        gate_sum=of_sites.gate_sum,
        kept=of_sites.kept,
        target=of_sites.target,
        proposals=0,
        decisions=0,
        accepted=0,
        nonfinite=0,
        null_moves=0,
        rejected_by_bound=0,
        moves={},
        evaluated=evaluated,
    )
