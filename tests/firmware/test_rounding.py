"""Rounding a trained perceptron by rule: close to it, refused where the rule does not hold."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.firmware.network import plain_origin
from mcprune.firmware.rounding import round_mlp
from mcprune.models.mlp import MLP

ROWS = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)


def outputs(model):
    with torch.no_grad():
        return model(torch.from_numpy(ROWS)).numpy()


@pytest.mark.parametrize("signal_bits", [8, 12])
def test_more_bits_come_closer_to_the_floats(signal_bits):
    model = MLP((6, 16, 8, 3), seed=1)
    errors = []
    for bits in (4, 8, 12):
        network = round_mlp(model, ROWS, plain_origin(6, 3), bits=bits, signal_bits=signal_bits)
        errors.append(
            np.abs(network.forward(network.quantize_inputs(ROWS)) * network.logit_scale - outputs(model)).max()
        )
        largest = np.abs(network.layers[0].weight).max()
        assert 2 ** (bits - 2) <= largest < 2 ** (bits - 1)
    assert errors[0] > errors[1] >= errors[2] / 1.5
    assert errors[1] < 0.1


def test_no_row_of_those_that_set_the_points_saturates():
    network = round_mlp(MLP((6, 16, 3)), ROWS, plain_origin(6, 3))
    inputs = network.quantize_inputs(ROWS)
    assert np.abs(np.ldexp(inputs.astype(float), -network.inputs.common) - ROWS).max() <= 2.0**-network.inputs.common
    assert network.signals(inputs)[1].max() <= network.layers[0].activation.high.max()


def test_layers_without_relu_keep_their_signs():
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2, bias=False))
    network = round_mlp(model, ROWS, plain_origin(6, 2), bits=12, signal_bits=12)
    assert network.layers[0].activation.signed.all()
    assert np.abs(network.forward(network.quantize_inputs(ROWS)) * network.logit_scale - outputs(model)).max() < 0.02


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 2)), "Tanh"),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), "follows the last layer"),
        (nn.Sequential(nn.Identity()), "no Linear layer"),
    ],
)
def test_other_layers_are_refused(model, message):
    with pytest.raises(ModelError, match=message):
        round_mlp(model, ROWS, plain_origin(6, 2))


def test_bits_out_of_range_and_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ConfigError, match="bits=1 is out of range"):
        round_mlp(MLP((6, 3)), ROWS, plain_origin(6, 3), bits=1)
    model = MLP((6, 3))
    model.layers[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        round_mlp(model, ROWS, plain_origin(6, 3))
    with pytest.raises(ModelError, match="not finite"):
        round_mlp(MLP((6, 3)), ROWS * np.inf, plain_origin(6, 3))
