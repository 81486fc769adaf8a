"""Prune channels of your own convolutional network; dropped channels are cut out of its layers."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import mcprune

torch.manual_seed(0)
net = nn.Sequential(
    nn.Unflatten(1, (1, 8, 8)),  # from rows of 64 numbers to images
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(16 * 2 * 2, 10),
)
digits = load_digits()
print(mcprune.inspect(net, torch.zeros(1, 64)))

result = mcprune.prune(digits.data, digits.target, keep=16, model=net, sites="channels", epochs=4, decisions=16)

print([layer for layer in result.model.model.modules() if isinstance(layer, nn.Conv2d)])
print("test accuracy:", round(result.metrics["test_accuracy"], 3))
