"""Gates by rank: propose K decisions ahead with the walks between them, and take the first accepted one.

    mask(w; n)    the n largest weights, ties to the lower index; each layer keeps its least number first
    candidate     w' = a move of w in the box [-1, 1]^N, see `moves`
    walk          mask(w') = mask(w): w' is taken, and no loss is needed
    decision      any other candidate: taken by the accept rule (`accept`), on the losses of both masks

n holds at every step, and L_tot is L_cla: there is no count to push and no gate between 0 and 1.

Why the law on masks is Boltzmann's. The moves are symmetric (an informed exchange with its ratio), so at a temperature T > 0 the chain
leaves exp(-L(mask(w)) / T) dw on the box as it is: a walk does not change L, and a decision is Metropolis'. Without least numbers a
permutation of the sites maps {w: mask(w) = A} onto {w: mask(w) = B}, so all masks of n have the same volume, and the law on masks is
exp(-L / T) / Z. With least numbers it is the volume of a mask times that.

Blocks end at a number of decisions, not of steps. Seen at its decisions the chain has the density exp(-L / T) r(w), r(w) the chance
that a step is a decision; r depends on the ordered weights alone, which are independent of the mask, so the law on masks is the same.

State: `ChainState.position` holds the mask by its signs, which is all that evaluators need, and `Ranks.weights` the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.chain import philox
from mcprune.chain.kernels import BLOCK, UNIFORM
from mcprune.chain.min_per_layer import hardened
from mcprune.chain.moves import MovePlan, Moves, per_replica, score_buffers, widest
from mcprune.chain.philox import check_chains, check_seed
from mcprune.chain.ranks import rank_kernels
from mcprune.chain.state import ChainState, StepInfo
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

__all__ = [
    "BOX",
    "Draws",
    "Ranks",
    "advance",
    "arrange",
    "draw_weights",
    "new_ranks",
    "propose",
    "scratch",
    "thresholds",
    "top",
]

BOX = 1.0  # the weights are in [-BOX, BOX]
# Weights that the walks of a batch may write, of all replicas.
LOG = 1 << 16


class Layers(NamedTuple):
    """A partition of the sites, and how many each part keeps at least."""

    group: AnyArray  # (N,) int32 the layer of each site
    start: IntArray  # (G + 1,) sites before each layer, if the sites were sorted by layer
    least: IntArray  # (G,)


class Ranks(NamedTuple):
    """The weights of R chains over N sites, and the order in which they stand next to the cut; updated in place.

    The heaps follow from weights and mask: a checkpoint needs the weights only.
    """

    weights: FloatArray  # (R, N)
    heap: AnyArray  # (R, N) int32, see rank_kernels
    keys: FloatArray  # (R, N) the weight of the site in each cell of the heap
    place: AnyArray  # (R, N) int32 the cell of each site
    kept: IntArray  # (R, G) kept sites of each layer
    layers: Layers


class Draws(NamedTuple):
    """A batch of decisions, as `propose` leaves it to `advance`."""

    moves: Moves  # flipped sites and the signs that they get
    offset: IntArray  # (R, K) steps since the batch began
    mark: IntArray  # (R, K + 1) weights written by walks before each decision, and in all
    drawn: IntArray  # (R,) decisions, K at most
    steps: IntArray  # (R,) steps until the last decision, or until the batch ended without a further one
    scores: tuple[FloatArray, FloatArray]
    scratch: tuple[IntArray, AnyArray, IntArray, FloatArray]
    log: tuple[AnyArray, FloatArray, AnyArray]


def draw_weights(seed: int, chains: IntArray, sites: int) -> FloatArray:
    """Return independent uniform weights on the box, shape (R, N), a function of the seed and the chain numbers alone."""
    rows = [philox.uniforms(check_seed(seed), int(chain), 0, philox.START, sites) for chain in chains]
    return np.asarray(BOX * (2.0 * np.stack(rows) - 1.0))


def top(weights: FloatArray, n: int, layers: IntArray | None = None) -> BoolArray:
    """Return mask(w; n) of weights (R, N); `layers` (N,) as for `new_ranks`."""
    return np.stack([hardened(row, n, layers) for row in weights])


def arrange(weights: FloatArray, mask: BoolArray) -> None:
    """Let the sites trade their weights, in place, so that the kept ones (..., N) have the largest.

    The order among the kept and among the dropped stays. So what was dropped last is the highest of the dropped if it was the lowest
    of the kept, and a mask that is the top already changes nothing.
    """
    order = np.argsort(-weights, axis=-1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=-1)
    is_dropped = ~np.take_along_axis(mask, order, axis=-1)
    by_mask = np.take_along_axis(order, np.argsort(is_dropped, axis=-1, kind="stable"), axis=-1)
    np.put_along_axis(weights, by_mask, ranked, axis=-1)


def new_ranks(state: ChainState, weights: FloatArray, layers: IntArray | None = None) -> Ranks:
    """Return the ranks of chains whose masks, the signs of their positions, are mask(w; n).

    Parameters
    ----------
    state : ChainState
    weights : ndarray, shape (R, N)
        Kept, not copied.
    layers : ndarray of int, shape (N,), optional
        The layer of each site where that must keep one, numbered from 0; -1 else.

    Raises
    ------
    ConfigError
        Shapes that differ, or weights outside of the box.
    """
    replicas, sites = state.position.shape
    if weights.shape != (replicas, sites):
        raise ConfigError(
            f"weights have shape {weights.shape}, but the positions {(replicas, sites)}. Give one a site."
        )
    if not (np.abs(weights) <= BOX).all():
        raise ConfigError(f"Some weights are not in [-{BOX:g}, {BOX:g}]. Give finite weights of the box.")
    group = np.zeros(sites, np.int32)
    if layers is not None:
        group[:] = np.where(layers >= 0, layers, layers.max(initial=-1) + 1)
    size = np.bincount(group)
    least = np.zeros(size.size, np.int64)
    if layers is not None:
        least[: int(layers.max(initial=-1)) + 1] = 1
    shape = Layers(group, np.concatenate([[0], np.cumsum(size)]), least)
    ranks = Ranks(
        weights, np.empty((replicas, sites), np.int32), np.empty((replicas, sites)), np.empty((replicas, sites), np.int32),
        np.empty((replicas, size.size), np.int64), shape,
    )  # fmt: skip
    rank_kernels.build_rows(state.position, *ranks[:5], *shape)
    return ranks


def flips(plan: MovePlan, sites: int) -> int:
    """Return the most sites that a move of the plan adds to the mask or takes from it."""
    if plan.probabilities[UNIFORM] > 0:
        return sites
    return min(2 * plan.block_size, sites) if plan.probabilities[BLOCK] > 0 else 2


def scratch(written: int, sites: int) -> tuple[IntArray, AnyArray, IntArray, FloatArray]:
    """Return room for one candidate that writes so many weights."""
    return np.empty(2 * written, np.int64), np.zeros(sites, np.int8), np.empty(written, np.int64), np.empty(written)


def propose(
    state: ChainState,
    ranks: Ranks,
    count: int,
    *,
    plan: MovePlan,
    delta: AnyArray | float,
    seed: int,
    chains: IntArray,
    room: IntArray,
    steps: IntArray,
) -> Draws:
    """Return the next decisions of the serial chain if all before were rejected; walks between them are made and logged.

    Parameters
    ----------
    state : ChainState
        R replicas, N sites; only read.
    ranks : Ranks
        Of this state; left after the walks of the batch, so `advance` must follow.
    count : int >= 1
        K, the most decisions.
    plan : MovePlan
        Its box is `BOX`.
    delta : float or ndarray of shape (R,), >= 0
    seed, chains
        As for `moves.propose`.
    room, steps : ndarray of int, shape (R,)
        The most decisions, and the most steps, of each replica.

    Returns
    -------
    Draws
        Fewer decisions than K where a replica may make no more of them, no more steps, or its walks have filled the log.

    Raises
    ------
    ConfigError
        For arguments out of range or a plan that does not fit.
    """
    if count < 1:
        raise ConfigError(f"count={count}: at least 1 candidate must be proposed.")
    if plan.box != BOX:
        raise ConfigError(f"box={plan.box:g}, but gates by rank have weights in [-{BOX:g}, {BOX:g}]. Give box={BOX:g}.")
    replicas, sites = state.position.shape
    widest_flip, written = flips(plan, sites), widest(plan, sites)
    shape, length = (replicas, count), max(LOG // replicas, 2 * written, 64)
    moves = Moves(
        kind=np.zeros(shape, np.int8),
        size=np.zeros(shape, np.int32),
        sites=np.full((*shape, widest_flip), -1, np.int64),
        weights=np.full((*shape, widest_flip), np.nan),
        log_ratio=np.zeros(shape),
        sums=np.zeros((*shape, 3)),
    )
    draws = Draws(
        moves=moves,
        offset=np.zeros(shape, np.int64),
        mark=np.zeros((replicas, count + 1), np.int64),
        drawn=np.zeros(replicas, np.int64),
        steps=np.zeros(replicas, np.int64),
        scores=score_buffers(plan, replicas, sites),
        scratch=scratch(written, sites),
        log=(
            np.empty((replicas, length), np.int32),
            np.empty((replicas, length)),
            np.empty((replicas, length), np.int8),
        ),
    )
    rank_kernels.propose_rows(
        state.arrays, ranks[:5], ranks.layers[:], plan[:], draws.scores, per_replica(delta, replicas, "delta"),
        check_seed(seed), check_chains(chains, replicas), _counts(room, replicas, "room"), _counts(steps, replicas, "steps"),
        draws.scratch, draws.log, moves[:], draws.offset, draws.mark, draws.drawn, draws.steps,
    )  # fmt: skip
    most = max(1, int(draws.drawn.max()))
    if most < count:
        parts = (np.ascontiguousarray(part[:, :most]) for part in moves)
        draws = draws._replace(moves=Moves(*parts), offset=np.ascontiguousarray(draws.offset[:, :most]))
    return draws


def thresholds(
    state: ChainState, draws: Draws, *, temperature: AnyArray | float, seed: int, chains: IntArray
) -> FloatArray:
    """Return the largest L_cla at which each decision is accepted, shape (R, K), as `engine.thresholds`; -inf behind the drawn ones."""
    replicas = state.position.shape[0]
    out = np.empty(draws.moves.kind.shape)
    rank_kernels.threshold_rows(
        state.cla, state.step, draws.moves[:], draws.offset, draws.drawn, per_replica(temperature, replicas, "temperature"),
        check_seed(seed), check_chains(chains, replicas), out,
    )  # fmt: skip
    return out


def advance(
    state: ChainState,
    ranks: Ranks,
    draws: Draws,
    losses: AnyArray,
    *,
    plan: MovePlan,
    delta: AnyArray | float,
    temperature: AnyArray | float,
    seed: int,
    chains: IntArray,
) -> StepInfo:
    """Take the first accepted decision of each replica, in place, and undo the walks behind it.

    Parameters
    ----------
    state, ranks
        As `propose` left them.
    draws : Draws
    losses : ndarray, shape (R, K)
        L_cla of each decision. Not finite = rejected and counted.
    plan, delta, seed, chains
        As for `propose`.
    temperature : float or ndarray, shape (R,), in units of L_tot

    Returns
    -------
    StepInfo
        `consumed` counts decisions, `steps` the steps of the chain.

    Raises
    ------
    ConfigError
        Losses of another shape than the decisions.
    """
    replicas, count = draws.moves.kind.shape
    values = np.ascontiguousarray(losses, dtype=np.float64)
    if values.shape != (replicas, count):
        raise ConfigError(
            f"losses have shape {values.shape}, but the decisions {(replicas, count)}. Give one a decision."
        )
    info = StepInfo.empty(replicas, count)
    rank_kernels.advance_rows(
        state.loss, state.cla, state.arrays, ranks[:5], ranks.layers[:], plan[:], draws.scores,
        per_replica(delta, replicas, "delta"), per_replica(temperature, replicas, "temperature"), check_seed(seed),
        check_chains(chains, replicas), draws.scratch, draws.log, draws.moves[:], draws.offset, draws.mark, draws.drawn,
        draws.steps, values, info[:8], info.decided, info.steps,
    )  # fmt: skip
    return info


def _counts(values: IntArray, replicas: int, name: str) -> IntArray:
    counts = np.ascontiguousarray(values, dtype=np.int64)
    if counts.shape != (replicas,):
        raise ConfigError(f"{name} has shape {counts.shape}, but there are {replicas} replicas. Give one number each.")
    return counts
