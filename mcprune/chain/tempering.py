"""Parallel tempering: R replicas on a ladder of temperatures, neighbours of which trade their temperatures.

Replicas share the evaluation batch and the classifier. Rungs are numbered from the coldest: T_i = T_0 (T_(R-1) / T_0)^x_i
with 0 = x_0 < ... < x_(R-1) = 1, so both ends may follow schedules while the shares x stay. The replicas at rungs i and i + 1
swap with probability min(1, exp((1/T_i - 1/T_(i+1)) (L_i - L_(i+1)))), L being L_tot, which leaves the product of the Boltzmann
laws as it is. Temperatures change hands, not positions: what is cached for a replica stays with it.
"""

import math
from typing import NamedTuple

import numpy as np

from mcprune.chain import philox
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, FloatArray, IntArray

__all__ = ["Ladder", "adapt", "forget", "new_ladder", "swap", "swap_probability", "temperatures"]

# Step of the stochastic approximation: STEP / (number of updates)^FALL, 1/2 < FALL <= 1.
STEP, FALL = 1.0, 0.6
# No gap falls below this share of an even one: a pair at one temperature would be a replica lost.
NARROWEST = 0.05


class Ladder(NamedTuple):
    """Who stands at which temperature, and how the swaps go; the arrays are updated in place. A checkpoint needs all of it."""

    gaps: FloatArray  # (R - 1,) shares of log(T_hottest / T_coldest) between neighbouring rungs, summing to 1
    rung: IntArray  # (R,) of each replica, 0 the coldest
    rounds: IntArray  # (1,) rounds of swaps so far; its parity says which pairs are asked
    attempts: IntArray  # (R - 1,) swaps asked for, of rungs i and i + 1, since `forget`
    swaps: IntArray  # (R - 1,) those that happened
    chance: FloatArray  # (2, R - 1) sum of swap probabilities and their number, since the last `adapt`
    updates: IntArray  # (1,) changes of the gaps so far
    heading: IntArray  # (R,) 1: last end seen was the coldest, -1: the hottest, 0: none yet
    trips: IntArray  # (R,) round trips from the coldest rung to the hottest and back


def new_ladder(replicas: int) -> Ladder:
    """Return a geometric ladder, replica r at rung r.

    Raises
    ------
    ConfigError
        For fewer than one replica.
    """
    if replicas < 1:
        raise ConfigError(f"replicas={replicas}: at least one chain is needed. Choose 1 for no tempering.")
    pairs = replicas - 1
    ladder = Ladder(
        gaps=np.full(pairs, 1.0 / max(pairs, 1)),
        rung=np.arange(replicas),
        rounds=np.zeros(1, np.int64),
        attempts=np.zeros(pairs, np.int64),
        swaps=np.zeros(pairs, np.int64),
        chance=np.zeros((2, pairs)),
        updates=np.zeros(1, np.int64),
        heading=np.zeros(replicas, np.int64),
        trips=np.zeros(replicas, np.int64),
    )
    _note_ends(ladder)
    return ladder


def temperatures(ladder: Ladder, coldest: float, hottest: float) -> FloatArray:
    """Return the temperatures of the rungs, shape (R,), both ends exact; T[ladder.rung] are those of the replicas.

    Raises
    ------
    ConfigError
        Where not 0 < coldest < hottest, unless there is one replica, whose temperature is the coldest.
    """
    if ladder.rung.size == 1:
        return np.array([coldest])
    if not 0 < coldest < hottest < math.inf:
        raise ConfigError(
            f"a ladder from temperature {coldest:g} to {hottest:g}: tempering needs 0 < coldest < hottest. "
            "Raise the one or lower the other."
        )
    share = np.concatenate([[0.0], np.cumsum(ladder.gaps)])
    values: FloatArray = np.exp(math.log(coldest) + share * math.log(hottest / coldest))
    values[0], values[-1] = coldest, hottest
    return values


def swap_probability(loss: AnyArray, other: AnyArray, temperature: AnyArray, hotter: AnyArray) -> FloatArray:
    """Probability that the holder of `loss` at `temperature` and that of `other` at `hotter` swap.

    Parameters
    ----------
    loss, other : ndarray
        L_tot of the two, on the same batch and classifier.
    temperature, hotter : ndarray, > 0, in units of L_tot
        Of any order; the shapes broadcast.

    References
    ----------
    .. [1] Geyer (1991), Markov chain Monte Carlo maximum likelihood, Computing Science and Statistics 23, 156.
    """
    # pi_i(x) pi_j(y) -> pi_i(y) pi_j(x): the exponent is -(L_j/T_i + L_i/T_j) + (L_i/T_i + L_j/T_j).
    exponent = (1.0 / np.asarray(temperature) - 1.0 / np.asarray(hotter)) * (np.asarray(loss) - np.asarray(other))
    return np.asarray(np.exp(np.minimum(exponent, 0.0)))


def swap(ladder: Ladder, loss: FloatArray, rungs: FloatArray, *, seed: int, step: int) -> IntArray:
    """Ask every second pair of neighbouring rungs to swap, in place; the other pairs come in the next round.

    Parameters
    ----------
    ladder : Ladder
    loss : ndarray, shape (R,)
        L_tot of each replica (not of each rung).
    rungs : ndarray, shape (R,), rising
        As `temperatures` gives them.
    seed, step : int
        Pair i's uniform is that of (seed, chain i; step, purpose SWAP). A step must come only once.

    Returns
    -------
    ndarray of int
        The lower rungs of the pairs that swapped.

    Notes
    -----
    Even and odd pairs in turn make round trips faster than pairs at random. [1]_

    References
    ----------
    .. [1] Syed, Bouchard-Côté, Deligiannidis, Doucet (2022), Non-reversible parallel tempering, J. R. Stat. Soc. B 84, 321.
    """
    replicas = ladder.rung.size
    # With two rungs there is one pair, which is asked in every round.
    first = int(ladder.rounds[0]) % 2 if replicas > 2 else 0
    ladder.rounds[0] += 1
    pairs = np.arange(first, replicas - 1, 2)
    holder = np.argsort(ladder.rung, kind="stable")  # replica at each rung
    low, high = holder[pairs], holder[pairs + 1]
    chance = swap_probability(loss[low], loss[high], rungs[pairs], rungs[pairs + 1])
    drawn = np.array([philox.uniforms(seed, int(pair), step, philox.SWAP, 1)[0] for pair in pairs])
    taken = drawn < chance
    ladder.attempts[pairs] += 1
    ladder.chance[0, pairs] += chance
    ladder.chance[1, pairs] += 1
    done = pairs[taken]
    ladder.swaps[done] += 1
    ladder.rung[low[taken]] = done + 1
    ladder.rung[high[taken]] = done
    _note_ends(ladder)
    return done


def adapt(ladder: Ladder) -> bool:
    """Change the gaps towards equal swap rates, in place, once every pair was asked since the last change; both ends stay.

    Raising log gap i by step * (rate_i - mean rate) is stochastic approximation of equal rates: a wider gap has a lower
    rate. The rates are means of the swap probabilities, which scatter less than the swaps. Only at the boundaries of blocks
    and only during the warm-up: a ladder that follows the chain would bias its law.

    Returns
    -------
    bool
        Whether the gaps were changed.
    """
    if ladder.gaps.size < 2 or not (ladder.chance[1] > 0).all():
        return False
    rates = ladder.chance[0] / ladder.chance[1]
    ladder.updates[0] += 1
    wider = ladder.gaps * np.exp(STEP / float(ladder.updates[0]) ** FALL * (rates - rates.mean()))
    wider = np.maximum(wider / wider.sum(), NARROWEST / wider.size)
    ladder.gaps[:] = wider / wider.sum()
    ladder.chance[:] = 0.0
    return True


def forget(ladder: Ladder) -> None:
    """Count swaps and round trips from now on, in place: those under another ladder say nothing of this one."""
    for counts in (ladder.attempts, ladder.swaps, ladder.trips, ladder.heading):
        counts[:] = 0
    ladder.chance[:] = 0.0
    _note_ends(ladder)


def _note_ends(ladder: Ladder) -> None:
    """Note who stands at an end; a replica back at the coldest from the hottest has made a round trip."""
    is_cold, is_hot = ladder.rung == 0, ladder.rung == ladder.rung.size - 1
    ladder.trips[is_cold & (ladder.heading == -1)] += 1
    ladder.heading[is_cold] = 1
    # From the coldest only: a replica that has not been there yet is half way of nothing.
    ladder.heading[is_hot & (ladder.heading == 1) & ~is_cold] = -1
