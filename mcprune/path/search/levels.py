"""The levels of a path: numbers of kept sites, or limits on a cost, from a text such as 2:200, 2:200:12 or 5,10,20."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mcprune.config.budgets import LARGEST
from mcprune.errors import ConfigError

AUTO = "auto"
LEVELS, MOST_LEVELS = 12, 200
# Of `auto`: the largest number of sites that is tried.
MOST_AUTO = 256
FORM = "Write a range such as 2:200, 2:200:12 for 12 levels, or numbers such as 5,10,20"


class Levels(NamedTuple):
    """Levels, rising, and what they count.

    Attributes
    ----------
    numbers : tuple of int
    unit : str
        sites, macs or parameters.
    """

    numbers: tuple[int, ...]
    unit: str = "sites"

    @property
    def option(self) -> str:
        """The option that a single run has for one level."""
        return "keep" if self.unit == "sites" else self.unit

    @property
    def text(self) -> str:
        """The levels as an option."""
        return ",".join(map(str, self.numbers))


def parse_levels(value: object, unit: str = "sites") -> Levels:
    """Return the levels of a text or of numbers.

    Parameters
    ----------
    value : str or iterable of int
        LEAST:MOST, LEAST:MOST:COUNT, numbers joined by commas, or an iterable of numbers.
    unit : str
        What is counted: sites, macs or parameters.

    Raises
    ------
    ConfigError
        What is no list of two levels or more from 1 on, or a range that falls.
    """
    option = "keep" if unit == "sites" else unit
    if isinstance(value, str):
        numbers = _range(value, option) if ":" in value else [_number(part, value, option) for part in value.split(",")]
    elif isinstance(value, Iterable):
        numbers = [_number(one, value, option) for one in value]
    else:
        numbers = [_number(value, value, option)]
    levels = tuple(sorted(set(numbers)))
    if not levels:
        raise ConfigError(f"{option}={_shown(value)} has no level. {FORM}.")
    if len(levels) < 2:
        raise ConfigError(
            f"{option}={_shown(value)} is one level, but a path needs two or more. {FORM}; mcprune run --{option} {levels[0]} "
            "does a single one."
        )
    if len(levels) > MOST_LEVELS:
        raise ConfigError(f"{option}={_shown(value)} has {len(levels):,} levels. Give {MOST_LEVELS} or fewer.")
    return Levels(levels, unit)


def is_auto(value: object) -> bool:
    """Whether levels are to be chosen: "auto"."""
    return isinstance(value, str) and value.strip().lower() == AUTO


def geometric_levels(least: int, most: int, count: int = LEVELS) -> tuple[int, ...]:
    """Return `count` whole numbers of about equal factors from `least` to `most`; all of them where there are not more."""
    if most - least < count:
        return tuple(range(least, most + 1))
    levels = np.array([least, most])
    points = count
    while len(levels) < count:  # small numbers round to the same one
        levels = np.unique(np.rint(np.geomspace(least, most, points)).astype(np.int64))
        points += 1
    return tuple(levels.tolist())


def _range(text: str, option: str) -> list[int]:
    parts = text.split(":")
    if len(parts) > 3:
        raise ConfigError(f"{option}={text!r} has {len(parts)} parts. {FORM}.")
    numbers = [_number(part, text, option) for part in parts]
    least, most, count = (*numbers, LEVELS)[:3]
    if most < least:
        raise ConfigError(
            f"{option}={text!r} goes from {least:,} down to {most:,}. Write the smaller number first: {most}:{least}."
        )
    return list(geometric_levels(least, most, min(count, MOST_LEVELS + 1)))


def _number(part: object, value: object, option: str) -> int:
    try:
        number = int(part) if isinstance(part, str) else part.__index__()  # type: ignore[attr-defined]
    except (ValueError, AttributeError):
        raise ConfigError(f"{option}={_shown(value)}: {str(part)!r:.40} is not a whole number. {FORM}.") from None
    if not 1 <= number <= LARGEST * (LARGEST if option != "keep" else 1):
        raise ConfigError(f"{option}={_shown(value)}: {number:,} is out of range. {FORM}.")
    return int(number)


def _shown(value: object) -> str:
    return f"{value!r:.60}" if isinstance(value, str) else f"{value!s:.60}"
