"""The options of the budget: how many sites are kept, what the kept model may cost, which sites are tied; free of torch."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from mcprune.config.parsing import site_name, whole_number

COST_UNITS = {
    "parameters": "parameters",
    "macs": "multiply-accumulates",
    "latency": "microseconds",
    "sites": "sites",
    "cost": "units of cost",
}
SITE_KINDS = ("inputs", "units", "channels", "weights", "states", "heads", "neurons", "experts", "blocks")
# Kinds that are cut out of the layers of the search's classifier, whose weights are kept.
CUT_KINDS = ("channels", "states", "heads", "neurons", "experts", "blocks")
PART_KINDS = CUT_KINDS[2:]  # of a transformer
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
    if number is None and isinstance(value, str) and (":" in value or value.strip().lower() == "auto"):
        raise ValueError(
            f"one number of sites is needed, got {value!r:.60}; give one, or use mcprune path --keep {value:.40} or prune_path, which "
            "take several and say how many are enough"
        )
    if number is None:
        raise ValueError(f"{FORM} is needed, got {value!r:.60}")
    if not 1 <= number <= LARGEST:
        raise ValueError(f"a number of sites from 1 to {LARGEST:,} is needed, got {value!r:.60}")
    return number


PICOSECONDS = 10**6  # a latency is counted in picoseconds and shown in microseconds


def cost_number(value: int, unit: str) -> str:
    """Return the number of a cost for people, in the unit that `COST_UNITS` names."""
    return f"{value / PICOSECONDS:,.2f}" if unit == "latency" else f"{value:,}"


class LatencyRecord(TypedDict):
    """A table of measured latencies, as a run records it: kept sites of each group, and what a batch of `rows` took."""

    rows: int
    counts: list[list[int]]
    microseconds: list[float]


def latency_record(value: object) -> object:
    """Accept a table of latencies as a mapping, or the path of a JSON file of one.

    Raises
    ------
    ValueError
        The file cannot be read, or the table has another form.
    """
    if isinstance(value, str):
        try:
            value = json.loads(Path(value).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"the file {value!r} cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the file {value!r} is not JSON ({error})") from None
    if value is None:
        return None
    form = "rows, counts (kept sites of each group) and microseconds, one for each of the counts"
    if not isinstance(value, Mapping) or set(value) != {"rows", "counts", "microseconds"}:
        raise ValueError(f"a table of latencies is needed, with {form}; got {value!r:.60}")
    rows, counts, times = value["rows"], value["counts"], value["microseconds"]
    is_table = isinstance(counts, list) and isinstance(times, list) and 0 < len(counts) == len(times)
    if not is_table or not all(isinstance(one, list) and len(one) == len(counts[0]) for one in counts):
        raise ValueError(f"a table of latencies needs {form}")
    numbers = [whole_number(one) for each in counts for one in each]
    if not all(one is not None and one >= 0 for one in [*numbers, whole_number(rows)]):
        raise ValueError(f"a table of latencies needs whole numbers of rows and of counts; {form}")
    if not all(isinstance(one, int | float) and 0 < one < 1e12 for one in times):
        raise ValueError("a table of latencies needs microseconds above 0")
    return {"rows": int(rows), "counts": counts, "microseconds": [float(one) for one in times]}


PATTERN_FORM = "N:M for N of every M weights along the inputs, such as 2:4, or RxC for blocks of R outputs by C inputs, such as 4x1"
LARGEST_PATTERN = 1024


class PatternText(NamedTuple):
    """N and M of N:M, or the sides of blocks."""

    first: int
    second: int
    is_of_blocks: bool


def pattern_option(value: object) -> object:
    """Accept a pattern of weights, checked."""
    if value is not None:
        read_pattern(value)
    return value


def read_pattern(value: object) -> PatternText:
    """Return the numbers of a pattern.

    Raises
    ------
    ValueError
        It has another form, or N is not below M.
    """
    match = re.fullmatch(r"(\d{1,4})([:x])(\d{1,4})", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a pattern is needed, got {value!r:.40}; write {PATTERN_FORM}")
    first, second = int(match[1]), int(match[3])
    is_of_blocks = match[2] == "x"
    if not first >= 1 or not (second >= 1 if is_of_blocks else first < second) or max(first, second) > LARGEST_PATTERN:
        raise ValueError(f"there is no such pattern, got {value!r}; write {PATTERN_FORM}, up to {LARGEST_PATTERN:,}")
    return PatternText(first, second, is_of_blocks)


GROUPS_FORM = "NAME=SITE,...:COST joined by ;, the costs where there are any, or a TOML file of such groups"
GROUP_KEYS = {"sites", "cost"}


class Group(TypedDict):
    """Sites that are kept or dropped together, by name, and what the group costs: by default its number of sites."""

    sites: list[int | str]
    cost: NotRequired[int]


def counts_items(groups: Mapping[str, Group] | None, sites: str) -> bool:
    """Whether each group of inputs costs one, as a single input does, so that a budget is a number of groups and inputs."""
    return groups is not None and sites == "inputs" and all(group.get("cost") == 1 for group in groups.values())


def groups_option(value: object) -> dict[str, Group] | None:
    """Return groups by name, from a mapping, a text of the form `GROUPS_FORM`, or the path of a TOML file."""
    if isinstance(value, str):
        value = _of_text(value) if "=" in value else _of_file(Path(value))
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"groups of sites are needed, as {GROUPS_FORM}; got {value!r}")
    return {str(name): _group(str(name), group) for name, group in value.items()}


def _of_text(text: str) -> dict[str, dict[str, object]]:
    groups: dict[str, dict[str, object]] = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        name, has_sites, rest = part.partition("=")
        sites, has_cost, cost = rest.rpartition(":")
        if not name.strip():
            raise ValueError(f"no name in {part!r}; write {GROUPS_FORM}")
        if not has_sites or name.strip() in groups:
            raise ValueError(
                f"{'two groups of one name' if has_sites else 'no sites'} in {part!r}; write {GROUPS_FORM}"
            )
        group: dict[str, object] = {
            "sites": [each.strip() for each in (sites if has_cost else rest).split(",") if each.strip()]
        }
        groups[name.strip()] = group | ({"cost": cost.strip()} if has_cost else {})
    return groups


def _of_file(path: Path) -> object:
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the file {str(path)!r} cannot be read ({error.strerror}); give {GROUPS_FORM}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the file {str(path)!r} is not TOML ({error}); correct that place") from None
    return read["groups"] if set(read) == {"groups"} else read


def _group(name: str, group: object) -> Group:
    if not isinstance(group, Mapping):
        group = {"sites": group}
    if set(group) - GROUP_KEYS or "sites" not in group:
        raise ValueError(f"group {name!r} has {', '.join(map(repr, group))}; give sites and, if you like, cost")
    sites = group["sites"]
    sites = [sites] if isinstance(sites, str | int) else sites
    if isinstance(sites, Mapping) or not isinstance(sites, Iterable) or not (sites := list(map(site_name, sites))):
        raise ValueError(
            f"group {name!r} names no sites; give names, indices, ranges such as 0-7, or patterns such as ecal_*"
        )
    cost = group.get("cost")
    if cost is None:
        return {"sites": sites}
    whole = whole_number(cost)
    if whole is None or not 0 <= whole <= LARGEST:
        raise ValueError(
            f"the cost of group {name!r} is {cost!r}; give a whole number, not negative (scale all costs, and keep, for fractions)"
        )
    return {"sites": sites, "cost": whole}
