"""Whole sensors are cut out of the first layer; what cannot be cut gets rows of zeros, and gives the same outputs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.models.adapters import Adapter, adapted
from mcprune.models.layers import Scatter
from mcprune.sites.gates import GatedModel
from mcprune.sites.row_axes import row_axes
from mcprune.sites.site_map import site_map
from mcprune.surgery.narrow_rows import without_sensors
from mcprune.surgery.shrink import shrink
from mcprune.types import InputField
from tests.shared.models_over_time import CUT, SCATTERED, Beside, Convolutions, S, T

N = S * T


def flat(kind):
    torch.manual_seed(0)
    return adapted(kind(), Adapter((InputField("", 0, kind.shape, "float"),))).double().eval()


def kept_flags(model, kept, kind="sensors"):
    axes = row_axes(model, N, kind)
    return torch.from_numpy(np.isin(axes.sensors if kind == "sensors" else axes.steps, kept))


def require_equal(model, small, flags):
    x = torch.randn(20, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = GatedModel(model, site_map(model, "inputs", N))(x, flags.double())
        torch.testing.assert_close(small(x[:, flags]), expected, rtol=1e-10, atol=1e-10)
        # The control: other inputs would give other outputs.
        assert not torch.allclose(small(x[:, flags].flip(1)), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", CUT)
def test_the_first_layer_loses_the_inputs_of_dropped_sensors(name):
    model = flat(CUT[name])
    before = copy.deepcopy(model.state_dict())
    flags = kept_flags(model, [1, 3])
    small = shrink(model, site_map(model, "inputs", N), flags, input_shape=(N,))
    assert not isinstance(small, Scatter)
    require_equal(model, small, flags)
    lost = sum(each.numel() for each in model.parameters()) - sum(each.numel() for each in small.parameters())
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv1d | nn.RNNBase | nn.Linear))
    weights = [tensor for key, tensor in first.named_parameters() if key.startswith("weight") and tensor.shape[1] == S]
    assert lost == sum(tensor.numel() for tensor in weights) * 3 // 5 > 0
    for key, tensor in model.state_dict().items():
        assert tensor.equal(before[key])


@pytest.mark.parametrize("name", [*SCATTERED, "Beside"])
def test_what_cannot_be_cut_gets_zeros(name):
    model = flat(Beside if name == "Beside" else SCATTERED[name])
    flags = kept_flags(model, [0, 4])
    assert without_sensors(model, flags) is None
    small = shrink(model, site_map(model, "inputs", N), flags, input_shape=(N,))
    assert isinstance(small, Scatter)
    require_equal(model, small, flags)


@pytest.mark.parametrize("name", CUT)
def test_dropped_steps_and_parts_of_sensors_get_zeros(name):
    model = flat(CUT[name])
    steps, part = kept_flags(model, [0, 5, 11], "steps"), kept_flags(model, [1, 3])
    part[int(part.nonzero()[0])] = False
    for flags in (steps, part, torch.ones(N, dtype=torch.bool)):
        assert without_sensors(model, flags) is None
    small = shrink(model, site_map(model, "inputs", N), steps, input_shape=(N,))
    assert isinstance(small, Scatter)
    require_equal(model, small, steps)


def test_a_sequential_gets_another_shape_of_rows():
    torch.manual_seed(0)
    layers = (nn.Conv1d(S, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (T - 2), 3))
    for model in (nn.Sequential(nn.Unflatten(1, (S, T)), *layers), flat_sequential(*layers)):
        flags = kept_flags(model, [2, 3])
        small = shrink(model, site_map(model, "inputs", N), flags, input_shape=(N,))
        assert small[0].unflattened_size == (2, T)
        assert small[1].in_channels == 2
        require_equal(model.double(), small.double(), flags)


def flat_sequential(*layers):
    return adapted(nn.Sequential(*layers), Adapter((InputField("", 0, (S, T), "float"),)))


def test_the_precision_and_the_mode_stay():
    model = adapted(Convolutions(), Adapter((InputField("", 0, (S, T), "float"),))).train()
    small = without_sensors(model, kept_flags(model, [0]))
    assert small.training
    assert {each.dtype for each in small.parameters()} == {torch.float32}
