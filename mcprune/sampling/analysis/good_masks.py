"""The set of good masks: how many there are, the best ones that differ, and those that stand for all.

How many. Draws have probability exp(-loss / T) / Z. Among the good masks, those within eps of the best, a weight of exp(loss / T) makes all
of them equally likely. So it is the count of fish in a pond: the draws of all chains but one mark the masks that they visit, and of the
weighted good draws of the last chain the share that is marked is the marked number over the whole number. Each chain is the last one once.
Z and the many poor masks that no draw visits are not needed. Where hardly any mask comes up twice there are far more good masks than draws,
and all that can be said is how many different ones were seen.

Masks that stand for all. The n sites of the largest P have the highest expected overlap with a draw, of all masks of n sites. But P is
spread over substitutes, so these n may keep two of a kind and none of another: the mask has a loss of its own, which is stated beside. The
central mask is the drawn one of the highest expected overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mcprune.errors import ConfigError
from mcprune.sampling.analysis.exchanges import Evaluate
from mcprune.sampling.samples import Samples
from mcprune.types import BoolArray, FloatArray, IntArray, JsonObject

# Masks that are listed, and the share of their n sites in which they differ.
LISTED, DIFFERENT = 10, 0.2
# eps in paired errors: masks that the rows can hardly tell from the best one.
ERRORS = (1.0, 2.0, 4.0)
# Effective draws of marked masks below which a number is not estimated, and parts of a chain whose shares are compared.
FEWEST_MARKED, PARTS = 10.0, 5


class MaskCount(NamedTuple):
    """How many masks have a loss within `eps` of the best.

    Attributes
    ----------
    eps : float
        In the unit of the loss.
    seen : int
        Different ones among the draws.
    share : float
        Of the draws.
    number, error : float
        Estimate of the number of all such masks and its standard error; NaN where too few came up twice, and then `seen` is a lower bound.
    """

    eps: float
    seen: int
    share: float
    number: float
    error: float


class GoodMask(NamedTuple):
    """A mask and its figures.

    Attributes
    ----------
    sites : tuple of int
        That it keeps, rising.
    loss : float
        NaN of a mask that no draw has, without an evaluator.
    overlap : float
        Expected share of its sites that a draw keeps too.
    differs : int
        Sites that are not in the best mask.
    """

    sites: tuple[int, ...]
    loss: float
    overlap: float
    differs: int


@dataclass(frozen=True)
class GoodMasks:
    """The good masks of samples.

    Attributes
    ----------
    counts : tuple of MaskCount
        By rising eps.
    best : tuple of GoodMask
        By rising loss: each is the best of the drawn masks that differ from all before in at least `apart` sites.
    consensus, central : GoodMask
        The n sites of the largest P, and the drawn mask that shares most sites with a draw on average.
    apart : int
    distinct : int
        Different masks among the draws.
    draws : int
    names : tuple of str
        Of all sites.
    """

    counts: tuple[MaskCount, ...]
    best: tuple[GoodMask, ...]
    consensus: GoodMask
    central: GoodMask
    apart: int
    distinct: int
    draws: int
    names: tuple[str, ...] = field(repr=False)

    def to_json(self) -> JsonObject:
        """Return it as a JSON object, with the names of the sites; unknown numbers are null."""

        def mask(one: GoodMask) -> JsonObject:
            names = [self.names[site] for site in one.sites]
            loss = _or_null(one.loss)
            return {"sites": list(one.sites), "names": names, "loss": loss, "overlap": one.overlap, "differs": one.differs}  # fmt: skip

        return {
            "draws": self.draws,
            "distinct": self.distinct,
            "counts": [
                {
                    "eps": one.eps,
                    "seen": one.seen,
                    "share": one.share,
                    "number": _or_null(one.number),
                    "error": _or_null(one.error),
                }
                for one in self.counts
            ],
            "apart": self.apart,
            "best": [mask(one) for one in self.best],
            "consensus": mask(self.consensus),
            "central": mask(self.central),
        }


def find_good_masks(
    samples: Samples,
    *,
    eps: Sequence[float] | None = None,
    apart: int | None = None,
    most: int = LISTED,
    evaluate: Evaluate | None = None,
) -> GoodMasks:
    """Return how many good masks there are, the best ones that differ, and those that stand for all.

    Parameters
    ----------
    samples : Samples
    eps : sequence of float, optional
        Distances from the lowest loss of the draws; by default 1, 2 and 4 times the paired error of the judging rows.
    apart : int, optional
        Sites in which the listed masks differ at least, from 0 to n; by default a fifth of n.
    most : int, at least 1
        Masks that are listed.
    evaluate : callable, optional
        Losses (K,) of masks (K, N), by the judges and rows of the samples: for the loss of a consensus mask that was not drawn.

    Raises
    ------
    ConfigError
        A number out of range.
    """
    keep = samples.keep
    if apart is not None and not 0 <= apart <= keep:
        raise ConfigError(f"Masks are to differ in {apart} sites, but they keep {keep}. Choose 0 to {keep} sites.")
    if most < 1:
        raise ConfigError(f"The list of masks has {most} lines. Choose at least 1.")
    distances = [times * samples.paired_error for times in ERRORS] if eps is None else sorted(eps)
    if not all(0.0 <= one < math.inf for one in distances):
        raise ConfigError(
            f"The distances from the lowest loss are {', '.join(map(str, distances))}. Choose finite ones of at least 0."
        )
    apart = max(1, round(DIFFERENT * keep)) if apart is None else apart
    masks, first, inverse = distinct_masks(samples.flat_masks)
    losses = samples.flat_losses[first]
    overlaps = masks @ samples.probability / keep
    top = masks[int(np.argmin(losses))]

    def good(mask: BoolArray, loss: float) -> GoodMask:
        overlap = float(samples.probability[mask].sum()) / keep
        return GoodMask(tuple(np.flatnonzero(mask).tolist()), loss, overlap, int((mask & ~top).sum()))

    consensus = np.zeros(samples.sites, bool)
    consensus[np.argsort(-samples.probability, kind="stable")[:keep]] = True
    drawn = np.flatnonzero((masks == consensus).all(axis=1))
    own_loss = float(losses[drawn[0]]) if drawn.size else math.nan
    if evaluate is not None and not drawn.size:
        own_loss = float(evaluate(consensus[None])[0])
    central = int(np.lexsort((losses, -overlaps.round(12)))[0])
    return GoodMasks(
        tuple(count_masks(samples, losses, inverse, one) for one in distances),
        tuple(good(masks[row], float(losses[row])) for row in _different(masks, losses, apart, most)),
        good(consensus, own_loss),
        good(masks[central], float(losses[central])),
        apart,
        len(masks),
        len(inverse),
        samples.names,
    )


def distinct_masks(masks: BoolArray) -> tuple[BoolArray, IntArray, IntArray]:
    """Return the different masks (U, N) of (D, N), the draw (U,) in which each comes up first, and the number (D,) of each draw's mask."""
    packed = np.ascontiguousarray(np.packbits(masks, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return masks[first], first, inverse.ravel()


def count_masks(samples: Samples, losses: FloatArray, inverse: IntArray, eps: float) -> MaskCount:
    """Return how many masks are within eps of the best one.

    Parameters
    ----------
    samples : Samples
    losses : ndarray of float64, shape (U,)
        Of the different masks.
    inverse : ndarray of int64, shape (chains * draws,)
        Number of the mask of each draw.
    eps : float
    """
    above = losses - losses.min()
    is_good = above <= eps
    draw = inverse.reshape(samples.chains, samples.draws)
    seen, share = int(is_good.sum()), float(is_good[draw].mean())
    # The largest weight is 1, whatever eps is in temperatures.
    weight = np.where(is_good, np.exp((np.minimum(above, eps) - eps) / samples.temperature), 0.0)
    parts = min(PARTS, samples.draws)
    weights, marked_weights, marked = np.zeros((3, samples.chains, parts))
    squares = farthest = 0.0
    is_far = is_good & (above > eps - samples.temperature)
    for chain in range(samples.chains):
        is_marked = np.zeros(len(losses), bool)
        is_marked[np.delete(draw, chain, axis=0)] = True
        is_marked &= is_good
        marked[chain] = is_marked.sum()
        own = weight[draw[chain]]
        own_marked = own * is_marked[draw[chain]]
        for part, rows in enumerate(np.array_split(np.arange(samples.draws), parts)):
            weights[chain, part], marked_weights[chain, part] = own[rows].sum(), own_marked[rows].sum()
        squares += float(own @ own)
        farthest += float((is_marked & is_far)[draw[chain]].sum())
    # Draws of a chain resemble each other, and few of them may have most of the weight.
    worth = min(1.0, samples.loss_ess / draw.size) if math.isfinite(samples.loss_ess) else 0.0
    # Most good masks are nearly eps away, and rare: either enough of them came up again, or each one would have come up.
    visits = float((above[draw] <= 0.0).sum()) * math.exp(-eps / samples.temperature)
    if worth * max(farthest, visits) < FEWEST_MARKED or not marked_weights.any():
        return MaskCount(eps, seen, share, math.nan, math.nan)
    number = float((marked * weights).sum() / marked_weights.sum())
    effective = worth * float(weights.sum()) ** 2 / squares
    again = float(marked_weights.sum() / weights.sum())
    binomial = math.sqrt((1.0 - again) / (again * effective))
    relative = max(_relative_error(marked, weights, marked_weights), binomial, 1.0 / effective)
    return MaskCount(eps, seen, share, max(number, float(seen)), number * relative)


def _relative_error(marked: FloatArray, weights: FloatArray, marked_weights: FloatArray) -> float:
    """Return the relative standard error of sum(marked * weights) / sum(marked_weights), by chains or their parts, whichever is larger.

    All are (chains, parts).
    """
    errors = []
    for top, bottom in (
        ((marked * weights).sum(axis=1), marked_weights.sum(axis=1)),
        ((marked * weights).ravel(), marked_weights.ravel()),
    ):
        ratio = top.sum() / bottom.sum()
        residual = top - ratio * bottom
        size = len(residual)
        errors.append(math.sqrt(float(residual @ residual) * size / (size - 1)) / float(top.sum()))
    return max(errors)


def _different(masks: BoolArray, losses: FloatArray, apart: int, most: int) -> list[int]:
    """Return rows of masks (U, N) by rising loss, each at least `apart` sites from all before."""
    order = np.argsort(losses, kind="stable")
    rows: list[int] = []
    can_follow = np.ones(len(masks), bool)
    for row in order:
        if not can_follow[row] or not math.isfinite(losses[row]):
            continue
        rows.append(int(row))
        if len(rows) == most:
            break
        can_follow &= (masks & ~masks[row]).sum(axis=1) >= apart
        can_follow[row] = False
    return rows


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
