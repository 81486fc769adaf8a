"""How often each move is proposed: after each block the more, the more it has gained for its work.

From a large network most gains come from biases and removals, from a small one near its end from exchanges; shares that are fixed waste
the proposals of one of them. The work is counted in rows that were looked at, so equal calls give equal shares on every machine.
"""

from __future__ import annotations

import numpy as np

from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.types import FloatArray

FIXED = 0.3  # part of the shares that stays as it was at the beginning
MEMORY = 0.5  # weight of the blocks before, against the one that has just ended
DRAW_WORK = 64  # of a proposal that is not evaluated, in rows


def gain_rates(statistics: FloatArray, price: float) -> FloatArray:
    """Return the gain of each move for each row that it looked at.

    Parameters
    ----------
    statistics : ndarray, shape (MOVES, COUNTERS)
        Of one block.
    price : float
        Mean loss for each unit of the budget: what a move frees counts as a gain.

    Returns
    -------
    ndarray, shape (MOVES,)
        0 of moves that lost, or were not proposed.
    """
    gain = -statistics[:, kernels.GAIN] - price * statistics[:, kernels.SPENT]
    work = statistics[:, kernels.SEEN] + DRAW_WORK * statistics[:, kernels.PROPOSED]
    return np.maximum(gain, 0.0) / np.maximum(work, 1.0)


def blended_rates(before: FloatArray, now: FloatArray) -> FloatArray:
    """Return the rates of all blocks so far, of which the later weigh more."""
    return now if not before.any() else MEMORY * before + (1 - MEMORY) * now


def shares_of(first: FloatArray, rates: FloatArray) -> FloatArray:
    """Return the probabilities of the moves.

    Parameters
    ----------
    first : ndarray, shape (MOVES,)
        Those of the first block. A move of probability 0 is never proposed.
    rates : ndarray, shape (MOVES,)
    """
    allowed = np.where(first > 0, rates, 0.0)
    if allowed.sum() == 0:
        return first
    shares: FloatArray = FIXED * first + (1 - FIXED) * allowed / allowed.sum()
    return shares
