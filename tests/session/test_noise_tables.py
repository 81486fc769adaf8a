"""Small noisy tables on which a classifier that judges by its training rows goes wrong: what tells must be found."""

import numpy as np
import pytest
from selection import long_but
from sklearn.datasets import make_classification

import mcprune

# A sixteenth of the default's work. Where the informative columns stand is drawn: among equals the lowest are kept, and a
# chain that does nothing would find them if they stood first.
OPTIONS = {"epochs": 40, "retrain_epochs": 1}


def clusters(seed):
    x, y = make_classification(
        2000, 105, n_informative=5, n_redundant=0, n_clusters_per_class=4, shuffle=False, random_state=seed
    )
    return x, y, 5


def product(seed):
    x = np.random.default_rng(seed).normal(size=(2000, 101))
    return x, np.sign(x[:, 0] * x[:, 1]).astype(int), 2


def shuffled(make, seed):
    x, y, informative = make(seed)
    order = np.random.default_rng([seed, 1]).permutation(x.shape[1])
    return x[:, order], y, np.flatnonzero(order < informative).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("seed", long_but("the same at other seeds", [0, 1, 2], 0))
@pytest.mark.parametrize("make", long_but("another table", [clusters, product], clusters))
def test_the_informative_inputs_are_found_among_a_hundred_of_noise(make, seed):
    x, y, wanted = shuffled(make, seed)
    result = mcprune.prune((x, y), keep=len(wanted), seed=seed, **OPTIONS)
    assert result.mask.indices.tolist() == wanted


@pytest.mark.slow
def test_they_are_not_found_where_the_classes_are_drawn_blindly():
    """The control: the answer comes from the classes."""
    x, y, wanted = shuffled(clusters, 0)
    blind = np.random.default_rng(9).permutation(y)
    result = mcprune.prune((x, blind), keep=len(wanted), seed=0, **OPTIONS)
    assert len(set(result.mask.indices) & set(wanted)) < 4
