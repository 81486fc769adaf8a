"""Sizes before synthesis: counted by hand on small layers, and never below what a solver shares."""

import pytest
from fixed_networks import random_network

from mcprune.firmware.counting.costs import costs
from mcprune.firmware.counting.sizes import HEADER, layer_sizes, size_rows, total_size
from mcprune.firmware.counting.solver import has_solver


@pytest.mark.parametrize("seed", range(8))
def test_rows_of_the_table_add_up(seed):
    network = random_network(seed)
    sizes = layer_sizes(network, use_solver=False)
    total, counted = total_size(sizes), costs(network)
    assert (total.digits, total.ebops, total.adders) == (counted.digits, counted.ebops, counted.adders)
    assert total.luts == sum(row.luts for row in sizes) == counted.luts
    table = size_rows(sizes)
    assert [row[0] for row in table] == ["6 x 5", "5 x 4", "4 x 3", "all"]
    assert {len(row) for row in table} == {len(HEADER)}
    assert all(row[-1] == "-" for row in table)


@pytest.mark.skipif(not has_solver(), reason="alkaid is not installed")
@pytest.mark.parametrize("seed", range(8))
def test_shared_sums_are_not_larger(seed):
    for row in layer_sizes(random_network(seed, (8, 8, 6, 3), zeros=0.0, overflow="wrap", relu=True)):
        assert row.solved.adders <= row.adders
