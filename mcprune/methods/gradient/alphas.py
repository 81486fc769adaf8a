"""alpha over the run on the gradient path: L_tot = L_cla + alpha L_pru, alpha a plain number to the gradient.

    fixed, ramp  a function of the time
    ratio        <L_cla> / <L_pru>
    mu-lambda    mu lambda with mu = <L_cla> / <lambda L_pru>, lambda constant
    decade       the same, lambda x10 at equal times
    stall        the same, lambda multiplied whenever the variance of the weights has stopped changing

<> is a mean over the last epochs that are complete; the current one is not among them. The window of the second mean holds either
the products lambda L_pru of those epochs, so that a jump of lambda by 10 is a pulse of alpha (10, 5.26, 3.57, 2.70, ... 1 with a window
of 10), or by the literal formula lambda <L_pru>, in which lambda cancels and alpha is that of `ratio`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from mcprune.chain.schedules import Schedule

FIRST = 1.0  # alpha in the first epoch, when no window has anything yet


@dataclass
class AlphaState:
    """What a schedule has seen so far; updated in place.

    Attributes
    ----------
    alpha : float
        Of the current epoch, where the schedule goes by epochs.
    strength : float
        lambda; NaN for a schedule without one.
    capped : int
        Epochs whose alpha was cut to the cap.
    epochs : int
        Complete ones.
    cla, pru : deque of float
        Means over the last complete epochs, of L_cla and of what the second mean is taken of.
    variances : deque of float
        Of the weights, since lambda last rose.
    """

    alpha: float
    strength: float
    capped: int
    epochs: int
    cla: deque[float]
    pru: deque[float]
    variances: deque[float]


class Alpha(Protocol):
    """alpha over the run."""

    def init(self) -> AlphaState:
        """Return the state at the start."""
        ...

    def value(self, state: AlphaState, progress: float) -> float:
        """Return alpha for a step at `progress` (0..1) of the run."""
        ...

    def end_epoch(self, state: AlphaState, cla: float, pru: float, variance: float) -> None:
        """Take the means of L_cla and L_pru over the epoch, and the variance of the weights at its end."""
        ...


class Timed:
    """fixed and ramp: a function of the time alone."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def init(self) -> AlphaState:
        """See `Alpha.init`."""
        return AlphaState(self.schedule.value(0.0), math.nan, 0, 0, deque(), deque(), deque())

    def value(self, state: AlphaState, progress: float) -> float:
        """See `Alpha.value`."""
        return self.schedule.value(progress)

    def end_epoch(self, state: AlphaState, cla: float, pru: float, variance: float) -> None:
        """See `Alpha.end_epoch`."""


class Strength(Protocol):
    """lambda over the epochs."""

    @property
    def start(self) -> float:
        """Return lambda in the first epoch."""
        ...

    @property
    def remembers(self) -> int:
        """Return how many variances of the weights are looked at, at most."""
        ...

    def after(self, state: AlphaState, variance: float) -> float:
        """Return lambda once an epoch is complete, at the end of which the variance of the weights is `variance`."""
        ...


@dataclass(frozen=True)
class Constant:
    """lambda as it is."""

    start: float = 1.0
    remembers = 0

    def after(self, state: AlphaState, variance: float) -> float:
        """See `Strength.after`."""
        return state.strength


@dataclass(frozen=True)
class Decades:
    """lambda x10 every `every` epochs (it may be a fraction: lambda changes at the end of an epoch) up to `end`."""

    start: float
    end: float
    every: float
    remembers = 0

    def after(self, state: AlphaState, variance: float) -> float:
        """See `Strength.after`."""
        jumps = math.floor(state.epochs / self.every + 1e-9)
        # By logarithms: a run may be so long that the power overflows.
        return self.end if jumps > math.log10(self.end / self.start) else min(self.end, self.start * 10.0**jumps)


@dataclass(frozen=True)
class Stall:
    """lambda times `factor` when the variance has changed by less than `tolerance` of itself over `epochs` epochs.

    After a rise the comparison starts again. At the start all weights are equal, which counts as no change.
    """

    start: float
    end: float
    factor: float
    tolerance: float
    epochs: int

    @property
    def remembers(self) -> int:
        """See `Strength.remembers`."""
        return self.epochs + 1

    def after(self, state: AlphaState, variance: float) -> float:
        """See `Strength.after`."""
        state.variances.append(variance)
        first, now = state.variances[0], state.strength
        if len(state.variances) <= self.epochs or abs(variance - first) > self.tolerance * max(variance, first):
            return now
        state.variances.clear()
        state.variances.append(variance)
        return min(self.end, now * self.factor)


class Windowed:
    """ratio, mu-lambda, decade and stall.

    Parameters
    ----------
    rule : Strength
        How lambda changes; `Constant()` is ratio.
    window : int
        Complete epochs in a mean; fewer while fewer are complete.
    products : bool
        The window holds products lambda L_pru; else L_pru, times the current lambda.
    cap : float
        alpha is never above it: where L_pru reaches 0 the quotient is infinite.
    """

    def __init__(self, rule: Strength, *, window: int, products: bool, cap: float) -> None:
        self.rule, self.window, self.products, self.cap = rule, window, products, cap

    def init(self) -> AlphaState:
        """See `Alpha.init`."""
        variances = deque([0.0][: self.rule.remembers], maxlen=self.rule.remembers)
        windows = deque[float](maxlen=self.window), deque[float](maxlen=self.window)
        return AlphaState(min(FIRST, self.cap), self.rule.start, 0, 0, *windows, variances)

    def value(self, state: AlphaState, progress: float) -> float:
        """See `Alpha.value`."""
        return state.alpha

    def end_epoch(self, state: AlphaState, cla: float, pru: float, variance: float) -> None:
        """See `Alpha.end_epoch`."""
        state.epochs += 1
        state.cla.append(cla)
        state.pru.append(state.strength * pru if self.products else pru)
        state.strength = self.rule.after(state, variance)
        pressure = math.fsum(state.pru) / len(state.pru)
        # The literal formula in full, though lambda cancels: mu = <L_cla> / (lambda <L_pru>).
        below = pressure if self.products else state.strength * pressure
        above = state.strength * (math.fsum(state.cla) / len(state.cla))
        if above >= self.cap * below:
            state.capped += above > self.cap * below or below == 0
            state.alpha = self.cap
        else:
            state.alpha = above / below
