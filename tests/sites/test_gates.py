"""Gates: the identity at 1, equal to the formula elsewhere, and gone outside of the call."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.mlp import MLP
from mcprune.sites.gates import GatedModel, hard_gates
from mcprune.sites.site_map import site_map


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(27, 8),
        nn.ReLU(),
        nn.Linear(8, 4),
    )


@pytest.mark.parametrize("kinds", ["inputs", "units", "inputs,units", "units:layers.2"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "gelu"])
def test_gates_of_one_are_the_plain_model_bit_for_bit(kinds, activation):
    model = MLP((9, 8, 7, 3), activation, seed=2)
    sites = site_map(model, kinds, 9)
    gated, x = GatedModel(model, sites), draw(17, 9)
    assert torch.equal(gated(x, torch.ones(sites.size)), model(x))
    assert torch.equal(gated(x, torch.ones(17, sites.size)), model(x))


def test_gates_multiply_inputs_and_linear_outputs_before_the_activation():
    model = MLP((4, 3, 2), "sigmoid", seed=1)
    gated = GatedModel(model, site_map(model, "inputs,units", 4))
    x, gates = draw(5, 4), torch.rand(7, generator=torch.Generator().manual_seed(3))
    first, _, last = model.layers
    hidden = torch.sigmoid(((x * gates[:4]) @ first.weight.T + first.bias) * gates[4:])
    torch.testing.assert_close(gated(x, gates), hidden @ last.weight.T + last.bias)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(0, 2**31), st.sampled_from(["inputs", "units", "inputs,units"]))
def test_gates_by_row_equal_a_loop_over_rows(rows, seed, kinds):
    model = MLP((6, 5, 4, 3), "tanh", seed=1).double()
    sites = site_map(model, kinds, 6)
    gated, x = GatedModel(model, sites), draw(rows, 6, seed=seed).double()
    gates = torch.rand(rows, sites.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    loop = torch.cat([gated(x[row : row + 1], gates[row]) for row in range(rows)])
    torch.testing.assert_close(gated(x, gates), loop, rtol=0, atol=1e-12)


def test_gates_by_row_on_a_linear_layer_over_a_sequence():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    gated = GatedModel(model, site_map(model, "units", 4))
    x, gates = draw(5, 6, 4), torch.rand(5, 3)
    loop = torch.stack([gated(x[row], gates[row]) for row in range(5)])
    torch.testing.assert_close(gated(x, gates), loop)


def test_inputs_of_any_classifier_keep_their_shape():
    model = small_cnn()
    sites = site_map(model, "inputs,units", 64)
    gated, x = GatedModel(model, sites), draw(6, 1, 8, 8)
    assert torch.equal(gated(x, torch.ones(sites.size)), model(x))
    gates = torch.ones(sites.size)
    gates[:32] = 0.0
    lower = x.clone()
    lower[:, :, :4] = 0.0
    assert torch.equal(gated(x, gates), model(lower))
    assert torch.equal(gated(x.to(memory_format=torch.channels_last), gates), model(lower))
    with pytest.raises(ConfigError, match="49 features, but 64"):
        gated(draw(6, 1, 7, 7), gates)


def test_hooks_are_gone_outside_of_the_call_even_after_an_error():
    model = MLP((4, 3, 2), seed=0)
    gated, x = GatedModel(model, site_map(model, "units", 4)), draw(5, 4)
    before = model(x)
    gated(x, torch.zeros(3))
    with pytest.raises(RuntimeError):
        gated(draw(5, 6), torch.zeros(3))
    assert all(not layer._forward_hooks for layer in model.modules())
    assert torch.equal(model(x), before)


def test_two_gated_views_of_one_model_do_not_mix():
    model = MLP((4, 3, 2), seed=0)
    units, inputs = (GatedModel(model, site_map(model, kinds, 4)) for kinds in ("units", "inputs"))
    x = draw(5, 4)
    units(x, torch.zeros(3))
    assert torch.equal(inputs(x, torch.ones(4)), model(x))


def test_gradients_reach_gates_of_another_dtype_and_the_parameters():
    model = MLP((4, 3, 2), "tanh", seed=0)
    gated = GatedModel(model, site_map(model, "inputs,units", 4))
    gates = torch.full((7,), 0.9, dtype=torch.float64, requires_grad=True)
    loss = gated(draw(5, 4), gates).square().sum()
    loss.backward()
    assert gates.grad is not None
    step = 1e-3
    moved = gates.detach().clone()
    moved[5] += step
    change = (gated(draw(5, 4), moved).square().sum() - loss).item() / step
    assert change == pytest.approx(gates.grad[5].item(), rel=0.05, abs=1e-3)
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert [id(p) for p in gated.parameters()] == [id(p) for p in model.parameters()]


def test_a_layer_that_is_never_called_is_reported():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(x)

    model = Attention()
    gated = GatedModel(model, site_map(model, "units", 4))
    with pytest.raises(ModelError, match="'unused' is not called"):
        gated(draw(2, 4), torch.ones(3))


def test_wrong_shapes_of_gates_and_sites_of_another_model():
    model = MLP((4, 3, 2))
    gated = GatedModel(model, site_map(model, "inputs", 4))
    for gates in (torch.ones(5), torch.ones(3, 4), torch.ones(())):
        with pytest.raises(ConfigError, match="gates of shape"):
            gated(draw(2, 4), gates)
    with pytest.raises(ModelError, match=r"'layers\.0' to be a Linear with 3 outputs"):
        GatedModel(MLP((4, 5, 2)), site_map(model, "units", 4))


def test_hard_gates_from_read_only_and_reversed_masks():
    mask = np.array([True, False, False])[::-1]
    mask.setflags(write=False)
    assert hard_gates(mask).tolist() == [0.0, 0.0, 1.0]
    model = MLP((3, 2, 2)).double()
    assert GatedModel(model, site_map(model, "inputs", 3)).hard_gates(torch.tensor(mask.copy())).dtype == torch.float64
