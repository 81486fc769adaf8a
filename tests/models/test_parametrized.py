"""Weights that are computed from others, made plain."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from mcprune.models.parametrized import folded, has_parametrizations


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
def test_a_folded_copy_computes_the_same_and_leaves_the_model_alone(wrap):
    torch.manual_seed(0)
    model = nn.Sequential(wrap(nn.Conv1d(2, 4, 3)), nn.Flatten(), wrap(nn.Linear(16, 3))).train()
    model[0].requires_grad_(False)
    model(torch.randn(2, 2, 6))  # a step of the power iteration of spectral norm
    before, x = copy.deepcopy(model.state_dict()), torch.randn(3, 2, 6)
    out = folded(model)
    assert not has_parametrizations(out)
    assert has_parametrizations(model)
    assert [name for name, _ in out.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert type(out[2]) is nn.Linear
    assert not out[0].weight.requires_grad
    assert out[2].weight.requires_grad
    assert out.training
    assert torch.equal(out.eval()(x), model.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_plain_model_is_itself():
    model = nn.Linear(3, 2)
    assert folded(model) is model
