"""Experts as sites: found where a router runs before them, gated by their logits, owned with their row of the router."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.sites.block_gates import routed
from mcprune.sites.blocks.find import sub_blocks
from mcprune.sites.costs.count import model_costs
from mcprune.sites.gates import GatedModel
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import site_map
from tests.shared.mixtures import MIXTURES, REFUSED, C, E, MixtureNet, TopTwo, TwoRouters, expert, net

N = 32


@pytest.mark.parametrize("name", MIXTURES)
def test_the_experts_of_a_mixture_are_found(name):
    model = net(MIXTURES[name], MIXTURES[name])
    sites = site_map(model, "experts", N)
    assert [(group.layer, group.size, group.kind) for group in sites.groups] == [
        ("layers.0", E, "experts"),
        ("layers.1", E, "experts"),
    ]
    assert sites.names()[:2] == ("layers.0[0]", "layers.0[1]")
    assert site_map(model, "experts:layers.1", N).size == E


def test_layers_of_a_number_that_outputs_have_too_are_no_experts():
    class Chance(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(expert() for _ in range(C))
            self.embed, self.head = nn.Linear(N, 8), nn.Linear(8, C)

        def forward(self, x):
            x = self.embed(x)
            for layer in self.layers:
                x = x + layer(x)
            return self.head(x)

    assert not [block for block in sub_blocks(Chance(), (N,)) if block.members]
    with pytest.raises(
        ModelError, match="Chance has no mixture of experts that mcprune knows, so there are no experts"
    ):
        site_map(Chance(), "experts", N)


def test_two_routers_are_refused_by_name():
    with pytest.raises(
        ModelError, match=r"'layers.0.router' and 'layers.0.noise' have an output for each of its 6 exp"
    ):
        site_map(net(TwoRouters), "experts", N)


@pytest.mark.parametrize("kind", ["neurons", "blocks"])
def test_parts_of_experts_are_no_sites(kind):
    with pytest.raises(
        ModelError, match=r"it belongs to the expert 'layers\.0\.experts\.0', which does not run for ever"
    ):
        site_map(net(TopTwo), kind, N)


@pytest.mark.parametrize("name", [*MIXTURES, *REFUSED])
def test_gates_of_1_change_no_bit_and_rows_may_have_gates_of_their_own(name):
    if name == "two routers":
        pytest.skip("has no sites")
    model = net((MIXTURES | REFUSED)[name]).eval()
    sites = site_map(model, "experts", N)
    gated, x = GatedModel(model, sites), torch.randn(5, N)
    masks = torch.from_numpy(np.random.default_rng(0).random((5, E)) < 0.7).float()
    masks[:, 0] = 1
    with torch.no_grad():
        assert torch.equal(gated(x, torch.ones(E)), model(x))
        each = torch.cat([gated(x[row : row + 1], masks[row]) for row in range(5)])
        torch.testing.assert_close(gated(x, masks), each)
        assert not torch.allclose(each, model(x), atol=1e-4)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_logarithm_of_a_gate_is_added_to_a_logit():
    logits = torch.randn(2, 4, 3, requires_grad=True)
    gates = torch.tensor([1.0, 0.5, 0.0], requires_grad=True)
    probabilities = routed(logits, gates, 0).softmax(dim=-1)
    expected = logits.softmax(dim=-1) * gates
    torch.testing.assert_close(probabilities, expected / expected.sum(dim=-1, keepdim=True))
    probabilities[..., 0].sum().backward()
    assert bool(gates.grad.isfinite().all())
    assert bool(gates.grad[:2].ne(0).all())


def test_an_expert_owns_its_parameters_and_its_row_of_the_router():
    model = net(TopTwo)
    sites = site_map(model, "experts", N)
    numbers = sum(p.numel() for p in model.layers[0].experts[0].parameters()) + 8
    np.testing.assert_array_equal(Owners(model, sites).counts(), np.full(E, numbers))
    model.layers[0].experts[2].requires_grad_(False)[0].weight.mul_(100)
    assert Owners(model, sites).norms().argmax() == 2
    costs = model_costs(model, sites, "parameters", input_shape=(N,))
    assert costs.whole == sum(p.numel() for p in model.parameters())
    assert costs.steps(costs.sizes, -1).tolist() == [-numbers]


def test_costs_that_are_not_known_are_refused():
    model = net(TopTwo)
    sites = site_map(model, "experts", N)
    with pytest.raises(
        ModelError, match=r"multiply-accumulates of MixtureNet without some experts of 'layers\.0' depend on"
    ):
        model_costs(model, sites, "macs", input_shape=(N,))
    mixture = TopTwo()
    mixture.experts[1] = nn.Sequential(nn.Linear(8, 3), nn.GELU(), nn.Linear(3, 8))
    model = MixtureNet(mixture)
    with pytest.raises(ModelError, match=r"experts of 'layers\.0' have different numbers of parameters, 59 to 212"):
        model_costs(model, site_map(model, "experts", N), "parameters", input_shape=(N,))
