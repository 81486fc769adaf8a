"""Groups of sites that are kept or dropped together, with a cost each: from the option to the items of a search."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from mcprune.errors import ConfigError
from mcprune.sites.ties import Item, TiedCosts, tied_costs


def settle_groups(
    groups: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    keep: int,
    must_keep: Sequence[str] = (),
    must_drop: Sequence[str] = (),
) -> TiedCosts:
    """Return the items of a search and what masks of them cost.

    Parameters
    ----------
    groups : mapping
        As `groups_option` gives it. Without a cost a group costs its number of sites; a site of no group costs 1.
    names : sequence of str
        Of all sites, in their flat order.
    keep : int
        The budget, in sites or, where a group has a cost of its own, in costs.
    must_keep, must_drop : sequence of str
        Groups by name, or sites by name or index: a site of a group stands for all of it.

    Raises
    ------
    ConfigError
        A site that does not exist or is in two groups, a group that is dearer than the budget, or one that is both kept and dropped.
    """
    owner: dict[int, str] = {}
    members: dict[str, list[int]] = {}
    for name, group in groups.items():
        members[name] = sorted({site for text in group["sites"] for site in _sites(f"group {name!r}", text, names)})
        for site in members[name]:
            if site in owner:
                raise ConfigError(
                    f"groups {owner[site]!r} and {name!r} both have the site {names[site]!r}; a site belongs to one group, "
                    "leave it out of the other"
                )
            owner[site] = name
    items = [Item(name, tuple(sites), int(groups[name].get("cost", len(sites)))) for name, sites in members.items()] + [
        Item("", (site,), 1) for site in range(len(names)) if site not in owner
    ]
    wanted, unwanted = (
        {site for text in given for site in (members[text] if text in members else _sites(option, text, names))}
        for option, given in (("must_keep", must_keep), ("must_drop", must_drop))
    )
    kept = [item for item in items if wanted & set(item.sites)]
    dropped = [item for item in items if unwanted & set(item.sites)]
    if both := [item for item in kept if item in dropped]:
        word = f"the group {both[0].name!r}" if both[0].name else repr(names[both[0].sites[0]])
        raise ConfigError(f"must_keep and must_drop both name {word}; leave it out of one of them")
    free = [item for item in items if item not in kept and item not in dropped]
    unit = "cost" if any("cost" in group for group in groups.values()) else "sites"
    room = keep - sum(item.cost for item in kept)
    if room < 0:
        raise ConfigError(
            f"must_keep costs {keep - room:,}, but keep={keep:,}; name fewer, or choose keep of at least {keep - room:,}"
        )
    if dear := next((item for item in free if item.cost > room and item.name), None):
        left = "" if room == keep else f", of which must_keep leaves {room:,}"
        raise ConfigError(
            f"group {dear.name!r} costs {dear.cost:,}, but keep={keep:,}{left}: it could never be kept; choose a larger keep, "
            f"or --must-drop {dear.name}"
        )
    if not free or not any(item.cost <= room for item in free):
        raise ConfigError(
            f"nothing is left to choose under keep={keep:,} beside must_keep and must_drop; choose a larger keep, or name fewer"
        )
    return tied_costs(unit, len(names), free, kept)


def _sites(option: str, text: str, names: Sequence[str]) -> list[int]:
    """Return the sites that a text names: a name, a pattern of names, an index, or a range of indices."""
    if text in names:
        return [names.index(text)]
    if "*" in text or "?" in text:
        found = [place for place, name in enumerate(names) if fnmatch.fnmatchcase(name, text)]
        if found:
            return found
    first, is_range, last = text.partition("-")
    last = last if is_range else first
    if first.isdecimal() and last.isdecimal() and int(first) <= int(last) < len(names):
        return list(range(int(first), int(last) + 1))
    near = difflib.get_close_matches(text, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(
        f"{option} names {text!r}, which is no site{hint}; give names, indices 0..{len(names) - 1}, ranges such as 0-7, or patterns "
        "such as ecal_*"
    )
