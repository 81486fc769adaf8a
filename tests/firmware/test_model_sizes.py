"""Sizes of perceptrons that are rounded by rule; nothing is said of other models."""

import pytest
import torch
from torch import nn

from mcprune.firmware.counting.model_sizes import MOST, firmware_sizes, firmware_table
from mcprune.firmware.counting.sizes import HEADER
from mcprune.models.mlp import MLP


def test_a_perceptron_has_a_row_for_each_layer():
    sizes = firmware_sizes(MLP((6, 5, 4, 3)), 6, use_solver=False)
    assert [row.name for row in sizes] == ["6 x 5", "5 x 4", "4 x 3"]
    assert all(row.digits > row.weights / 2 > 0 for row in sizes)
    head, rows = firmware_table(sizes)
    assert head == list(HEADER[:-2])
    assert {len(row) for row in rows} == {len(head)}


def test_dropped_weights_cost_nothing():
    model = MLP((6, 5, 3))
    whole = sum(row.digits for row in firmware_sizes(model, 6, use_solver=False))
    with torch.no_grad():
        model.layers[0].weight[:, :4] = 0
    assert sum(row.digits for row in firmware_sizes(model, 6, use_solver=False)) < 0.7 * whole


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
        nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(6, 4), nn.ReLU()),
        MLP((6, MOST // 5, 2)),
    ],
)
def test_other_models_have_none(model):
    assert firmware_sizes(model, 6) == []
