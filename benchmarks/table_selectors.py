"""Selectors of n columns: those of scikit-learn in one line, peers, and ours; each a function (x, y, n, seed) -> indices (n,)."""

from __future__ import annotations

import importlib.util
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

Selector = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
TREES = 300
# Pairs of columns whose correlations mRMR looks at: the most relevant candidates times n.
CANDIDATES = 2000


def highest(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the places of the n highest scores; ties to the lowest, what is not a number last."""
    return np.sort(np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:n])


def random(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Random columns."""
    return np.sort(np.random.default_rng(seed).choice(x.shape[1], n, replace=False))


def f(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """F of an analysis of variance."""
    from sklearn.feature_selection import f_classif

    return highest(f_classif(x, y)[0], n)


def mutual_information(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Mutual information by nearest neighbours."""
    from sklearn.feature_selection import mutual_info_classif

    return highest(mutual_info_classif(x, y, random_state=seed), n)


def mrmr(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Minimum redundancy, maximum relevance: F over the mean absolute correlation with those chosen (FCQ)."""
    from sklearn.feature_selection import f_classif

    relevance = np.nan_to_num(f_classif(x, y)[0])
    columns = np.argsort(-relevance, kind="stable")[:CANDIDATES]
    relevance = relevance[columns]
    z = x[:, columns] - x[:, columns].mean(axis=0)
    z /= np.maximum(np.sqrt((z**2).sum(axis=0)), 1e-12)
    redundancy, chosen = np.zeros(columns.size), [0]
    while len(chosen) < min(n, columns.size):
        redundancy += np.abs(z.T @ z[:, chosen[-1]])
        score = relevance / np.maximum(redundancy / len(chosen), 1e-3)
        score[chosen] = -np.inf
        chosen.append(int(score.argmax()))
    return np.sort(columns[chosen])


def forest(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Impurity importance in a random forest of 300 trees."""
    from sklearn.ensemble import RandomForestClassifier

    return highest(RandomForestClassifier(TREES, random_state=seed).fit(x, y).feature_importances_, n)


def l1(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Summed absolute coefficients of a linear SVM under an L1 penalty, weak enough that n are not 0."""
    from sklearn.svm import LinearSVC

    for c in (0.01, 0.03, 0.1, 0.3, 1.0):
        fitted = LinearSVC(C=c, penalty="l1", dual=False, max_iter=300, random_state=seed).fit(x, y)
        scores = np.abs(fitted.coef_).sum(axis=0)
        if np.count_nonzero(scores) >= n:
            break
    return highest(scores, n)


def rfe(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Recursive elimination by logistic regression, a fifth of the columns at a time."""
    from sklearn.feature_selection import RFE
    from sklearn.linear_model import LogisticRegression

    chosen = RFE(LogisticRegression(max_iter=100), n_features_to_select=n, step=0.2).fit(x, y)
    return np.flatnonzero(chosen.support_)


def lassonet(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The columns that stay longest on LassoNet's path."""
    from lassonet import LassoNetClassifier

    model = LassoNetClassifier(hidden_dims=(64,), path_multiplier=1.05, random_state=seed, verbose=0)
    model.path(x, y, return_state_dicts=False)
    return highest(model.feature_importances_.numpy(), n)


def pruned(x: np.ndarray, y: np.ndarray, n: int, seed: int, **options: Any) -> Any:
    """Return the result of our `prune` with its defaults, the retraining of its small network included."""
    import mcprune

    given = {"test": 0, "compare": "no", "threads": 1, "seed": seed, **options}
    return mcprune.prune(x, y, keep=n, **given)


def prune(x: np.ndarray, y: np.ndarray, n: int, seed: int, **options: Any) -> np.ndarray:
    """The columns of our `prune`."""
    return pruned(x, y, n, seed, **options).mask.indices


def alike(result: Any) -> float | None:
    """Return the mean overlap of the finalists that are within two standard errors of the winner; None where it has no equal.

    Two searches that end in equally good masks need not overlap more than this: columns stand in for each other.
    """
    from mcprune.storage.events import Playoff

    played = [event for event in result.events if isinstance(event, Playoff)]
    equals = [{*one.indices} for event in played for one in event.finalists if one.behind <= 2.0 * one.error]
    pairs = [len(a & b) / len(a) for a, b in itertools.combinations(equals, 2)]
    return statistics.mean(pairs) if pairs else None


def markov_selector(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Our scikit-learn selector with its defaults."""
    from mcprune import MarkovSelector

    return np.flatnonzero(MarkovSelector(n, random_state=seed).fit(x, y).support_)


def straight_through(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Straight-through gates trained by gradients."""
    return prune(x, y, n, seed, method="gradient", gates="straight-through")


def fisher(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The importance measure Fisher in one round."""
    return prune(x, y, n, seed, method="importance", measure="fisher")


# The best of these by cross-validation on the training rows is the bar.
ONE_LINERS: dict[str, Selector] = {
    "f": f,
    "mutual-information": mutual_information,
    "forest": forest,
    "l1": l1,
    "rfe": rfe,
}
SELECTORS: dict[str, Selector] = {
    "prune": prune,
    "MarkovSelector": markov_selector,
    **ONE_LINERS,
    "mrmr": mrmr,
    "lassonet": lassonet,
    "straight-through": straight_through,
    "fisher": fisher,
    "random": random,
}
# Those whose columns do not depend on the seed are run once.
UNSEEDED = {"f", "l1", "rfe", "mrmr"}


def is_installed(name: str) -> bool:
    """Whether what a selector needs is there."""
    return name != "lassonet" or importlib.util.find_spec("lassonet") is not None
