"""Propose K ahead, ask for K losses, take the first accepted: the serial chain, for any K."""

from typing import NamedTuple

import numpy as np

from mcprune.chain import kernels
from mcprune.chain.moves import KINDS, MovePlan, Moves, per_replica, score_buffers, widest
from mcprune.chain.philox import check_chains, check_seed
from mcprune.chain.state import ChainState, StepInfo
from mcprune.errors import ConfigError, NumericalError
from mcprune.types import AnyArray, FloatArray, IntArray

__all__ = ["TableInfo", "advance", "run_table", "set_loss", "thresholds"]


class TableInfo(NamedTuple):
    """Counts of `run_table`."""

    visits: IntArray  # (R, 2**N) steps spent in each hard mask (site 0 = bit 0); (R, 0) for a constant table
    proposed: IntArray  # (R, 6) proposals of each move, null steps among them
    accepted: IntArray  # (R, 6)
    null: IntArray  # (R,)
    nonfinite: IntArray  # (R,)


def set_loss(
    state: ChainState,
    cla: AnyArray | float,
    *,
    alpha: AnyArray | float,
    n: AnyArray | float,
    modified: bool = False,
) -> ChainState:
    """Set L_cla and L_tot of the current positions again, in place: batch, classifier or schedule has changed.

    Parameters
    ----------
    cla : float or ndarray, shape (R,)
        L_cla of state.position.
    alpha, n : float or ndarray, shape (R,)
        L_tot = cla + alpha L_pru(n).

    Raises
    ------
    NumericalError
        Where cla is not finite: there would be nothing to compare candidates with.
    """
    replicas, sites = state.position.shape
    values = np.broadcast_to(np.asarray(cla, dtype=np.float64), (replicas,))
    if not np.isfinite(values).all():
        raise NumericalError(
            f"The loss of the current mask is {values.tolist()}, not finite. "
            "Lower the learning rate, or look for huge or missing values in the data."
        )
    state.cla[:] = values
    kernels.total_losses(state.cla, state.sums, _rule(replicas, 0.0, alpha, n, modified), sites, state.loss)
    return state


def thresholds(
    state: ChainState,
    moves: Moves,
    *,
    temperature: AnyArray | float,
    alpha: AnyArray | float,
    n: AnyArray | float,
    modified: bool = False,
    seed: int,
    chains: IntArray,
) -> FloatArray:
    """Return the largest L_cla at which each candidate is accepted, known before any loss is evaluated.

    Parameters
    ----------
    state, moves, temperature, alpha, n, modified, seed, chains
        As for `advance`, which decides by the same numbers.

    Returns
    -------
    ndarray, shape (R, K)
        A finite loss is accepted if it is below (T = 0) or at most (T > 0) the threshold; -inf for null
        steps. Exclusive at T = 0 since a tie is rejected. An evaluator may give any finite loss at or above
        the threshold (T > 0: above) to a candidate that it can rule out without evaluating it, such as a
        lower bound that already reaches the threshold.

    Raises
    ------
    NumericalError
        Where the state's loss is not finite.
    """
    replicas = _check(state, moves)
    out = np.empty(moves.kind.shape)
    rule = _rule(replicas, temperature, alpha, n, modified)
    keys = check_chains(chains, replicas)
    kernels.threshold_rows(state.cla, state.arrays, tuple(moves), rule, check_seed(seed), keys, out)
    return out


def advance(
    state: ChainState,
    moves: Moves,
    losses: AnyArray,
    *,
    temperature: AnyArray | float,
    alpha: AnyArray | float,
    n: AnyArray | float,
    modified: bool = False,
    sharpness: float,
    seed: int,
    chains: IntArray,
    room: IntArray | None = None,
) -> tuple[ChainState, StepInfo]:
    """Take the first accepted candidate of each replica, in place.

    Parameters
    ----------
    state : ChainState
        As `moves` were proposed from; its loss on the same batch and classifier as `losses`.
    moves : Moves
    losses : ndarray, shape (R, K)
        L_cla of each candidate. Not finite = rejected and counted; entries of null steps and behind the
        accepted one are not looked at.
    temperature : float or ndarray, shape (R,), in units of L_tot
        0 = only a strict decrease of L_tot, q-ratios ignored; else Metropolis and Hastings with the step's
        own uniform.
    alpha, n : float or ndarray, shape (R,)
        L_tot = L_cla + alpha L_pru(n).
    modified : bool
        L_rej' instead of L_rej.
    sharpness, seed, chains
        As for `propose`.
    room : ndarray of int, shape (R,), optional
        The most candidates that each replica may consume, 0 included: those behind are as if never proposed.
        By default all.

    Returns
    -------
    state : ChainState
        The same arrays, updated; step grows by the candidates consumed, so the next batch continues the
        serial chain.
    info : StepInfo

    Raises
    ------
    ConfigError
        For arguments out of range, losses of another shape than the moves.
    NumericalError
        Where the state's own loss is not finite (`set_loss` was not called).
    """
    replicas = _check(state, moves)
    ahead = moves.kind.shape[1]
    values = np.ascontiguousarray(losses, dtype=np.float64)
    if values.shape != (replicas, ahead):
        raise ConfigError(f"losses have shape {values.shape}, but the moves {(replicas, ahead)}. Give one a candidate.")
    info = StepInfo.empty(replicas, ahead)
    info = info._replace(steps=info.consumed)  # by sign there are no walks
    rule = _rule(replicas, temperature, alpha, n, modified)
    keys = check_chains(chains, replicas)
    limits = np.full(replicas, ahead) if room is None else np.ascontiguousarray(room, dtype=np.int64)
    if limits.shape != (replicas,):
        raise ConfigError(f"room has shape {limits.shape}, but there are {replicas} replicas. Give one number each.")
    kernels.advance_rows(
        state.loss, state.cla, state.arrays, tuple(moves), values, rule, float(sharpness), check_seed(seed),
        keys, limits, info[:8], info.decided,
    )  # fmt: skip
    return state, info


def run_table(
    state: ChainState,
    steps: int,
    *,
    table: AnyArray,
    plan: MovePlan,
    delta: AnyArray | float,
    temperature: AnyArray | float,
    alpha: AnyArray | float,
    n: AnyArray | float,
    modified: bool = False,
    sharpness: float,
    seed: int,
    chains: IntArray,
) -> tuple[ChainState, TableInfo]:
    """Run the serial chain on a table of losses, compiled: for exact laws and for the speed of the engine alone.

    Parameters
    ----------
    state : ChainState
        Updated in place. Its L_cla is looked up first, so `set_loss` is not needed.
    steps : int >= 0
        Proposals a replica.
    table : ndarray, shape (2**N,) or (1,)
        L_cla of each hard mask, site 0 = bit 0; of length 1: a constant.
    plan, delta, temperature, alpha, n, modified, sharpness, seed, chains
        As for `propose` and `advance`, whose trace with the same losses is the same.

    Raises
    ------
    ConfigError
        For arguments out of range or a table of another length.
    NumericalError
        Where the table is not finite at a starting position.
    """
    replicas, sites = state.position.shape
    values = np.ascontiguousarray(table, dtype=np.float64)
    if values.ndim != 1 or (values.size != 1 and (sites > 24 or values.size != 2**sites)):
        raise ConfigError(f"table has shape {values.shape}. Give 2**N losses for N={sites} sites (N <= 24), or one.")
    if steps < 0:
        raise ConfigError(f"steps={steps} is negative. Give 0 or more proposals.")
    codes = np.zeros(replicas, np.int64)
    if values.size > 1:
        codes = (state.position > 0) @ (1 << np.arange(sites))
    set_loss(state, values[codes], alpha=alpha, n=n, modified=modified)
    kinds = np.zeros((2, replicas, len(KINDS)), np.int64)
    counts = np.zeros((2, replicas), np.int64)
    info = TableInfo(
        visits=np.zeros((replicas, values.size if values.size > 1 else 0), np.int64),
        proposed=kinds[0],
        accepted=kinds[1],
        null=counts[0],
        nonfinite=counts[1],
    )
    kernels.table_rows(
        state.loss,
        state.cla,
        state.arrays,
        int(steps),
        values,
        tuple(plan),
        widest(plan, sites),
        *score_buffers(plan, replicas, sites),
        per_replica(delta, replicas, "delta"),
        _rule(replicas, temperature, alpha, n, modified),
        float(sharpness),
        check_seed(seed),
        check_chains(chains, replicas),
        *info,
    )
    return state, info


def _rule(
    replicas: int, temperature: AnyArray | float, alpha: AnyArray | float, n: AnyArray | float, modified: bool
) -> tuple[FloatArray, FloatArray, FloatArray, bool]:
    return (
        per_replica(temperature, replicas, "temperature"),
        per_replica(alpha, replicas, "alpha"),
        per_replica(n, replicas, "n"),
        bool(modified),
    )


def _check(state: ChainState, moves: Moves) -> int:
    replicas: int = state.position.shape[0]
    if moves.kind.shape[0] != replicas:
        raise ConfigError(
            f"moves of {moves.kind.shape[0]} replicas, but the state has {replicas}. Propose from this state."
        )
    if not np.isfinite(state.cla).all():
        raise NumericalError("The current loss is not known. Evaluate the current masks and call engine.set_loss.")
    return replicas
