"""A floor of one site for each group: a layer without a channel cannot be built, so no mask may empty one.

Whether a mask is allowed depends on the mask alone, so a candidate that empties a group is a step that stays, and at a
temperature the chain's law is Boltzmann's among the allowed masks.
"""

from __future__ import annotations

import numpy as np

from mcprune.chain import state
from mcprune.chain.moves import Moves
from mcprune.errors import ConfigError
from mcprune.types import BoolArray, FloatArray, IntArray


def counts(kept: BoolArray, group: IntArray) -> IntArray:
    """Return how many sites of each group are kept, shape (..., G), of masks (..., N); `group` (N,) is -1 where there is no floor."""
    last = int(group.max(initial=-1)) + 1
    return np.asarray(np.stack([kept[..., group == number].sum(axis=-1) for number in range(last)], axis=-1), np.int64)


def emptied(position: FloatArray, moves: Moves, group: IntArray) -> BoolArray:
    """Return which candidates leave a group without a site, shape (R, K).

    Parameters
    ----------
    position : ndarray, shape (R, N)
        A site is kept where it is positive; every group keeps one at least.
    moves : Moves
        R x K candidates.
    group : ndarray of int, shape (N,)
        Number of each site's group, -1 for sites without a floor.
    """
    replicas, ahead, width = moves.sites.shape
    is_changed = np.arange(width) < moves.size[..., None]
    sites = np.where(is_changed, moves.sites, 0)
    before = np.take_along_axis(position[:, None], sites.reshape(replicas, 1, -1), axis=2).reshape(sites.shape) > 0
    change = np.where(is_changed, (moves.weights > 0).astype(np.int64) - before, 0)
    number = group[sites]
    now = counts(position > 0, group)
    away = np.zeros((replicas, ahead, now.shape[1] + 1), np.int64)  # the last one for sites of no group
    row, column = np.arange(replicas)[:, None, None], np.arange(ahead)[None, :, None]
    np.add.at(away, (row, column, number), change)
    return np.asarray(((now[:, None] + away[..., :-1] < 1) & (away[..., :-1] < 0)).any(axis=-1))


def last_ones(kept: BoolArray, group: IntArray) -> BoolArray:
    """Return which kept sites (N,) are the only ones that their group keeps."""
    is_last = counts(kept, group) == 1
    return np.asarray(kept & (group >= 0) & is_last[np.maximum(group, 0)])


def best_mask(score: FloatArray, n: int, group: IntArray) -> BoolArray:
    """Return the mask of exactly n sites: the best of each group that has a floor, then the best of all.

    Ties go to the lowest index within a group, and are spread over the groups in proportion to their sizes: of gates that have all
    come to the same bound those of the first layer are no better than those of the last.

    Parameters
    ----------
    score : ndarray, shape (N,)
        Weights of the pruner, or an importance: the largest are kept.
    n : int
    group : ndarray of int, shape (N,)

    Raises
    ------
    ConfigError
        There are more groups than n.
    """
    order = np.lexsort((_shares(group), -score))
    grouped = order[group[order] >= 0]
    _, first = np.unique(group[grouped], return_index=True)
    kept = np.zeros(score.size, np.bool_)
    kept[grouped[first]] = True
    if first.size > n:
        raise ConfigError(f"keep={n}, but {first.size} layers must keep one site each; choose at least {first.size}")
    others = order[~kept[order]]
    kept[others[: n - first.size]] = True
    return kept


def _shares(group: IntArray) -> FloatArray:
    """Return how far into its group each site (N,) is, 0..1."""
    shares = np.empty(group.size)
    for number in np.unique(group):
        mine = np.flatnonzero(group == number)
        shares[mine] = (np.arange(mine.size) + 0.5) / mine.size
    return shares


def hardened(position: FloatArray, n: int, group: IntArray | None) -> BoolArray:
    """Return the hard mask of exactly n sites of a position (N,): the largest weights, none of the groups emptied.

    Raises
    ------
    ConfigError, NumericalError
        As `state.mask` and `best_mask` do.
    """
    plain = state.mask(position, n)
    return plain if group is None else best_mask(position, n, group)
