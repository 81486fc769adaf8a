"""The pruner's losses from the three running sums (which `moves` updates in O(sites changed)).

    L_sel  = |sum_i s_i - n| / N
    L_rej  = sum_i s_i (1 - s_i) / N
    L_rej' = (sum_i s_i (1 - s_i) + N prod_i s_i) / N, the product as exp(sum_i log s_i)
    L_pru  = L_sel + L_rej (or + L_rej')

s_i = sigmoid(sharpness w_i), and [w_i > 0] where sharpness is infinite. log s_i is floored at -1000, so that
a dropped hard gate can be taken out of the sum again.
"""

import numpy as np

from mcprune.chain import kernels
from mcprune.types import AnyArray, FloatArray

__all__ = ["modified_rejection_loss", "pruning_loss", "rejection_loss", "selection_loss", "whole_sums"]


def whole_sums(position: FloatArray, *, sharpness: float) -> FloatArray:
    """Return the sums of s, of s (1 - s) and of log s over all sites.

    Parameters
    ----------
    position : ndarray, shape (R, N)
    sharpness : float, inf for hard gates

    Returns
    -------
    ndarray, shape (R, 3)
    """
    weights = np.ascontiguousarray(position, dtype=np.float64)
    out = np.empty((weights.shape[0], 3))
    for row, sums in zip(weights, out, strict=True):
        kernels.whole_sums(row, float(sharpness), sums)
    return out


def selection_loss(sum_s: AnyArray, n: float, sites: int) -> AnyArray:
    """L_sel of a sum of gates (any shape); n may be fractional, as in n(t)."""
    return np.abs(np.asarray(sum_s) - n) / sites


def rejection_loss(sum_s1s: AnyArray, sites: int) -> AnyArray:
    """L_rej of a sum of s (1 - s), any shape."""
    return np.asarray(sum_s1s) / sites


def modified_rejection_loss(sum_s1s: AnyArray, sum_log_s: AnyArray, sites: int) -> AnyArray:
    """L_rej' of sums of s (1 - s) and of log s, any shape; 0 where the product underflows."""
    return np.asarray(sum_s1s) / sites + np.exp(sum_log_s)


def pruning_loss(sums: FloatArray, n: float, sites: int, modified: bool = False) -> FloatArray:
    """L_pru, the part of L_tot that alpha multiplies.

    Parameters
    ----------
    sums : ndarray, shape (..., 3)
        Sums of s, of s (1 - s) and of log s.
    n : float
        Sites to keep; fractional while n(t) falls.
    sites : int
        N.
    modified : bool
        L_rej' instead of L_rej.

    Returns
    -------
    ndarray, shape (...)
    """
    if modified:
        return selection_loss(sums[..., 0], n, sites) + modified_rejection_loss(sums[..., 1], sums[..., 2], sites)
    return selection_loss(sums[..., 0], n, sites) + rejection_loss(sums[..., 1], sites)
