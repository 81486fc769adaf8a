"""What a default is made of: values, when each holds, and how the help words it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from mcprune.config.facts import Traits

T = TypeVar("T", covariant=True)


class PerRow(NamedTuple):
    """A number that grows with the training rows.

    Attributes
    ----------
    share : float
        For each row.
    least, most : int
    """

    share: float
    least: int
    most: int

    def at(self, rows: int) -> int:
        """Return the number for so many training rows."""
        return min(self.most, max(self.least, round(self.share * rows)))

    def __str__(self) -> str:
        """Return the number as the help words it."""
        return f"{self.share:g} for each training row (at least {self.least:,}, at most {self.most:,})"


class Rule(NamedTuple, Generic[T]):
    """A value, and when it holds: as a text for the help, and as a test. The first rule that holds counts."""

    value: T
    words: str = ""
    holds: Callable[[Traits], bool] = lambda traits: True


class Default(NamedTuple, Generic[T]):
    """The rules of an option, what is added in words, and the words for a value where it is no plain number.

    Attributes
    ----------
    rules : tuple of Rule
        The last one holds always.
    note : str
        What the run does with the value, such as raising it for few rows.
    """

    rules: tuple[Rule[T], ...] = ()
    note: str = ""

    def pick(self, traits: Traits) -> T:
        """Return the value of the first rule that holds."""
        return next(rule.value for rule in self.rules if rule.holds(traits))

    def __str__(self) -> str:
        """Return the default as the help words it."""
        parts = [
            f"{worded(rule.value)}{f' for {rule.words}' if rule.words else '' if len(self.rules) == 1 else ' otherwise'}"
            for rule in self.rules
        ]
        return ", ".join(filter(None, [*parts, self.note]))


def worded(value: object) -> str:
    """Return a default value as the command line takes it."""
    if isinstance(value, dict):
        return ",".join(f"{name}={share:g}" for name, share in value.items())
    if isinstance(value, tuple) and not isinstance(value, PerRow):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def number_at(default: Default[int | PerRow], rows: int, traits: Traits) -> int:
    """Return the number of a default that may grow with the training rows."""
    number = default.pick(traits)
    return number if isinstance(number, int) else number.at(rows)
