"""Sites that a person names: those that must be kept or dropped, and groups that are kept or dropped together."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.config.budgets import Group
from mcprune.errors import ConfigError
from mcprune.sites.items import Fixed, Item
from mcprune.types import IntArray


def fixed_sites(
    must_keep: Sequence[int | str] | None, must_drop: Sequence[int | str] | None, names: Sequence[str]
) -> Fixed:
    """Return the sites that must be kept or dropped.

    Parameters
    ----------
    must_keep, must_drop : sequence of int or str, or None
        Indices, and names; a text that is no name may be an index too.
    names : sequence of str
        Of all sites, in their flat order.

    Raises
    ------
    ConfigError
        A site does not exist, or is named in both.
    """
    kept, dropped = (
        _places(option, values or (), names) for option, values in (("must_keep", must_keep), ("must_drop", must_drop))
    )
    both = np.intersect1d(kept, dropped)
    if both.size:
        raise ConfigError(f"must_keep and must_drop both name {names[both[0]]!r}. Leave it out of one of them.")
    return Fixed(kept, dropped)


def _places(option: str, values: Sequence[int | str], names: Sequence[str]) -> IntArray:
    if not values:
        return np.empty(0, np.int64)
    places = {name: place for place, name in enumerate(names)}
    chosen: set[int] = set()
    for one in values:
        text = str(one)
        if isinstance(one, str) and text in places:
            chosen.add(places[text])
        elif text.isdecimal() and int(text) < len(names):
            chosen.add(int(text))
        else:
            raise ConfigError(
                f"{option} names {one!r}, which is no site{_hint(one, names)}. Give names or indices 0..{len(names) - 1}."
            )
    return np.array(sorted(chosen), dtype=np.int64)


class TiedItems(NamedTuple):
    """The items of a search among tied sites.

    Attributes
    ----------
    unit : "sites" or "cost"
        What their costs count.
    items : tuple of Item
        Those to choose among, by rising cost.
    always : tuple of Item
        Those that must be kept.
    """

    unit: str
    items: tuple[Item, ...]
    always: tuple[Item, ...]

    @property
    def price_of_always(self) -> int:
        """What the items cost that must be kept."""
        return sum(item.cost for item in self.always)

    @property
    def whole(self) -> int:
        """What all items cost that may be kept."""
        return self.price_of_always + sum(item.cost for item in self.items)


def settle_groups(
    groups: Mapping[str, Group],
    names: Sequence[str],
    keep: int | None,
    must_keep: Sequence[int | str] = (),
    must_drop: Sequence[int | str] = (),
) -> TiedItems:
    """Return the items of a search and what they cost.

    Parameters
    ----------
    groups : mapping
        As `groups_option` gives it. Without a cost a group costs its number of sites; a site of no group costs 1.
    names : sequence of str
        Of all sites, in their flat order.
    keep : int or None
        The budget, in sites or, where a group has a cost of its own, in costs; None: they have none of their own.
    must_keep, must_drop : sequence of int or str
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
                    f"groups {owner[site]!r} and {name!r} both have the site {names[site]!r}; a site belongs to one group. "
                    "Leave it out of the other."
                )
            owner[site] = name
    items = [Item(name, tuple(sites), int(groups[name].get("cost", len(sites)))) for name, sites in members.items()] + [
        Item("", (site,), 1) for site in range(len(names)) if site not in owner
    ]
    must, must_not = (
        {site for text in texts for site in (members[str(text)] if text in members else _sites(option, text, names))}
        for option, texts in (("must_keep", must_keep), ("must_drop", must_drop))
    )
    kept = [item for item in items if must & set(item.sites)]
    dropped = [item for item in items if must_not & set(item.sites)]
    if both := [item for item in kept if item in dropped]:
        word = f"the group {both[0].name!r}" if both[0].name else repr(names[both[0].sites[0]])
        raise ConfigError(f"must_keep and must_drop both name {word}. Leave it out of one of them.")
    free = [item for item in items if item not in kept and item not in dropped]
    unit = "cost" if any("cost" in group for group in groups.values()) else "sites"
    ordered = sorted(free, key=lambda item: (item.cost, item.sites))
    tied = TiedItems(unit, tuple(ordered), tuple(kept))
    if keep is not None:
        _check_room(tied, keep)
    if not free:
        raise ConfigError("must_keep and must_drop leave nothing to choose. Name fewer.")
    return tied


def _check_room(tied: TiedItems, keep: int) -> None:
    """Refuse a budget that leaves no room for a named group, or for any choice."""
    room = keep - tied.price_of_always
    if room < 0:
        raise ConfigError(
            f"must_keep costs {keep - room:,}, but keep={keep:,}. Name fewer, or choose keep of at least {keep - room:,}."
        )
    if dear := next((item for item in tied.items if item.cost > room and item.name), None):
        left = "" if room == keep else f", of which must_keep leaves {room:,}"
        raise ConfigError(
            f"group {dear.name!r} costs {dear.cost:,}, but keep={keep:,}{left}: it could never be kept. Choose a larger keep, "
            f"or --must-drop {dear.name}."
        )
    if not any(item.cost <= room for item in tied.items):
        raise ConfigError(
            f"must_keep and must_drop leave nothing to choose under keep={keep:,}. Choose a larger keep, or name fewer."
        )


def _hint(value: int | str, names: Sequence[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest name of a site, or nothing."""
    near = difflib.get_close_matches(value, list(names), n=1) if isinstance(value, str) else []
    return f" (did you mean {near[0]!r}?)" if near else ""


def _sites(option: str, value: int | str, names: Sequence[str]) -> list[int]:
    """Return the sites of an index, or of a text: a name, a pattern of names, an index, or a range of indices."""
    text = str(value)
    if isinstance(value, str) and text in names:
        return [names.index(text)]
    if "*" in text or "?" in text:
        matches = [place for place, name in enumerate(names) if fnmatch.fnmatchcase(name, text)]
        if matches:
            return matches
    first, is_range, last = text.partition("-")
    last = last if is_range else first
    if first.isdecimal() and last.isdecimal() and int(first) <= int(last) < len(names):
        return list(range(int(first), int(last) + 1))
    raise ConfigError(
        f"{option} names {value!r}, which is no site{_hint(value, names)}. Give names, indices 0..{len(names) - 1}, ranges such as 0-7, "
        "or patterns such as ecal_*."
    )
