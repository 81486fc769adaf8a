"""Companions of a chain: masks that follow the law of the cheap model on a ladder of temperatures, and trade places with the chain.

A walk by the model stays in the region where it begins. Companions roam: each chain has K masks B_k under exp(-E / T_k), from T_0 = T up.
They exchange items, and swap with their neighbours on the ladder, by the model E alone, which costs no evaluation. Then the chain's mask
A and B_0 trade places with the probability

    min(1, exp(-(L(B_0) - L(A)) / T + (E(B_0) - E(A)) / T))

That leaves the law exp(-L(A) / T) exp(-E(B_0) / T) as it is, so the chain keeps its own however wrong the model is. One evaluation may
take it to any other region: it needs neither a way of good masks in between nor a ladder of chains whose masks are evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mcprune.chain.jit import kernel
from mcprune.chain.kernels import pair
from mcprune.sampling.walks.loss_model import LossModel
from mcprune.sampling.walks.surrogate import exchange_on
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

# Purposes of random numbers, beside those of `surrogate`: the exchanges of companions, and the swaps of neighbours.
EXCHANGES, SWAPS = 18, 19
# Temperatures of the ladder: as many as so many times the root of n, within bounds, up to so many times T.
RUNGS, FEWEST, MOST, HOTTEST = 1.1, 3, 12, 8.0
# Exchanges that each companion tries in a leg, for each kept item; legs without the chain after a start.
TRIES, SETTLING = 40, 30
# Share of the visits of a round that must have been accepted for companions to go on.
WORTHWHILE = 0.004
# Bounds of the factor of the model.
LEAST_SCALE, MOST_SCALE = 0.3, 1.0


@dataclass
class Companions:
    """The companions of all chains; updated in place.

    Attributes
    ----------
    masks : ndarray of bool, shape (C, K, M)
        Of the active items of the model.
    legs : int
        Done so far: it keys the random numbers.
    is_started : bool
        They stand where the model, as it is now, has taken them.
    is_on : bool
        They are worth their evaluations.
    asked, accepted : int
        Visits since the last round of burn-in.
    scale : float
        What the model is multiplied by: masks that are good by the model are on average less so by the loss.
    """

    masks: BoolArray
    legs: int
    is_started: bool
    is_on: bool
    asked: int
    accepted: int
    scale: float

    @classmethod
    def of(cls, chains: int, keep: int, active: int) -> Companions:
        """Return companions that stand nowhere yet."""
        rungs = int(np.clip(round(RUNGS * math.sqrt(keep)), FEWEST, MOST))
        return cls(
            np.zeros((chains, rungs, active), bool), 0, is_started=False, is_on=True, asked=0, accepted=0, scale=1.0
        )

    def advance(self, model: LossModel, here: BoolArray, temperature: float, seed: int, chains: IntArray) -> None:
        """Let all of them exchange and swap; new ones begin at the masks of the chains.

        Parameters
        ----------
        model : LossModel
        here : ndarray of bool, shape (C, M)
            The masks of the chains.
        temperature : float
        seed : int
        chains : ndarray of int64, shape (C,)
            Numbers of the chains.
        """
        legs = 1
        if not self.is_started:
            self.masks[:] = here[:, None]
            self.is_started = True
            legs += SETTLING
        temperatures = np.geomspace(temperature, HOTTEST * temperature, self.masks.shape[1]) / self.scale
        tries = TRIES * max(1, int(here[0].sum()))
        terms = model.items, model.pairs, model.share, np.cumsum(model.share)
        advance_rungs(self.masks, terms, temperatures, tries, seed, chains, self.legs, legs)
        self.legs += legs

    def learn(self, energy: FloatArray, losses: FloatArray) -> None:
        """Choose the factor of the model by its values at the draws of a round, and their losses (all of one shape)."""
        spread = float(energy.var())
        if spread > 0:
            slope = float(((energy - energy.mean()) * (losses - losses.mean())).mean()) / spread
            self.scale = float(np.clip(slope, LEAST_SCALE, MOST_SCALE))

    def end_round(self, *, is_last: bool) -> None:
        """End a round of burn-in: the model has changed, and the visits of the last one tell whether companions are worth it."""
        if is_last and self.asked:
            self.is_on = self.accepted >= WORTHWHILE * self.asked
        self.is_started = False
        self.asked = self.accepted = 0


@kernel
def advance_rungs(
    masks: AnyArray, terms: tuple[AnyArray, ...], temperatures: FloatArray, tries: int, seed: int, chains: IntArray, first: int,
    legs: int,
) -> None:  # fmt: skip
    """Let the companions (C, K, M) of each chain try exchanges, and every second pair of neighbouring rungs swap, in each leg."""
    items, pairs, _, _ = terms
    rungs, size = masks.shape[1], masks.shape[2]
    fields, kept, energy = np.empty((rungs, size)), np.empty((rungs, size), np.int64), np.empty(rungs)
    counts, holder = np.empty(rungs, np.int64), np.empty(rungs, np.int64)
    for c in range(masks.shape[0]):
        is_kept = masks[c].copy()
        for k in range(rungs):
            holder[k] = k
            fields[k] = items
            counts[k], energy[k] = 0, 0.0
            for m in range(size):
                if is_kept[k, m]:
                    kept[k, counts[k]] = m
                    counts[k] += 1
                    fields[k] += pairs[m]
            for place in range(counts[k]):
                m = kept[k, place]
                energy[k] += 0.5 * (items[m] + fields[k, m])
        for leg in range(first, first + legs):
            for k in range(rungs):
                h = holder[k]
                key = (seed, chains[c], leg * rungs + k)
                energy[h] += temperatures[k] * exchange_on(
                    fields[h], kept[h], is_kept[h], counts[h], pairs, terms[2:], temperatures[k], tries, key, EXCHANGES
                )
            for k in range(leg % 2, rungs - 1, 2):
                low, high = holder[k], holder[k + 1]
                gain = (1.0 / temperatures[k] - 1.0 / temperatures[k + 1]) * (energy[low] - energy[high])
                if math.log(pair((seed, chains[c], leg * rungs + k), SWAPS, 0)[0]) <= gain:
                    holder[k], holder[k + 1] = high, low
        for k in range(rungs):
            masks[c, k] = is_kept[holder[k]]
