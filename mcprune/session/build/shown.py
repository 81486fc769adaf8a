"""What a run says of its sites: of tied ones that count as one the columns of the table, or the groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcprune.data.coding.coding import Coding
from mcprune.sites.site_map import SiteMap
from mcprune.sites.space import SearchSpace
from mcprune.storage.event_parts import SiteGroup
from mcprune.types import AnyArray, IntArray


class ShownSites(NamedTuple):
    """The S sites that events, screens and pages show: all N, or what counts as one where several are tied.

    Attributes
    ----------
    sites : SiteMap
    columns : tuple of str
        Names of the columns of the table, or of groups and single sites; empty where the N sites themselves are shown.
    first : ndarray of int64, shape (S,)
        A site of each.
    owner : ndarray of int64, shape (N,)
        What is shown of each site.
    """

    sites: SiteMap
    columns: tuple[str, ...]
    first: IntArray
    owner: IntArray

    @property
    def size(self) -> int:
        """S."""
        return int(self.first.size)

    @property
    def groups(self) -> tuple[SiteGroup, ...]:
        """The groups of sites as a part of events."""
        if self.columns:
            return (SiteGroup("inputs", "", self.size),)
        return tuple(SiteGroup(group.kind, group.layer, group.size) for group in self.sites.groups)

    def names(self, inputs: Sequence[str]) -> tuple[str, ...]:
        """Return the names (S,), given those of the inputs."""
        return self.columns or tuple(map(str, self.sites.names(inputs)))

    def of(self, values: AnyArray) -> AnyArray:
        """Return the values (..., S) of those of all sites (..., N), which are equal within a column."""
        return values[..., self.first] if self.columns else values

    def expand(self, values: AnyArray) -> AnyArray:
        """Return the values (..., N) of all sites of those that are shown (..., S)."""
        return values[..., self.owner] if self.columns else values

    def places(self, mask: AnyArray) -> list[int]:
        """Return what a mask (N,) keeps, rising."""
        return [int(place) for place in np.flatnonzero(self.of(np.asarray(mask, bool)))]

    def count(self, mask: AnyArray) -> int:
        """Return how many of them a mask (N,) keeps."""
        return int(np.count_nonzero(self.of(np.asarray(mask))))


def shown_sites(space: SearchSpace, coding: Coding | None, inputs: Sequence[str]) -> ShownSites:
    """Return what a run shows of its sites, given the names of the inputs."""
    everything = np.arange(space.sites.size)
    if not (space.is_count and space.items is not None):
        return ShownSites(space.sites, (), everything, everything)
    if coding is not None:
        first = np.unique(coding.owner, return_index=True)[1]
        return ShownSites(space.sites, coding.original_names, first, coding.owner)
    first, names = everything.copy(), list(map(str, space.sites.names(inputs)))
    for item in (*space.items, *space.always):
        first[list(item.sites)] = item.sites[0]
        names[item.sites[0]] = item.name or names[item.sites[0]]
    shown, owner = np.unique(first, return_inverse=True)
    return ShownSites(space.sites, tuple(names[site] for site in shown), shown, owner.reshape(-1))
