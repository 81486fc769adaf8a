"""From scores to a mask of exactly so many sites, and how many sites each round leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcprune.errors import ConfigError
from mcprune.sites.site_map import SiteGroup
from mcprune.types import BoolArray, FloatArray, IntArray


def select(
    scores: FloatArray,
    groups: Sequence[SiteGroup],
    keep: int,
    how: str = "global",
    floor: int = 1,
    alive: BoolArray | None = None,
) -> BoolArray:
    """Keep the highest scores, exactly so many.

    Parameters
    ----------
    scores : ndarray, shape (N,), finite
    groups : sequence of SiteGroup
        They cover the N sites.
    keep : int
    how : "global" or "layerwise"
        One ranking of all sites; or each group keeps its share of what it has, rounded by the largest remainders.
    floor : int
        Each group keeps at least so many sites, or all that it has: its highest scores.
    alive : ndarray of bool, shape (N,), optional
        Only these can be kept; by default all.

    Returns
    -------
    ndarray of bool, shape (N,)
        With exactly `keep` true, within each group the highest; ties go to the lowest index.

    Raises
    ------
    ConfigError
        A group would be emptied, or there are not so many sites.
    """
    living = np.ones(scores.size, np.bool_) if alive is None else np.asarray(alive, np.bool_)
    have = np.array([int(living[group.start : group.stop].sum()) for group in groups], np.int64)
    least = np.minimum(have, floor)
    if keep > have.sum() or keep < 0:
        raise ConfigError(
            f"keep={keep}, but {have.sum():,} sites are left to choose from; choose 0 <= keep <= {have.sum():,}"
        )
    if keep < least.sum():
        names = ", ".join(repr(group.layer or "inputs") for group in groups)
        raise ConfigError(
            f"keep={keep} would empty a group: {names} keep at least {floor} each, {least.sum():,} in all; "
            "raise --keep, or lower min_per_layer"
        )
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    order = order[living[order]]
    owner = np.empty(scores.size, np.int64)
    for number, group in enumerate(groups):
        owner[group.start : group.stop] = number
    # A site's place within its own group: the first `quota` of each are kept.
    place = np.empty(scores.size, np.int64)
    for number in range(len(groups)):
        mine = order[owner[order] == number]
        place[mine] = np.arange(mine.size)
    if how == "layerwise":
        quota = _shares(have, least, keep)
    elif how == "global":
        # What the floors protect is in; the best of the others fill up.
        safe = place[order] < least[owner[order]]
        rest = order[~safe][: keep - int(safe.sum())]
        quota = least + np.bincount(owner[rest], minlength=len(groups))
    else:
        raise ConfigError(f"how={how!r} is no way to rank sites; choose global or layerwise")
    mask = np.zeros(scores.size, np.bool_)
    mask[order[place[order] < quota[owner[order]]]] = True
    emptied = [group for group, left, had in zip(groups, quota, have, strict=True) if had and not left]
    if emptied:
        raise ConfigError(
            f"all {emptied[0].size} sites of {emptied[0].layer or 'inputs'!r} would be dropped, and nothing passes an empty layer; raise "
            "--keep, give the measure min_per_layer=1 or more, or layerwise"
        )
    return mask


def _shares(have: IntArray, least: IntArray, keep: int) -> IntArray:
    """Split `keep` in proportion to what groups have, no group below its floor or above what it has."""
    quota = least.copy()
    exact = keep * have / max(int(have.sum()), 1)
    quota = np.maximum(quota, np.floor(exact).astype(np.int64))
    # Largest remainders first; after floors have taken more than their share, the largest surplus gives.
    while quota.sum() < keep:
        quota[int(np.argmax(np.where(quota < have, exact - quota, -np.inf)))] += 1
    while quota.sum() > keep:
        quota[int(np.argmax(np.where(quota > least, quota - exact, -np.inf)))] -= 1
    return quota


def round_fraction(share: float, number: int, rounds: int) -> float:
    """Fraction p / (k p + R (1 - p)) of what is left that round k = 1 .. R drops, so that the fraction p is dropped in all."""
    return share / (number * share + rounds * (1.0 - share))


def counts(sites: int, keep: int, rounds: int) -> tuple[int, ...]:
    """How many of N sites each of R rounds leaves, by the telescoping fractions; the last number is exactly `keep`.

    After round k the share R (1 - p) / (k p + R (1 - p)) is left, p = 1 - keep / N.
    """
    share = 1.0 - keep / sites
    left, found = 1.0, []
    for number in range(1, rounds + 1):
        left *= 1.0 - round_fraction(share, number, rounds)
        found.append(max(keep, round(sites * left)))
    return (*found[:-1], keep)


def given_counts(given: Sequence[int], sites: int, keep: int) -> tuple[int, ...]:
    """Check counts that a user gave for the rounds.

    Raises
    ------
    ConfigError
        They do not fall from N to n.
    """
    found = tuple(given)
    if not found or found[-1] != keep or any(a <= b for a, b in zip((sites + 1, *found), found, strict=False)):
        raise ConfigError(
            f"--rounds {','.join(map(str, found))} must fall from at most {sites} sites and end at --keep {keep}, such as "
            f"{','.join(map(str, counts(sites, keep, min(3, max(1, sites - keep)))))}"
        )
    return found
