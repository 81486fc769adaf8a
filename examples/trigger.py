"""Fit a classifier into 150 multiply-accumulates, with background rejection as the objective."""

from sklearn.datasets import make_classification

import mcprune

X, y = make_classification(2000, 12, n_informative=6, n_redundant=4, class_sep=0.8, random_state=0)

result = mcprune.prune(
    X,
    y,
    sites="inputs,units",
    hidden=(16, 8),
    macs=150,
    objective="rejection:0.5",  # the share of background that passes at a signal efficiency of one half
    epochs=6,
    retrain_epochs=10,
)

small = result.model
widths = [layer.weight.shape for layer in small.model.modules() if hasattr(layer, "weight")]
work = sum(outputs * inputs for outputs, inputs in widths)
print("inputs:", small.columns.tolist())
print("layers:", [tuple(shape) for shape in widths], "multiply-accumulates:", work)
print("test accuracy:", round(result.metrics["test_accuracy"], 3))
assert work <= 150
