"""Minimise an objective without a gradient: the error of the worst class plus a cost for some of the inputs."""

import numpy as np
from sklearn.datasets import load_wine

import mcprune

wine = load_wine()
PRICES = np.where(np.arange(13) < 4, 0.05, 0.0)  # the first four measurements are expensive


def worst_class(predictions, targets, mask):
    """Return the error rate of the worst class, plus the prices of the kept inputs."""
    wrong = predictions.argmax(axis=1) != targets
    return max(wrong[targets == kind].mean() for kind in np.unique(targets)) + PRICES[mask].sum()


result = mcprune.prune(wine.data, wine.target, keep=4, objective=worst_class, start="all", epochs=60)

print("kept:", [wine.feature_names[column] for column in result.mask.indices])
print("test accuracy:", round(result.metrics["test_accuracy"], 3))
