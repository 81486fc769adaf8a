"""Experts that are cut out: the outputs are those of the masked network, whatever number of them each token takes."""

import numpy as np
import pytest
import torch

from mcprune.errors import ConfigError, ModelError
from mcprune.exporters.inspect import inspect
from mcprune.sites.costs.count import model_costs
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink
from mcprune.surgery.trial import cuttable_sites, require_cuttable
from tests.shared.mixtures import MIXTURES, REFUSED, E, TopTwo, net

N = 32


def flags(*kept):
    return torch.from_numpy(np.isin(np.arange(E), kept))


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("kept", [(0, 1, 2, 3, 4), (1, 3), (2,)])
def test_the_cut_mixture_gives_what_the_masked_one_gives(name, kept):
    model = net(MIXTURES[name], MIXTURES[name]).double().eval()
    sites = site_map(model, "experts", N)
    mask = torch.cat([flags(*kept), flags(0, 5)])
    small = shrink(model, sites, mask, input_shape=(N,))
    x = torch.randn(40, N, dtype=torch.float64)
    with torch.no_grad():
        expected = GatedModel(model, sites)(x, mask.double())
        torch.testing.assert_close(small(x), expected)
        # The control: other experts give other outputs.
        assert not torch.allclose(GatedModel(model, sites)(x, (~mask).double()), expected, atol=1e-3)
    assert len(small.layers[0].experts) == len(kept)
    numbers = sum(p.numel() for p in small.parameters())
    assert numbers == model_costs(model, sites, "parameters", input_shape=(N,)).of_mask(mask.numpy())


def test_what_counts_experts_is_changed_too():
    model = net(TopTwo)
    small = shrink(model, site_map(model, "experts", N), flags(4), input_shape=(N,))
    assert (small.layers[0].num_experts, small.layers[0].top_k, small.layers[0].gate.out_features) == (1, 1, 1)
    assert (model.layers[0].num_experts, model.layers[0].top_k, len(model.layers[0].experts)) == (E, 2, E)


@pytest.mark.parametrize("name", ["fixed two", "configuration"])
def test_a_mixture_whose_code_fixes_a_number_is_refused_by_name(name):
    model = net(REFUSED[name])
    with pytest.raises(
        ModelError, match=r"The experts of 'layers\.0' cannot be cut out of MixtureNet: .* Leave that layer"
    ):
        require_cuttable(model, site_map(model, "experts", N), (N,))
    _, note = cuttable_sites(net(TopTwo, REFUSED[name]), "experts", (N,))
    assert "the experts of layers.1 are left out, since they cannot be cut" in note


def test_no_expert_is_no_mixture():
    model = net(TopTwo)
    with pytest.raises(ConfigError, match=r"keeps none of the 6 experts of 'layers\.0'"):
        shrink(model, site_map(model, "inputs,experts", N), torch.arange(N + E) < N, input_shape=(N,))


def test_the_page_of_what_can_be_dropped_has_experts():
    text = str(inspect(net(TopTwo), (N,)))
    line = next(line for line in text.splitlines() if line.startswith("experts"))
    assert line.split()[:4] == ["experts", "layers.0", "6", "220"]
