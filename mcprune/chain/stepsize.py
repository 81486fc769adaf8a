"""The half-width delta that gives a target acceptance: learned during the warm-up, then frozen."""

import math
from typing import NamedTuple

import numpy as np

from mcprune.chain.kernels import BLOCK, SITE, UNIFORM
from mcprune.errors import ConfigError
from mcprune.types import FloatArray, IntArray

__all__ = ["USERS", "StepSize", "adapt", "new_step_size"]

# The moves that delta is the half-width of.
USERS = (UNIFORM, BLOCK, SITE)
# Gain of the stochastic approximation: GAIN / k^FALL, 1/2 < FALL <= 1.
GAIN, FALL = 2.0, 0.6
SMALLEST = 1e-3  # of the box


class StepSize(NamedTuple):
    """Delta of each rung; updated in place. A checkpoint needs all of it."""

    delta: FloatArray  # (R,) half-width at each rung
    updates: IntArray  # (R,) changes so far
    frozen: IntArray  # (1,) proposals a replica at which delta was frozen, -1: not yet
    bounds: tuple[float, float]


def new_step_size(delta: float, rungs: int, box: float) -> StepSize:
    """Return a step size that starts at `delta`, within 1e-3 to 2 times the box.

    At twice the box the reflected proposal is uniform on the box whatever the position, so that more would change nothing.

    Raises
    ------
    ConfigError
        Where delta or the box is not positive and finite.
    """
    if not (0 < delta < math.inf and 0 < box < math.inf):
        raise ConfigError(f"delta={delta:g} in a box of {box:g}: an adapted delta starts positive, in a finite box.")
    low, high = SMALLEST * box, 2.0 * box
    start = np.full(rungs, min(max(delta, low), high))
    return StepSize(start, np.zeros(rungs, np.int64), np.full(1, -1), (low, high))


def adapt(size: StepSize, proposed: IntArray, accepted: IntArray, target: float) -> None:
    """Multiply delta by exp(GAIN / k^FALL (acceptance - target)) in place, k counting the changes of each rung.

    Parameters
    ----------
    size : StepSize
    proposed, accepted : ndarray, shape (R, 6)
        Of one block, by rung and kind of move. A rung whose block held no move that uses delta stays.
    target : float, 0 < target < 1

    References
    ----------
    .. [1] Andrieu, Thoms (2008), A tutorial on adaptive MCMC, Statistics and Computing 18, 343, algorithm 4.
    """
    users = list(USERS)
    asked, taken = proposed[:, users].sum(axis=1), accepted[:, users].sum(axis=1)
    is_used = asked > 0
    size.updates[is_used] += 1
    rate = taken[is_used] / asked[is_used]
    factor = np.exp(GAIN / size.updates[is_used] ** FALL * (rate - target))
    size.delta[is_used] = np.clip(size.delta[is_used] * factor, *size.bounds)
