"""Multiply-accumulates are those of every product of the forward pass."""

import pytest
import torch
from torch import nn

from mcprune.models.flops import multiply_accumulates
from mcprune.models.mlp import MLP


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Bilinear(4, 4, 3)

    def forward(self, x):
        return self.layer(x, x)


class Vector(nn.Module):
    def forward(self, x):
        return x @ torch.ones(4)


class Softly(nn.Module):
    """Attention by torch's own function."""

    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x)


def encoder(width: int, heads: int, inner: int, layers: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(width, heads, inner, batch_first=True)
    return nn.TransformerEncoder(layer, layers)


def changed_perceptron() -> nn.Module:
    """With two layers in place of its activation."""
    model = MLP((4, 5, 2))
    model.layers[1] = nn.Sequential(nn.Linear(5, 1), nn.Linear(1, 5))
    return model


CASES = {
    "linear": (nn.Linear(4, 3), (4,), 12),
    "linear, places": (nn.Linear(4, 3), (5, 4), 60),
    "convolution": (nn.Conv2d(2, 6, 3, padding=1), (2, 8, 8), 6 * 2 * 9 * 64),
    "groups": (nn.Conv2d(2, 6, 3, padding=1, groups=2), (2, 8, 8), 6 * 9 * 64),
    "depthwise, 1d": (nn.Conv1d(4, 4, 3, groups=4), (4, 9), 4 * 3 * 7),
    "transposed": (nn.ConvTranspose2d(4, 6, 3), (4, 5, 5), 25 * 4 * 6 * 9),
    # Projections to queries, keys and values, products of all pairs twice, the output, and two linear layers.
    "transformer": (encoder(16, 2, 32, 2), (8, 16), 2 * (8 * 16 * 48 + 2 * 8 * 8 * 16 + 8 * 16 * 16 + 2 * 8 * 16 * 32)),
    "attention": (Softly(), (8, 16), 2 * 8 * 8 * 16),
    "lstm": (nn.LSTM(4, 3, batch_first=True), (5, 4), 5 * 4 * (4 * 3 + 3 * 3)),
    "gru": (nn.GRU(4, 3, batch_first=True), (5, 4), 5 * 3 * (4 * 3 + 3 * 3)),
    "bilinear": (Bilinear(), (4,), 48),
    "vector": (Vector(), (5, 4), 20),
    "perceptron": (MLP((4, 5, 3), dropout=0.5), (4,), 4 * 5 + 5 * 3),
    "a changed perceptron": (changed_perceptron(), (4,), 4 * 5 + 2 * 5 + 5 * 2),
    "no product": (nn.ReLU(), (4,), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_counted_once_each(name):
    model, shape, products = CASES[name]
    assert multiply_accumulates(model, shape) == products
    assert multiply_accumulates(model.double(), shape) == products


def test_counting_leaves_everything_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    settings = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    multiply_accumulates(model, (3,))
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled) == settings
