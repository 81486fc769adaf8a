"""Select a mask of exactly n sites by scores, and the number of sites that each round leaves."""

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
    min_per_layer: int = 1,
    alive: BoolArray | None = None,
) -> BoolArray:
    """Keep the `keep` highest scores.

    Parameters
    ----------
    scores : ndarray, shape (N,), finite
    groups : sequence of SiteGroup
        They cover the N sites.
    keep : int
    how : "global" or "layerwise"
        One ranking of all sites; or each group keeps the same fraction of its sites, rounded by largest remainders.
    min_per_layer : int
        Least number of sites that each group keeps: its highest scores, or all if it has fewer.
    alive : ndarray of bool, shape (N,), optional
        Sites that can be kept; by default all.

    Returns
    -------
    ndarray of bool, shape (N,)
        Exactly `keep` are true, within each group those of highest score; ties go to the lowest index.

    Raises
    ------
    ConfigError
        A group would lose all its sites, or there are fewer than `keep` sites.
    """
    living = np.ones(scores.size, np.bool_) if alive is None else np.asarray(alive, np.bool_)
    have = np.array([int(living[group.start : group.stop].sum()) for group in groups], np.int64)
    least = np.minimum(have, min_per_layer)
    if keep > have.sum() or keep < 0:
        raise ConfigError(
            f"keep={keep}, but {have.sum():,} sites are left to choose from. Choose 0 <= keep <= {have.sum():,}."
        )
    if keep < least.sum():
        names = ", ".join(repr(group.layer or "inputs") for group in groups)
        raise ConfigError(
            f"keep={keep} would empty a group: {names} keep at least {min_per_layer} each, {least.sum():,} in all. "
            "Raise --keep, or lower min_per_layer."
        )
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    order = order[living[order]]
    owner = np.empty(scores.size, np.int64)
    for number, group in enumerate(groups):
        owner[group.start : group.stop] = number
    # Rank of each site within its group: the first `quota` of each group are kept.
    place = np.empty(scores.size, np.int64)
    for number in range(len(groups)):
        mine = order[owner[order] == number]
        place[mine] = np.arange(mine.size)
    if how == "layerwise":
        quota = _shares(have, least, keep)
    elif how == "global":
        # The protected sites are kept; the best of the others are added.
        safe = place[order] < least[owner[order]]
        rest = order[~safe][: keep - int(safe.sum())]
        quota = least + np.bincount(owner[rest], minlength=len(groups))
    else:
        raise ConfigError(f"how={how!r} is not a way to rank sites. Choose global or layerwise.")
    mask = np.zeros(scores.size, np.bool_)
    mask[order[place[order] < quota[owner[order]]]] = True
    emptied = [group for group, left, had in zip(groups, quota, have, strict=True) if had and not left]
    if emptied:
        raise ConfigError(
            f"all {emptied[0].size} sites of {emptied[0].layer or 'inputs'!r} would be dropped, and nothing passes an empty layer. Raise "
            "--keep, or use min_per_layer=1 or more, or layerwise, with the measure."
        )
    return mask


def _shares(have: IntArray, least: IntArray, keep: int) -> IntArray:
    """Split `keep` among groups in proportion to their sizes, within each group's minimum and size."""
    quota = least.copy()
    exact = keep * have / max(int(have.sum()), 1)
    quota = np.maximum(quota, np.floor(exact).astype(np.int64))
    # Add to the largest remainders; if the minima exceed `keep`, take from the largest surplus.
    while quota.sum() < keep:
        quota[int(np.argmax(np.where(quota < have, exact - quota, -np.inf)))] += 1
    while quota.sum() > keep:
        quota[int(np.argmax(np.where(quota > least, quota - exact, -np.inf)))] -= 1
    return quota


def round_fraction(share: float, number: int, rounds: int) -> float:
    """Return the fraction p / (k p + R (1 - p)) of the remaining sites that round k = 1 .. R drops, p being dropped in all."""
    return share / (number * share + rounds * (1.0 - share))


def telescoping_counts(sites: int, keep: int, rounds: int) -> tuple[int, ...]:
    """Return how many of N sites each of R rounds leaves, by telescoping fractions; the last is exactly `keep`.

    After round k the fraction R (1 - p) / (k p + R (1 - p)) is left, where p = 1 - keep / N.
    """
    share = 1.0 - keep / sites
    left, numbers = 1.0, []
    for number in range(1, rounds + 1):
        left *= 1.0 - round_fraction(share, number, rounds)
        numbers.append(max(keep, round(sites * left)))
    return (*numbers[:-1], keep)


def check_counts(counts: Sequence[int], sites: int, keep: int) -> tuple[int, ...]:
    """Check a user's numbers of sites for the rounds, and return them.

    Raises
    ------
    ConfigError
        They do not decrease from N to n.
    """
    rounds = tuple(counts)
    if not rounds or rounds[-1] != keep or any(a <= b for a, b in zip((sites + 1, *rounds), rounds, strict=False)):
        raise ConfigError(
            f"--rounds {','.join(map(str, rounds))} must decrease from at most {sites} sites and end at --keep {keep}. An example is "
            f"{','.join(map(str, telescoping_counts(sites, keep, min(3, max(1, sites - keep)))))}."
        )
    return rounds
