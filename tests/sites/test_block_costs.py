"""Costs of transformers are those of the network that is cut."""

import pytest
import torch

from mcprune.errors import ModelError
from mcprune.models.flops import multiply_accumulates
from mcprune.sites.costs.count import model_costs
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink
from tests.shared.transformers_nets import NETS, TorchNet
from tests.sites.test_block_gates import drawn


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("kinds", ["heads", "neurons", "blocks", "neurons,blocks", "heads,neurons,blocks"])
def test_costs_are_those_of_the_cut_network(make, kinds):
    net = make().eval()
    sites = site_map(net, kinds, 64)
    parameters, macs = (model_costs(net, sites, unit, input_shape=(64,)) for unit in ("parameters", "macs"))
    assert parameters.whole == sum(each.numel() for each in net.parameters())
    assert macs.whole == multiply_accumulates(net, (64,))
    for seed in range(2):
        mask = drawn(sites, seed)
        small = shrink(net, sites, mask, input_shape=(64,))
        assert parameters.of_mask(mask) == sum(each.numel() for each in small.parameters())
        assert macs.of_mask(mask) == multiply_accumulates(small, (64,))


def test_inputs_save_nothing():
    net = TorchNet()
    sites = site_map(net, "inputs,heads", 64)
    costs = model_costs(net, sites, "parameters", input_shape=(64,))
    mask = torch.ones(sites.size, dtype=torch.bool)
    mask[:10] = False
    assert costs.of_mask(mask.numpy()) == costs.whole


def test_units_beside_heads_are_refused():
    net = TorchNet()
    sites = site_map(net, "units:embed,heads", 64)
    with pytest.raises(ModelError, match=r"with units beside heads as sites is not known\. Give the budget in sites"):
        model_costs(net, sites, "parameters", input_shape=(64,))
