"""A hard wall of the chain: masks above a cost, or with an emptied group of sites, are rejected without an evaluation.

The cost is a sum of products of how many sites are kept in one or two groups, so a candidate's is known in O(groups), whatever
N is. Whether a mask is allowed depends on the mask alone, so the proposals stay symmetric and the chain's law is Boltzmann's
among the allowed masks: a candidate behind the wall is a step that stays. Repairing it instead (clipping, filling up) would
not be symmetric.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.chain.jit import kernel
from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["CostTerms", "Wall", "new_wall"]


class CostTerms(NamedTuple):
    """cost = sum over t of each[t] c[first[t]] c[second[t]], c the kept counts of G groups, and c[G] = 1."""

    group: IntArray  # (N,) the group of each site
    first: IntArray  # (T,)
    second: IntArray  # (T,)
    each: IntArray  # (T,)


@kernel
def total_cost(counts: IntArray, first: IntArray, second: IntArray, each: IntArray) -> int:
    """Cost of kept counts (G + 1,)."""
    cost = 0
    for t in range(each.size):
        cost += each[t] * counts[first[t]] * counts[second[t]]
    return cost


@kernel
def count_rows(position: FloatArray, group: IntArray, counts: IntArray) -> None:
    """Kept sites of each group, and the last 1, into counts (R, G + 1)."""
    counts[:] = 0
    counts[:, -1] = 1
    for r in range(position.shape[0]):
        for i in range(group.size):
            if position[r, i] > 0.0:
                counts[r, group[i]] += 1


@kernel
def close_rows(
    position: FloatArray, size: AnyArray, sites: AnyArray, weights: FloatArray, counts: IntArray, limit: int,
    least: int, least_in_all: int,
    group: IntArray, first: IntArray, second: IntArray, each: IntArray, changes: AnyArray, closed: BoolArray,
) -> None:  # fmt: skip
    """Counts that each candidate would change (R, K, G), and whether it lies behind the wall (R, K): then its size is 0."""
    groups = counts.shape[1] - 1
    after = np.empty(groups + 1, np.int64)
    for r in range(size.shape[0]):
        for k in range(size.shape[1]):
            moved = False
            changes[r, k] = 0
            for m in range(size[r, k]):
                site = sites[r, k, m]
                change = (1 if weights[r, k, m] > 0.0 else 0) - (1 if position[r, site] > 0.0 else 0)
                if change != 0:
                    changes[r, k, group[site]] += change
                    moved = True
            closed[r, k] = False
            if not moved:
                continue
            after[groups] = 1
            in_all = 0
            for g in range(groups):
                after[g] = counts[r, g] + changes[r, k, g]
                in_all += after[g]
                if after[g] < least:
                    closed[r, k] = True
            if in_all < least_in_all:
                closed[r, k] = True
            if closed[r, k] or total_cost(after, first, second, each) > limit:
                closed[r, k] = True
                size[r, k] = 0


class Wall:
    """Where R chains stand among the allowed masks.

    Attributes
    ----------
    terms : CostTerms
    counts : ndarray of int64, shape (R, G + 1)
        Kept sites of each group; the last column is 1.
    least, least_in_all : int
        Sites that each group must keep, and that all must keep together.
    """

    def __init__(self, terms: CostTerms, replicas: int, least: int = 1, least_in_all: int = 0) -> None:
        self.terms = terms
        self.least, self.least_in_all = least, least_in_all
        groups = int(terms.group.max()) + 1
        self.counts = np.zeros((replicas, groups + 1), np.int64)
        self._changes = np.zeros((replicas, 0, groups), np.int64)

    def cost(self) -> IntArray:
        """Return the cost of each chain's mask, shape (R,)."""
        return np.array([total_cost(row, *self.terms[1:]) for row in self.counts], np.int64)

    def refresh(self, state: ChainState) -> None:
        """Count anew, in O(N): after positions were changed by other than `moved`."""
        count_rows(state.position, self.terms.group, self.counts)

    def close(self, state: ChainState, moves: Moves, limit: int) -> BoolArray:
        """Make null moves, in place, of the candidates that would cost more than `limit` or keep too few sites.

        Parameters
        ----------
        state : ChainState
            What `moves` were proposed from, as `refresh` and `moved` have followed it.
        moves : Moves
            Their `size` becomes 0 behind the wall; nothing else is changed.
        limit : int

        Returns
        -------
        ndarray of bool, shape (R, K)
            Which lie behind the wall.
        """
        replicas, ahead = moves.kind.shape
        self._changes = np.empty((replicas, ahead, self.counts.shape[1] - 1), np.int64)
        closed = np.empty((replicas, ahead), np.bool_)
        close_rows(
            state.position, moves.size, moves.sites, moves.weights, self.counts, int(limit), self.least, self.least_in_all,
            *self.terms, self._changes, closed,
        )  # fmt: skip
        return closed

    def moved(self, index: AnyArray) -> None:
        """Follow the chains: replica r took candidate index[r] of those that `close` saw last (-1: stayed)."""
        rows = np.flatnonzero(index >= 0)
        self.counts[rows, :-1] += self._changes[rows, index[rows]]


def new_wall(terms: CostTerms, state: ChainState, least: int = 1, least_in_all: int = 0) -> Wall:
    """Return the wall of a state; each group must keep `least` sites, and all together `least_in_all`.

    Raises
    ------
    ConfigError
        The terms are of another number of sites.
    """
    replicas, sites = state.position.shape
    if terms.group.size != sites:
        raise ConfigError(
            f"costs of {terms.group.size} sites, but there are {sites}. Describe the costs of these sites."
        )
    wall = Wall(terms, replicas, least, least_in_all)
    wall.refresh(state)
    return wall
