"""Parameters of the estimators as a search takes them."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_random_state

from mcprune.errors import ConfigError


def seed_of(random_state: object) -> int:
    """Return the seed of a fit."""
    draw = check_random_state(random_state)  # refuses what is no seed
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(draw.randint(2**31 - 1))


def count_of(keep: object, columns: int) -> int:
    """Return n.

    Raises
    ------
    ConfigError
        Neither None, a whole number in 1..N, nor a share in (0, 1].
    """
    if keep is None:
        return max(1, columns // 4)
    if isinstance(keep, int | np.integer) and not isinstance(keep, bool) and 1 <= keep <= columns:
        return int(keep)
    if isinstance(keep, float | np.floating) and 0 < keep <= 1:
        return max(1, round(float(keep) * columns))
    raise ConfigError(
        f"keep={keep!r}, but there are {columns} columns. Choose a whole number 1 <= keep <= {columns}, a share such as 0.25, "
        "'auto', or None for a quarter of them."
    )
