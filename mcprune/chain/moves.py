"""Moves: a state -> K candidates ahead, as sparse changes with their log q-ratios.

Candidate k of replica r is a pure function of (seed, chains[r], step[r] + k) and of the current weights:

    MOVE_CHOICE  one number picks the kind (not drawn when the plan has a single one)
    uniform      VALUE: one number a site
    block        SITE_CHOICE: b numbers give b distinct sites (Floyd); VALUE: one number for each
    site         SITE_CHOICE: the site, then its value
    toggle       SITE_CHOICE: the site
    exchange     SITE_CHOICE: the rank among the kept, the rank among the dropped
    informed     SITE_CHOICE: the point on the cumulated scores of the kept, of the dropped

The first three are symmetric (reflection keeps them so), toggle is an involution of a site drawn regardless
of the state, and an exchange leaves the numbers of kept and dropped as they are, so its way back has the same
probability: log ratio 0.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcprune.chain import KINDS, kernels
from mcprune.chain.kernels import BLOCK, EXCHANGE, INFORMED, SITE, TOGGLE, UNIFORM
from mcprune.chain.philox import check_chains, check_seed
from mcprune.chain.state import ChainState
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, FloatArray, IntArray

__all__ = [
    "BLOCK",
    "EXCHANGE",
    "INFORMED",
    "KINDS",
    "SITE",
    "TOGGLE",
    "UNIFORM",
    "MovePlan",
    "Moves",
    "dense",
    "move_plan",
    "propose",
    "toggles",
    "widest",
]

_NONE = np.empty(0)
# Below so many written weights a call, starting numba's threads costs more than it saves.
_PARALLEL_FROM = 1 << 15


class MovePlan(NamedTuple):
    """A mixture of moves. `move_plan` builds and checks one."""

    probabilities: FloatArray  # (6,) in the order of KINDS, summing to 1
    block_size: int = 1  # b, the sites of a block move
    box: float = math.inf  # w_max: positions are reflected at +-box (T > 0); inf = no box (T = 0)
    add: FloatArray = _NONE  # (N,) b_j: weight of a dropped site to be added by `informed`, or empty
    remove: FloatArray = _NONE  # (N,) a_i: weight of a kept site to be removed by `informed`, or empty


class Moves(NamedTuple):
    """K candidates for each of R replicas; M is the most sites that a move of the plan changes."""

    kind: AnyArray  # (R, K) int8, index of KINDS
    size: AnyArray  # (R, K) int32 sites changed; 0 = null step, the move was not available
    sites: IntArray  # (R, K, M), -1 from `size` on
    weights: FloatArray  # (R, K, M) new weights, nan from `size` on
    log_ratio: FloatArray  # (R, K) log q(old|new) / q(new|old)
    sums: FloatArray  # (R, K, 3) running sums after the move; an exchange leaves every bit of them


def move_plan(
    *,
    uniform: float = 0.0,
    block: float = 0.0,
    site: float = 0.0,
    exchange: float = 0.0,
    toggle: float = 0.0,
    informed: float = 0.0,
    block_size: int = 1,
    box: float = math.inf,
    add: FloatArray | None = None,
    remove: FloatArray | None = None,
) -> MovePlan:
    """Return a checked mixture of moves.

    Parameters
    ----------
    uniform, block, site, exchange, toggle, informed : float >= 0
        Shares; they are divided by their sum.
    block_size : int >= 1
        Sites of a block move.
    box : float > 0
        Half-width of the box at whose walls uniform, block and site moves are reflected; inf = none. Weights
        that start outside are folded in by the first accepted move that touches them.
    add, remove : ndarray, shape (N,), finite and >= 0
        Scores of `informed`, required when its share is positive. Zero = never chosen.

    Raises
    ------
    ConfigError
        For anything out of these ranges.
    """
    shares = np.array([uniform, block, site, exchange, toggle, informed], dtype=np.float64)
    total = float(shares.sum())
    if not (np.isfinite(shares).all() and (shares >= 0).all() and total > 0):
        shown = ", ".join(f"{name}={share:g}" for name, share in zip(KINDS, shares, strict=True))
        raise ConfigError(f"Move shares {shown}: they must be finite, none negative and not all 0.")
    if block_size < 1:
        raise ConfigError(f"block_size={block_size}: a block move changes at least 1 site.")
    if not box > 0:
        raise ConfigError(f"box={box}: the box needs a positive half-width, such as 8, or inf for none.")
    scores = []
    for name, score in (("add", add), ("remove", remove)):
        values = _NONE if score is None else np.ascontiguousarray(score, dtype=np.float64)
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ConfigError(f"{name} scores must be finite and not negative: they are weights of a random choice.")
        if informed > 0 and values.size == 0:
            raise ConfigError(f"informed={informed:g} needs {name} scores, one for each site. Give {name}=...")
        scores.append(values)
    return MovePlan(shares / total, int(block_size), float(box), *scores)


def widest(plan: MovePlan, sites: int) -> int:
    """M: the most sites that a move of the plan changes; ConfigError where the plan does not fit N sites."""
    shares = plan.probabilities
    if shares[BLOCK] > 0 and plan.block_size > sites:
        raise ConfigError(f"block_size={plan.block_size}, but there are {sites} sites. Choose at most {sites}.")
    if shares[INFORMED] > 0 and not plan.add.size == plan.remove.size == sites:
        raise ConfigError(
            f"informed scores have lengths {plan.add.size} (add) and {plan.remove.size} (remove), "
            f"but there are {sites} sites. Give one score for each site."
        )
    if shares[UNIFORM] > 0:
        return sites
    pairs = 2 if shares[EXCHANGE] > 0 or shares[INFORMED] > 0 else 1
    return max(pairs, plan.block_size) if shares[BLOCK] > 0 else pairs


def per_replica(value: AnyArray | float, replicas: int, name: str) -> FloatArray:
    """Return a number, or one for each replica, as (replicas,); ConfigError where not finite or negative."""
    if isinstance(value, float | int):
        ok = math.isfinite(value) and value >= 0
        values = np.full(replicas, float(value))
    else:
        values = np.ascontiguousarray(value, dtype=np.float64)
        if values.shape != (replicas,):
            raise ConfigError(
                f"{name} has shape {values.shape}, but there are {replicas} replicas. Give one or {replicas}."
            )
        ok = bool(np.isfinite(values).all() and (values >= 0).all())
    if not ok:
        raise ConfigError(f"{name}={value}: it must be finite and not negative.")
    return values


def propose(
    state: ChainState,
    count: int,
    *,
    plan: MovePlan,
    delta: AnyArray | float,
    sharpness: float,
    seed: int,
    chains: IntArray,
) -> Moves:
    """Return the next `count` candidates that the serial chain would make if all before were rejected.

    Parameters
    ----------
    state : ChainState
        R replicas, N sites; only read. Its sums and tree must belong to `sharpness` and to its position.
    count : int >= 1
        K.
    plan : MovePlan
    delta : float or ndarray of shape (R,), >= 0
        Half-width of the proposals of uniform, block and site.
    sharpness : float > 0
        The gates', as the state's sums were made with.
    seed : int, 0 <= seed < 2**32
    chains : ndarray, shape (R,) int64
        The replicas' chain numbers, 32-bit words. Equal numbers give equal random numbers.

    Returns
    -------
    Moves
        Costs O(K) for site and toggle, O(K log N) for exchange, O(N + K log N) for informed, O(K b) and O(K
        N) for block and uniform. Large batches use numba's threads; the numbers do not depend on how many.

    Raises
    ------
    ConfigError
        For arguments out of range or a plan that does not fit N.
    """
    if count < 1:
        raise ConfigError(f"count={count}: at least 1 candidate must be proposed.")
    replicas, sites = state.position.shape
    most = widest(plan, sites)
    moves = Moves(
        kind=np.empty((replicas, count), np.int8),
        size=np.empty((replicas, count), np.int32),
        sites=np.empty((replicas, count, most), np.int64),
        weights=np.empty((replicas, count, most)),
        log_ratio=np.empty((replicas, count)),
        sums=np.empty((replicas, count, 3)),
    )
    kept, dropped = score_buffers(plan, replicas, sites)
    run = kernels.propose_parallel if replicas * count * most >= _PARALLEL_FROM else kernels.propose_serial
    run(
        (state.position, state.sums, state.tree, state.step),
        tuple(plan),
        kept,
        dropped,
        per_replica(delta, replicas, "delta"),
        float(sharpness),
        check_seed(seed),
        check_chains(chains, replicas),
        tuple(moves),
    )
    return moves


def score_buffers(plan: MovePlan, replicas: int, sites: int) -> tuple[FloatArray, FloatArray]:
    """Room for the cumulated scores of `informed`: (R, N) twice, or (R, 0) twice without it."""
    length = sites if plan.probabilities[INFORMED] > 0 else 0
    return np.empty((replicas, length)), np.empty((replicas, length))


def toggles(current: ChainState, sites: Sequence[IntArray]) -> Moves:
    """Return the toggles of some sites of each replica as its candidates; their running sums are not filled in.

    K is the most that a replica has; the others are filled up with null moves.
    """
    shape = len(sites), max(part.size for part in sites)
    out = Moves(
        kind=np.full(shape, TOGGLE, np.int8),
        size=np.zeros(shape, np.int32),
        sites=np.full((*shape, 1), -1, np.int64),
        weights=np.full((*shape, 1), np.nan),
        log_ratio=np.zeros(shape),
        sums=np.full((*shape, 3), np.nan),
    )
    for replica, part in enumerate(sites):
        out.size[replica, : part.size] = 1
        out.sites[replica, : part.size, 0] = part
        out.weights[replica, : part.size, 0] = -current.position[replica, part]
    return out


def between(before: FloatArray, after: FloatArray) -> Moves:
    """Return the one move of each replica (R, 1) that leads from a position (R, N) to another; null where nothing changes."""
    changed = before != after
    size = changed.sum(axis=1).astype(np.int32)
    shape = len(before), 1
    sites = np.full((*shape, max(1, int(size.max()))), -1, np.int64)
    weights = np.full(sites.shape, np.nan)
    for replica, row in enumerate(changed):
        where = np.flatnonzero(row)
        sites[replica, 0, : where.size], weights[replica, 0, : where.size] = where, after[replica, where]
    return Moves(
        kind=np.full(shape, TOGGLE, np.int8),
        size=size[:, None],
        sites=sites,
        weights=weights,
        log_ratio=np.zeros(shape),
        sums=np.full((*shape, 3), np.nan),
    )


def dense(state: ChainState, moves: Moves) -> FloatArray:
    """Whole positions of the candidates, shape (R, K, N): what the sparse changes stand for."""
    whole = np.repeat(state.position[:, None, :], moves.sites.shape[1], axis=1)
    r, k, m = np.nonzero(moves.sites >= 0)
    whole[r, k, moves.sites[r, k, m]] = moves.weights[r, k, m]
    return whole
