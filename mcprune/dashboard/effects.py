"""The effect of a change of a knob: figures after it against as many blocks before it, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

GROUP = 8  # neighbouring blocks resemble each other, so that a standard error is that of the means of so many
BEYOND = 3.0  # standard errors from which on a difference is an effect


class Window(NamedTuple):
    """A figure over some blocks.

    Attributes
    ----------
    counts, sizes : sequence of float
        A value for each block: the figure of a block is its count by its size, and a block of size 0 has none.
    is_share : bool
        Counts of decisions out of so many, in place of means.
    """

    counts: Sequence[float]
    sizes: Sequence[float]
    is_share: bool = False


class Estimate(NamedTuple):
    """A mean and its standard error; the error is infinite where one group of blocks is all."""

    mean: float
    error: float


@dataclass(frozen=True)
class Effect:
    """The effect of a change on one figure.

    Attributes
    ----------
    before, after : float or None
        Means of the windows before and after the change; None where nothing was measured.
    trend : float or None
        By how much the figure would have moved without the change, as it did from the control to the window before; None without control.
    difference : float or None
        after - before, less the trend.
    error : float or None
        Standard error of the difference; None where a window is too short for one.
    is_seen : bool or None
        Whether the difference is beyond its noise; None without a control, or an error.
    """

    before: float | None
    after: float | None
    trend: float | None = None
    difference: float | None = None
    error: float | None = None
    is_seen: bool | None = None


def estimate(window: Window, group: int = GROUP, slope: float = 0.0) -> Estimate | None:
    """Return the mean of a window and its standard error by the means of groups; None without a value.

    Parameters
    ----------
    window : Window
    group : int
        Blocks whose mean is one value.
    slope : float
        By how much the figure moves in a block anyway: that is no noise.

    Examples
    --------
    >>> estimate(Window([1.0, 3.0, 2.0, 2.0], [1, 1, 1, 1]), group=2)
    Estimate(mean=2.0, error=0.0)
    """
    pairs = [(count, size) for count, size in zip(*window[:2], strict=True) if size > 0 and math.isfinite(count)]
    if not pairs:
        return None
    total = sum(size for _, size in pairs)
    mean = sum(count for count, _ in pairs) / total
    groups = [pairs[place : place + group] for place in range(len(pairs) % group, len(pairs), group)]
    if len(groups) < 2:
        return Estimate(mean, math.inf)
    means = [
        sum(count for count, _ in one) / sum(size for _, size in one) - slope * group * place
        for place, one in enumerate(groups)
    ]
    centre = math.fsum(means) / len(means)
    variance = math.fsum((one - centre) ** 2 for one in means) / (len(means) - 1) / len(means)
    if window.is_share:  # windows in which nothing, or everything, was accepted have an error too
        inside = min(max(mean, 1.0 / total), 1.0 - 1.0 / total)
        variance = max(variance, inside * (1.0 - inside) / total)
    return Estimate(mean, math.sqrt(variance))


def effect_of(before: Window, after: Window, control: Window | None = None, group: int = GROUP) -> Effect:
    """Return the effect of a change; without a control only the two means.

    Parameters
    ----------
    before, after : Window
        Blocks before and after the change.
    control : Window, optional
        Blocks before those: what the figure did from there to `before`, it goes on to do, and that is no effect of the change.
    group : int
        Blocks whose mean is one value of a standard error.

    Examples
    --------
    >>> flat, risen = Window([1.0, 1.2] * 16, [1.0] * 32), Window([2.0, 2.2] * 16, [1.0] * 32)
    >>> effect_of(flat, risen, flat).is_seen, effect_of(flat, flat, flat).is_seen
    (True, False)
    """
    first, second = estimate(before, group), estimate(after, group)
    if first is None or second is None:
        return Effect(None if first is None else first.mean, None if second is None else second.mean)
    third = None if control is None else estimate(control, group)
    if third is None or control is None:
        return Effect(first.mean, second.mean)
    # Between the middles of the windows, in blocks: from the control to the window before the change, and from there to that after it.
    behind, ahead = (0.5 * (len(one.sizes) + len(before.sizes)) for one in (control, after))
    slope, ratio = (first.mean - third.mean) / behind, ahead / behind
    first, second, third = (estimate(one, group, slope) or first for one in (before, after, control))
    trend = slope * ahead
    difference = second.mean - first.mean - trend
    variance = second.error**2 + (1.0 + ratio) ** 2 * first.error**2 + ratio**2 * third.error**2
    if not math.isfinite(variance):
        return Effect(first.mean, second.mean, trend, difference)
    error = math.sqrt(variance)
    is_seen = abs(difference) > BEYOND * error and not math.isclose(second.mean, first.mean, rel_tol=1e-9)
    return Effect(first.mean, second.mean, trend, difference, error, is_seen)
