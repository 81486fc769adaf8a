"""Values that the commands of studies share: lists of numbers, and the options of every study."""

from __future__ import annotations

import argparse

from mcprune.cli.parser import Parser
from mcprune.errors import ConfigError


def study_options(parser: Parser, out: str) -> None:
    """Add the options of every study; `out` is the default folder."""
    parser.option("--quick", action="store_true", help="digits, and little time (default: no)")
    parser.option("--out", metavar="FOLDER", help=f"folder of the runs, the table and the page (default: {out})")
    parser.option("--force", action="store_true", help="replace finished runs that had other options (default: no)")
    parser.option("--quiet", action="store_true", help="print errors and, at the end, the folder (default: no)")


def integers(name: str, text: str, least: int) -> tuple[int, ...]:
    """Return whole numbers from a text with commas between them, in their order.

    Raises
    ------
    ConfigError
        No number, or one below `least`; the message names the option.
    """
    try:
        values = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{name} needs whole numbers with commas between, but got {text!r}") from None
    if not values or min(values) < least:
        raise ConfigError(f"{name} needs numbers of at least {least}, but got {text!r}")
    return values


def shares(name: str, text: str) -> tuple[float, ...]:
    """Return shares above 0 and at most 1 from a text with commas between them, the smallest first.

    Raises
    ------
    ConfigError
        No share, or one out of range; the message names the option.
    """
    try:
        values = tuple(sorted(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise ConfigError(f"{name} needs shares with commas between, such as 0.9,0.95; but got {text!r}") from None
    if not values or not all(0 < value <= 1 for value in values):
        raise ConfigError(f"{name} needs shares above 0 and at most 1, but got {text!r}")
    return values


def threads(text: str) -> int:
    """Return a number of threads, 1 to 4096, for argparse."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is needed, but got {text!r}") from None
    if not 1 <= number <= 4096:
        raise argparse.ArgumentTypeError(f"1 to 4096 threads, but got {text!r}")
    return number
