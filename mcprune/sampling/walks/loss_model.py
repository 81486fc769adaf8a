"""A cheap model of the loss of masks, learned from candidates that were evaluated: a sum of terms of items and of pairs of items.

    E(A) = sum over kept i of h_i + sum over kept pairs i < j of J_ij

It is fitted to differences of losses by ridge regression, from a round of burn-in to the next. It starts from the model so far and from an
expansion of the loss to second order (`expansion`), each times a factor, and what those do not explain becomes terms.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from mcprune.sampling.walks.expansion import Expansion
from mcprune.types import BoolArray, FloatArray, IntArray

# Items with terms: those of the highest P(kept), where there are more.
MOST_ACTIVE = 1_024
# Expected sizes of the terms of an item and of a pair, in temperatures, which are tried on held-out candidates; and of the factors.
SIZES, CHECKED_SHARE, FACTOR_SIZE = ((1.0, 0.1), (5.0, 0.3), (5.0, 1.0)), 0.2, 3.0
# A candidate counts less where its loss changes by more temperatures than this: it only must be known to be poor.
FAR = 5.0
# The last candidates of a round that are learned from, terms of all of them together, and iterations of least squares.
MOST_ROWS, MOST_TERMS, ITERATIONS = 8_000, 1_500_000, 40
# Draws of the prior in the estimate of P(kept) by which a walk draws items, and the share of its draws that takes any.
PRIOR_DRAWS, ANY = 2.0, 0.1
# Exchanges that a walk tries: at first and at most, for each kept item; the accepted share of walks that their number aims at.
FIRST_TRIES, MOST_TRIES, TARGET = 0.5, 60, 0.3
# Decisions of a leg, after each of which a mask is recorded: enough for so many accepted walks, within bounds.
ACCEPTED, LEAST_LEG, FIRST_LEG, MOST_LEG = 2.0, 2, 16, 64


@dataclass
class LossModel:
    """The model, and how walks use it; updated in place.

    Attributes
    ----------
    active : ndarray of int64, shape (M,)
        The items that have terms, rising.
    items : ndarray of float64, shape (M,)
        h.
    pairs : ndarray of float64, shape (M, M)
        J, symmetric, 0 on the diagonal.
    share : ndarray of float64, shape (M,)
        Chances by which a walk draws an item to keep.
    tries : int
        Exchanges that a walk tries; 0 before anything was learned: there are no walks.
    leg : int
        Decisions between two masks that are recorded, where there are walks.
    """

    active: IntArray
    items: FloatArray
    pairs: FloatArray
    share: FloatArray
    tries: int
    leg: int

    @classmethod
    def of(cls, size: int) -> LossModel:
        """Return a model of F items that knows nothing."""
        active = min(size, MOST_ACTIVE)
        return cls(
            active=np.arange(active),
            items=np.zeros(active),
            pairs=np.zeros((active, active)),
            share=np.full(active, 1.0 / active),
            tries=0,
            leg=FIRST_LEG,
        )

    def energy(self, masks: BoolArray) -> FloatArray:
        """Return E (K,) of masks (K, M) of the active items."""
        return energy_by(self.items, self.pairs, masks)

    def learn(self, log: CandidateLog, temperature: float, expansion: Expansion | None = None) -> None:
        """Correct the model by the candidates of a log, in place; the expansion is of all items."""
        candidates = log.candidates()
        if candidates is None:
            return
        before, after, change = candidates
        known = [self.energy(after) - self.energy(before)]
        if expansion is not None:
            linear, pairs = expansion.items[self.active], expansion.pairs[np.ix_(self.active, self.active)]
            nothing = np.zeros(linear.size)
            known.append((after.astype(np.float64) - before) @ linear)
            known.append(energy_by(nothing, pairs, after) - energy_by(nothing, pairs, before))
        terms = _terms(before, after, self.items.size)
        far = np.maximum(1.0, np.abs(change) / (FAR * temperature))
        explained = np.stack(known, axis=1) / temperature
        is_item = terms.names < self.items.size
        fitted = _best_fit(terms, is_item, explained, change / temperature, 1.0 / far)
        factors, best = fitted[: len(known)], temperature * fitted[len(known) :]
        self.items *= factors[0]
        self.pairs *= factors[0]
        if expansion is not None:
            self.items += factors[1] * linear
            self.pairs += factors[2] * pairs
        size = self.items.size
        self.items[terms.names[is_item]] += best[is_item]
        low, high = np.divmod(terms.names[~is_item] - size, size)
        self.pairs[low, high] += best[~is_item]
        self.pairs[high, low] = self.pairs[low, high]

    def aim(self, log: CandidateLog, keep: int) -> None:
        """Choose how many exchanges walks try, and how many walks make a leg, by the share of them that was accepted."""
        if not self.tries:
            self.tries = max(4, round(FIRST_TRIES * keep))
        elif log.walks:
            share = log.accepted / log.walks
            self.tries = int(np.clip(round(self.tries * np.clip(share / TARGET, 0.25, 4.0)), 1, MOST_TRIES * keep))
            self.leg = int(np.clip(ACCEPTED / max(share, 1e-3), LEAST_LEG, MOST_LEG))

    def follow(self, probability: FloatArray, drawn: float, keep: int) -> None:
        """Draw items by their P(kept) from now on: an estimate (F,) that is worth so many draws."""
        mean = (drawn * probability + PRIOR_DRAWS * keep / probability.size) / (drawn + PRIOR_DRAWS)
        if self.active.size < probability.size:
            self._activate(np.sort(np.argsort(-mean, kind="stable")[: self.active.size]))
        mean = mean[self.active]
        self.share[:] = (1.0 - ANY) * mean / mean.sum() + ANY / mean.size

    def _activate(self, active: IntArray) -> None:
        """Give terms to other items; those that stay keep theirs."""
        _, old, new = np.intersect1d(self.active, active, return_indices=True)
        items, pairs = self.items[old].copy(), self.pairs[np.ix_(old, old)].copy()
        self.items[:], self.pairs[:] = 0.0, 0.0
        self.items[new], self.pairs[np.ix_(new, new)] = items, pairs
        self.active[:] = active


class CandidateLog:
    """Candidates that chains have decided on, as masks (M,) of the active items before and after, and the change of the loss.

    What is evaluated ahead of an acceptance depends on the clock, and is no part of it: the same chain has the same log.

    Parameters
    ----------
    replicas : int

    Attributes
    ----------
    walks, accepted : int
        Walks that were decided on, and those that were accepted.
    """

    def __init__(self, replicas: int) -> None:
        most = MOST_ROWS // replicas
        self.rows = [deque[tuple[BoolArray, BoolArray, float]](maxlen=most) for _ in range(replicas)]
        self.walks = self.accepted = 0

    def candidates(self) -> Candidates | None:
        """Return the candidates in the order of their time, as many of the last ones as have `MOST_TERMS`; None without any."""
        timed = sorted(
            ((k + 1) / len(rows), number, k) for number, rows in enumerate(self.rows) for k in range(len(rows))
        )
        if not timed:
            return None
        chosen = [self.rows[number][k] for _, number, k in timed]
        before, after = np.array([row[0] for row in chosen]), np.array([row[1] for row in chosen])
        terms = 2 * ((after & ~before).sum(axis=1) * before.sum(axis=1)).cumsum()
        first = int(np.searchsorted(terms, terms[-1] - MOST_TERMS))
        return Candidates(before[first:], after[first:], np.array([row[2] for row in chosen[first:]]))


class Candidates(NamedTuple):
    """Masks before and after (D, M), and the changes (D,) of the loss."""

    before: BoolArray
    after: BoolArray
    change: FloatArray


class Terms(NamedTuple):
    """Changes of the terms of candidates, as entries of a sparse matrix.

    Attributes
    ----------
    names : ndarray of int64, shape (C,)
        Of the columns, rising: item i is i, the pair i < j is M + i M + j.
    row, column : ndarray of int64, shape (E,)
    sign : ndarray of float64, shape (E,)
        1 where the candidate gets the term, -1 where it loses it.
    """

    names: IntArray
    row: IntArray
    column: IntArray
    sign: FloatArray


def _terms(before: BoolArray, after: BoolArray, size: int) -> Terms:
    parts: list[tuple[IntArray, IntArray, float]] = []
    both = before & after
    for new, value in ((after & ~before, 1.0), (before & ~after, -1.0)):
        row, item = np.nonzero(new)
        parts.append((row, item, value))
        for others, is_among in ((both, False), (new, True)):
            at, other = _beside(row, others)
            one = item[at]
            low, high = np.minimum(one, other), np.maximum(one, other)
            once = one < other if is_among else np.ones(one.size, bool)
            parts.append((row[at][once], (size + low * size + high)[once], value))
    names, column = np.unique(np.concatenate([part[1] for part in parts]), return_inverse=True)
    sign = np.concatenate([np.full(part[0].size, part[2]) for part in parts])
    return Terms(names, np.concatenate([part[0] for part in parts]), column, sign)


def _beside(row: IntArray, masks: BoolArray) -> tuple[IntArray, IntArray]:
    """Return each entry of `row` as often as its mask keeps items, as a place in `row`, and these items."""
    counts = masks.sum(axis=1)
    first = np.cumsum(counts) - counts
    items = np.nonzero(masks)[1]
    repeats = counts[row]
    place = np.repeat(np.arange(row.size), repeats)
    inside = np.arange(place.size) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return place, items[first[row][place] + inside]


def energy_by(items: FloatArray, pairs: FloatArray, masks: BoolArray) -> FloatArray:
    """Return the sums (K,) of the terms of masks (K, M)."""
    kept = masks.astype(np.float64)
    return np.asarray(kept @ items + 0.5 * np.einsum("ki,ki->k", kept @ pairs, kept), np.float64)


def _best_fit(
    terms: Terms, is_item: BoolArray, explained: FloatArray, target: FloatArray, weight: FloatArray
) -> FloatArray:
    """Return the factors of what is explained (D, E), and the terms (C,) in temperatures; sizes are those that do best on held-out rows."""
    fitted = np.arange(target.size) < round((1.0 - CHECKED_SHARE) * target.size)
    values, goal = terms.sign * weight[terms.row], target * weight
    columns = sparse.csr_matrix(FACTOR_SIZE * explained * weight[:, None])
    best: tuple[float, FloatArray, sparse.csr_matrix] | None = None
    for item_size, pair_size in SIZES:
        sizes = np.where(is_item, item_size, pair_size)
        entries = values * sizes[terms.column], (terms.row, terms.column)
        own = sparse.csr_matrix(entries, shape=(target.size, terms.names.size))
        matrix = sparse.hstack([columns, own]).tocsr()
        solution = linalg.lsqr(matrix[fitted], goal[fitted], damp=1.0, iter_lim=ITERATIONS)[0]
        error = float(np.square(matrix[~fitted] @ solution - goal[~fitted]).mean()) if not fitted.all() else 0.0
        if best is None or error < best[0]:
            best = error, np.concatenate([np.full(explained.shape[1], FACTOR_SIZE), sizes]), matrix
    assert best is not None
    _, sizes, matrix = best
    return np.asarray(sizes * linalg.lsqr(matrix, goal, damp=1.0, iter_lim=ITERATIONS)[0], np.float64)
