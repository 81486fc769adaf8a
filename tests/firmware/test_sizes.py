"""Sizes before synthesis: counted by hand on small layers, and never below what a solver shares."""

import numpy as np
import pytest
from fixed_networks import random_network

from mcprune.firmware.costs import costs
from mcprune.firmware.fixed_point import uniform_format
from mcprune.firmware.network import FixedLayer, FixedNetwork, plain_origin
from mcprune.firmware.sizes import HEADER, layer_sizes, size_rows, total_size, unshared_luts
from mcprune.firmware.solver import has_solver


def single(weights, bits=4):
    """Return a layer of one output, whose inputs are unsigned and have so many bits."""
    inputs = uniform_format(len(weights), bits, 0, signed=False)
    return FixedNetwork(
        inputs, (FixedLayer(np.array([weights]), 0, np.zeros(1, int)),), 1.0, plain_origin(len(weights), 1)
    )


@pytest.mark.parametrize(
    ("weights", "luts"),
    [
        ([1, 0], 0),  # a wire
        ([4, 0], 0),
        ([1, 1], 5),  # 4 bits and 4 bits: 5 with the carry
        ([1, 16], 5),  # bits 0..3 and 4..7: 4 to 8 are added, 0 to 3 pass
        ([5, 0], 5),  # x + 4 x: bits 2 to 6
        ([1, 1, 1], 5 + 6),
    ],
)
def test_an_adder_takes_a_table_for_each_bit_that_does_not_pass(weights, luts):
    assert unshared_luts(single(weights), 0) == luts


def test_inputs_of_no_bits_cost_nothing():
    assert unshared_luts(single([3, 7], bits=0), 0) == 0


@pytest.mark.parametrize("seed", range(8))
def test_rows_of_the_table_add_up(seed):
    network = random_network(seed)
    sizes = layer_sizes(network, use_solver=False)
    total, counted = total_size(sizes), costs(network)
    assert (total.digits, total.ebops, total.adders) == (counted.digits, counted.ebops, counted.adders)
    assert total.luts == pytest.approx(sum(row.luts for row in sizes))
    table = size_rows(sizes)
    assert [row[0] for row in table] == ["6 x 5", "5 x 4", "4 x 3", "all"]
    assert {len(row) for row in table} == {len(HEADER)}
    assert all(row[-1] == "-" for row in table)


@pytest.mark.skipif(not has_solver(), reason="alkaid is not installed")
@pytest.mark.parametrize("seed", range(8))
def test_shared_sums_are_not_larger(seed):
    for row in layer_sizes(random_network(seed, (8, 8, 6, 3), zeros=0.0, overflow="wrap", relu=True)):
        assert row.solved.adders <= row.adders
