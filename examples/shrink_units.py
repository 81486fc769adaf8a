"""Drop hidden units of a network: the layers get smaller and need fewer multiplications."""

from torch import nn

import mcprune

result = mcprune.prune("digits", keep=32, sites="units", hidden=(64, 32), epochs=20, retrain_epochs=10)

layers = [layer for layer in result.model.model.modules() if isinstance(layer, nn.Linear)]
print("before: 64 -> 64 -> 32 -> 10,", 64 * 64 + 64 * 32 + 32 * 10, "multiplications")
print(
    "after: ", " -> ".join(map(str, [layers[0].in_features, *(layer.out_features for layer in layers)])) + ",", end=" "
)
print(sum(layer.in_features * layer.out_features for layer in layers), "multiplications")
print("test accuracy:", round(result.metrics["test_accuracy"], 3))
