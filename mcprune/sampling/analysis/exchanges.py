"""What it costs to keep one site in place of another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mcprune.sampling.samples import Samples
from mcprune.types import BoolArray, FloatArray, IntArray

# The losses (K,) of masks (K, N) by the judges that the samples are of.
Evaluate = Callable[[BoolArray], FloatArray]

# Masks of the samples in which sites are exchanged, and the dropped sites that stand for any other one.
MASKS, OTHERS, GOLDEN = 64, 4, 0.6180339887498949


class Cost(NamedTuple):
    """An increase of the loss, with its standard error from finitely many masks; `value` may be below 0."""

    value: float
    error: float


def cost_by_law(samples: Samples, first: int, second: int) -> Cost:
    """Return T log(P(first without second) / P(second without first)): a difference of free energies.

    Of two sites whose exchange changes the loss by c in every mask, the law keeps the better one exp(c / T) times as often, so this is c.
    Where the change depends on the mask it is the change of the loss when the other sites may change too.

    Notes
    -----
    The two events exclude each other, so log(a / b) has the variance 1 / a + 1 / b with a and b effective counts. Half a draw is added to
    both: a site that no draw keeps gets a cost that the draws can tell from none, not an infinite one.
    """
    one, other = samples.flat_masks[:, first], samples.flat_masks[:, second]
    size = pair_size(samples, first, second)
    alone = float((one & ~other).mean()) * size + 0.5
    instead = float((other & ~one).mean()) * size + 0.5
    return Cost(
        samples.temperature * math.log(alone / instead), samples.temperature * math.sqrt(1.0 / alone + 1.0 / instead)
    )


def cost_by_evaluation(samples: Samples, first: int, second: int, evaluate: Evaluate, most: int = MASKS) -> Cost | None:
    """Return the mean change of the loss where sampled masks with `first` and without `second` keep `second` in its place.

    Parameters
    ----------
    samples : Samples
    first, second : int
        Sites.
    evaluate : callable
        Losses (K,) of masks (K, N), by the judges and rows of the samples.
    most : int
        Masks that are tried, spread evenly over the draws.

    Returns
    -------
    Cost or None
        None where no draw keeps the one without the other.
    """
    rows = spread(np.flatnonzero(samples.flat_masks[:, first] & ~samples.flat_masks[:, second]), most)
    if not rows.size:
        return None
    masks = samples.flat_masks[rows].copy()
    before = evaluate(masks)
    masks[:, first], masks[:, second] = False, True
    return _mean_change(evaluate(masks) - before)


def cost_of_any(samples: Samples, first: int, evaluate: Evaluate, most: int = MASKS) -> Cost | None:
    """Return the mean change of the loss where sampled masks with `first` keep any dropped site in its place.

    What a substitute's cost is to be compared with: it stands in for a site if it costs much less than any site does. The dropped sites are
    spread evenly, by multiples of the golden section. None where no draw keeps the site, or all sites are kept.
    """
    rows = spread(np.flatnonzero(samples.flat_masks[:, first]), most)
    if not rows.size or samples.keep == samples.sites:
        return None
    masks = np.repeat(samples.flat_masks[rows], OTHERS, axis=0)
    before = np.repeat(evaluate(samples.flat_masks[rows]), OTHERS)
    place = np.arange(len(masks))
    dropped = np.argsort(masks, axis=1, kind="stable")[:, : samples.sites - samples.keep]
    second = dropped[place, (place * GOLDEN % 1.0 * dropped.shape[1]).astype(np.int64)]
    masks[:, first] = False
    masks[place, second] = True
    # Exchanges in one mask are not independent.
    return _mean_change((evaluate(masks) - before).reshape(-1, OTHERS).mean(axis=1))


def pair_size(samples: Samples, first: int, second: int) -> float:
    """Return how many independent draws the samples are worth for two sites: the fewer of the two."""
    return float(site_sizes(samples)[[first, second]].min())


def site_sizes(samples: Samples) -> FloatArray:
    """Return the effective sample size (N,) of each site, at least 1 and at most the number of draws."""
    return np.clip(np.nan_to_num(samples.ess, nan=1.0), 1.0, float(samples.losses.size))


def spread(rows: IntArray, most: int) -> IntArray:
    """Return at most `most` of the rows (K,), evenly spread."""
    return rows[np.unique(np.linspace(0, rows.size - 1, most).round().astype(np.int64))] if rows.size > most else rows


def _mean_change(changes: FloatArray) -> Cost:
    finite = changes[np.isfinite(changes)]
    if not finite.size:
        return Cost(math.inf, math.nan)
    error = float(finite.std(ddof=1)) / math.sqrt(finite.size) if finite.size > 1 else math.nan
    return Cost(float(finite.mean()), error)
