"""Gates of heads, neurons and sub-blocks in every way in which transformers are written."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from mcprune.errors import ModelError
from mcprune.sites.gates import GatedModel
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import site_map
from tests.shared.transformers_nets import NETS, OwnNet, TorchNet

KINDS = ("heads", "neurons", "blocks", "heads,neurons,blocks")
every_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS)


def rows(count=5):
    return torch.randn(count, 64, generator=torch.Generator().manual_seed(3)).double()


def drawn(sites, seed=0):
    mask = np.random.default_rng(seed).random(sites.size) < 0.6
    for group in sites.blocks:
        mask[group.start] |= group.kind != "blocks" and not mask[group.start : group.stop].any()
    mask[0] |= not mask.any()
    return mask


@every_net
@pytest.mark.parametrize("kinds", KINDS)
def test_gates_of_one_change_nothing(make, kinds):
    net = make().double().eval()
    gated = GatedModel(net, site_map(net, kinds, 64))
    out = gated(rows(), torch.ones(gated.sites.size))
    torch.testing.assert_close(out, net(rows()))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not any("forward" in vars(module) for module in net.modules())
    assert torch.backends.mha.get_fastpath_enabled()


@every_net
@pytest.mark.parametrize("kinds", KINDS)
def test_a_mask_is_the_network_with_zeros(make, kinds):
    net = make().double().eval()
    sites = site_map(net, kinds, 64)
    mask = drawn(sites)
    out = GatedModel(net, sites)(rows(), torch.from_numpy(mask))
    zeroed = functional_call(net, Owners(net, sites).masked(mask), (rows(),))
    torch.testing.assert_close(out, zeroed)
    assert not torch.allclose(out, net(rows())) or mask.all()


@every_net
def test_gates_of_each_row_are_those_of_each_row(make):
    net = make().double().eval()
    gated = GatedModel(net, site_map(net, "heads,neurons,blocks", 64))
    gates = torch.rand(5, gated.sites.size, dtype=torch.float64)
    out = gated(rows(), gates)
    for row in range(5):
        torch.testing.assert_close(out[row], gated(rows()[row : row + 1], gates[row])[0])


@every_net
def test_gradients_reach_every_gate(make):
    net = make().double()
    gated = GatedModel(net, site_map(net, "heads,neurons,blocks", 64))
    gates = torch.full((gated.sites.size,), 0.5, dtype=torch.float64, requires_grad=True)
    gated(rows(), gates).square().sum().backward()
    assert (gates.grad.abs() > 0).double().mean() > 0.95  # a ReLU may be off


def test_tokens_that_lie_in_the_batch():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp = nn.Sequential(nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 8))
            self.head = nn.Linear(64, 10)

        def forward(self, x):
            tokens = x.reshape(-1, 8)
            return self.head((tokens + self.mlp(tokens)).reshape(len(x), 64))

    net = Folded().double()
    gated = GatedModel(net, site_map(net, "neurons", 64))
    gates = torch.rand(5, 6, dtype=torch.float64)
    out = gated(rows(), gates)
    for row in range(5):
        torch.testing.assert_close(out[row], gated(rows()[row : row + 1], gates[row])[0])


def test_an_error_inside_leaves_the_model_as_it_was():
    net = TorchNet()
    gated = GatedModel(net, site_map(net, "heads,neurons", 64))
    with pytest.raises(RuntimeError):
        gated(torch.randn(2, 60), torch.ones(gated.sites.size))
    assert not any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in net.modules()
    )
    assert torch.backends.mha.get_fastpath_enabled()


def test_sites_of_another_model_are_refused():
    sites = site_map(TorchNet(), "heads", 64)
    with pytest.raises(ModelError, match=r"need layer 'encoder\.layers\.0\.self_attn', which OwnNet does not have"):
        GatedModel(OwnNet(), sites)
