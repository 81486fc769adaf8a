"""Enforce a count n(t) by dropping items from a pool of kept ones, or returning items from a pool of dropped ones.

Those are dropped whose removal raises the loss least, and those return that lower it most. At T = 0 the best of the pool are taken,
which is not the serial chain's first acceptance; it happens between blocks, where n(t) changes. At T > 0 the choice is the
Gumbel form of drawing without replacement with weights exp(-loss/T).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mcprune.chain import min_per_layer, philox, state
from mcprune.chain.moves import toggles
from mcprune.evaluators.base import Evaluator
from mcprune.methods.base import Parts
from mcprune.types import BoolArray, FloatArray, IntArray

# One of so many kept items goes at once, since each is judged alone; of single weights, which can stand in for each other, fewer.
PART, PART_GUESSED = 8, 32
# So many toggles of a pool are evaluated with the same limits.
LIMITED = 16


def cheapest(losses: FloatArray, need: int, temperature: float, uniforms: FloatArray) -> IntArray:
    """Return the indices of the `need` toggles with the smallest losses, perturbed by T times Gumbel noise.

    A non-finite loss comes last; ties go to the lowest index.
    """
    score = np.where(np.isfinite(losses), losses, np.inf) + _noise(temperature, uniforms)
    return np.argsort(score, kind="stable")[:need]


def _noise(temperature: float, uniforms: FloatArray) -> FloatArray:
    """Return T times Gumbel noise."""
    return temperature * np.log(-np.log(uniforms)) if temperature > 0 else np.zeros(uniforms.size)


class Choice(NamedTuple):
    """What is taken from the pool of each replica."""

    needs: Sequence[int]  # how many toggles
    temperature: FloatArray  # (R,)
    uniforms: Sequence[FloatArray]  # of the noise on the losses

    def limits(self, losses: FloatArray, start: int, stop: int) -> FloatArray:
        """Return the losses (R, stop - start) above which the toggles from `start` on cannot be taken, after those before them."""
        out = np.full((len(self.needs), stop - start), np.inf)
        for replica, (need, uniforms) in enumerate(zip(self.needs, self.uniforms, strict=True)):
            warmth, known = float(self.temperature[replica]), losses[replica, : min(start, uniforms.size)]
            if 0 < need <= known.size:
                last = cheapest(known, need, warmth, uniforms[: known.size])[-1]  # the dearest that would be taken now
                noise = _noise(warmth, uniforms)
                score = known[last] + noise[last] if np.isfinite(known[last]) else np.inf
                own = noise[start:stop]
                out[replica, : own.size] = score - own
        return out


def pool_losses(
    current: state.ChainState,
    evaluator: Evaluator,
    drawn: Sequence[IntArray],
    at_once: int,
    choice: Choice | None = None,
) -> Parts[FloatArray]:
    """Evaluate the toggles of a pool, and yield after each `at_once` of them; return their losses (R, largest pool of a replica).

    With a choice the loss of a toggle that cannot be taken any more may be an estimate above its limit: those that are taken are the
    same.
    """
    size = max(sites.size for sites in drawn)
    each = max(1, at_once // len(drawn)) if at_once else size
    losses = np.empty((len(drawn), size))
    # The limits of a few follow from the losses before them.
    starts = sorted({*range(0, size, each), *range(0, size, size if choice is None else LIMITED)})
    for start, stop in pairwise([*starts, size]):
        if start and start % each == 0:
            yield
        limits = choice.limits(losses, start, stop) if choice is not None and start else None
        losses[:, start:stop] = evaluator.losses(
            current, toggles(current, [sites[start:stop] for sites in drawn]), limits
        )
    return losses


def enforce_count(
    current: state.ChainState,
    evaluator: Evaluator,
    *,
    target: int,
    pool: int,
    temperature: FloatArray | float,
    sharpness: float,
    seed: int,
    block: int,
    chains: IntArray | None = None,
    may_grow: bool = False,
    layers: IntArray | None = None,
    pool_limit: int = 0,
    guesses: FloatArray | None = None,
    at_once: int = 0,
) -> Parts[int]:
    """Drop kept items of each replica, in place, until `target` are left; return how many toggles were evaluated.

    `temperature` is one number or that of each replica, `chains` (R,) keys their draws; by default 0, 1, ... With
    `may_grow` a replica that keeps fewer than `target` takes items back. Above `pool_limit` items (0: none) a pool holds no more
    than that, or than must go: those whose last known changes of loss `guesses` (F,) are the lowest, which are renewed in place.
    No layer of `layers` (F,) loses its last item. `at_once` toggles are evaluated in a part (0: all).

    The caller begins the evaluator again afterwards. A toggle is judged alone, so at most an eighth of the kept items
    (with guesses a 32nd) go at once and the evaluator must have begun at the current position; call again while more are left.
    """
    replicas = current.position.shape[0]
    warmth = np.broadcast_to(np.asarray(temperature, dtype=np.float64), (replicas,))
    drawn: list[IntArray] = []
    noise: list[FloatArray] = []
    needs: list[int] = []
    for replica, chain in enumerate(range(replicas) if chains is None else chains.tolist()):
        is_kept = current.position[replica] > 0
        excess = int(is_kept.sum()) - target
        free = is_kept if layers is None else is_kept & ~min_per_layer.last_ones(is_kept, layers)
        sites = np.flatnonzero(free if excess > 0 else ~is_kept)
        part = PART if guesses is None else PART_GUESSED
        most = max(1, sites.size // part) if excess > 0 else sites.size if may_grow else 0
        need = min(abs(excess), most, sites.size)
        draws = philox.uniforms(seed, chain, block, philox.MASK, 2 * sites.size if need else 0)
        size = max(pool * need, need)
        order = draws[: sites.size]
        if pool_limit and sites.size > pool_limit:
            size = max(min(size, pool_limit), need)
            order = order if guesses is None else guesses[sites]
        drawn.append(np.sort(sites[np.argsort(order, kind="stable")[:size]]) if need else sites[:0])
        noise.append(draws[sites.size : sites.size + drawn[-1].size])
        needs.append(need)
    if not any(needs):
        return 0
    # Only the cheapest are dropped, so the others need no exact loss; guesses keep all of them, and a layer may need further ones.
    choice = None if guesses is not None or layers is not None else Choice(needs, warmth, noise)
    losses = yield from pool_losses(current, evaluator, drawn, at_once, choice)
    if guesses is not None:
        now = evaluator.current()
        for replica, sites in enumerate(drawn):
            change = losses[replica, : sites.size] - now[replica]
            guesses[sites] = np.where(np.isfinite(change), change, np.inf)
    for replica, (sites, need) in enumerate(zip(drawn, needs, strict=True)):
        falls = layers is not None and need and current.position[replica, sites[0]] > 0
        ranked = cheapest(
            losses[replica, : sites.size], sites.size if falls else need, float(warmth[replica]), noise[replica]
        )
        chosen = sites[ranked]
        if falls and layers is not None:  # together the cheapest may be all that a layer has
            chosen = _without_last_ones(current.position[replica] > 0, chosen, need, layers)
        current.position[replica, chosen] *= -1.0
        if guesses is not None:
            guesses[chosen] *= -1.0  # a toggle back would undo the change
    state.refresh(current, sharpness=sharpness)
    return sum(sites.size for sites in drawn)


def _without_last_ones(kept: BoolArray, order: IntArray, need: int, layers: IntArray) -> IntArray:
    """Return the first `need` items of an order that can go without emptying a layer, as many as there are."""
    left = min_per_layer.counts(kept, layers)
    chosen: list[int] = []
    for item in order.tolist():
        number = int(layers[item])
        if len(chosen) < need and (number < 0 or left[number] > 1):
            chosen.append(item)
            left[number] -= number >= 0
    return np.array(chosen, np.int64)
