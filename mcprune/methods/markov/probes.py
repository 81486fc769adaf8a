"""Scores of sites from trying them: in front of each block some are toggled one by one, and nothing is accepted.

Of very many sites an exchange of two random ones is nearly always a bad one, and what the chain itself has met covers few of
them. So some sites are judged alone on the block's own rows: those that looked best when they were last tried, since these
are proposed, and the others in turns. A site's rank among the kept, or the dropped, gives its score.
"""

from __future__ import annotations

import numpy as np

from mcprune.chain.state import ChainState
from mcprune.evaluators.base import Evaluator
from mcprune.methods.markov.budget import toggles
from mcprune.state import Saved, checked
from mcprune.types import FloatArray, IntArray

# A site of rank r (from 0) has the score (r + FIRST)^-POWER.
FIRST, POWER = 16.0, 1.5
# Of the tries, the share that goes to sites that look best; the others are tried in turns.
BEST = 0.6


class Trials:
    """What is known of toggling each site alone, for the coldest replica's position.

    Parameters
    ----------
    sites : int
    count : int
        Sites tried in front of each block, kept and dropped ones in halves.

    Attributes
    ----------
    change : ndarray of float64, shape (N,)
        Change of L_cla when the site was last toggled; before that a guess, see `guess`.
    """

    def __init__(self, sites: int, count: int) -> None:
        self.count = count
        self.change = np.zeros(sites)
        self._turn = np.zeros(2, np.int64)  # of the kept, of the dropped

    def guess(self, effects: FloatArray) -> None:
        """Take the sizes of the sites' effects (N,) as a guess: keeping a site matters as much as its effect squared.

        The scale of the guesses does not matter: ranks do.
        """
        self.change = np.square(effects / max(float(np.max(effects)), 1e-300))

    def try_sites(self, state: ChainState, replica: int, evaluator: Evaluator) -> int:
        """Toggle some sites of a replica and remember what it changed; return how many.

        Parameters
        ----------
        state : ChainState
            Read only.
        replica : int
            The evaluator must have begun at its position.
        evaluator : Evaluator
        """
        is_kept = state.position[replica] > 0
        chosen = np.concatenate([self._chosen(np.flatnonzero(is_kept), 0), self._chosen(np.flatnonzero(~is_kept), 1)])
        if not chosen.size:
            return 0
        nothing = np.empty(0, np.int64)
        per_replica = [chosen if r == replica else nothing for r in range(len(state.position))]
        losses = evaluator.losses(state, toggles(state, per_replica))[replica, : chosen.size]
        change = losses - evaluator.current()[replica]
        self.change[chosen] = np.where(np.isfinite(change), change, np.inf)
        return int(chosen.size)

    def turned(self, sites: IntArray) -> None:
        """Say that these sites have been toggled for good: toggling them back undoes the change."""
        self.change[sites] *= -1.0

    def scores(self, position: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return scores (add, remove), each (N,), by the ranks of the sites among the dropped and among the kept."""
        is_kept = position > 0
        add, remove = np.zeros((2, position.size))
        for out, here in ((add, ~is_kept), (remove, is_kept)):
            order = np.argsort(self.change[here], kind="stable")
            ranks = np.empty(order.size)
            ranks[order] = np.arange(order.size)
            out[here] = (ranks + FIRST) ** -POWER
        # A site that the block moves is as likely to be moved back as any.
        for out in (add, remove):
            out[out == 0] = out[out > 0].mean() if (out > 0).any() else 1.0
        return add, remove

    def save(self) -> Saved:
        """Return what is known of the sites, and whose turn it is."""
        return {"change": self.change.copy(), "turn": self._turn.copy()}

    def restore(self, saved: Saved) -> None:
        """Go on from what `save` gave; ValueError where it was of other sites."""
        self.change = checked(saved["change"], self.change, "change")
        self._turn = checked(saved["turn"], self._turn, "turn")

    def _chosen(self, sites: IntArray, which: int) -> IntArray:
        """Return the sites of one kind to be tried: all, if there are few, else the best and the next in turn."""
        most = self.count // 2
        if sites.size <= most:
            return sites
        best = sites[np.argpartition(self.change[sites], round(BEST * most))[: round(BEST * most)]]
        first = int(np.searchsorted(sites, self._turn[which]))
        others = np.concatenate([sites[first:], sites[:first]])[: most - best.size]
        if others.size:
            self._turn[which] = others[-1] + 1
        return np.union1d(best, others)
