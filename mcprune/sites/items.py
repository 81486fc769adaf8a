"""What a search chooses among: sites, alone or tied, and those that are kept or dropped in any case."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.types import IntArray


class Item(NamedTuple):
    """Sites that are kept or dropped together; a site of no group is an item of its own, without a name."""

    name: str
    sites: tuple[int, ...]
    cost: int  # in the budget's own unit


class Fixed(NamedTuple):
    """Flat indices of sites, each rising: those that must be kept and those that must be dropped."""

    kept: IntArray = np.empty(0, np.int64)
    dropped: IntArray = np.empty(0, np.int64)


NOTHING_FIXED = Fixed()
