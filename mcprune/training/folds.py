"""Which rows train each classifier of a search, and which rows each of them evaluates candidates on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.data.parts.entities import assign, fold_entities, sole_owners
from mcprune.data.roles.tasks import strata_of
from mcprune.random import Stream, generator
from mcprune.types import AnyArray, IntArray


class Folds(NamedTuple):
    """Indices of rows by classifier: one classifier, or one for each fold.

    Attributes
    ----------
    training : tuple of ndarray of int64
        Rows that train each classifier.
    evaluation : tuple of ndarray of int64
        Rows that each classifier evaluates candidates on; no row is in two of them.
    """

    training: tuple[IntArray, ...]
    evaluation: tuple[IntArray, ...]

    @property
    def rows(self) -> int:
        """Rows that evaluate, of all folds together."""
        return sum(map(len, self.evaluation))

    def without_evaluation(self) -> Folds:
        """Return the same training rows, for a method that evaluates no candidates."""
        return Folds(self.training, tuple(rows[:0] for rows in self.evaluation))

    def reordered(self, order: IntArray) -> Folds:
        """Return the same folds of rows that stand in another order: row order[i] is at place i."""
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return Folds(*(tuple(np.sort(place[rows]) for rows in parts) for parts in self))

    def repeated(self, index: IntArray) -> Folds:
        """Return the folds of other rows, of which row i is row index[i] of these; folds without rows to train or evaluate are left out."""
        parts = []
        for training, evaluation in zip(*self, strict=True):
            pair = np.flatnonzero(np.isin(index, training)), np.flatnonzero(np.isin(index, evaluation))
            if all(len(rows) for rows in pair):
                parts.append(pair)
        return Folds(tuple(one for one, _ in parts), tuple(one for _, one in parts))

    def bounds(self, rows: int) -> IntArray:
        """Return where the folds begin and end in a batch of so many rows, shape (F + 1,).

        A batch holds the folds one after the other, each in proportion to its size; one of all rows holds the folds whole.
        """
        sizes = np.array([len(one) for one in self.evaluation], np.int64)
        total = int(sizes.sum())
        ends = np.cumsum(sizes)
        if rows < total:
            ends = ends * rows // total
        return np.concatenate([[0], ends])


def split_rows(
    targets: AnyArray, eval_on: str, *, fraction: float, folds: int, seed: int, entities: IntArray | None = None
) -> Folds:
    """Split the training rows of a search.

    Parameters
    ----------
    targets : ndarray of int64, shape (rows,), or of float, shape (rows, T)
        Classes, or numbers, of which the quantiles take the place of classes.
    eval_on : str
        `train`: all rows train, and all evaluate. `held-out`: a fraction of every class evaluates and never trains; a class keeps at
        least one training row. `folds`: every row trains all classifiers but one, and that one evaluates it.
    fraction : float
        Of the rows that are held out.
    folds : int
        Classifiers under `folds`.
    seed : int
    entities : ndarray of int64, shape (rows,), optional
        Rows of one number are together: no classifier evaluates some that was trained on others.
    """
    targets = strata_of(targets)
    rows = np.arange(len(targets))
    whole = Folds((rows,), (rows,))
    if eval_on == "train":
        return whole
    draw = generator(seed, Stream.EVALUATION_SPLIT)
    if eval_on == "folds":
        return _in_folds(targets, folds, draw, entities) or whole
    if entities is not None:
        is_evaluated = assign(entities, targets, (1.0 - fraction, fraction), draw.random(len(targets))) == 1
        return Folds((rows[~is_evaluated],), (rows[is_evaluated],)) if is_evaluated.any() else whole
    parts = []
    for label in np.unique(targets):
        members = draw.permutation(rows[targets == label])
        parts.append(members[: min(members.size - 1, max(1, round(fraction * members.size)))])
    evaluation = np.sort(np.concatenate(parts))
    if not evaluation.size:  # one row a class: there is nothing to hold out
        return whole
    return Folds((np.setdiff1d(rows, evaluation),), (evaluation,))


def _in_folds(
    targets: IntArray, folds: int, draw: np.random.Generator, entities: IntArray | None = None
) -> Folds | None:
    """Return stratified folds, of whole entities where there are such; None where no class has two rows.

    The rows of all classes are dealt out in turn, so that folds differ by one row at most, and a class of two rows or more is in two
    folds at least. The only row of a class, or the only entity, trains all classifiers: one that has not seen it could not evaluate it.
    """
    counts = np.bincount(targets)
    folds = min(folds, int(counts.max()))
    if folds < 2:
        return None
    rows = np.arange(len(targets))
    fold = np.full(len(targets), -1, np.int64)
    if entities is None:
        dealt = 0
        for label in np.flatnonzero(counts >= 2):
            members = draw.permutation(np.flatnonzero(targets == label))
            fold[members] = (dealt + np.arange(members.size)) % folds
            dealt += members.size
    else:
        shared = rows[~sole_owners(entities, targets)]
        if len(np.unique(entities[shared])) < 2:
            return None
        fold[shared] = fold_entities(entities[shared], targets[shared], folds, draw.random(len(shared)))
        folds = int(fold.max()) + 1
    return Folds(
        tuple(rows[fold != number] for number in range(folds)), tuple(rows[fold == number] for number in range(folds))
    )


def member_seed(seed: int, place: int) -> int:
    """Return the seed of the classifier at a place of the stack; that of the first is the run's."""
    return int(generator(seed, Stream.CLASSIFIERS, place).integers(2**32)) if place else seed
