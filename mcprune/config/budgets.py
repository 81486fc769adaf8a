"""The options of the budget: how many sites are kept, and what the kept model may cost; free of torch."""

from __future__ import annotations

from collections.abc import Mapping

from mcprune.config.parsing import whole_number

COST_UNITS = {
    "parameters": "parameters",
    "macs": "multiply-accumulates",
    "sites": "sites",
    "cost": "units of cost",
}
SITE_KINDS = ("inputs", "units", "channels", "weights")
LARGEST = 2**31
FORM = "a whole number, or a number for each kind of site such as inputs=6,units=20"


def site_counts(value: object) -> object:
    """Accept a number of sites, or a number for each kind as a mapping or as 'inputs=6,units=20'.

    Returns
    -------
    int, dict of str to int, or None

    Raises
    ------
    ValueError
        The value is neither, a kind does not exist, or a number is out of range.
    """
    if value is None:
        return None
    if isinstance(value, str) and "=" in value:
        parts = [part.partition("=") for part in value.split(",") if part.strip()]
        if len({kind.strip() for kind, _, _ in parts}) < len(parts):
            raise ValueError(f"a kind of site is named twice, got {value!r}; write {FORM}")
        value = {kind.strip(): number.strip() for kind, _, number in parts}
    if not isinstance(value, Mapping):
        return _count(value)
    if not value:
        raise ValueError(f"{FORM} is needed, got {value!r}")
    for kind in value:
        if kind not in SITE_KINDS:
            raise ValueError(
                f"{str(kind)!r:.40} is no kind of site, got {dict(value)!r:.60}; the kinds are {', '.join(SITE_KINDS)}"
            )
    return {str(kind): _count(number) for kind, number in value.items()}


def _count(value: object) -> int:
    """Return one number of sites."""
    number = whole_number(value)
    if number is None:
        raise ValueError(f"{FORM} is needed, got {value!r:.60}")
    if not 1 <= number <= LARGEST:
        raise ValueError(f"a number of sites from 1 to {LARGEST:,} is needed, got {value!r:.60}")
    return number
