"""Counter-based uniforms: a number is a function of (seed, chain; step, block, purpose), of nothing else.

So the chain can draw its next K proposals at once, skip any, redo any, on any number of threads, and stays
the same chain. The rounds themselves are compiled in `kernels.philox`.
"""

import numpy as np

from mcprune.chain import kernels
from mcprune.chain.kernels import ACCEPT, BATCH, MASK, MOVE_CHOICE, SITE_CHOICE, START, SWAP, VALUE
from mcprune.errors import ConfigError
from mcprune.types import FloatArray, IntArray

__all__ = [
    "ACCEPT",
    "BATCH",
    "MASK",
    "MOVE_CHOICE",
    "SITE_CHOICE",
    "START",
    "SWAP",
    "VALUE",
    "check_chains",
    "check_seed",
    "philox4x32",
    "uniforms",
]


def check_seed(seed: int) -> int:
    """Return the seed if it is a 32-bit word, else raise ConfigError."""
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed={seed} is not a 32-bit word. Choose 0 <= seed <= {2**32 - 1}.")
    return int(seed)


def check_chains(chains: IntArray, replicas: int) -> IntArray:
    """Return the chain numbers as (replicas,) int64 if they are 32-bit words, else raise ConfigError."""
    numbers = np.ascontiguousarray(chains, dtype=np.int64)
    if numbers.shape != (replicas,):
        raise ConfigError(f"chains has shape {numbers.shape}, but there are {replicas} replicas. Give one number each.")
    if int(numbers.min()) < 0 or int(numbers.max()) >= 2**32:
        raise ConfigError(f"chains={numbers.tolist()} are not all 32-bit words. Choose 0 <= chain <= {2**32 - 1}.")
    return numbers


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random 32-bit words of Philox4x32-10.

    Parameters
    ----------
    counter, key : tuples of four and of two 32-bit words

    References
    ----------
    .. [1] Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, SC'11. The known
    answers that
       the tests use are those of the authors' library Random123.
    """
    words = kernels.philox(*(np.uint64(word) for word in (*counter, *key)))
    return int(words[0]), int(words[1]), int(words[2]), int(words[3])


def uniforms(seed: int, chain: int, step: int, purpose: int, count: int) -> FloatArray:
    """Doubles of the open interval (0, 1): (k + 1/2) 2**-52 with 52 random bits k.

    Parameters
    ----------
    seed, chain : int
        The key, 32-bit words.
    step : int, 0 <= step < 2**63
        The proposal that the numbers belong to.
    purpose : int
        One of the constants of this module; numbers of different purposes are independent.
    count : int
        How many; a longer call begins with the numbers of a shorter one.

    Returns
    -------
    ndarray, shape (count,)

    Raises
    ------
    ConfigError
        Where the seed is not a 32-bit word.
    """
    out = np.empty(count)
    kernels.fill_uniforms((check_seed(seed), int(chain), int(step)), int(purpose), out)
    return out
