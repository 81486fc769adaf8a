"""How weights make a mask: by their signs, or by their ranks. Each proposes candidates for the chain and lets it decide on them.

By sign a site is kept where its weight is positive (a sigmoid gate is open by so much), and n(t) is enforced or pushed by L_pru. By
rank the n largest weights are kept (`chain/ranks/gates.py`): every step holds n, and evaluators see the mask as signs of the positions.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from mcprune.chain import engine, moves, philox
from mcprune.chain import state as chain_state
from mcprune.chain.ranks import gates as ranks
from mcprune.chain.state import ChainState, StepInfo
from mcprune.sites.patterns import Pattern
from mcprune.types import BoolArray, FloatArray, IntArray

# Gates by rank: a leg of a block ends after all decisions, or after so many written weights for each, whatever comes first.
WALKS = 1000
# A position by rank is this far from the cut at least, so that its sign tells the mask.
CLEAR = 1e-12


class Law(NamedTuple):
    """What proposals and decisions of one leg are made by.

    Attributes
    ----------
    plan : MovePlan
    delta, temperature : ndarray of float64, shape (R,)
    alpha, n : float
        L_tot = L_cla + alpha L_pru(n).
    modified : bool
        L_rej' instead of L_rej.
    sharpness : float
    seed : int
    chains : ndarray of int64, shape (R,)
    """

    plan: moves.MovePlan
    delta: FloatArray
    temperature: FloatArray
    alpha: float
    n: float
    modified: bool
    sharpness: float
    seed: int
    chains: IntArray


class Gates(Protocol):
    """How weights make a mask."""

    def weights(self, seed: int, chains: IntArray, size: int) -> FloatArray | None:
        """Return the weights (R, F) at the start; None where the positions are the weights."""
        ...

    def begin(self, chain: ChainState, weights: FloatArray | None) -> None:
        """Take the positions of the chain, whose signs tell the masks: after they were changed by other than `advance`."""
        ...

    def keep_top(self, chain: ChainState, weights: FloatArray | None, count: int) -> None:
        """Let each replica keep `count` items, in place, where the moves do not change their number."""
        ...

    def begin_leg(self, decisions: int) -> None:
        """Begin so many decisions of each replica."""
        ...

    def propose(self, chain: ChainState, law: Law, count: int, left: IntArray) -> moves.Moves:
        """Return `count` candidates, no more for a replica than it has decisions `left`."""
        ...

    def limits(self, chain: ChainState, law: Law, candidates: moves.Moves, left: IntArray) -> FloatArray:
        """Return the largest L_cla (R, K) at which each is accepted, -inf where a candidate is not to be evaluated."""
        ...

    def advance(
        self, chain: ChainState, law: Law, candidates: moves.Moves, losses: FloatArray, left: IntArray
    ) -> StepInfo:
        """Take the first accepted candidate of each replica, and count down what it has left."""
        ...


class GatesBySign:
    """A site is kept where its weight is positive."""

    def weights(self, seed: int, chains: IntArray, size: int) -> None:
        """See `Gates.weights`."""
        return

    def begin(self, chain: ChainState, weights: FloatArray | None) -> None:
        """See `Gates.begin`."""

    def keep_top(self, chain: ChainState, weights: FloatArray | None, count: int) -> None:
        """See `Gates.keep_top`: the moves follow n(t), pushed by L_pru."""

    def begin_leg(self, decisions: int) -> None:
        """See `Gates.begin_leg`."""

    def propose(self, chain: ChainState, law: Law, count: int, left: IntArray) -> moves.Moves:
        """See `Gates.propose`."""
        return moves.propose(
            chain, count, plan=law.plan, delta=law.delta, sharpness=law.sharpness, seed=law.seed, chains=law.chains
        )

    def limits(self, chain: ChainState, law: Law, candidates: moves.Moves, left: IntArray) -> FloatArray:
        """See `Gates.limits`."""
        limits = engine.thresholds(
            chain, candidates, temperature=law.temperature, alpha=law.alpha, n=law.n, modified=law.modified, seed=law.seed,
            chains=law.chains,
        )  # fmt: skip
        limits[np.arange(limits.shape[1]) >= left[:, None]] = -math.inf  # behind the leg: not to be evaluated
        return limits

    def advance(
        self, chain: ChainState, law: Law, candidates: moves.Moves, losses: FloatArray, left: IntArray
    ) -> StepInfo:
        """See `Gates.advance`."""
        _, info = engine.advance(
            chain, candidates, losses, temperature=law.temperature, alpha=law.alpha, n=law.n, modified=law.modified,
            sharpness=law.sharpness, seed=law.seed, chains=law.chains, room=left,
        )  # fmt: skip
        left -= info.consumed
        return info


class GatesByPattern(GatesBySign):
    """A site is kept where its weight is positive, and only exchanges are proposed that keep a pattern.

    Parameters
    ----------
    pattern : Pattern
        The masks have it already.
    """

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern

    def propose(self, chain: ChainState, law: Law, count: int, left: IntArray) -> moves.Moves:
        """See `Gates.propose`: candidate k is a function of the seed, the chain, the step and the mask alone."""
        replicas, width = len(chain.position), 2 * (self.pattern.cells.shape[1] if self.pattern.is_of_blocks else 1)
        out = moves.Moves(
            kind=np.full((replicas, count), moves.EXCHANGE, np.int8),
            size=np.zeros((replicas, count), np.int32),
            sites=np.full((replicas, count, width), -1, np.int64),
            weights=np.full((replicas, count, width), np.nan),
            log_ratio=np.zeros((replicas, count)),
            sums=np.repeat(chain.sums[:, None], count, axis=1),
        )
        for replica, number in enumerate(law.chains.tolist()):
            position, step = chain.position[replica], int(chain.step[replica])
            uniforms = np.stack(
                [philox.uniforms(law.seed, number, step + k, philox.SITE_CHOICE, 3) for k in range(count)]
            )
            exchange = self.pattern.exchanges(position > 0, uniforms)
            if exchange is not None:
                out.size[replica] = width
                out.sites[replica] = np.concatenate(exchange, axis=1)
                out.weights[replica] = np.concatenate([position[exchange.into], position[exchange.out]], axis=1)
        return out


class GatesByRank:
    """The n largest weights are kept.

    Parameters
    ----------
    layers : ndarray of int64, shape (F,), optional
        The layer of each item where that must keep one, -1 else.
    """

    def __init__(self, layers: IntArray | None) -> None:
        self.layers = layers

    def weights(self, seed: int, chains: IntArray, size: int) -> FloatArray:
        """See `Gates.weights`: uniform on the box."""
        return ranks.draw_weights(seed, chains, size)

    def begin(self, chain: ChainState, weights: FloatArray | None) -> None:
        """See `Gates.begin`: where a mask is not that of the largest weights, the items trade weights until it is."""
        assert weights is not None
        for row, mask in zip(weights, chain.position > 0, strict=True):
            if not self._is_top(row, mask):
                ranks.arrange(row, mask)
        self._ranks = ranks.new_ranks(chain, weights, self.layers)

    def _is_top(self, weights: FloatArray, mask: BoolArray) -> bool:
        """Whether a mask (F,) is that of the largest weights."""
        if weights[mask].min(initial=np.inf) > weights[~mask].max(initial=-np.inf):
            return True
        return self.layers is not None and bool(
            (ranks.top(weights[None], int(mask.sum()), self.layers)[0] == mask).all()
        )

    def keep_top(self, chain: ChainState, weights: FloatArray | None, count: int) -> None:
        """See `Gates.keep_top`: those of the largest weights."""
        assert weights is not None
        size = np.abs(chain.position)
        chain.position[:] = np.where(ranks.top(weights, count, self.layers), size, -size)
        chain_state.refresh(chain, sharpness=math.inf)

    def begin_leg(self, decisions: int) -> None:
        """See `Gates.begin_leg`."""
        self._decisions = decisions
        self._steps = np.zeros(0, np.int64)

    def propose(self, chain: ChainState, law: Law, count: int, left: IntArray) -> moves.Moves:
        """See `Gates.propose`; the walks between the decisions are made."""
        if not self._steps.size:
            written = moves.widest(law.plan, chain.position.shape[1])
            kept = chain_state.kept_count(chain)
            # Where all sites are kept, or none, no move changes the mask: the weights walk a little, and that is all.
            can_decide = (kept > 0) & (kept < chain.position.shape[1])
            self._steps = np.where(
                can_decide, max(self._decisions * WALKS // written, self._decisions), self._decisions
            )
        self._ahead = ranks.propose(
            chain, self._ranks, count, plan=law.plan, delta=law.delta, seed=law.seed, chains=law.chains, room=left,
            steps=self._steps,
        )  # fmt: skip
        return self._ahead.moves

    def limits(self, chain: ChainState, law: Law, candidates: moves.Moves, left: IntArray) -> FloatArray:
        """See `Gates.limits`."""
        return ranks.thresholds(chain, self._ahead, temperature=law.temperature, seed=law.seed, chains=law.chains)

    def advance(
        self, chain: ChainState, law: Law, candidates: moves.Moves, losses: FloatArray, left: IntArray
    ) -> StepInfo:
        """See `Gates.advance`."""
        info = ranks.advance(
            chain, self._ranks, self._ahead, losses, plan=law.plan, delta=law.delta, temperature=law.temperature, seed=law.seed,
            chains=law.chains,
        )  # fmt: skip
        left -= info.consumed
        self._steps -= info.steps
        left[self._steps <= 0] = 0
        return info


def from_cut(weights: FloatArray, position: FloatArray) -> FloatArray:
    """Return weights (F,) as distances from the cut between kept and dropped: positive where the position is.

    The cut is half-way between the lowest kept and the highest dropped weight. A layer's only site may lie below it: it is then just
    above.
    """
    is_kept = position > 0
    low = weights[is_kept].min(initial=ranks.BOX)
    high = weights[~is_kept].max(initial=-ranks.BOX)
    away = weights - (low + high) / 2.0
    return np.asarray(np.where(is_kept, np.maximum(away, CLEAR), np.minimum(away, -CLEAR)), np.float64)
