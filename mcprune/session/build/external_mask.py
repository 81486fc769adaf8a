"""From a mask of another tool to the mask of the sites of a run."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from mcprune.errors import ConfigError
from mcprune.session.build.mask_files import ExternalMask
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.types import AnyArray, BoolArray

NAMED = 3  # the most layers that a message names


def resolve_mask(external: ExternalMask, sites: SiteMap, names: Sequence[str], source: str) -> BoolArray:
    """Return the mask of the sites of a run.

    Parameters
    ----------
    external : ExternalMask
    sites : SiteMap
    names : sequence of str
        Of all sites.
    source : str
        Where the mask is from, for messages.

    Returns
    -------
    ndarray of bool, shape (N,)

    Raises
    ------
    ConfigError
        It is of other sites, or keeps none of them.
    """
    if external.layers:
        mask = _resolve_layers(external.layers, sites, source)
    elif external.names:
        mask = _resolve_names(external.names, names, source)
    else:
        assert external.values is not None
        mask = _resolve_values(external.values, external.size, sites.size, source)
    if not mask.any():
        raise ConfigError(f"start: {source} keeps none of the {sites.size:,} sites. Give a mask that keeps some.")
    return mask


def _resolve_values(values: AnyArray, size: int | None, total: int, source: str) -> BoolArray:
    is_support = values.dtype == bool or (values.size == total > 2 and np.isin(values, (0, 1)).all())
    size = values.size if is_support else size
    strange: list[int] = [] if is_support else values[(values < 0) | (values >= total)].tolist()
    if size not in (None, total) or strange:
        cause = f"has {size:,} sites" if size is not None else f"names site {strange[0]:,}"
        raise ConfigError(
            f"start: {source} {cause}, but this run has {total:,}. Give the mask of a run of the same sites."
        )
    if is_support:
        return np.asarray(values, bool)
    _refuse_twice(values.tolist(), source)
    mask = np.zeros(total, bool)
    mask[values] = True
    return mask


def _refuse_twice(kept: Sequence[int | str], source: str) -> None:
    """Refuse a list that names a site twice: it would keep fewer sites than it has entries."""
    seen: set[int | str] = set()
    for one in kept:
        if one in seen:
            raise ConfigError(f"start: {source} names site {one!r} twice. Name each site once.")
        seen.add(one)


def _resolve_names(kept: Sequence[str], names: Sequence[str], source: str) -> BoolArray:
    places = {name: place for place, name in enumerate(names)}
    mask = np.zeros(len(names), bool)
    _refuse_twice(kept, source)
    for name in kept:
        if name not in places:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(
                f"start: {source} names {name!r}, which is no site{hint}. Give names of the sites of this run."
            )
        mask[places[name]] = True
    return mask


def _resolve_layers(layers: Mapping[str, BoolArray], sites: SiteMap, source: str) -> BoolArray:
    mask, used = np.ones(sites.size, bool), set()
    for group in sites.groups:
        for name in _names_of(group):
            if name in layers:
                mask[group.start : group.stop] = _of_group(layers[name], group, name, source)
                used.add(name)
                break
    other = [name for name in layers if name not in used and not name.endswith("bias")]
    if other or not used:
        places = [group.layer or group.kind for group in sites.groups]
        raise ConfigError(
            f"start: {source} has a mask of {_some(other or list(layers))}, but the sites of this run are in {_some(places)}. "
            "Name the same layers in --sites."
        )
    return mask


def _names_of(group: SiteGroup) -> list[str]:
    """Return the names under which the mask of a group may stand."""
    if group.kind == "inputs":
        return ["inputs"]
    places = dict.fromkeys([group.layer, *group.parts])
    return [name for place in places for name in (place, f"{place}.weight")]


def _of_group(mask: BoolArray, group: SiteGroup, name: str, source: str) -> BoolArray:
    """Return the mask of the sites of a group (size,): a unit, channel or neuron is kept where any of its weights is."""
    if group.kind in ("units", "channels", "neurons") and mask.ndim > 1:
        mask = np.asarray(mask.reshape(len(mask), -1).any(axis=1))
    if mask.size != group.size:
        raise ConfigError(
            f"start: {source} has {mask.size:,} values for {name!r}, which has {group.size:,} sites. Give the mask of this model."
        )
    return mask.ravel()


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(map(repr, names[:NAMED])) + (f" and {more:,} more" if more > 0 else "")
