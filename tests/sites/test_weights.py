"""Single weights as sites: names, gates that multiply them, and the sparse model that is left."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.mlp import MLP
from mcprune.models.registry import describe, from_description
from mcprune.sites.gates import GatedModel, effects
from mcprune.sites.site_map import site_map
from mcprune.sites.weights import hold_zeros, nonzero_weights
from mcprune.surgery.model_files import load_model, save_model
from mcprune.surgery.shrink import shrink


def convolutional():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)),
        *(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, groups=3), nn.ReLU(), nn.Flatten()),
        nn.Linear(12, 4),
    )


def batch(rows=40, width=36):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def zeroed(model, sites, gates):
    """The plain way: a copy whose weights have been multiplied."""
    out = copy.deepcopy(model)
    with torch.no_grad():
        for group in sites.weights:
            out.get_submodule(group.layer).weight.mul_(gates[group.start : group.stop].view(group.shape))
    return out


def test_sites_are_the_elements_row_by_row():
    sites = site_map(MLP((4, 3, 2)), "weights", 4)
    assert [(g.layer, g.start, g.size, g.shape) for g in sites.groups] == [
        ("layers.0", 0, 12, (3, 4)),
        ("layers.2", 12, 6, (2, 3)),
    ]
    names = sites.names()
    assert (names[0], names[7], names[12 + 5]) == (
        "layers.0.weight[0,0]",
        "layers.0.weight[1,3]",
        "layers.2.weight[1,2]",
    )
    assert len(set(names)) == sites.size == 18
    assert site_map(convolutional(), "weights:4", 36).names()[-1] == "4.weight[2,0,2,2]"
    both = site_map(MLP((4, 3, 2)), "weights:layers.2,units,inputs", 4)
    assert [group.kind for group in both.groups] == ["inputs", "units", "weights"]
    assert both.size == 4 + 3 + 6


@pytest.mark.parametrize("build", [lambda: MLP((36, 9, 7, 4), "tanh", seed=2), convolutional])
def test_gates_multiply_the_weights_and_nothing_else(build):
    model = build().eval()
    sites, x = site_map(model, "weights", 36), batch()
    gated = GatedModel(model, sites)
    before = copy.deepcopy(model.state_dict())
    gates = torch.rand(sites.size, generator=torch.Generator().manual_seed(3)).requires_grad_()
    found = gated(x, gates)
    assert torch.equal(found, zeroed(model, sites, gates.detach())(x))
    found.square().sum().backward()
    assert gates.grad is not None
    assert (gates.grad != 0).float().mean() > 0.3  # some units are dead
    assert all(parameter.grad is not None for parameter in model.parameters())
    # Whole gates: the model's own bits; and it is the user's again.
    assert torch.equal(gated(x, torch.ones(sites.size)), model(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_units_and_inputs_together():
    model, x = MLP((36, 9, 4), seed=5), batch()
    sites = site_map(model, "inputs,units,weights", 36)
    gates = torch.rand(sites.size, generator=torch.Generator().manual_seed(1))
    weights = zeroed(model, sites, gates)
    first = weights.layers[0](x * gates[:36]) * gates[36:45]
    assert torch.equal(GatedModel(model, sites)(x, gates), weights.layers[2](torch.relu(first)))


def test_what_cannot_be_is_refused():
    gated = GatedModel(MLP((36, 9, 4)), site_map(MLP((36, 9, 4)), "weights", 36))
    with pytest.raises(ConfigError, match="all rows share"):
        gated(batch(), torch.ones(40, gated.sites.size))
    with pytest.raises(ModelError, match=r"is a ReLU.*Choose among layers\.0, layers\.2"):
        site_map(MLP((36, 9, 4)), "weights:layers.1", 36)
    with pytest.raises(ModelError, match="no linear or convolution layer"):
        site_map(nn.Sequential(nn.ReLU()), "weights", 36)
    tied = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    tied[2].weight = tied[0].weight
    with pytest.raises(ModelError, match="share one weight"):
        site_map(tied, "weights", 5)
    with pytest.raises(ModelError, match="have shape"):
        GatedModel(MLP((36, 8, 4)), gated.sites)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_small_model_has_n_weights_and_the_masked_outputs(activation, bias, tmp_path):
    model, x = MLP((36, 12, 8, 4), activation, seed=2, bias=bias).eval(), batch()
    sites = site_map(model, "weights", 36)
    mask = np.random.default_rng(0).random(sites.size) < 0.4
    first, second, _ = sites.split(mask)
    first.reshape(12, 36)[[2, 5]] = False  # nothing enters units 2 and 5, ...
    second.reshape(8, 12)[:, 5] = False  # ... and nobody reads unit 5: it alone can go with no weight lost
    second.reshape(8, 12)[:, 7] = False  # unit 7 is not read, but has kept weights before it
    with torch.no_grad():
        place = int(np.flatnonzero(mask)[0])
        model.layers[0].weight.view(-1)[place] = 0.0  # a kept weight that happens to be 0 is kept all the same
    small = shrink(model, sites, mask, input_shape=(36,))
    assert small.widths == (36, 11, 8, 4)
    assert nonzero_weights(small) == mask.sum()
    masked = GatedModel(model, sites)
    assert torch.allclose(small(x), masked(x, masked.hard_gates(mask)), atol=1e-5)
    save_model(small, tmp_path)
    again, _ = load_model(tmp_path)
    assert torch.equal(again(x), small(x))


def test_convolutions_keep_their_shape_and_inputs_are_cut():
    model, x = convolutional().eval(), batch()
    sites = site_map(model, "weights", 36)
    mask = np.random.default_rng(2).random(sites.size) < 0.3
    small = shrink(model, sites, mask, input_shape=(36,))
    masked = GatedModel(model, sites)
    assert nonzero_weights(small) == mask.sum()
    assert torch.allclose(small(x), masked(x, masked.hard_gates(mask)), atol=1e-5)
    model = MLP((36, 9, 4), seed=1).eval()
    sites = site_map(model, "inputs,weights:layers.2", 36)
    mask = np.random.default_rng(2).random(sites.size) < 0.5
    small, masked = shrink(model, sites, mask), GatedModel(model, sites)
    assert small.widths[0] == mask[:36].sum()
    assert torch.allclose(small(x[:, torch.from_numpy(mask[:36])]), masked(x, masked.hard_gates(mask)), atol=1e-5)


@pytest.mark.parametrize("is_held", [True, False])
def test_zeros_are_held_while_training_goes_on(is_held):
    model, x = MLP((36, 12, 4), seed=2), batch()
    sites = site_map(model, "weights", 36)
    small = shrink(model, sites, np.random.default_rng(0).random(sites.size) < 0.3, input_shape=(36,))
    before, kept = nonzero_weights(small), small.layers[0].weight.detach().clone()
    handles = hold_zeros(small) if is_held else []
    optimizer = torch.optim.AdamW(small.parameters(), 0.01, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        small(x).square().sum().backward()
        optimizer.step()
    assert (nonzero_weights(small) == before) == is_held  # without the hooks the zeros fill up
    assert not torch.equal(small.layers[0].weight, kept)
    assert len(handles) == 2 * is_held


def test_an_mlp_without_biases_is_described():
    model = MLP((5, 4, 3), "tanh", 0.2, seed=1, bias=False)
    assert not [name for name, _ in model.named_parameters() if "bias" in name]
    again = from_description(describe(model), seed=1)
    assert describe(again) == describe(model)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    # Descriptions that were written before there was a choice.
    assert "bias" not in describe(MLP((5, 3)))
    assert from_description(
        {"kind": "mlp", "widths": [5, 3], "activation": "relu", "dropout": 0.0, "dtype": "float32"}
    ).bias


def test_effects_are_the_weight_times_its_signal():
    model, x = convolutional().eval(), batch(7)
    sites = site_map(model, "weights", 36)
    found = sites.split(effects(GatedModel(model, sites), x))
    linear = model[7].weight.detach().abs() * model[:7](x).square().mean(0).sqrt()
    assert np.allclose(found[2], linear.detach().flatten().numpy(), rtol=1e-5)
    grouped = model[4].weight.detach().abs() * model[:4](x).square().mean((0, 2, 3)).sqrt()[:, None, None, None]
    assert np.allclose(found[1], grouped.detach().flatten().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "layer", [nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2, kdim=4, vdim=6), nn.GRU(8, 5), nn.LSTMCell(8, 5)]
)
def test_weights_of_attention_and_recurrent_layers_count(layer):
    matrices = [tensor for name, tensor in layer.named_parameters() if "bias" not in name]
    assert len(matrices) > 1
    with torch.no_grad():
        for tensor in matrices:
            tensor.fill_(1.0)[0] = 0.0
    assert nonzero_weights(nn.Sequential(layer)) == sum(tensor[1:].numel() for tensor in matrices)
