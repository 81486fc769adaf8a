"""Following a falling budget n(t): of a pool of kept sites, those whose removal costs least are dropped.

At T = 0 the cheapest are taken, which is the best of a pool and not the serial chain's first acceptance; it happens between
blocks, where n(t) changes. At T > 0 the choice is the Gumbel form of drawing without replacement with weights exp(-loss/T).
"""

from __future__ import annotations

import numpy as np

from mcprune.arrays import FloatArray, IntArray
from mcprune.chain import moves, philox, state
from mcprune.evaluate.base import Evaluator


def removals(current: state.ChainState, sites: IntArray) -> moves.Moves:
    """Return the toggles of the given kept sites of replica 0 as K candidates; their running sums are not filled in."""
    count = sites.size
    weights = -current.position[0, sites]
    return moves.Moves(
        kind=np.full((1, count), moves.TOGGLE, np.int8),
        size=np.ones((1, count), np.int32),
        sites=sites[None, :, None].astype(np.int64),
        weights=weights[None, :, None].copy(),
        log_ratio=np.zeros((1, count)),
        sums=np.full((1, count, 3), np.nan),
    )


def cheapest(losses: FloatArray, need: int, temperature: float, uniforms: FloatArray) -> IntArray:
    """Return the indices of the `need` removals with the smallest losses, perturbed by T times Gumbel noise.

    A non-finite loss comes last; ties go to the lowest index.
    """
    score = np.where(np.isfinite(losses), losses, np.inf)
    if temperature > 0:
        score = score + temperature * np.log(-np.log(uniforms))
    return np.argsort(score, kind="stable")[:need]


def drop(
    current: state.ChainState,
    evaluator: Evaluator,
    *,
    target: int,
    pool: int,
    temperature: float,
    sharpness: float,
    seed: int,
    block: int,
) -> int:
    """Drop kept sites of replica 0, in place, until `target` are left; return how many removals were evaluated.

    The caller begins the evaluator anew afterwards. A site's removal is judged alone, so at most an eighth of the kept
    sites go at once and the evaluator must have begun at the current position; call again while more are left.
    """
    kept = np.flatnonzero(current.position[0] > 0)
    need = min(kept.size - target, max(1, kept.size // 8))
    if need <= 0:
        return 0
    draws = philox.uniforms(seed, 0, block, philox.MASK, 2 * kept.size)
    size = min(kept.size, max(pool * need, need))
    drawn = np.sort(kept[np.argsort(draws[: kept.size], kind="stable")[:size]])
    losses = evaluator.losses(current, removals(current, drawn))[0]
    chosen = drawn[cheapest(losses, need, temperature, draws[kept.size : kept.size + size])]
    current.position[0, chosen] *= -1.0
    state.refresh(current, sharpness=sharpness)
    return int(size)
