"""Classical scores of the columns of a table, without a classifier of ours: what a chain may start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcprune.config.measures import COMBINED
from mcprune.data.roles.tasks import strata_of
from mcprune.methods import number_scores
from mcprune.methods.pairs import pair_f
from mcprune.random import Stream, generator
from mcprune.sites.space import SearchSpace
from mcprune.types import AnyArray, BoolArray, Float32Array, FloatArray, IntArray

# Trees of a forest: as many as there are columns, each of which is a candidate of a split the more often the fewer there are. Training
# rows that a forest, L1 or mutual information look at: more cost more than they tell.
LEAST_TREES, MOST_TREES, MOST_ROWS = 100, 300, 5_000
# Columns that forest, L1 and mutual information look at: those with the highest F.
SCREENED = 2_048
# Columns of which F is computed at a time; passes of the L1 solver.
COLUMNS, PASSES = 4_096, 300
# Rows that most columns differ in which are no constants.
HEAD = 100
# Of the L1 penalty: C is so much over the rows, and grows until enough columns have a coefficient.
FIRST_C, GROWTH, TRIES = 16.0, 4.0, 4
# Bins of a column under sample weights; a share that reaches the edge of a bin but for rounding does so.
BINS, EDGE = 16, 1e-12


def column_scores(
    name: str, x: Float32Array, y: AnyArray, weights: FloatArray | None, *, keep: int, seed: int
) -> FloatArray:
    """Return the scores (N,) of all columns, the best highest; constant columns and copies of better ones are behind all others.

    Parameters
    ----------
    name : str
        One of COLUMN_SELECTORS.
    x : ndarray of float32, shape (rows, N)
        Scaled training rows.
    y : ndarray of int64, shape (rows,), or of float, shape (rows, T)
        Class indices, or numbers.
    weights : ndarray, shape (rows,), optional
        Of the rows.
    keep : int
        How many columns will be taken.
    seed : int
    """
    return without_copies(_scores(name, x, y, weights, keep=keep, seed=seed), x, keep)


def without_copies(scores: FloatArray, x: Float32Array, keep: int) -> FloatArray:
    """Return scores (N,) in which constant columns, and copies of a column of a higher score, come last.

    Only as many columns are looked at as it takes to find `keep` others.
    """
    known: set[bytes] = set()
    useless = []
    for column in np.argsort(-scores, kind="stable"):
        values = np.ascontiguousarray(x[:, column])
        if values.tobytes() in known or not np.ptp(values) > 0:
            useless.append(column)
            continue
        known.add(values.tobytes())
        if len(known) >= keep:
            break
    out = np.array(scores, np.float64)
    out[useless] = float(scores.min()) - np.arange(1.0, len(useless) + 1)
    return out


def without_constants(
    mask: BoolArray, ranking: FloatArray, space: SearchSpace, x: AnyArray, *, only_zeros: bool = False
) -> BoolArray:
    """Return a mask in which dropped columns that vary take the places of kept ones with one value in all rows.

    Sites that must be kept, and tied ones, stay.

    Parameters
    ----------
    mask : ndarray of bool, shape (N,)
        Allowed by `space`; inputs may be one of several kinds of sites.
    ranking : ndarray, shape (N,)
        The dropped columns of the highest values come in.
    space : SearchSpace
    x : ndarray, shape (rows, inputs)
        Scaled training rows.
    only_zeros : bool
        Constants other than 0 stay: a model that is trained already may use them as a bias.
    """
    group = space.sites.inputs
    if group is None or space.items is not None:
        return mask
    free = np.flatnonzero(space.owner[group.start : group.stop] >= 0)
    is_kept = mask[group.start : group.stop][free]
    constant = free[is_kept][_is_constant(x, free[is_kept], only_zeros=only_zeros)]
    if not constant.size:
        return mask
    rest = free[~is_kept]
    rest = rest[~_is_constant(x, rest, only_zeros=only_zeros)]
    best = rest[np.argsort(-ranking[group.start + rest], kind="stable")[: constant.size]]
    out = mask.copy()
    out[group.start + constant[: best.size]] = False
    out[group.start + best] = True
    return out


def _is_constant(x: AnyArray, columns: IntArray, *, only_zeros: bool) -> BoolArray:
    """Return which columns (C,) have one value in all rows."""
    out = (x[:HEAD, columns] == x[:1, columns]).all(axis=0) & ((x[0, columns] == 0) | (not only_zeros))
    maybe = np.flatnonzero(out)
    out[maybe] = (x[:, columns[maybe]] == x[:1, columns[maybe]]).all(axis=0)
    return np.asarray(out)


def _scores(name: str, x: Float32Array, y: AnyArray, weights: FloatArray | None, *, keep: int, seed: int) -> FloatArray:
    """Return the scores (N,) of all columns as they are."""
    if name == "f":
        return f_scores(x, y, weights)
    if name in COMBINED:
        return combined_places([_scores(part, x, y, weights, keep=keep, seed=seed) for part in COMBINED[name]])
    if x.shape[1] > SCREENED:
        return _among_best(name, x, y, weights, keep=keep, seed=seed)
    if len(y) > MOST_ROWS:
        rows = np.sort(generator(seed, Stream.START_ROWS).choice(len(y), MOST_ROWS, replace=False))
        x, y, weights = x[rows], y[rows], None if weights is None else weights[rows]
    if name == "pairs":
        return pair_scores(x, y, weights)
    number = seed % 2**32
    if is_numeric(y):
        return _number_scores(name, x, y, weights, keep=keep, seed=number)
    if name == "forest":
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(trees_for(x.shape[1]), random_state=number).fit(x, y, sample_weight=weights)
        return np.asarray(forest.feature_importances_)
    if name == "mutual-information":
        from sklearn.feature_selection import mutual_info_classif

        if weights is not None:  # its nearest neighbours know no weights
            return binned_information(x, y, weights)
        return np.asarray(mutual_info_classif(x, y, random_state=number))
    assert name == "l1"
    return l1_scores(x, y, weights, keep=keep, seed=number)


def combined_places(scores: Sequence[FloatArray]) -> FloatArray:
    """Return a score (N,) of columns by several scores (N,): the falling product of their places, 1 for the best column."""
    places = [np.argsort(np.argsort(-one, kind="stable"), kind="stable") + 1.0 for one in scores]
    return np.asarray(-np.log(places).sum(axis=0))


def trees_for(columns: int) -> int:
    """Return the number of trees of a forest that scores so many columns."""
    return min(MOST_TREES, max(LEAST_TREES, columns))


def is_numeric(y: AnyArray) -> bool:
    """Whether targets are numbers (rows, T) rather than classes (rows,)."""
    return y.dtype.kind == "f"


def _number_scores(
    name: str, x: Float32Array, y: FloatArray, weights: FloatArray | None, *, keep: int, seed: int
) -> FloatArray:
    """Return the scores (N,) of columns whose targets (rows, T) are numbers."""
    if name == "forest":
        return number_scores.forest_scores(x, y, weights, trees=trees_for(x.shape[1]), seed=seed)
    if name == "mutual-information":
        if weights is not None:  # its nearest neighbours know no weights
            return binned_information(x, strata_of(y), weights)
        return number_scores.information_scores(x, y, seed=seed)
    assert name == "l1"
    return number_scores.lasso_scores(x, y, weights, keep=keep)


def best_columns(x: Float32Array, y: AnyArray, weights: FloatArray | None, count: int) -> IntArray:
    """Return the places of the `count` columns with the highest F, rising."""
    return np.sort(np.argsort(-f_scores(x, y, weights), kind="stable")[:count])


def _among_best(
    name: str, x: Float32Array, y: AnyArray, weights: FloatArray | None, *, keep: int, seed: int
) -> FloatArray:
    """Return scores (N,) of many columns: only those with the highest F are looked at, the others are last."""
    by_f = f_scores(x, y, weights)
    columns = np.sort(np.argsort(-by_f, kind="stable")[:SCREENED])
    inside = _scores(name, np.ascontiguousarray(x[:, columns]), y, weights, keep=keep, seed=seed)
    out = min(0.0, float(inside.min())) - 1.0 / (1.0 + by_f)
    out[columns] = inside
    return out


def f_scores(x: Float32Array, y: AnyArray, weights: FloatArray | None = None) -> FloatArray:
    """Return F of an analysis of variance of each column, of numbers that of a linear regression; 0 for a constant one."""
    if is_numeric(y):
        return number_scores.f_scores(x, y, weights)
    weight = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    classes = np.eye(int(y.max()) + 1)[y] * weight[:, None]
    rows = classes.sum(axis=0)
    classes, rows = classes[:, rows > 0], rows[rows > 0]
    out = np.empty(x.shape[1])
    for start in range(0, x.shape[1], COLUMNS):
        part = x[:, start : start + COLUMNS].astype(np.float64)
        part -= part.mean(axis=0)
        sums = classes.T @ part
        between = (sums**2 / rows[:, None]).sum(axis=0) - sums.sum(axis=0) ** 2 / rows.sum()
        within = weight @ part**2 - (sums**2 / rows[:, None]).sum(axis=0)
        degrees = max(rows.sum() - rows.size, 1.0) / max(rows.size - 1, 1)
        is_constant = ~(np.ptp(part, axis=0) > 0)
        # A column that separates the classes to the last bit has no variance within them.
        within = np.maximum(within, 1e-12 * np.maximum(between, 1e-300))
        out[start : start + COLUMNS] = np.where(is_constant, 0.0, np.maximum(between, 0.0) / within * degrees)
    return out


def pair_scores(x: Float32Array, y: AnyArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the score (N,) of each column: its F, or that of its best pair if that is higher by more than the best of N pairs of noise."""
    # By how much the largest of N values of chi-square exceeds their mean, over the degrees of freedom (Laurent and Massart's bound).
    degrees = y.shape[1] if is_numeric(y) else max(len(np.unique(y)) - 1, 1)
    share = np.log(max(x.shape[1], 2)) / degrees
    luck = 2.0 * np.sqrt(share) + 2.0 * share
    products = number_scores.pair_f if is_numeric(y) else pair_f
    of_pairs = products(x, y, weights).max(axis=1).astype(np.float64)
    return np.asarray(np.maximum(f_scores(x, y, weights), of_pairs - luck))


def binned_information(x: Float32Array, y: IntArray, weights: FloatArray) -> FloatArray:
    """Return the mutual information of the class and each column in `BINS` bins of equal weight, in nats; a weight is a count."""
    share = np.asarray(weights, np.float64) / weights.sum()
    classes = np.eye(int(y.max()) + 1)[y] * share[:, None]
    of_class = classes.sum(axis=0)
    out = np.empty(x.shape[1])
    for j, column in enumerate(x.T):
        values, place = np.unique(column, return_inverse=True)
        below = np.cumsum(np.bincount(place, share, len(values)))  # equal values are in one bin
        bins = np.minimum((below * BINS * (1 - EDGE)).astype(np.int64), BINS - 1)[place]
        joint = np.stack([np.bincount(bins, part, BINS) for part in classes.T], axis=1)
        independent = joint.sum(axis=1)[:, None] * of_class
        inside = joint > 0
        out[j] = float(np.sum(joint[inside] * np.log(joint[inside] / independent[inside])))
    return out


def l1_scores(x: Float32Array, y: IntArray, weights: FloatArray | None, *, keep: int, seed: int) -> FloatArray:
    """Return summed absolute coefficients of a linear SVM under an L1 penalty that leaves at least `keep` of them, where it can."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    # The penalty is on the intercept too: columns around 0 need none, and constant ones cannot stand in for it.
    x = x - np.average(x, axis=0, weights=weights).astype(np.float32)
    total = float(len(y) if weights is None else weights.sum())
    c = FIRST_C / total
    scores = np.zeros(x.shape[1])
    for _ in range(TRIES):
        svm = LinearSVC(C=c, penalty="l1", dual=False, max_iter=PASSES, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            svm.fit(x, y, sample_weight=weights)
        scores = np.abs(svm.coef_).sum(axis=0)
        if np.count_nonzero(scores) >= keep:
            break
        c *= GROWTH
    # Columns without a coefficient by F, below all others.
    rest = f_scores(x, y, weights)
    least = scores[scores > 0].min() if scores.any() else 1.0
    return np.where(scores > 0, scores, 0.5 * least * rest / max(float(rest.max()), 1e-300))
