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
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcprune.chain.schedules import Schedule

FIRST = 1.0  # alpha in the first epoch, when no window has anything yet


class Alpha(Protocol):
    """alpha over the run.

    Attributes
    ----------
    strength : float
        lambda; NaN for a schedule without one.
    capped : int
        Epochs whose alpha was cut to the cap.
    """

    strength: float
    capped: int

    def value(self, progress: float) -> float:
        """Return alpha for a step at `progress` (0..1) of the run."""
        ...

    def epoch_ended(self, cla: float, pru: float, variance: float) -> None:
        """Take the means of L_cla and L_pru over the epoch, and the variance of the weights at its end."""
        ...

    def save(self) -> dict[str, Any]:
        """Return what the schedule has met so far, as plain numbers and lists."""
        ...

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `save` gave."""
        ...


class Timed:
    """fixed and ramp: a function of the time alone."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.strength = math.nan
        self.capped = 0

    def value(self, progress: float) -> float:
        """See `Alpha.value`."""
        return self.schedule.value(progress)

    def epoch_ended(self, cla: float, pru: float, variance: float) -> None:
        """See `Alpha.epoch_ended`."""

    def save(self) -> dict[str, Any]:
        """See `Alpha.save`: nothing."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """See `Alpha.restore`."""


class Strength(Protocol):
    """lambda over the epochs."""

    @property
    def start(self) -> float:
        """Return lambda in the first epoch."""
        ...

    def after(self, epochs: int, now: float, variance: float) -> float:
        """Return lambda once `epochs` are complete; it was `now`, and the variance of the weights is `variance`."""
        ...


@dataclass(frozen=True)
class Constant:
    """lambda as it is."""

    start: float = 1.0

    def after(self, epochs: int, now: float, variance: float) -> float:
        """See `Strength.after`."""
        return now


@dataclass(frozen=True)
class Decades:
    """lambda x10 every `every` epochs (it may be a fraction: lambda changes at the end of an epoch) up to `end`."""

    start: float
    end: float
    every: float

    def after(self, epochs: int, now: float, variance: float) -> float:
        """See `Strength.after`."""
        jumps = math.floor(epochs / self.every + 1e-9)
        # By logarithms: a run may be so long that the power overflows.
        return self.end if jumps > math.log10(self.end / self.start) else min(self.end, self.start * 10.0**jumps)


@dataclass
class Stall:
    """lambda times `factor` when the variance has changed by less than `tolerance` of itself over `epochs` epochs.

    After a rise the comparison starts anew. At the start all weights are equal, which counts as no change.
    """

    start: float
    end: float
    factor: float
    tolerance: float
    epochs: int
    seen: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self.seen = deque([0.0], maxlen=self.epochs + 1)

    def after(self, epochs: int, now: float, variance: float) -> float:
        """See `Strength.after`."""
        self.seen.append(variance)
        if len(self.seen) <= self.epochs or abs(variance - self.seen[0]) > self.tolerance * max(variance, self.seen[0]):
            return now
        self.seen.clear()
        self.seen.append(variance)
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
        self.rule = rule
        self.strength = rule.start
        self.products = products
        self.cap = cap
        self.capped = 0
        self.epochs = 0
        self._alpha = min(FIRST, cap)
        self._cla: deque[float] = deque(maxlen=window)
        self._pru: deque[float] = deque(maxlen=window)

    def value(self, progress: float) -> float:
        """See `Alpha.value`."""
        return self._alpha

    def epoch_ended(self, cla: float, pru: float, variance: float) -> None:
        """See `Alpha.epoch_ended`."""
        self.epochs += 1
        self._cla.append(cla)
        self._pru.append(self.strength * pru if self.products else pru)
        self.strength = self.rule.after(self.epochs, self.strength, variance)
        pressure = math.fsum(self._pru) / len(self._pru)
        # The literal formula in full, though lambda cancels: mu = <L_cla> / (lambda <L_pru>).
        below = pressure if self.products else self.strength * pressure
        above = self.strength * (math.fsum(self._cla) / len(self._cla))
        if above >= self.cap * below:
            self.capped += above > self.cap * below or below == 0
            self._alpha = self.cap
        else:
            self._alpha = above / below

    def save(self) -> dict[str, Any]:
        """See `Alpha.save`."""
        saved: dict[str, Any] = {"strength": self.strength, "capped": int(self.capped), "epochs": self.epochs}
        saved |= {"alpha": self._alpha, "cla": list(self._cla), "pru": list(self._pru)}
        if isinstance(self.rule, Stall):
            saved["variances"] = list(self.rule.seen)
        return saved

    def restore(self, saved: dict[str, Any]) -> None:
        """See `Alpha.restore`."""
        self.strength, self.capped, self.epochs = float(saved["strength"]), saved["capped"], saved["epochs"]
        self._alpha = float(saved["alpha"])
        pairs = [(self._cla, saved["cla"]), (self._pru, saved["pru"])]
        if isinstance(self.rule, Stall):
            pairs.append((self.rule.seen, saved["variances"]))
        for window, values in pairs:
            window.clear()
            window.extend(values)
