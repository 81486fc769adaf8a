"""The budget's cost terms against torch's flop counter and the parameters of the model that is cut physically."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.models.flops import multiply_accumulates
from mcprune.models.registry import build
from mcprune.sites.costs.count import model_costs
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink


class Branches(nn.Module):
    """A custom forward pass: a sum of two branches, functions in place of modules, flattened maps."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(1, 6, 1)
        self.three = nn.Conv2d(6, 5, 3, stride=2)
        self.hidden, self.head = nn.Linear(5 * 9, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = x.view(-1, 1, 8, 8)
        x = torch.relu(self.one(x) + self.two(x))
        x = torch.relu(self.three(x)).flatten(1)
        return self.head(torch.relu(self.hidden(x)))


class Perceptron(nn.Module):
    """Units of a module whose forward pass is no chain of modules."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(64, 9), nn.Linear(9, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.one(x))
        return self.head(nn.functional.gelu(self.two(x)))


def image(name: str) -> nn.Module:
    return build(name, 192, 4, width=0.125, image_shape=(3, 8, 8), seed=0)


CASES = {
    "mlp": (lambda: build("mlp", 64, 3, (9, 8)), "inputs,units", 64),
    "mlp, inputs": (lambda: build("mlp", 64, 3, (9,)), "inputs", 64),
    "perceptron": (Perceptron, "units", 64),
    "branches": (Branches, "channels", 64),
    "branches, units": (Branches, "channels,units", 64),
    "branches, units alone": (Branches, "units", 64),
    "mobilenet": (lambda: image("mobilenet_v1"), "channels", 192),
    "resnet": (lambda: image("resnet56"), "channels", 192),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_cost_of_a_mask_is_that_of_the_model_that_is_left(name):
    make, kinds, width = CASES[name]
    torch.manual_seed(0)
    model = make()
    sites = site_map(model, kinds, width)
    costs = {unit: model_costs(model, sites, unit, input_shape=(width,)) for unit in ("macs", "parameters")}
    assert costs["macs"].whole == multiply_accumulates(model, (width,))
    draw = np.random.default_rng(0)
    for share in (0.3, 0.7):
        mask = draw.random(sites.size) < share
        for group in sites.groups:
            mask[group.start + int(draw.integers(group.size))] = True
        small = shrink(model, sites, mask, input_shape=(width,))
        left = int(mask[: sites.inputs.size].sum()) if sites.inputs else width
        assert int(costs["macs"].of(costs["macs"].counts(mask))) == multiply_accumulates(small, (left,))
        numbers = sum(parameter.numel() for parameter in small.parameters())
        assert int(costs["parameters"].of(costs["parameters"].counts(mask))) == numbers


def test_products_that_no_site_changes_count_in_the_whole():
    class Attends(nn.Module):
        def forward(self, x):
            tokens = x.view(-1, 4, 4)
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)

    model = nn.Sequential(Attends(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2))
    sites = site_map(model, "units", 16)
    costs = model_costs(model, sites, "macs", input_shape=(16,))
    assert costs.whole == multiply_accumulates(model, (16,)) == 2 * 4 * 4 * 4 + 16 * 6 + 6 * 2
    assert int(costs.of(np.array([2]))) == 2 * 4 * 4 * 4 + 16 * 2 + 2 * 2
