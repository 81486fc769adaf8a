"""The option --groups: its texts, tables and files into one form; free of torch, since the configuration reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from mcprune.config.budgets import LARGEST
from mcprune.config.parsing import whole_number

FORM = "NAME=SITE,...:COST joined by ;, the costs where there are any, or a TOML file of such groups"
KEYS = {"sites", "cost"}


class Group(TypedDict):
    """Sites that are kept or dropped together, by name, and what the group costs: by default its number of sites."""

    sites: list[str]
    cost: NotRequired[int]


def groups_option(value: object) -> dict[str, Group] | None:
    """Return groups by name, from a mapping, a text of the form `FORM`, or the path of a TOML file."""
    if isinstance(value, str):
        value = _of_text(value) if "=" in value else _of_file(Path(value))
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"groups of sites are needed, as {FORM}; got {value!r}")
    return {str(name): _group(str(name), group) for name, group in value.items()}


def _of_text(text: str) -> dict[str, dict[str, object]]:
    groups: dict[str, dict[str, object]] = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        name, has_sites, rest = part.partition("=")
        sites, has_cost, cost = rest.rpartition(":")
        if not name.strip():
            raise ValueError(f"no name in {part!r}; write {FORM}")
        if not has_sites or name.strip() in groups:
            raise ValueError(f"{'two groups of one name' if has_sites else 'no sites'} in {part!r}; write {FORM}")
        group: dict[str, object] = {
            "sites": [each.strip() for each in (sites if has_cost else rest).split(",") if each.strip()]
        }
        groups[name.strip()] = group | ({"cost": cost.strip()} if has_cost else {})
    return groups


def _of_file(path: Path) -> object:
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the file {str(path)!r} cannot be read ({error.strerror}); give {FORM}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the file {str(path)!r} is not TOML ({error}); correct that place") from None
    return read["groups"] if set(read) == {"groups"} else read


def _group(name: str, group: object) -> Group:
    if not isinstance(group, Mapping):
        group = {"sites": group}
    if set(group) - KEYS or "sites" not in group:
        raise ValueError(f"group {name!r} has {', '.join(map(repr, group))}; give sites and, if you like, cost")
    sites = group["sites"]
    sites = [sites] if isinstance(sites, str | int) else sites
    if isinstance(sites, Mapping) or not isinstance(sites, Iterable) or not (sites := [str(each) for each in sites]):
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
