"""The accept rule as probabilities and flags in plain numpy: what the compiled rule is held against."""

import numpy as np

from mcprune.types import AnyArray, BoolArray, FloatArray


def accept_probability(
    loss_change: AnyArray | float, temperature: float, log_ratio: AnyArray | float = 0.0
) -> FloatArray:
    """Probability of accepting each candidate.

    Parameters
    ----------
    loss_change : ndarray, any shape
        L_tot of the candidate minus that of the current position, same batch, same classifier. What is not
        finite, -inf included, has probability 0.
    temperature : float, in units of L_tot
        Zero is greedy: only a strict decrease is accepted, so the limit T -> 0 of the formula (which takes
        ties) is not the rule at T = 0.
    log_ratio : ndarray, any shape that broadcasts
        log q(old|new) / q(new|old); ignored at T = 0.

    Returns
    -------
    ndarray, the broadcast shape

    References
    ----------
    .. [1] Metropolis et al. (1953), J. Chem. Phys. 21, 1087. Hastings (1970), Biometrika 57, 97.
    """
    change, ratio = np.broadcast_arrays(
        np.asarray(loss_change, dtype=np.float64), np.asarray(log_ratio, dtype=np.float64)
    )
    finite = np.isfinite(change)
    if temperature == 0:
        return np.where(finite & (change < 0), 1.0, 0.0)
    exponent = ratio - np.where(finite, change, 0.0) / temperature
    return np.where(finite, np.exp(np.minimum(exponent, 0.0)), 0.0)


def accept_flags(
    loss_change: AnyArray | float,
    temperature: float,
    uniforms: AnyArray | float,
    log_ratio: AnyArray | float = 0.0,
) -> BoolArray:
    """Whether each candidate is accepted, given one uniform of (0, 1) for each.

    Parameters
    ----------
    loss_change, temperature, log_ratio
        As for `accept_probability`.
    uniforms : ndarray, any shape that broadcasts
        Not looked at where T = 0.

    Returns
    -------
    ndarray of bool
        loss_change <= T (log_ratio - log u), finite only; at T = 0, loss_change < 0.
    """
    change = np.asarray(loss_change, dtype=np.float64)
    if temperature == 0:
        flags = np.isfinite(change) & (change < 0)
    else:
        bound = temperature * (np.asarray(log_ratio) - np.log(uniforms))
        flags = np.isfinite(change) & (change <= bound)
    return np.asarray(flags, dtype=np.bool_)
