"""Reading what a person may write for an option: schedules, moves, widths, sizes."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import SupportsFloat

import numpy as np

from mcprune.chain import KINDS
from mcprune.chain.schedules import Schedule, parse_temperature
from mcprune.chain.schedules import parse as parse_schedule
from mcprune.objectives.specs import check_text

# What a value must be, by the kinds of error that pydantic names.
NEEDED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge:,}",
    "greater_than": "a number above {gt:,}",
    "less_than_equal": "at most {le:,}",
    "less_than": "a number below {lt:,}",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
}
# Where the remedy begins in the text of an error, if it has one.
REMEDY = re.compile(r"[;.] (?=(?:write|give|leave|correct|choose|the \w+ are)\b)", re.IGNORECASE)
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def schedule_text(value: object) -> str:
    """Accept a number or `kind:start:end[:until]` and return its canonical text, checked."""
    if isinstance(value, Schedule):
        value = str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a number or kind:start:end[:until] is needed, got {value!r}")
    schedule = parse_schedule(str(value))
    if min(schedule.start, schedule.end) < 0:
        raise ValueError(f"it must not be negative, got {value!r}")
    return str(schedule)


def temperature_text(value: object) -> str:
    """Accept what `schedule_text` does, with values in nats or in standard errors (1se); or auto."""
    if isinstance(value, Schedule):
        value = str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a number, 1se, auto or kind:start:end[:until] is needed, got {value!r}")
    if str(value).strip().lower() == "auto":
        return "auto"
    schedule = parse_temperature(value)
    if min(schedule.start, schedule.end) < 0:
        raise ValueError(f"it must not be negative, got {value!r}")
    return str(schedule)


def positive_schedule_text(value: object) -> str:
    """Accept what `schedule_text` does, but neither end may be 0."""
    text = schedule_text(value)
    schedule = parse_schedule(text)
    if min(schedule.start, schedule.end) == 0:
        raise ValueError(f"it must be above 0, got {value!r}")
    return text


def move_shares(value: object) -> dict[str, float] | None:
    """Accept a mapping or 'exchange=3,toggle=1', scaled to a sum of 1; None stays None."""
    if value is None:
        return None
    if isinstance(value, str):
        pairs = [part.split("=", 1) if "=" in part else (part, "1") for part in value.split(",") if part.strip()]
        value = {name.strip(): share for name, share in pairs}
    if not isinstance(value, dict) or not value:
        raise ValueError(f"shares by name are needed, such as exchange=3,toggle=1; got {value!r:.60}")
    shares: dict[str, float] = {}
    for name, share in value.items():
        if name not in KINDS:
            raise ValueError(f"there is no move {name!r}{nearest(name, KINDS)}; the moves are {', '.join(KINDS)}")
        try:
            shares[name] = float(share)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"the share of {name} must be a number, got {share!r:.60}") from None
        if not math.isfinite(shares[name]) or shares[name] < 0:
            raise ValueError(f"the share of {name} must be finite and not negative, got {share!r:.60}")
    largest = max(shares.values())
    if not largest > 0:
        raise ValueError("the shares must not all be zero")
    if not math.isfinite(sum(shares.values())):  # by the largest first: the sum would overflow
        shares = {name: share / largest for name, share in shares.items()}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items() if share > 0}


def interval_text(value: object) -> str:
    """Accept auto, a time such as 30s, 2m or 1h, or a number of epochs; see `interval`."""
    text = str(value).strip().lower()
    if text != "auto":
        interval(text)
    return text


def interval(text: str) -> tuple[str, float]:
    """Return what an interval counts, `seconds` or `epochs`, and how many.

    Raises
    ------
    ValueError
        It is neither a time nor a number, or not above 0.
    """
    scale = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    try:
        size = float(text[:-1] if scale else text) * (scale or 1.0)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise ValueError(f"a time such as 30s, 2m or 1h, a number of epochs, or auto is needed; got {text!r}")
    return ("seconds" if scale else "epochs"), size


def requirement(kind: str, context: Mapping[str, object], message: str) -> str:
    """Return what is wrong with a value that pydantic has refused, as a part of a sentence.

    Parameters
    ----------
    kind, context, message : str, mapping, str
        `type`, `ctx` and `msg` of the error.
    """
    if kind in NEEDED:
        plain = {
            name: int(end) if isinstance(end, float) and end.is_integer() else end for name, end in context.items()
        }
        return f"{NEEDED[kind].format(**plain)} is needed"
    text = message.removeprefix("Value error, ").rstrip(". ")
    return text[0].lower() + text[1:] if text[:1].isupper() and not text[1:2].isupper() else text


def cause_and_remedy(text: str) -> tuple[str, str]:
    """Return the two parts of an error's text, without the period at the end; the remedy is empty where there is none."""
    cause, *remedy = REMEDY.split(text.rstrip("."), maxsplit=1)
    return cause, "".join(remedy)


def objective_text(value: object) -> object:
    """Accept the text of an objective, its name checked."""
    return check_text(value) if isinstance(value, str) else value


def rate_or_none(value: object) -> object:
    """Accept a number, or the text none."""
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def site_names(value: object) -> object:
    """Accept names (texts) or indices (integers) of sites, as a list or as 'a,b'; none of them is None."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Integral):
        value = [value]
    if value is None:
        return None
    if not isinstance(value, list | tuple | set | frozenset | np.ndarray):
        raise ValueError(f"names or indices of sites are needed, as a list or as 'a,b', got {value!r:.60}")
    return tuple(map(site_name, value)) or None


def site_name(value: object) -> int | str:
    """Return an index of a site as an int, and its name as a text: 2 is the third site, "2" the one of this name."""
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"names or indices of sites are needed, got {value!r}; write np.flatnonzero(mask) for a mask")
    return int(value) if isinstance(value, Integral) else str(value)


MODEL_NAMES = ("mlp", "lenet-300-100", "vgg13", "mobilenet_v1", "resnet56")


def is_model_file(text: str) -> bool:
    """Whether the text names a classifier in a file."""
    return ".py:" in text


def model_name(value: object) -> object:
    """Accept the name of a built-in classifier, or FILE.py:NAME."""
    if isinstance(value, str) and value not in MODEL_NAMES and not is_model_file(value):
        near = difflib.get_close_matches(value, MODEL_NAMES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{', '.join(MODEL_NAMES)} or FILE.py:NAME is needed, got {value!r}{hint}")
    return value


def layer_widths(value: object) -> object:
    """Accept widths as a list, a number or as '128,64'."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, int) else value


def byte_count(value: object) -> object:
    """Accept a number of bytes or a text such as 512M or 2G."""
    if isinstance(value, str):
        text = value.strip().lower().removesuffix("ib").removesuffix("b")
        scale = UNITS.get(text[-1:], 1)
        number = text[:-1] if text[-1:] in UNITS else text
        try:
            size = float(number) * scale
            return int(size)
        except (ValueError, OverflowError):
            raise ValueError(f"a number of bytes is needed, such as 512M or 2G; got {value!r}") from None
    return value


def whole_number(value: object) -> int | None:
    """Return a number, or the text of one, as an int; None if it is no whole number."""
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(value, str):
            return int(value)
        if isinstance(value, SupportsFloat) and not isinstance(value, bool) and float(value).is_integer():
            return int(float(value))
    return None


def number_text(value: object) -> str:
    """Return a number as the shortest text that reads back as it; any other value as its text."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def nearest(name: str, names: Iterable[object]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest of the names, or nothing."""
    matches = difflib.get_close_matches(str(name), [str(other) for other in names], n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def shown(name: str, value: object) -> str:
    """Return a value as the command line takes it: 128,64 or exchange=3,toggle=1 or 1G."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ",".join(f"{key}={share:g}" for key, share in value.items())
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if name == "max_memory" and isinstance(value, int):
        for letter, size in reversed(UNITS.items()):
            if value % size == 0:
                return f"{value // size}{letter.upper()}"
    return f"{value:g}" if isinstance(value, float) else str(value)
