"""Numbers that change over a run: n(t), alpha, delta, temperature."""

import bisect
import difflib
import itertools
import math
from dataclasses import dataclass
from functools import cached_property

from mcprune.errors import ConfigError

__all__ = ["KINDS", "Schedule", "Stairs", "Waves", "geometric", "linear", "parse", "parse_temperature"]

KINDS = ("constant", "linear", "geometric")
_FORMS = "Write a number, linear:START:END, geometric:START:END, or either with :UNTIL (a share of the run)."
STANDARD_ERROR = "se"  # a unit that is measured during the run, for temperatures
AUTO_TEMPERATURE = "geometric:1se:0.01se:0.9"


@dataclass(frozen=True)
class Schedule:
    """A value from `start` to `end` over the first `until` of the run, and `end` from there on.

    Parameters
    ----------
    kind : str
        constant, linear or geometric (equal factors over equal times).
    start, end : float, finite
        Both positive where geometric, both equal where constant.
    until : float, 0 < until <= 1
        The share of the run at whose end `end` is reached.
    unit : str
        Of both ends: empty, or "se", the standard error of a paired loss difference on the evaluation rows.

    Raises
    ------
    ConfigError
        For anything out of these ranges.
    """

    kind: str
    start: float
    end: float
    until: float = 1.0
    unit: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = difflib.get_close_matches(self.kind, KINDS, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"Schedule kind {self.kind!r} is none of {', '.join(KINDS)}.{hint} {_FORMS}")
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ConfigError(f"Schedule from {self.start} to {self.end}: both ends must be finite numbers.")
        if self.kind == "constant" and self.start != self.end:
            raise ConfigError(f"A constant schedule cannot go from {self.start:g} to {self.end:g}. {_FORMS}")
        if self.kind == "geometric" and not (self.start > 0 and self.end > 0):
            raise ConfigError(
                f"Geometric schedule from {self.start:g} to {self.end:g}: both ends must be positive. "
                "Choose a small positive end, or linear."
            )
        if not 0 < self.until <= 1:
            raise ConfigError(f"Schedule with until={self.until}: it is a share of the run, 0 < until <= 1.")

    def value(self, progress: float) -> float:
        """Value at a share of the run; below 0 counts as 0 and above 1 as 1. Both ends are met exactly."""
        share = min(max(progress / self.until, 0.0), 1.0)
        if share == 1.0:
            return self.end
        if self.kind == "geometric":
            # powers apart: the quotient of the ends may overflow
            return math.pow(self.start, 1.0 - share) * math.pow(self.end, share)
        return self.start + (self.end - self.start) * share

    def __str__(self) -> str:
        """Text that `parse` reads back as an equal schedule."""
        if self.kind == "constant":
            return _text(self.start) + self.unit
        parts = [self.kind, _text(self.start) + self.unit, _text(self.end) + self.unit]
        return ":".join(parts if self.until == 1.0 else [*parts, _text(self.until)])


def geometric(start: float, end: float, until: float = 1.0) -> Schedule:
    """Return a schedule with equal factors over equal times, such as `temperature=geometric(3e-3, 3e-4)`."""
    return Schedule("geometric", float(start), float(end), until)


def linear(start: float, end: float, until: float = 1.0) -> Schedule:
    """Return a schedule with equal steps over equal times."""
    return Schedule("linear", float(start), float(end), until)


# The last wave is this share of the first one; a wave rests at the end value over this share of its length.
LAST_WAVE, REST = 0.3, 0.3


@dataclass(frozen=True)
class Waves:
    """A schedule of n(t) that, once it has fallen, rises and falls again `count` times, each time less high.

    Parameters
    ----------
    fall : Schedule
        Until fall.until; it ends at n.
    height : float > 0
        The first wave begins at n (1 + height) and falls geometrically to n, where it rests.
    count : int >= 1
    until : float, fall.until < until <= 1
        The share of the run at whose end the last wave is over.

    Raises
    ------
    ConfigError
        For anything out of these ranges.
    """

    fall: Schedule
    height: float
    count: int
    until: float = 0.9

    def __post_init__(self) -> None:
        if not (self.height > 0 and self.count >= 1 and self.fall.until < self.until <= 1):
            raise ConfigError(
                f"Waves of height {self.height:g}, {self.count} of them from {self.fall.until:g} to {self.until:g} of the run: "
                "give a height above 0, one wave or more, and an end after the fall, at most 1."
            )

    def value(self, progress: float) -> float:
        """n(t) at a share of the run; the end value from `until` on."""
        if not self.fall.until <= progress < self.until:
            return self.fall.value(progress)
        share = (progress - self.fall.until) / (self.until - self.fall.until)
        phase = min(1.0, (share * self.count) % 1.0 / (1.0 - REST))
        height = self.height * (1.0 - (1.0 - LAST_WAVE) * share)
        return self.fall.end * math.pow(1.0 + height, 1.0 - phase)


# Share of a stop in which n(t) goes to its level, before it rests there; shares of a run that are one but for rounding.
WAY, CLOSE = 0.3, 1e-10


@dataclass(frozen=True)
class Stairs:
    """A schedule of n(t) that falls to the first of several levels, and then goes from level to level and rests at each.

    Parameters
    ----------
    start : float
        All sites, from which n(t) falls geometrically to the first level.
    levels : tuple of float
        In the order of the stops; a level may come more than once.
    fall : float, 0 <= fall < 1
        The share of the run in which n(t) falls to the first level.
    waves : int
        Times that n(t) rises and falls again in a stop, each time less high; at the end of a stop it rests.
    height : float
        The first wave begins at the level times 1 + height.
    weights : tuple of float
        Of the stops, in proportion to which they share the rest of the run; empty: equally.
    """

    start: float
    levels: tuple[float, ...]
    fall: float
    waves: int = 0
    height: float = 0.0
    weights: tuple[float, ...] = ()

    @cached_property
    def ends(self) -> tuple[float, ...]:
        """Shares of the run at which the stops end."""
        weights = self.weights or (1.0,) * len(self.levels)
        sums, whole = itertools.accumulate(weights), sum(weights)
        ends = [self.fall + (1.0 - self.fall) * part / whole for part in sums]
        return (*ends[:-1], 1.0)

    def stop(self, progress: float) -> int:
        """Return the stop at a share of the run; -1 while n(t) falls to the first level. The end of a stop belongs to it."""
        if progress <= self.fall:
            return -1
        return min(len(self.levels) - 1, bisect.bisect_left(self.ends, progress - CLOSE))

    def phase(self, progress: float) -> float:
        """Return the share of the present stop that is done; 0 while n(t) falls to the first level, and at the start of a stop."""
        stop = min(len(self.levels) - 1, bisect.bisect_right(self.ends, progress + CLOSE))
        return max(0.0, self._done(progress, stop))

    def value(self, progress: float) -> float:
        """n(t) at a share of the run."""
        stop = self.stop(progress)
        if stop < 0:
            return _between(self.start, self.levels[0], max(0.0, progress) / self.fall if self.fall else 1.0)
        share = self._done(progress, stop)
        before, level = self.levels[max(0, stop - 1)], self.levels[stop]
        if share < WAY or not self.waves:
            return _between(before, level, min(1.0, share / WAY))
        way = Schedule("constant", level, level, WAY)
        return min(self.start, Waves(way, self.height, self.waves).value(share))

    def _done(self, progress: float, stop: int) -> float:
        """Return the share of a stop that is done."""
        first = self.ends[stop - 1] if stop else self.fall
        return (progress - first) / (self.ends[stop] - first)


def _between(start: float, end: float, share: float) -> float:
    """Return the value at a share of the way from start to end, in equal factors; exactly the end at 1."""
    return end if share >= 1.0 or start == end else math.pow(start, 1.0 - share) * math.pow(end, share)


def parse(text: str | float, *, units: tuple[str, ...] = ()) -> Schedule:
    """Schedule of "0.5", "linear:1:0.1" or "geometric:784:50:0.6"; a number is a constant.

    Parameters
    ----------
    text : str or float
    units : tuple of str
        Units that may stand behind the values, such as "se" in "geometric:1se:0.1se".

    Raises
    ------
    ConfigError
        Naming the part that cannot be read, and the forms there are.
    """
    parts = [part.strip() for part in str(text).split(":")]
    if len(parts) == 1:
        if parts[0].lower() in KINDS:
            raise ConfigError(f"Schedule {text!r} has no values. {_FORMS}")
        values, unit = _quantities(parts, text, units)
        return Schedule("constant", values[0], values[0], unit=unit)
    kind = parts[0].lower()
    values, unit = _quantities(parts[1:3], text, units)
    values += [_number(part, text) for part in parts[3:]]
    if kind == "constant" and len(values) == 1:
        return Schedule("constant", values[0], values[0], unit=unit)
    if kind in KINDS and (kind == "constant" or len(values) not in (2, 3)):
        raise ConfigError(f"Schedule {text!r} has {len(values)} values after {kind}. {_FORMS}")
    until = values[2] if len(values) > 2 else 1.0
    return Schedule(kind, values[0], values[1] if len(values) > 1 else values[0], until, unit)


def parse_temperature(text: str | float) -> Schedule:
    """Schedule of a temperature: as `parse`, with the unit "se" ("1se", "geometric:1se:0.1se"); "auto" is `AUTO_TEMPERATURE`."""
    return parse(AUTO_TEMPERATURE if str(text).strip().lower() == "auto" else text, units=(STANDARD_ERROR,))


def _quantities(parts: list[str], text: str | float, units: tuple[str, ...]) -> tuple[list[float], str]:
    """Return the values of the parts, and their common unit; 0 needs none."""
    values, used = [], set()
    for part in parts:
        unit = next((one for one in units if part.lower().endswith(one)), "")
        values.append(_number(part[: len(part) - len(unit)], text))
        if values[-1] != 0:
            used.add(unit)
    if len(used) > 1:
        raise ConfigError(
            f"Schedule {text!r} has values of different units. Write {_or(units)} behind all of them or none."
        )
    return values, used.pop() if used else ""


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names)


def _number(part: str, text: str | float) -> float:
    try:
        return float(part)
    except ValueError:
        raise ConfigError(f"Schedule {text!r}: {part!r} is not a number. {_FORMS}") from None


def _text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
