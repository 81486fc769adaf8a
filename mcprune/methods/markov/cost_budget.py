"""Following a budget that is a cost: what is dropped or comes back is chosen by its loss for what it saves or costs.

As `pool` does it for a count of sites, between blocks: a pool is drawn and each site's toggle judged alone. Dropping takes what
raises the loss least for each unit of cost that it saves, of which no more counts than is still in excess; growing takes what
lowers it most for each unit, of what still fits. Groups may be emptied where the costs allow it (`Costs.least`). At T > 0 each
change of loss gets T times Gumbel noise first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcprune.chain import philox, state
from mcprune.evaluators.base import Evaluator
from mcprune.methods.markov.budget import toggles
from mcprune.sites.costs import Costs
from mcprune.types import FloatArray, IntArray

# Share of a group's kept sites that may go at once, since each toggle is judged alone.
AT_ONCE = 8
# Of single weights, whose changes of loss are guessed: they do each other's work.
GUESSED = 32


@dataclass(frozen=True)
class CostBudget:
    """A budget in parameters or multiply-accumulates: masks above `limit` at the end, above cost(t) before, are not allowed."""

    costs: Costs
    limit: int


def follow(
    current: state.ChainState,
    evaluator: Evaluator,
    *,
    costs: Costs,
    limit: int,
    pool: int,
    temperature: FloatArray | float,
    sharpness: float,
    seed: int,
    block: int,
    chains: IntArray,
    may_grow: bool = False,
    pool_limit: int = 0,
    guesses: FloatArray | None = None,
) -> int:
    """Drop kept sites of each replica, in place, until it costs no more than `limit`; return how many toggles were evaluated.

    With `may_grow` a replica that costs less takes sites back until no further one fits. No group is emptied. `pool_limit` and
    `guesses` bound a pool as in `pool.follow`. The evaluator must have begun at the current position; call again, with another
    `block`, until nothing is evaluated.
    """
    replicas = current.position.shape[0]
    warmth = np.broadcast_to(np.asarray(temperature, dtype=np.float64), (replicas,))
    part = AT_ONCE if guesses is None else GUESSED
    drawn: list[IntArray] = []
    noise: list[FloatArray] = []
    for replica, chain in enumerate(chains.tolist()):
        is_kept = current.position[replica] > 0
        counts = costs.counts(is_kept)
        excess = int(costs.of(counts)) - limit
        sites, need = _eligible(costs, is_kept, counts, excess, may_grow, part)
        draws = philox.uniforms(seed, chain, block, philox.MASK, 2 * sites.size)
        size = max(pool * need, need)
        order = draws[: sites.size]
        if pool_limit and sites.size > pool_limit:
            size = max(min(size, pool_limit), need)
            order = order if guesses is None else guesses[sites]
        drawn.append(np.sort(sites[np.argsort(order, kind="stable")[:size]]))
        noise.append(draws[sites.size : sites.size + drawn[-1].size])
    if not any(part.size for part in drawn):
        return 0
    before = evaluator.current()
    losses = evaluator.losses(current, toggles(current, drawn))
    for replica, sites in enumerate(drawn):
        if sites.size:
            found = losses[replica, : sites.size]
            change = np.where(np.isfinite(found), found - before[replica], math.inf)
            if guesses is not None:
                guesses[sites] = change
            if warmth[replica] > 0:
                change = change + warmth[replica] * np.log(-np.log(noise[replica]))
            chosen = _chosen(costs, current.position[replica] > 0, sites, change, limit, part)
            current.position[replica, chosen] *= -1.0
            if guesses is not None:
                guesses[chosen] *= -1.0  # what is done can be undone
    state.refresh(current, sharpness=sharpness)
    return sum(sites.size for sites in drawn)


def _eligible(
    costs: Costs, is_kept: np.ndarray, counts: IntArray, excess: int, may_grow: bool, part: int
) -> tuple[IntArray, int]:
    """Return the sites that may go or come, and about how many of them must."""
    group = costs.terms.group
    if excess > 0:
        saved = np.where(counts > costs.least, -costs.steps(counts, -1), 0)
        sites = np.flatnonzero(is_kept & (saved[group] > 0))
        return sites, min(math.ceil(excess / max(int(saved.max()), 1)), max(1, sites.size // part))
    if not may_grow:
        return np.empty(0, np.int64), 0
    added = costs.steps(counts, 1)
    fits = (counts < costs.sizes) & (added <= -excess)
    sites = np.flatnonzero(~is_kept & fits[group])
    return sites, min(max(1, -excess // max(int(added[fits].max(initial=0)), 1)), sites.size)


def _chosen(
    costs: Costs, is_kept: np.ndarray, sites: IntArray, change: FloatArray, limit: int, part: int
) -> Sequence[int]:
    """Return which of the judged sites to toggle, one after the other as the costs change."""
    group, counts = costs.terms.group[sites], costs.counts(is_kept)
    most = np.maximum(counts // part, 1)
    left = np.ones(sites.size, bool)
    chosen: list[int] = []
    is_over = int(costs.of(counts)) > limit
    way = -1 if is_over else 1
    while left.any():
        room = limit - int(costs.of(counts))
        if is_over and room >= 0:
            break
        worth = way * costs.steps(counts, way)
        if is_over:
            # What would be saved beyond the excess is not needed now.
            can, worth = (counts > costs.least) & (most > 0) & (worth > 0), np.minimum(worth, -room)
        else:
            can = (counts < costs.sizes) & (worth <= room)
        open_ = left & can[group]
        if not open_.any():
            break
        ratio = np.where(open_, change / np.maximum(worth[group], 1), math.nan)
        best = int(np.nanargmin(ratio))
        left[best] = False
        counts[group[best]] += way
        most[group[best]] -= 1
        chosen.append(int(sites[best]))
    return chosen
