"""Fixed-point formats, one for each value of a vector, and rounding in integers as hardware does it.

A value of ``fraction`` fractional bits is an integer times ``2**-fraction``. The values of one vector may have formats of their own;
they are written side by side at one common step, the finest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mcprune.errors import DataError, ModelError
from mcprune.firmware.csd import bit_length
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

Overflow = Literal["wrap", "saturate"]
Rounding = Literal["nearest", "floor"]
OVERFLOWS: tuple[Overflow, ...] = ("wrap", "saturate")
ROUNDINGS: tuple[Rounding, ...] = ("nearest", "floor")
MOST_BITS = 32  # of one value
MOST_FRACTION = 40  # binary places, after the point or before it


@dataclass(frozen=True, eq=False)
class FixedFormat:
    """Formats of the n values of a vector.

    Attributes
    ----------
    bits : ndarray of int64, shape (n,)
        Bits of each value, its sign included; 0 where the value is always 0.
    fraction : ndarray of int64, shape (n,)
        Bits behind the binary point; negative where the lowest bits are left out.
    signed : ndarray of bool, shape (n,)
    common : int
        All values are written as integers times ``2**-common``; at least the largest fraction.
    overflow : {'wrap', 'saturate'}
        What happens to a value out of range: the high bits are lost, which costs nothing in hardware, or it becomes the nearest value
        in range.
    rounding : {'nearest', 'floor'}
        Half a step is added before the low bits are cut off ('nearest'; a tie is rounded up), or they are cut off.

    Raises
    ------
    ModelError
        Formats that do not fit together.
    """

    bits: IntArray
    fraction: IntArray
    signed: BoolArray
    common: int
    overflow: Overflow = "wrap"
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        """Check the arrays, and copy them where they are of another type."""
        for name, kind in (("bits", np.int64), ("fraction", np.int64), ("signed", np.bool_)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=kind))
        object.__setattr__(self, "common", int(self.common))
        if not (self.bits.ndim == 1 and self.bits.shape == self.fraction.shape == self.signed.shape):
            raise ModelError(
                f"a format has {self.bits.shape} bits, {self.fraction.shape} fractions and {self.signed.shape} signs. Give one of "
                "each for every value."
            )
        if self.overflow not in OVERFLOWS or self.rounding not in ROUNDINGS:
            raise ModelError(
                f"a format has overflow {self.overflow!r} and rounding {self.rounding!r}. Choose among {', '.join(OVERFLOWS)} and "
                f"{', '.join(ROUNDINGS)}."
            )
        if len(self.bits) and not (self.bits.min() >= 0 and self.bits.max() <= MOST_BITS):
            raise ModelError(
                f"a value has {self.bits.min()} to {self.bits.max()} bits. Choose 0 to {MOST_BITS} for each value."
            )
        live = self.fraction[self.bits > 0]
        if len(live) and not (live.min() >= -MOST_FRACTION and live.max() <= self.common <= MOST_FRACTION):
            raise ModelError(
                f"values have {live.min()} to {live.max()} fractional bits and a common step of 2**-{self.common}. The common step "
                f"must be the finest, and all within {MOST_FRACTION} bits of the point."
            )

    def __len__(self) -> int:
        """Return the number of values, n."""
        return len(self.bits)

    @property
    def low(self) -> IntArray:
        """Least integer of each value at its own step, (n,)."""
        return np.where(self.signed & (self.bits > 0), -(1 << np.maximum(self.bits - 1, 0)), 0)

    @property
    def high(self) -> IntArray:
        """Largest integer of each value at its own step, (n,)."""
        return np.where(self.bits > 0, (1 << np.maximum(self.bits - self.signed, 0)) - 1, 0)

    @property
    def shift(self) -> IntArray:
        """Bits by which each value's own integer is shifted up to the common step, (n,); 0 where a value is always 0."""
        return np.where(self.bits > 0, self.common - self.fraction, 0)

    @property
    def reach(self) -> IntArray:
        """Largest magnitude of each value, in integers of the common step, (n,)."""
        return np.maximum(-self.low, self.high) << self.shift

    def select(self, places: IntArray) -> FixedFormat:
        """Return the formats of some of the values."""
        return replace(self, bits=self.bits[places], fraction=self.fraction[places], signed=self.signed[places])


def uniform_format(
    count: int,
    bits: int,
    fraction: int,
    *,
    signed: bool,
    overflow: Overflow = "wrap",
    rounding: Rounding = "nearest",
) -> FixedFormat:
    """Return the format of `count` values that are all alike."""
    return FixedFormat(
        np.full(count, bits, np.int64),
        np.full(count, fraction, np.int64),
        np.full(count, signed, np.bool_),
        fraction,
        overflow,
        rounding,
    )


def quantize(values: AnyArray, target: FixedFormat) -> IntArray:
    """Return real numbers in a format.

    Parameters
    ----------
    values : ndarray of float, shape (rows, n)
    target : FixedFormat of n values

    Returns
    -------
    ndarray of int64, shape (rows, n)
        Integers of the common step.

    Raises
    ------
    DataError
        Another number of columns; a value that is not finite, or that no integer of 62 bits holds.
    """
    wide: FloatArray = np.asarray(values, dtype=np.float64)
    if wide.ndim != 2 or wide.shape[1] != len(target):
        raise DataError(
            f"rows of shape {wide.shape}, but the network has {len(target)} inputs. Give rows of {len(target)} columns."
        )
    scaled = np.ldexp(wide, np.where(target.bits > 0, target.fraction, 0))
    if not (np.abs(scaled) < 2.0**62).all():
        row, column = np.argwhere(~(np.abs(scaled) < 2.0**62))[0]
        raise DataError(
            f"row {row} (counted from 0), column {column}: {wide[row, column]} has no fixed-point value. Give finite numbers, scaled "
            "as the network was trained."
        )
    whole = np.floor(scaled)
    if target.rounding == "nearest":
        whole += scaled - whole >= 0.5
    return overflowed(whole.astype(np.int64), target) << target.shift


def requantize(values: IntArray, fraction: int, target: FixedFormat) -> IntArray:
    """Return integers of another step in a format: shifted, rounded, and wrapped or saturated.

    Parameters
    ----------
    values : ndarray of int64, shape (rows, n)
        Times ``2**-fraction``.
    fraction : int
    target : FixedFormat of n values

    Returns
    -------
    ndarray of int64, shape (rows, n)
        Integers of the target's common step.
    """
    drop = np.where(target.bits > 0, fraction - target.fraction, 0)
    down, up = np.maximum(drop, 0), np.maximum(-drop, 0)
    half = (1 << down) >> 1 if target.rounding == "nearest" else np.zeros_like(down)
    return overflowed(((values + half) >> down) << up, target) << target.shift


def overflowed(values: IntArray, target: FixedFormat) -> IntArray:
    """Return integers of each value's own step, (rows, n), brought into range: wrapped or saturated."""
    if target.overflow == "saturate":
        return np.clip(values, target.low, target.high)
    span = np.where(target.bits > 0, (1 << target.bits) - 1, 0)  # all bits of the value
    return ((values - target.low) & span) + target.low


def bits_for(low: IntArray, high: IntArray) -> IntArray:
    """Return the bits that integers from `low` to `high` need, a sign included where `low` is negative; both (n,)."""
    size = np.maximum(high, -low - 1)
    return bit_length(size) + (low < 0)
