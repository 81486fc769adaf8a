"""The option --groups: its texts, tables and files into one form; free of torch, since the configuration reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORM = "NAME=SITE,...:COST joined by ;, the costs where there are any, or a TOML file of such groups"
KEYS = {"sites", "cost"}


def groups_option(value: Any) -> Any:
    """Accept a mapping, such a text, or the path of a TOML file; return {name: {"sites": [...], "cost": int}}, cost where given."""
    if isinstance(value, str):
        value = _of_text(value) if "=" in value else _of_file(Path(value))
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"groups of sites are needed, as {FORM}; got {value!r}")
    return {str(name): _group(str(name), group) for name, group in value.items()}


def _of_text(text: str) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        name, has_sites, rest = part.partition("=")
        sites, has_cost, cost = rest.rpartition(":")
        if not name.strip():
            raise ValueError(f"no name in {part!r}; write {FORM}")
        if not has_sites or name.strip() in groups:
            raise ValueError(f"{'two groups of one name' if has_sites else 'no sites'} in {part!r}; write {FORM}")
        group: dict[str, Any] = {
            "sites": [each.strip() for each in (sites if has_cost else rest).split(",") if each.strip()]
        }
        groups[name.strip()] = group | ({"cost": cost.strip()} if has_cost else {})
    return groups


def _of_file(path: Path) -> Any:
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the file {str(path)!r} cannot be read ({error.strerror}); give {FORM}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the file {str(path)!r} is not TOML ({error}); correct that place") from None
    return read["groups"] if set(read) == {"groups"} else read


def _group(name: str, group: Any) -> dict[str, Any]:
    if not isinstance(group, Mapping):
        group = {"sites": group}
    if set(group) - KEYS or "sites" not in group:
        raise ValueError(f"group {name!r} has {', '.join(map(repr, group))}; give sites and, if you like, cost")
    sites = group["sites"]
    sites = [sites] if isinstance(sites, str | int) else sites
    if isinstance(sites, Mapping) or not hasattr(sites, "__iter__") or not (sites := [str(each) for each in sites]):
        raise ValueError(
            f"group {name!r} names no sites; give names, indices, ranges such as 0-7, or patterns such as ecal_*"
        )
    if group.get("cost") is None:
        return {"sites": sites}
    cost = group["cost"]
    try:
        whole = int(cost) if not isinstance(cost, bool) and float(cost) == int(float(cost)) else None
    except (TypeError, ValueError, OverflowError):
        whole = None
    if whole is None or not 0 <= whole <= 2**31:
        raise ValueError(
            f"the cost of group {name!r} is {cost!r}; give a whole number, not negative (scale all costs, and keep, for fractions)"
        )
    return {"sites": sites, "cost": whole}
