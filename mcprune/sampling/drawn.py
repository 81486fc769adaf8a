"""What sampling gives: the samples, their cost, and what follows from them, computed once."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from mcprune.sampling.analysis.exchanges import Evaluate
from mcprune.sampling.analysis.good_masks import GoodMasks, find_good_masks
from mcprune.sampling.analysis.substitutes import Substitutes, find_substitutes
from mcprune.sampling.samples import Samples
from mcprune.types import BoolArray


@dataclass(frozen=True)
class Drawn:
    """Samples, and what they cost.

    Attributes
    ----------
    samples : Samples
    mask : ndarray of bool, shape (N,)
        Of the run.
    seconds : float
        Of sampling, burn-in included, of all sessions together.
    seconds_needed : float
        Further seconds to the precision; 0 where it is reached.
    precision : float
        As asked for.
    rows : int
        Evaluation rows.
    acceptance : float
        Accepted share of the proposals.
    evaluate : callable or None
        Losses (K,) of masks (K, N), by the classifiers and rows of the samples.
    """

    samples: Samples
    mask: BoolArray
    seconds: float
    seconds_needed: float
    precision: float
    rows: int
    acceptance: float
    evaluate: Evaluate | None = None

    @property
    def is_precise(self) -> bool:
        """Whether P of every site is as precise as asked for."""
        return self.seconds_needed <= 0.0

    @functools.cached_property
    def substitutes(self) -> Substitutes:
        """Sites that stand in for one another, see `find_substitutes`."""
        return find_substitutes(self.samples, evaluate=self.evaluate)

    @functools.cached_property
    def good_masks(self) -> GoodMasks:
        """The set of good masks, see `find_good_masks`."""
        return find_good_masks(self.samples, evaluate=self.evaluate)
