"""Scores of sites from probes: before each block some sites are toggled one by one, and nothing is accepted.

Of very many sites an exchange of two random ones is nearly always a bad one, and what the chain itself has tried covers few of
them. So some sites are evaluated alone on the block's own rows: those that looked best when they were last probed, since these
are proposed, and the others in turns. A site's rank among the kept, or the dropped, gives its score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcprune.chain.moves import toggles
from mcprune.chain.state import ChainState
from mcprune.evaluators.base import Evaluator
from mcprune.types import FloatArray, IntArray

# A site of rank r (from 0) has the score (r + FIRST)^-POWER.
FIRST, POWER = 16.0, 1.5
# The share of the probes that goes to sites that look best; the others are probed in turns.
BEST = 0.6
# Rows on which the effects of the sites are guessed.
GUESSED_ROWS = 2048


@dataclass
class ProbesState:
    """What is known of toggling each site alone, for the coldest replica's position; updated in place.

    Attributes
    ----------
    change : ndarray of float64, shape (N,)
        Change of L_cla when the site was last toggled; before that a guess, see `Probes.guess`.
    turn : ndarray of int64, shape (2,)
        The site, of the kept and of the dropped ones, that is probed next.
    """

    change: FloatArray
    turn: IntArray


class Probes:
    """Toggle some sites of the coldest replica before each block.

    Parameters
    ----------
    count : int
        Sites probed before each block, kept and dropped ones in halves.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def init(self, sites: int) -> ProbesState:
        """Return a state in which nothing is known of the sites."""
        return ProbesState(np.zeros(sites), np.zeros(2, np.int64))

    def guess(self, state: ProbesState, effects: FloatArray) -> None:
        """Take the sizes of the sites' effects (N,) as a guess: keeping a site matters as much as its effect squared.

        The scale of the guesses does not matter: ranks do.
        """
        state.change[:] = np.square(effects / max(float(np.max(effects)), 1e-300))

    def probe(self, state: ProbesState, chain: ChainState, replica: int, evaluator: Evaluator) -> int:
        """Toggle some sites of a replica, remember what it changed, and return how many.

        Parameters
        ----------
        state : ProbesState
        chain : ChainState
            Read only.
        replica : int
            The evaluator must have begun at its position.
        evaluator : Evaluator
        """
        is_kept = chain.position[replica] > 0
        chosen = np.concatenate(
            [self._chosen(state, np.flatnonzero(is_kept), 0), self._chosen(state, np.flatnonzero(~is_kept), 1)]
        )
        if not chosen.size:
            return 0
        nothing = np.empty(0, np.int64)
        per_replica = [chosen if r == replica else nothing for r in range(len(chain.position))]
        losses = evaluator.losses(chain, toggles(chain, per_replica))[replica, : chosen.size]
        change = losses - evaluator.current()[replica]
        state.change[chosen] = np.where(np.isfinite(change), change, np.inf)
        return int(chosen.size)

    def accepted(self, state: ProbesState, sites: IntArray) -> None:
        """Note that these sites were toggled: toggling them back undoes the change."""
        state.change[sites] *= -1.0

    def scores(self, state: ProbesState, position: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return scores (add, remove), each (N,), by the ranks of the sites among the dropped and among the kept."""
        is_kept = position > 0
        add, remove = np.zeros((2, position.size))
        for out, here in ((add, ~is_kept), (remove, is_kept)):
            order = np.argsort(state.change[here], kind="stable")
            ranks = np.empty(order.size)
            ranks[order] = np.arange(order.size)
            out[here] = (ranks + FIRST) ** -POWER
        # A site that the block moves is as likely to be moved back as any.
        for out in (add, remove):
            out[out == 0] = out[out > 0].mean() if (out > 0).any() else 1.0
        return add, remove

    def _chosen(self, state: ProbesState, sites: IntArray, which: int) -> IntArray:
        """Return the sites of one kind to be probed: all, if there are few, else the best and the next in turn."""
        most = self.count // 2
        if sites.size <= most:
            return sites
        best = sites[np.argpartition(state.change[sites], round(BEST * most))[: round(BEST * most)]]
        first = int(np.searchsorted(sites, state.turn[which]))
        others = np.concatenate([sites[first:], sites[:first]])[: most - best.size]
        if others.size:
            state.turn[which] = others[-1] + 1
        return np.union1d(best, others)
