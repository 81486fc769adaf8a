"""Rows that belong together, such as those of one patient, or of one stretch of time: no two parts share them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcprune.data.roles.checks import some
from mcprune.errors import DataError
from mcprune.types import BoolArray, FloatArray, IntArray

STRETCHES = 20  # of consecutive training rows that stay together where rows are split by time


def entity_codes(name: str, column: str, cells: Sequence[str]) -> IntArray:
    """Return a number (rows,) for each row, the same for rows of one entity.

    Raises
    ------
    DataError
        A row has no entity, or there is one only.
    """
    missing = [row + 1 for row, cell in enumerate(cells) if not cell.strip()]
    if missing:
        raise DataError(
            f"{name}: the column {column!r} to split by is empty in {len(missing)} of {len(cells)} rows; counted from 1: "
            f"{some(missing)}. Fill it in, or remove these rows."
        )
    values, codes = np.unique(np.asarray(cells), return_inverse=True)
    if len(values) < 3:
        raise DataError(
            f"{name}: the column {column!r} to split by has {len(values)} different values. Three are needed: for training, "
            "validation and test."
        )
    return codes.astype(np.int64)


def assign(
    entities: IntArray, targets: IntArray, shares: Sequence[float], keys: FloatArray, *, trains: bool = True
) -> IntArray:
    """Assign whole entities to parts, so that each part has about its share of every class.

    The largest entities are assigned first, each to the part that lacks most of its classes.

    Parameters
    ----------
    entities, targets : ndarray of int64, shape (rows,)
    shares : sequence of float
        Of the parts; their sum is 1.
    keys : ndarray of float64, shape (rows,)
        Random numbers that order entities of equal size.
    trains : bool
        The first part gets rows of every class, also of one that a single entity has.

    Returns
    -------
    ndarray of int64, shape (rows,)
        The part of each row.
    """
    codes, first, place = np.unique(entities, return_index=True, return_inverse=True)
    classes = int(targets.max()) + 1
    counts = np.zeros((len(codes), classes), np.int64)
    np.add.at(counts, (place, targets), 1)
    totals = counts.sum(axis=0)
    scale = 1.0 / np.maximum(totals, 1)
    lacking = np.asarray(shares)[:, None] * totals * scale  # of each class, as a share of it
    left = totals.copy()  # rows of each class that the first part has or may still get
    out = np.zeros(len(codes), np.int64)
    for one in np.lexsort((keys[first], -counts.sum(axis=1))):
        rows = counts[one] * scale
        costs = (rows * (rows - 2.0 * lacking)).sum(axis=1)
        if trains and not (left - counts[one])[counts[one] > 0].all():
            costs[1:] = np.inf
        part = int(costs.argmin())
        out[one] = part
        lacking[part] -= rows
        if part:
            left -= counts[one]
    return out[place]


def fold_entities(entities: IntArray, targets: IntArray, folds: int, keys: FloatArray) -> IntArray:
    """Return the fold (rows,) of each row, entities whole and classes balanced; there are at most as many folds as entities."""
    folds = min(folds, len(np.unique(entities)))
    return assign(entities, targets, [1.0 / folds] * folds, keys, trains=False)


def sole_owners(entities: IntArray, targets: IntArray) -> BoolArray:
    """Return whether each row (rows,) is of an entity that has a class for itself."""
    pairs = np.unique(np.stack([targets, entities], axis=1), axis=0)
    classes, counts = np.unique(pairs[:, 0], return_counts=True)
    sole = pairs[np.isin(pairs[:, 0], classes[counts == 1]), 1]
    return np.isin(entities, sole)


def stretches(times: FloatArray) -> IntArray:
    """Return a number (rows,) for each row, the same for rows of one of `STRETCHES` stretches of time; rows of one time stay together."""
    ranks = np.unique(times, return_inverse=True)[1]
    order = np.argsort(ranks, kind="stable")
    stretch = np.empty(len(times), np.int64)
    stretch[order] = np.arange(len(times)) * STRETCHES // max(len(times), 1)
    first = np.full(int(ranks.max(initial=0)) + 1, STRETCHES, np.int64)
    np.minimum.at(first, ranks, stretch)
    return first[ranks]
