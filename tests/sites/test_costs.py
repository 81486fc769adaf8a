"""Costs of masks against the parameters and multiply-accumulates of the physically smaller model."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.exporters.footprint import macs
from mcprune.models.mlp import MLP
from mcprune.session.build.budget import make_space
from mcprune.sites.budget import Budget, CostBudget
from mcprune.sites.costs.count import Layer, costs_of, model_costs
from mcprune.sites.site_map import SiteGroup, SiteMap, site_map
from mcprune.surgery.shrink import shrink


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def masks(sites: SiteMap, count: int, seed: int):
    """Random masks of every density, then some with an emptied group."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        mask = draw.random(sites.size) < draw.random()
        if number % 4 == 0:
            group = sites.groups[draw.integers(len(sites.groups))]
            mask[group.start : group.stop] = False
        if mask.any():
            yield mask


def batch_normed() -> nn.Module:
    layers = nn.Linear(7, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 5, bias=False), nn.PReLU(), nn.Linear(5, 3)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (MLP((9, 7, 5, 4)), "inputs,units"),
        (MLP((9, 7, 5, 4), "sigmoid"), "units:layers.2"),
        (MLP((9, 7, 4), dropout=0.3), "inputs"),
        (nn.Sequential(nn.Linear(9, 6, bias=False), nn.ReLU(), nn.Linear(6, 4, bias=False)), "inputs,units"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.Sigmoid(), nn.Linear(6, 4)), "units"),
    ],
)
@pytest.mark.parametrize("unit", ["parameters", "macs"])
def test_costs_are_those_of_the_smaller_model(model: nn.Module, kinds: str, unit: str) -> None:
    sites = site_map(model, kinds, 9)
    costs = model_costs(model, sites, unit)
    assert costs.whole == (parameters(model) if unit == "parameters" else macs(model, 9))
    dead = 0
    for mask in masks(sites, 60, 1):
        small = shrink(model, sites, mask)
        width = int(mask[: sites.inputs.size].sum()) if sites.inputs else 9
        met = parameters(small) if unit == "parameters" else macs(small, width)
        counts = costs.counts(mask)
        dead += int((counts == 0).any())
        assert int(costs.of(counts)) == met, counts
    assert dead > 5 or len(sites.groups) == 1  # a mask of nothing is refused


def test_batch_norms_and_layers_that_gain_biases() -> None:
    model = batch_normed().eval()
    units = site_map(model, "inputs,units", 7)
    costs = model_costs(model, units, "macs")
    for mask in masks(units, 40, 2):
        width = int(mask[:7].sum())
        assert int(costs.of(costs.counts(mask))) == macs(shrink(model, units, mask), width)
    # A dropped unit is a constant behind the batch-norm, which the layer without a bias takes as a bias: one parameter more each.
    with pytest.raises(ModelError, match="gains biases"):
        model_costs(model, units, "parameters")
    some = site_map(model, "inputs,units:3", 7)
    costs = model_costs(model, some, "parameters")
    for mask in masks(some, 40, 3):
        assert int(costs.of(costs.counts(mask))) == parameters(shrink(model, some, mask))


def test_inputs_behind_a_convolution_save_nothing() -> None:
    model = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5))
    sites = site_map(model, "inputs", 16)
    for unit, whole in (("macs", macs(model, 16)), ("parameters", parameters(model))):
        costs = model_costs(model, sites, unit)
        assert costs.whole == costs.smallest == whole


def test_maps_of_a_convolution_and_ties_are_described() -> None:
    """Channels kept in two convolutions, the first tied to itself by a sum, and in the flattened linear layer."""
    places = SiteMap((SiteGroup("channels", "a", 0, 6), SiteGroup("channels", "b", 6, 4)))
    layers = [
        Layer(None, 0, 1 * 9, 1, positions=64, others=3),
        Layer(0, 0, 9, 1, positions=64, others=1),
        Layer(None, 0, 9, 1, positions=64),  # depthwise
        Layer(0, 1, 9, 1, positions=16, others=1),
        Layer(1, None, 16, 10, others=0),
    ]
    for a, b in ((6, 4), (1, 1), (3, 2)):
        net = [nn.Conv2d(1, a, 3, padding=1), nn.BatchNorm2d(a), nn.Conv2d(a, a, 3, padding=1)]
        net += [nn.Conv2d(a, a, 3, padding=1, groups=a, bias=False), nn.Conv2d(a, b, 3, 2, 1), nn.Flatten()]
        model = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *net, nn.Linear(16 * b, 10, bias=False))
        assert int(costs_of(layers, places, "macs").of([a, b])) == macs(model, 64)
        assert int(costs_of(layers, places, "parameters").of([a, b])) == parameters(model)
    # A chain of convolutions is understood without a description.
    chain = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10)
    )
    channels = SiteMap((SiteGroup("channels", "1", 0, 6, ("1",), ("1",)),))
    assert int(model_costs(chain, channels, "macs", input_shape=(64,)).of([2])) == 64 * 9 * 2 + 128 * 10
    assert int(model_costs(chain, channels, "parameters", input_shape=(64,)).of([2])) == 20 + 128 * 10 + 10


def test_changes_smallest_and_filling() -> None:
    model = MLP((20, 12, 8, 4))
    sites = site_map(model, "inputs,units", 20)
    costs = model_costs(model, sites, "macs")
    assert costs.smallest == 1 + 1 + 4
    draw = np.random.default_rng(4)
    counts = draw.integers(1, 8, (50, 3))
    moved = draw.integers(0, 2, (50, 3))
    np.testing.assert_array_equal(costs.change(counts, moved), costs.of(counts + moved) - costs.of(counts))
    for limit in (6, 40, 137, 10_000):
        mask = make_space(sites, Budget((), (CostBudget("macs", limit, costs),))).enforce(draw.random(sites.size))
        kept = costs.counts(mask)
        cost = int(costs.of(kept))
        assert kept.min() >= 1
        assert cost <= limit
        more = costs.steps(kept, 1)[kept < costs.sizes]
        assert (cost + more > limit).all()


def test_refusals_name_what_they_met() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x)

    with pytest.raises(ModelError, match="Own"):
        model_costs(Own(), site_map(Own(), "inputs", 4), "macs")
    with pytest.raises(ConfigError, match="macs"):
        model_costs(MLP((4, 3)), site_map(MLP((4, 3)), "inputs", 4), "flops")
