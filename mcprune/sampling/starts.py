"""Unlike masks for chains to start from: where they come together in spite of that, they have forgotten where they began."""

from __future__ import annotations

import numpy as np

from mcprune.errors import ConfigError
from mcprune.methods.columns import f_scores
from mcprune.random import Stream, generator
from mcprune.session.build.plan import Plan
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray

FEWEST_CHAINS, MOST_CHAINS = 4, 64


def unlike_starts(plan: Plan, mask: BoolArray, chains: int) -> BoolArray:
    """Return the masks (C, N) that chains start from: the run's own, for inputs that of the highest F, then random ones.

    Parameters
    ----------
    plan : Plan
        Its budget is a single count.
    mask : ndarray of bool, shape (N,)
        Of the run.
    chains : int
    """
    space, draw = plan.space, generator(plan.runtime.seed, Stream.SAMPLING)
    masks = [mask]
    if plan.sites.inputs is not None and len(plan.sites.groups) == 1:
        masks.append(space.enforce(f_scores(plan.splits.train.features, plan.splits.train.targets)))
    masks += [space.enforce(draw.random(space.sites.size)) for _ in range(chains)]
    return np.stack(masks[:chains])


def check_space(space: SearchSpace) -> None:
    """Refuse a budget whose masks are not those of one number of sites, and one that leaves a single mask.

    Raises
    ------
    ConfigError
    """
    if not space.is_count:
        raise ConfigError(
            "The run has a budget of costs or of several counts, but sampling draws masks of one number of sites. "
            "Run with --keep N alone."
        )
    if not 0 < space.keep < space.size:
        raise ConfigError(
            f"The run keeps {space.keep:,} of {space.size:,} sites that may be dropped, so there is one mask only. "
            "Run with a smaller --keep."
        )
