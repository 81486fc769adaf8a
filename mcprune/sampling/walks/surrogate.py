"""Proposals by a cheap model of the loss: many exchanges that the model accepts are evaluated as one candidate.

Most exchanges of sites are rejected, and each costs an evaluation. A model E of the loss (`loss_model`) costs next to nothing. So a
proposal is where a Metropolis chain of the law exp(-E / T) gets to in some exchanges, a walk; it is accepted with the probability
min(1, exp(-(dL - dE) / T)). That chain is reversible under exp(-E / T), so the masks keep the law exp(-L / T) / Z however wrong the model
is: a wrong one costs acceptance alone [1]_ [2]_. A walk that ends more than `MOST_EXCHANGES` exchanges away is rejected, which is the same
on the way back. A share of the proposals stays single exchanges, by which chains leave places where the model is far off.

References
----------
.. [1] Liu (2001), Monte Carlo Strategies in Scientific Computing, Springer: the surrogate transition method.
.. [2] Christen and Fox (2005), Markov chain Monte Carlo using an approximation, Journal of Computational and Graphical Statistics 14, 795.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mcprune.chain import moves
from mcprune.chain.jit import kernel
from mcprune.chain.kernels import Key, pair
from mcprune.chain.state import ChainState, StepInfo
from mcprune.methods.markov.gates import GatesBySign, Law
from mcprune.sampling.walks.loss_model import CandidateLog, LossModel
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

# Purposes of random numbers, beside those of `mcprune/chain/kernels.py`: the exchanges of a walk, and whether there is one.
EXCHANGES, KIND = 16, 17
# Share of the proposals that are single exchanges.
SINGLE = 0.2
# Exchanges between both ends of a walk at most: evaluators look at moves of 64 sites without computing everything again.
MOST_EXCHANGES = 32


class Visits(NamedTuple):
    """Masks that replicas are asked to move to.

    Attributes
    ----------
    masks : ndarray of bool, shape (R, M)
        Of the active items; the others are dropped.
    is_visited : ndarray of bool, shape (R,)
    scale : float
        What the model is multiplied by.
    """

    masks: BoolArray
    is_visited: BoolArray
    scale: float


class Mixture(NamedTuple):
    """The laws of a ladder: exp(-(share L + (1 - share) scale E) / T), the share of the loss being T over the temperature of a rung.

    Attributes
    ----------
    temperature : float
        T.
    scale : float
        What the model is multiplied by.
    """

    temperature: float
    scale: float

    def shares(self, temperature: FloatArray) -> FloatArray:
        """Return the share of the loss at rungs of these temperatures."""
        return self.temperature / temperature

    def of_model(self, temperature: FloatArray) -> FloatArray:
        """Return the temperatures at which a chain of the model alone differs from the law of a rung by share (L - E) alone."""
        share = self.shares(temperature)
        return np.asarray(self.temperature / (share + (1.0 - share) * self.scale), np.float64)


class SurrogateGates(GatesBySign):
    """Hard gates whose proposals are walks, once the model knows something.

    Attributes
    ----------
    model : LossModel or None
        None: single exchanges alone.
    mixture : Mixture or None
        The laws of a ladder; None: exp(-L / T) at each temperature.
    log : CandidateLog or None
        Gets the candidates that are evaluated; None: nothing is kept of them.
    visits : Visits or None
        What the next proposals are in place of walks and exchanges.
    """

    def __init__(self) -> None:
        self.model: LossModel | None = None
        self.mixture: Mixture | None = None
        self.log: CandidateLog | None = None
        self.visits: Visits | None = None
        self._is_walk = np.zeros((0, 0), np.bool_)
        self._limits = np.zeros((0, 0))

    def propose(self, chain: ChainState, law: Law, count: int, left: IntArray) -> moves.Moves:
        """See `Gates.propose`."""
        if self.visits is not None:
            return self._visit(chain, law, self.visits)
        single = super().propose(chain, law, count, left)
        self._is_walk = np.zeros(single.size.shape, np.bool_)
        model = self.model
        if model is None or not model.tries:
            return single
        replicas, ahead, most = single.sites.shape
        sites = np.full((replicas, ahead, 2 * MOST_EXCHANGES), -1)
        weights = np.full(sites.shape, np.nan)
        sites[:, :, :most], weights[:, :, :most] = single.sites, single.weights
        at, of_single = law.temperature, np.zeros(replicas)
        if self.mixture is not None:
            at = self.mixture.of_model(law.temperature)
            share = self.mixture.shares(law.temperature)
            of_single = (1.0 - share) * self.mixture.scale / self.mixture.temperature
        walk_rows(
            (chain.position, chain.step), (model.active, model.items, model.pairs, model.share, np.cumsum(model.share)),
            (at, at / law.temperature, of_single), model.tries, law.seed, law.chains,
            (single.size, sites, weights, single.log_ratio), self._is_walk,
        )  # fmt: skip
        return single._replace(sites=sites, weights=weights)

    def _visit(self, chain: ChainState, law: Law, visits: Visits) -> moves.Moves:
        """Return a candidate of each replica that is asked: the mask that it is asked to move to, with dE / T."""
        model = self.model
        assert model is not None
        here = chain.position > 0
        there = np.zeros_like(here)
        there[:, model.active] = visits.masks
        changes = (here != there) & visits.is_visited[:, None]
        size = changes.sum(axis=1)
        replicas, most = len(here), int(max(size.max(), 1))
        sites, weights = np.full((replicas, 1, most), -1), np.full((replicas, 1, most), np.nan)
        for r in range(replicas):
            changed = np.flatnonzero(changes[r])
            sites[r, 0, : changed.size], weights[r, 0, : changed.size] = changed, -chain.position[r, changed]
        change = model.energy(there[:, model.active]) - model.energy(here[:, model.active])
        ratio = visits.scale * change / law.temperature
        self._is_walk = np.zeros((replicas, 1), np.bool_)
        return moves.Moves(
            kind=np.full((replicas, 1), moves.EXCHANGE, np.int8),
            size=size[:, None].astype(np.int32),
            sites=sites,
            weights=weights,
            log_ratio=np.where(size > 0, ratio, 0.0)[:, None],
            sums=chain.sums[:, None].copy(),
        )

    def limits(self, chain: ChainState, law: Law, candidates: moves.Moves, left: IntArray) -> FloatArray:
        """See `Gates.limits`."""
        self._limits = super().limits(chain, law, candidates, left)
        return self._limits

    def advance(
        self, chain: ChainState, law: Law, candidates: moves.Moves, losses: FloatArray, left: IntArray
    ) -> StepInfo:
        """See `Gates.advance`."""
        if self.log is None or self.model is None:
            return super().advance(chain, law, candidates, losses, left)
        before, losses_before = chain.position > 0, chain.cla.copy()
        info = super().advance(chain, law, candidates, losses, left)
        is_consumed = np.arange(self._is_walk.shape[1]) < info.consumed[:, None]
        self.log.walks += int((self._is_walk & is_consumed).sum())
        replica = np.flatnonzero(info.index >= 0)
        self.log.accepted += int(self._is_walk[replica, info.index[replica]].sum())
        # Candidates that were ruled out have a loss of 1 above their limits.
        is_known = is_consumed & (candidates.size > 0) & np.isfinite(losses) & (losses != self._limits + 1.0)
        for r, k in np.argwhere(is_known):
            after = before[r].copy()
            changed = candidates.sites[r, k, : candidates.size[r, k]]
            after[changed] = ~after[changed]
            active = self.model.active
            self.log.rows[r].append((before[r][active], after[active], float(losses[r, k] - losses_before[r])))
        return info


@kernel
def exchange_on(
    field: FloatArray, kept: IntArray, is_kept: AnyArray, count: int, pairs: FloatArray, shares: tuple[AnyArray, ...],
    temperature: float, tries: int, key: Key, purpose: int,
) -> float:  # fmt: skip
    """Let a chain of the model try so many exchanges, in place; return the change of E / T.

    `kept` lists the `count` places that are kept, `field` has what E gains by each place: its own term and those with all kept ones.
    """
    share, cumulated = shares
    size, energy = field.size, 0.0
    if count == 0 or count == size:  # noqa: PLR1714  # plain for numba
        return 0.0
    for t in range(tries):
        u, v = pair(key, purpose, 2 * t)
        place = int(u * count)
        i, j = kept[place], np.searchsorted(cumulated, v * cumulated[-1], side="right")
        if is_kept[j]:
            continue
        # L without the terms of i, with those of j
        change = (field[j] - field[i] - pairs[j, i]) / temperature
        # Items to keep are drawn by their share, whoever is kept, and items to drop evenly.
        if math.log(pair(key, purpose, 2 * t + 1)[0]) <= math.log(share[i] / share[j]) - change:
            kept[place], is_kept[i], is_kept[j] = j, False, True
            energy += change
            for m in range(size):
                field[m] += pairs[j, m] - pairs[i, m]
    return energy


@kernel
def walk(
    weights: FloatArray, model: tuple[AnyArray, ...], base: FloatArray, temperature: float, tries: int, key: Key,
    room: tuple[AnyArray, ...], sites: IntArray, changed: FloatArray,
) -> tuple[int, float]:  # fmt: skip
    """Write to `sites` and `changed` where a chain of the model gets to; return (sites, dE / T), -1 sites where it is too far."""
    active, _, pairs, _, _ = model
    field, kept, is_kept = room
    count = 0
    for m in range(active.size):
        field[m] = base[m]
        is_kept[m] = weights[active[m]] > 0.0
        if is_kept[m]:
            kept[count] = m
            count += 1
    energy = exchange_on(field, kept, is_kept, count, pairs, model[3:], temperature, tries, key, EXCHANGES)
    away = 0
    for m in range(active.size):
        site = active[m]
        if is_kept[m] != (weights[site] > 0.0):
            if away == sites.size:
                return -1, 0.0
            sites[away], changed[away] = site, -weights[site]
            away += 1
    return away, energy


@kernel
def change_of(weights: FloatArray, place: IntArray, base: FloatArray, pairs: FloatArray, sites: IntArray) -> float:
    """Return what E changes by where these sites are flipped; `place` has the place of each site in the model, or -1."""
    change = 0.0
    for one in range(sites.size):
        a = place[sites[one]]
        if a < 0:
            continue
        sign = -1.0 if weights[sites[one]] > 0.0 else 1.0
        change += sign * base[a]
        for other in range(one):
            b = place[sites[other]]
            if b >= 0:
                change += (-sign if weights[sites[other]] > 0.0 else sign) * pairs[a, b]
    return change


@kernel
def walk_rows(
    chain: tuple[AnyArray, ...], model: tuple[AnyArray, ...], laws: tuple[FloatArray, ...], tries: int, seed: int, chains: IntArray,
    cells: tuple[AnyArray, ...], is_walk: AnyArray,
) -> None:  # fmt: skip
    """Put walks in the place of most of the candidates; `is_walk` (R, K) are those that get anywhere.

    `laws` has three arrays (R,): the temperature of the walks, the factor of their change of E over it, and that of the change of E by
    a single exchange.
    """
    position, step = chain
    active, items, pairs, _, _ = model
    temperature, of_walk, of_single = laws
    size, sites, changed, ratio = cells
    base = np.empty(active.size)
    place = np.full(position.shape[1], -1)
    place[active] = np.arange(active.size)
    room = np.empty(active.size), np.empty(active.size, np.int64), np.empty(active.size, np.bool_)
    for r in range(size.shape[0]):
        base[:] = items
        for m in range(active.size):
            if position[r, active[m]] > 0.0:
                for other in range(active.size):
                    base[other] += pairs[m, other]
        for k in range(size.shape[1]):
            key = (seed, chains[r], step[r] + k)
            if pair(key, KIND, 0)[0] < SINGLE:
                if of_single[r] > 0.0:
                    ratio[r, k] -= of_single[r] * change_of(position[r], place, base, pairs, sites[r, k, : size[r, k]])
                continue
            sites[r, k, :] = -1
            changed[r, k, :] = math.nan
            away, energy = walk(position[r], model, base, temperature[r], tries, key, room, sites[r, k], changed[r, k])
            is_walk[r, k] = away != 0
            size[r, k], ratio[r, k] = max(away, 0), of_walk[r] * energy
            if away < 0:
                sites[r, k, :] = -1
                changed[r, k, :] = math.nan
