"""Look-up tables of sums that share nothing: by hand, and as alkaid counts them."""

import numpy as np
import pytest

from mcprune.firmware.counting.solver import has_solver, solve
from mcprune.firmware.counting.tables import layer_luts
from mcprune.firmware.fixed_point import uniform_format
from mcprune.firmware.network import FixedLayer, FixedNetwork, plain_origin


def network_of(weights, bits=4, bias=0, *, relu=False):
    """Return a network of one sum, whose inputs are unsigned and have so many bits; with a ReLU a wire follows."""
    inputs = uniform_format(len(weights), bits, 0, signed=False)
    form = uniform_format(1, 12, 0, signed=False) if relu else None
    layers = [FixedLayer(np.array([weights]), 0, np.array([bias]), form)]
    if relu:
        layers.append(FixedLayer(np.ones((1, 1), int), 0, np.zeros(1, int)))
    return FixedNetwork(inputs, tuple(layers), 1.0, plain_origin(len(weights), 1))


SUMS = [
    ([1, 0], 0),  # a wire
    ([4, 0], 0),
    ([1, 1], 4),
    ([1, -1], 3),
    ([1, 4], 4),  # bits 0..3 and 2..5: 2 to 5 are added, 0 and 1 pass
    ([1, 16], 0),  # side by side
    ([5, 0], 4),  # x + 4 x: bits 2 to 5
    ([3, 0], 5),  # 4 x - x
    ([1, 1, 1], 4 + 5),
]


@pytest.mark.parametrize(("weights", "luts"), SUMS)
def test_an_adder_takes_a_table_for_each_bit_that_does_not_pass(weights, luts):
    assert layer_luts(network_of(weights), 0) == [luts]


@pytest.mark.skipif(not has_solver(), reason="alkaid is not installed")
@pytest.mark.parametrize(("weights", "luts"), SUMS)
def test_alkaid_counts_the_same_where_nothing_can_be_shared(weights, luts):
    assert solve(network_of(weights)).luts == luts


def test_a_relu_takes_half_a_table_for_each_bit_where_its_sum_can_be_negative():
    assert layer_luts(network_of([1, -1], relu=True), 0) == [3 + 2]
    assert layer_luts(network_of([1, -1], bias=15, relu=True), 0) == [3]  # never below 0
    assert layer_luts(network_of([1, -1], bias=8, relu=True), 0) == [3 + 3]  # -7 to 23: 5 bits
    assert layer_luts(network_of([1, 1], relu=True), 0) == [4]


def test_inputs_of_no_bits_cost_nothing():
    assert layer_luts(network_of([3, 7], bits=0), 0) == [0]
