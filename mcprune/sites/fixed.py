"""Sites that must be kept or dropped: from names or indices to the free sites that a chain chooses among."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcprune.errors import ConfigError
from mcprune.sites.site_map import SiteMap
from mcprune.types import IntArray


class Constraints(NamedTuple):
    """Flat indices, each rising: sites that must be kept, that must be dropped, and the rest."""

    kept: IntArray
    dropped: IntArray
    free: IntArray


def constraints(
    must_keep: Sequence[str] | None, must_drop: Sequence[str] | None, names: Sequence[str], keep: int
) -> Constraints | None:
    """Return which sites are free; None where all are.

    Parameters
    ----------
    must_keep, must_drop : sequence of str, or None
        Names, or indices as text where no site has that name.
    names : sequence of str
        Of all sites, in their flat order.
    keep : int
        n, those that must be kept included.

    Raises
    ------
    ConfigError
        A site that does not exist or is named in both, or no n sites that fit.
    """
    if not must_keep and not must_drop:
        return None
    kept, dropped = (
        _places(option, given or (), names) for option, given in (("must_keep", must_keep), ("must_drop", must_drop))
    )
    both = np.intersect1d(kept, dropped)
    if both.size:
        raise ConfigError(f"must_keep and must_drop both name {names[both[0]]!r}; leave it out of one of them")
    free = np.setdiff1d(np.arange(len(names)), np.concatenate([kept, dropped]))
    if kept.size > keep:
        raise ConfigError(
            f"must_keep names {kept.size} sites, but keep={keep}; name fewer, or choose keep of at least {kept.size}"
        )
    if len(names) - dropped.size < keep:
        raise ConfigError(
            f"must_drop names {dropped.size} of {len(names)} sites, which leaves {len(names) - dropped.size}, but keep={keep}; "
            f"name fewer, or choose keep of at most {len(names) - dropped.size}"
        )
    if kept.size == keep:
        raise ConfigError(
            f"must_keep names {kept.size} sites and keep={keep}, so nothing is left to choose; choose a larger keep"
        )
    return Constraints(kept, dropped, free)


def open_groups(group: IntArray | None, kept: IntArray, free: IntArray) -> IntArray | None:
    """Return the groups of the free sites (F,) that must keep one of them, -1 for those that keep one in any case; None without any.

    Parameters
    ----------
    group : ndarray of int, shape (N,), or None
        Of all sites, -1 for none.
    kept, free : ndarray of int
        Flat indices.
    """
    if group is None:
        return None
    found = np.where(np.isin(group[free], group[kept]), -1, group[free])
    numbers = np.unique(found[found >= 0])
    return np.where(found >= 0, np.searchsorted(numbers, found), -1) if numbers.size else None


def check_groups(fixed: Constraints, sites: SiteMap, keep: int) -> None:
    """Refuse constraints that leave a layer without a site, or too few free sites for a site in each.

    Raises
    ------
    ConfigError
        With what to name less of, or the n that would do.
    """
    group = sites.hard_floor
    if group is None:
        return
    for number, each in enumerate(sites.groups):
        if np.all(group[fixed.dropped] != number) or np.any(group[fixed.kept] == number):
            continue
        if not np.any(group[fixed.free] == number):
            name = each.layer or "the inputs"
            raise ConfigError(f"must_drop names all sites of {name}, and nothing passes an empty layer; leave one out")
    needed = open_groups(group, fixed.kept, fixed.free)
    open_ = 0 if needed is None else int(needed.max()) + 1
    if keep - fixed.kept.size < open_:
        raise ConfigError(
            f"must_keep names {fixed.kept.size} of keep={keep} sites, but {open_} more layers must keep one each; "
            f"choose keep of at least {fixed.kept.size + open_}"
        )


def _places(option: str, given: Sequence[str], names: Sequence[str]) -> IntArray:
    places = {name: place for place, name in enumerate(names)}
    found: set[int] = set()
    for one in given:
        text = str(one)
        if text in places:
            found.add(places[text])
        elif text.isdecimal() and int(text) < len(names):
            found.add(int(text))
        else:
            near = difflib.get_close_matches(text, list(places), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(
                f"{option} names {text!r}, which is no site{hint}; give names or indices 0..{len(names) - 1}"
            )
    return np.array(sorted(found), dtype=np.int64)
