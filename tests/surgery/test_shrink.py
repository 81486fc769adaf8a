"""Shrink: the smaller model equals the masked one, is smaller, and says so when it cannot be."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.layers import Constant, Scatter
from mcprune.models.mlp import ACTIVATIONS, MLP
from mcprune.models.registry import is_built_in
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.surgery.shrink import shrink

LAYERS = ("relu", "tanh", "sigmoid", "gelu", "softplus")


def draw(*shape: int, seed: int = 5) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def outputs(model, small, sites: SiteMap, mask, x):
    """(masked original, small) in evaluation mode."""
    gated = GatedModel(model.eval(), sites)
    dtype = next(model.parameters()).dtype
    x = x.to(dtype)
    picked = x.flatten(1)[:, torch.as_tensor(mask[: sites.inputs.size])] if sites.inputs else x
    with torch.no_grad():
        return gated(x, gated.hard_gates(mask)), small.eval()(picked)


def random_chain(widths, activation, kinds, seed):
    """Linear, perhaps batch-norm with a history, activation, perhaps batch-norm again, perhaps Dropout."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()] if kinds & 1 else []
    for index, (a, b) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(a, b, bias=bool(rng.integers(2))))
        if index == len(widths) - 2:
            break
        if kinds & 2:
            layers.append(nn.BatchNorm1d(b, affine=bool(kinds & 16)))
        layers.append(ACTIVATIONS[activation]())
        if kinds & 4:
            layers.append(nn.BatchNorm1d(b))
        if kinds & 8:
            layers.extend([nn.Dropout(0.3), nn.Identity()])
    model = nn.Sequential(*layers)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 3.0)
            if layer.affine:
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    return model


@st.composite
def masked_chains(draw_):
    widths = draw_(st.lists(st.integers(1, 7), min_size=3, max_size=5))
    model = random_chain(
        widths, draw_(st.sampled_from(LAYERS)), draw_(st.integers(0, 31)), draw_(st.integers(0, 10**6))
    )
    sites = site_map(model, draw_(st.sampled_from(["inputs", "units", "inputs,units"])), widths[0])
    mask = draw_(st.lists(st.booleans(), min_size=sites.size, max_size=sites.size).filter(any))
    return widths, model, sites, np.array(mask)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(masked_chains())
def test_chains_of_any_widths_activations_and_masks_in_float64(case):
    widths, model, sites, mask = case
    model = model.double()
    small = shrink(model, sites, mask)
    wanted, met = outputs(model, small, sites, mask, draw(20, widths[0]))
    torch.testing.assert_close(met, wanted, rtol=1e-10, atol=1e-10)
    assert is_built_in(small)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=5),
    st.sampled_from(LAYERS),
    st.sampled_from(["inputs", "units", "inputs,units"]),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 10**6),
)
def test_an_mlp_becomes_a_narrower_mlp(widths, activation, kinds, dtype, seed):
    model = MLP(widths, activation, dropout=0.25, seed=seed).to(dtype)
    sites = site_map(model, kinds, widths[0])
    mask = np.random.default_rng(seed).random(sites.size) < 0.6
    for part in sites.split(mask):
        part[0] = True
    small = shrink(model, sites, mask)
    kept = [int(part.sum()) for part in sites.split(mask)]
    expected = list(widths)
    for group, n in zip(sites.groups, kept, strict=True):
        expected[0 if group.kind == "inputs" else 1 + int(group.layer.removeprefix("layers.")) // 3] = n
    assert isinstance(small, MLP)
    assert list(small.widths) == expected
    wanted, met = outputs(model, small, sites, mask, draw(20, widths[0]) / 3)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(met, wanted, rtol=tolerance, atol=tolerance)
    assert met.dtype == dtype


def test_parameters_are_really_fewer_and_the_original_is_untouched():
    model = MLP((20, 16, 12, 4), "sigmoid", seed=0)
    before = copy.deepcopy(model.state_dict())
    sites = site_map(model, "inputs,units", 20)
    mask = np.zeros(48, dtype=bool)
    mask[[1, 5, 19, 20, 25, 30, 36, 40, 47]] = True
    small = shrink(model.train(), sites, mask)
    assert small.widths == (3, 3, 3, 4)
    assert count(small) == 3 * 3 + 3 + 3 * 3 + 3 + 3 * 4 + 4
    assert small.training
    small.layers[0].weight.data.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_kept_inputs_come_in_ascending_order():
    model = MLP((5, 2), seed=1)
    small = shrink(model, site_map(model, "inputs", 5), np.array([0, 1, 0, 0, 1], dtype=bool))
    assert torch.equal(small.layers[0].weight, model.layers[0].weight[:, [1, 4]])


def test_a_dropped_sigmoid_unit_leaves_its_half_in_the_next_bias():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[3.0, 8.0]]))
    small = shrink(model, site_map(model, "units", 2), np.array([True, False]))
    assert small[2].bias.tolist() == [4.0]
    assert small[2].weight.tolist() == [[3.0]]


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_a_layer_or_all_inputs_without_any_kept_site_become_constants(dropped):
    model = MLP((4, 3, 3, 2), "softplus", seed=3).double()
    sites = site_map(model, "inputs,units", 4)
    mask = np.ones(10, dtype=bool)
    sites.split(mask)[dropped][:] = False
    small = shrink(model, sites, mask)
    assert isinstance(small[-1], Constant)
    wanted, met = outputs(model, small, sites, mask, draw(6, 4))
    assert met.shape == (6, 2)
    torch.testing.assert_close(met, wanted, rtol=1e-12, atol=1e-12)


def test_a_module_around_one_sequential_and_nested_ones():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Sequential(nn.Linear(6, 5), nn.Tanh()),
                nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True)),
                nn.Linear(4, 3),
            )

        def forward(self, x):
            return self.body(x.flatten(1))

    model = Wrapped().double()
    sites = site_map(model, "units", 6)
    assert [group.layer for group in sites.groups] == ["body.0.0", "body.1.0"]
    mask = np.array([1, 0, 1, 0, 0, 1, 0, 0, 1], dtype=bool)
    small = shrink(model, sites, mask, input_shape=(2, 3))
    wanted, met = outputs(model, small, sites, mask, draw(9, 2, 3))
    torch.testing.assert_close(met, wanted, rtol=1e-10, atol=1e-10)
    assert count(small) == (6 * 2 + 2) + (2 * 2 + 2) + (2 * 3 + 3)


def test_an_mlp_inside_of_a_sequential():
    model = nn.Sequential(nn.BatchNorm1d(4), MLP((4, 5, 3), "gelu", seed=2)).double()
    model[0].running_mean.normal_()
    sites = site_map(model, "inputs,units", 4)
    mask = np.array([1, 0, 1, 0, 1, 0, 0, 1, 0], dtype=bool)
    small = shrink(model, sites, mask)
    wanted, met = outputs(model, small, sites, mask, draw(9, 4))
    torch.testing.assert_close(met, wanted, rtol=1e-10, atol=1e-10)
    assert count(small) == 2 * 2 + (2 * 2 + 2) + (2 * 3 + 3)


class Cnn(nn.Module):
    """A forward pass that its children do not tell."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.hidden = nn.Linear(192, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(torch.relu(self.conv(x)).flatten(1))))


def test_inputs_of_a_cnn_fall_back_to_scatter():
    model = Cnn()
    sites = site_map(model, "inputs", 64)
    mask = np.random.default_rng(0).random(64) < 0.3
    small = shrink(model, sites, mask, input_shape=(1, 8, 8))
    assert isinstance(small, Scatter)
    wanted, met = outputs(model, small, sites, mask, draw(7, 1, 8, 8))
    torch.testing.assert_close(met, wanted, rtol=1e-5, atol=1e-5)
    small.model.head.weight.data.zero_()
    assert float(model.head.weight.detach().abs().sum()) > 0


class Smooth(Cnn):
    """Behind a dropped unit's 0 the sigmoid gives 0.5."""

    def forward(self, x):
        return self.head(torch.sigmoid(self.hidden(torch.relu(self.conv(x)).flatten(1))))


def test_units_of_a_forward_pass_that_is_followed():
    torch.manual_seed(0)
    model = Cnn()
    sites, mask = site_map(model, "units", 64, input_shape=(1, 8, 8)), np.arange(8) % 3 > 0
    small = shrink(model, sites, mask, input_shape=(1, 8, 8))
    assert (small.hidden.out_features, small.head.in_features) == (5, 5)
    wanted, met = outputs(model, small, sites, mask, draw(7, 1, 8, 8))
    torch.testing.assert_close(met, wanted, rtol=1e-5, atol=1e-5)


def test_units_of_a_model_that_is_not_understood_name_the_layer():
    model = Smooth()
    with pytest.raises(ModelError, match=r"layer 'hidden'.*'sigmoid'"):
        shrink(model, site_map(model, "units", 64), np.ones(8, dtype=bool), input_shape=(1, 8, 8))
    with pytest.raises(ModelError, match="input_shape"):
        shrink(model, site_map(model, "inputs", 64), np.ones(64, dtype=bool))


def test_units_behind_convolutions_of_a_sequential_with_inputs_scattered():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 6),
        nn.Sigmoid(),
        nn.Softmax(dim=1),
        nn.Linear(6, 3),
    ).double()
    with pytest.raises(ModelError, match=r"'5' \(Softmax\)"):
        shrink(model, site_map(model, "units", 64), np.array([True] * 5 + [False]), input_shape=(1, 8, 8))
    model[5] = nn.Identity()
    for kinds in ("units", "inputs,units"):
        sites = site_map(model, kinds, 64)
        mask = np.random.default_rng(1).random(sites.size) < 0.5
        small = shrink(model, sites, mask, input_shape=(1, 8, 8))
        wanted, met = outputs(model, small, sites, mask, draw(7, 1, 8, 8))
        torch.testing.assert_close(met, wanted, rtol=1e-10, atol=1e-10)
        assert count(small) < count(model)
    mask[:64], mask[64:] = False, True
    small = shrink(model, sites, mask, input_shape=(1, 8, 8))
    wanted, met = outputs(model, small, sites, mask, draw(7, 1, 8, 8))
    torch.testing.assert_close(met, wanted, rtol=1e-10, atol=1e-10)


class Scaled(nn.Module):
    """One Sequential child, but more in the forward pass than it: the structure alone would deceive."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))

    def forward(self, x):
        return self.body(x / 16)


def test_a_forward_pass_that_does_more_than_its_sequential_is_not_believed():
    model = Scaled().double()
    sites, mask = site_map(model, "units", 4), np.array([True, True, False])
    small = shrink(model, sites, mask)
    assert small.body[0].out_features == 2
    wanted, met = outputs(model, small, sites, mask, draw(5, 4))
    torch.testing.assert_close(met, wanted)
    sites, mask = site_map(model, "inputs", 4), np.array([True, False, True, False])
    small = shrink(model, sites, mask)
    assert isinstance(small, Scatter)
    wanted, met = outputs(model, small, sites, mask, draw(5, 4))
    assert torch.equal(wanted, met)


def test_batch_norm_without_running_statistics_and_shared_layers_are_not_cut():
    mask = np.array([True, False, True])
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2))
    with pytest.raises(ModelError, match="'1'"):
        shrink(model, site_map(model, "units", 4), mask)
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(ModelError, match="'0'"):
        shrink(model, site_map(model, "units", 3), mask)


def test_hooks_of_the_user_are_not_lost():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    model[1].register_forward_hook(lambda layer, inputs, output: output + 1)
    with pytest.raises(ModelError, match="'0'"):
        shrink(model, site_map(model, "units", 4), np.array([True, False, True]))


def test_the_comparison_can_fail():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 3)
            self.second = nn.Linear(3, 2)

        def forward(self, x):
            return self.second(self.first(x)) + torch.rand(())

    model = Random()
    with pytest.raises(ModelError, match="differ by"):
        shrink(model, site_map(model, "inputs", 4), np.array([True, False, True, True]))


def test_non_finite_models_and_unfit_masks():
    model = MLP((4, 3, 2))
    sites = site_map(model, "inputs", 4)
    with pytest.raises(ConfigError, match="keeps none"):
        shrink(model, sites, np.zeros(4, dtype=bool))
    with pytest.raises(ConfigError, match="4 booleans"):
        shrink(model, sites, np.ones(5, dtype=bool))
    with pytest.raises(ConfigError, match="4 booleans"):
        shrink(model, sites, np.ones(4))
    model.layers[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        shrink(model, sites, np.ones(4, dtype=bool))


def test_shrinking_neither_reads_nor_moves_the_global_random_state():
    model = MLP((6, 5, 4, 3), dropout=0.5, seed=0)
    sites = site_map(model, "inputs,units", 6)
    before = torch.random.get_rng_state()
    shrink(model, sites, np.arange(sites.size) % 2 == 0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_row_that_becomes_an_image_says_how_long_it_is():
    """Units behind convolutions are cut without being told the shape of a row."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    ).eval()
    sites = site_map(model, "units", 16)
    keep = np.arange(sites.size) % 2 == 0
    small = shrink(model, sites, keep)
    assert [layer.out_features for layer in small.modules() if isinstance(layer, nn.Linear)] == [3, 3]
    x = torch.randn(5, 16)
    with torch.no_grad():
        hidden = model[:6](x) * torch.from_numpy(keep)
        torch.testing.assert_close(small(x), model[6](hidden))
