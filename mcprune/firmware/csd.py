"""Canonical signed digits: an integer as the shortest sum of signed powers of two, no two of them neighbours.

Of ``3 v`` and ``v`` in binary, the bits that differ stand one place above the nonzero digits of v: 3v has the bit alone where the
digit is +1, v alone where it is -1. Multiplying by v takes one adder less than it has digits.
"""

from __future__ import annotations

import numpy as np

from mcprune.types import AnyArray, IntArray

MOST = 1 << 60  # largest magnitude: three times it still is an int64


def count_digits(values: AnyArray) -> IntArray:
    """Return the number of nonzero signed digits of each integer, in an array of its shape."""
    size = np.abs(np.asarray(values, np.int64))
    return np.asarray(np.bitwise_count(size ^ (3 * size)), np.int64)


def signed_digits(values: AnyArray) -> IntArray:
    """Return the digits -1, 0, +1 of integers, the lowest first.

    Parameters
    ----------
    values : ndarray of integers, any shape; magnitudes up to ``MOST``

    Returns
    -------
    ndarray of int64, shape (*values.shape, places)
        The last axis is as long as the largest integer needs, 1 at least; ``sum(digits * 2**place)`` is the integer.
    """
    whole = np.asarray(values, np.int64)
    size = np.abs(whole)
    plus, minus = ((3 * size) & ~size) >> 1, (size & ~(3 * size)) >> 1
    places = np.arange(max(int((plus | minus).max(initial=0)).bit_length(), 1))
    digits = ((plus[..., None] >> places) & 1) - ((minus[..., None] >> places) & 1)
    return np.asarray(digits * np.sign(whole)[..., None], np.int64)


def enclosed_bits(values: AnyArray) -> IntArray:
    """Return the bits from the highest to the lowest set bit of each magnitude; 0 of zero. The width of a multiplier's constant."""
    size = np.abs(np.asarray(values, np.int64))
    lowest = size & -size
    return np.where(size > 0, bit_length(size) - bit_length(lowest) + 1, 0)


def bit_length(values: AnyArray) -> IntArray:
    """Return the bits of each integer, which is not negative: 0 of 0, n of ``2**n - 1``."""
    rest = np.asarray(values, np.int64).copy()
    for shift in (1, 2, 4, 8, 16, 32):
        rest |= rest >> shift
    return np.asarray(np.bitwise_count(rest), np.int64)
