"""Costs of masks over channels and weights against the parameters and multiply-accumulates of what is left."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.exporters.footprint import macs, parameters
from mcprune.models.mlp import MLP
from mcprune.models.registry import build
from mcprune.session.build.budget import make_space
from mcprune.sites.budget import Budget, CostBudget
from mcprune.sites.channels.groups import channel_groups
from mcprune.sites.costs.count import model_costs
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.sites.weights import with_zeros
from mcprune.surgery.shrink import shrink
from mcprune.surgery.shrink_channels import cut

SHAPE, INPUTS = (3, 32, 32), 3072


def counted(model: nn.Module, unit: str) -> int:
    return parameters(model) if unit == "parameters" else macs(model, INPUTS)


def masks(sites: SiteMap, count: int, seed: int):
    """Random masks of every density with a site in each group."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        mask = draw.random(sites.size) < draw.random()
        for group in sites.groups:
            mask[draw.integers(group.start, group.stop)] = True
        yield mask


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg13", "mobilenet_v1", "resnet56"])
def test_channels_cost_what_the_cut_network_has(name: str) -> None:
    model = build(name, INPUTS, 10, image_shape=SHAPE, width=0.25)
    sites = site_map(model, "channels", INPUTS)
    found = {group.layer: group for group in channel_groups(model, (INPUTS,))}
    costs = {unit: model_costs(model, sites, unit, input_shape=(INPUTS,)) for unit in ("parameters", "macs")}
    assert all(each.whole == counted(model, unit) for unit, each in costs.items())
    smallest = np.zeros(sites.size, bool)
    smallest[[group.start for group in sites.groups]] = True
    for mask in (smallest, *masks(sites, 6, 1)):
        small = copy.deepcopy(model)
        kept = [torch.from_numpy(mask[group.start : group.stop]).nonzero().flatten() for group in sites.groups]
        cut(small, [(found[group.layer], each) for group, each in zip(sites.groups, kept, strict=True)])
        for unit, each in costs.items():
            assert int(each.of(each.counts(mask))) == counted(small, unit)
    assert costs["macs"].smallest < costs["macs"].whole // 20


@pytest.mark.slow
def test_the_cut_network_of_a_filled_budget_is_within_it_and_one_channel_more_is_not() -> None:
    model = build("mobilenet_v1", INPUTS, 10, image_shape=SHAPE, width=0.25)
    sites = site_map(model, "channels", INPUTS)
    draw = np.random.default_rng(3)
    for unit in ("parameters", "macs"):
        costs = model_costs(model, sites, unit, input_shape=(INPUTS,))
        for limit in (costs.smallest, costs.whole // 3 + 1):
            mask = make_space(sites, Budget((), (CostBudget(unit, limit, costs),))).enforce(draw.random(sites.size))
            met = counted(shrink(model, sites, mask, input_shape=(INPUTS,)), unit)
            kept = costs.counts(mask)
            assert met == int(costs.of(kept)) <= limit
            assert (met + costs.steps(kept, 1)[kept < costs.sizes] > limit).all()


@pytest.mark.slow
def test_some_groups_and_units_beside_channels() -> None:
    model = nn.Sequential(
        nn.Unflatten(1, SHAPE), nn.Conv2d(3, 6, 3, 2, bias=False), nn.BatchNorm2d(6), nn.PReLU(6), nn.Conv2d(6, 5, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 10),
    )  # fmt: skip
    for kinds in ("channels", "channels:1", "channels,units", "inputs,channels,units"):
        sites = site_map(model, kinds, INPUTS)
        for unit in ("parameters", "macs"):
            costs = model_costs(model, sites, unit, input_shape=(INPUTS,))
            assert costs.whole == counted(model, unit)
            for mask in masks(sites, 3, 5):
                small = shrink(model, sites, mask, input_shape=(INPUTS,))
                width = int(mask[:INPUTS].sum()) if sites.inputs else INPUTS
                met = parameters(small) if unit == "parameters" else macs(small, width)
                assert int(costs.of(costs.counts(mask))) == met, (kinds, unit)


def test_weights_cost_one_parameter_and_a_product_for_each_place() -> None:
    model = nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 3)
    )  # fmt: skip
    sites = site_map(model, "weights", 36)
    numbers, products = (model_costs(model, sites, unit, input_shape=(36,)) for unit in ("parameters", "macs"))
    assert numbers.whole == parameters(model)
    assert products.whole == macs(model, 36) == 16 * 36 + 64 * 7 + 7 * 3
    for mask in masks(sites, 5, 2):
        kept = {
            group.layer: torch.from_numpy(mask[group.start : group.stop]).view(group.shape) for group in sites.groups
        }
        sparse = with_zeros(model, kept)
        nonzero = sum(int((value != 0).sum()) for name, value in sparse.named_parameters() if name.endswith("weight"))
        assert int(numbers.of(numbers.counts(mask))) == nonzero + 4 + 7 + 3
        assert int(products.of(products.counts(mask))) == 16 * int(kept["1"].sum()) + int(
            kept["4"].sum() + kept["6"].sum()
        )
        small = shrink(model, sites, mask, input_shape=(36,))
        assert sum(int((value != 0).sum()) for value in small.parameters()) <= int(numbers.of(numbers.counts(mask)))


def test_weights_beside_other_sites_have_no_cost_of_counts() -> None:
    model = MLP((9, 7, 4))
    with pytest.raises(ModelError, match="weights beside inputs"):
        model_costs(model, site_map(model, "inputs,weights", 9), "macs")
    sites = site_map(model, "weights", 9)
    assert model_costs(model, sites, "macs").whole == macs(model, 9)  # an MLP says how long a row is
