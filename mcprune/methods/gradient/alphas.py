"""Schedules of alpha on the gradient path: L_tot = L_cla + alpha L_pru, with alpha constant to the gradient.

    fixed, ramp  a function of the time
    ratio        <L_cla> / <L_pru>
    mu-lambda    mu lambda with mu = <L_cla> / <lambda L_pru>, lambda constant
    decade       the same, with lambda times 10 after equal times
    stall        the same, with lambda multiplied whenever the variance of the weights has stopped changing

<> is a mean over the last complete epochs. The second mean is taken over the products lambda L_pru of those epochs, so that a jump of
lambda by 10 gives a pulse of alpha (10, 5.26, 3.57, 2.70, ... 1 with a window of 10). Or, by the literal formula, it is
lambda <L_pru>: then lambda cancels, and alpha is that of `ratio`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from mcprune.chain.schedules import Schedule

FIRST = 1.0  # alpha in the first epoch, when the windows are empty


@dataclass
class AlphaState:
    """The state of a schedule; updated in place.

    Attributes
    ----------
    alpha : float
        Of the current epoch, for schedules by epochs.
    strength : float
        lambda; NaN for a schedule without one.
    capped : int
        Epochs whose alpha was cut to the cap.
    epochs : int
        Complete epochs.
    cla, pru : deque of float
        Of the last complete epochs: L_cla, and the terms of the second mean.
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
        """Update the state with the means of L_cla and L_pru over the epoch, and the variance of the weights at its end."""
        ...


class Timed:
    """The schedules fixed and ramp: functions of the time."""

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
        """Return the largest number of variances that are kept."""
        ...

    def after(self, state: AlphaState, variance: float) -> float:
        """Return lambda after an epoch, at whose end the weights have the variance `variance`."""
        ...


@dataclass(frozen=True)
class Constant:
    """A constant lambda."""

    start: float = 1.0
    remembers = 0

    def after(self, state: AlphaState, variance: float) -> float:
        """See `Strength.after`."""
        return state.strength


@dataclass(frozen=True)
class Decades:
    """lambda times 10 every `every` epochs, possibly a fraction, up to `end`; it changes at the end of an epoch."""

    start: float
    end: float
    every: float
    remembers = 0

    def after(self, state: AlphaState, variance: float) -> float:
        """See `Strength.after`."""
        jumps = math.floor(state.epochs / self.every + 1e-9)
        # By logarithms, since the power overflows in a long run.
        return self.end if jumps > math.log10(self.end / self.start) else min(self.end, self.start * 10.0**jumps)


@dataclass(frozen=True)
class Stall:
    """lambda times `factor` when the relative change of the variance over `epochs` epochs is below `tolerance`.

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
    """The schedules ratio, mu-lambda, decade and stall.

    Parameters
    ----------
    rule : Strength
        Changes lambda; `Constant()` gives ratio.
    window : int
        Complete epochs in a mean; fewer at the start.
    products : bool
        The second mean is over lambda L_pru; else it is the current lambda times the mean of L_pru.
    cap : float
        The largest alpha, since the quotient is infinite where L_pru is 0.
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
