"""The compiled chain against the network's own integers, and its decisions against all rows."""

from dataclasses import replace

import numpy as np
import pytest
from digit_chains import assert_exact, some_chain

from mcprune.errors import ModelError
from mcprune.firmware.counting.costs import UNITS, costs
from mcprune.firmware.counting.solver import MOST_WEIGHT
from mcprune.firmware.csd import count_digits, signed_digits
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.arrays import make_net, network_of
from mcprune.firmware.polish.engine.chain import Chain, Walk

SHAPES = [(6, 5, 4, 3), (4, 3), (5, 7, 2), (3, 4, 4, 4, 2)]


def test_digits_are_those_of_the_table():
    values = np.arange(-1100, 1101)
    assert [kernels.count_digits(int(value)) for value in values] == count_digits(values).tolist()
    for value, digits in zip(values.tolist(), signed_digits(values), strict=True):
        expected = [int(digit) << place for place, digit in enumerate(digits) if digit]
        assert [kernels.nth_digit(value, number) for number in range(len(expected))] == expected


def test_random_numbers_are_uniform():
    state = np.array([5], np.uint64)
    values = np.array([kernels.random(state) for _ in range(4000)])
    assert 0 <= values.min() <= values.max() < 1
    counts = np.histogram(values, 10, (0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 28  # chi squared of 9 degrees, 1 in 1,000


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("widths", SHAPES)
def test_state_stays_exact_over_hundreds_of_accepted_moves(widths, overflow):
    forced = 0
    for seed, unit in enumerate(("digits", "digit-bits", "ebops", "luts")):
        chain = some_chain(seed, widths, unit, overflow=overflow)
        assert_exact(chain)
        chain.mixture[:] = [0.3, 0.2, 0.2, 0.2, 0.1, 0.0, 0.0]  # no removals: there must be something left to move
        chain.walk(Walk(4000, chain.cost, chain.cost, 1e-3))
        assert chain.statistics[:, kernels.ACCEPTED].sum() > 200
        assert_exact(chain)
        chain.walk(Walk(400, 0.6 * chain.cost, 0.6 * chain.cost, 0.0))
        forced += chain.statistics[kernels.FORCED, kernels.ACCEPTED]
        assert_exact(chain)
        losses = chain.arrays.rows.losses.copy()
        chain.refresh()
        assert (chain.arrays.rows.losses == losses).all()  # in floats as well: to the last bit
    assert forced > 0


def test_losses_are_those_of_numpy_also_of_huge_logits():
    for scale in (2.0**-14, 2.0**-9, 1.0, 64.0):
        chain = some_chain(2)
        chain.arrays.net.options[0] = scale
        chain.refresh()
        logits = chain.logits().T * scale
        top = logits.max(axis=1)
        expected = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(700), chain.data.targets]
        np.testing.assert_allclose(chain.arrays.rows.losses, expected, rtol=3e-7, atol=3e-7)


def test_at_temperature_0_no_accepted_move_raises_the_loss_of_all_rows():
    chain = some_chain(4, count=6000)
    budget, last = chain.cost, chain.loss
    for _ in range(40):
        chain.walk(Walk(25, budget, budget, 0.0))
        assert chain.loss <= last + 1e-12
        assert chain.cost <= budget
        last = chain.loss
    assert chain.statistics[:, kernels.SECOND].sum() < chain.statistics[:, kernels.EVALUATED].sum()
    assert chain.statistics[:, kernels.FULL].sum() >= chain.statistics[:, kernels.ACCEPTED].sum()
    assert_exact(chain)


@pytest.mark.parametrize("unit", UNITS)
def test_the_budget_is_kept_in_every_unit(unit):
    chain = some_chain(3, unit=unit)
    for share in (0.8, 0.5, 0.2):
        budget = int(share * costs(chain.network).of(unit))
        chain.walk(Walk(200, chain.cost, budget, 1e-4))
        assert chain.cost <= budget
        assert_exact(chain)


def test_equal_seeds_give_equal_chains_and_others_do_not():
    first, second, third = (some_chain(1) for _ in range(3))
    third.random_state[0] = 99
    for chain in (first, second, third):
        chain.walk(Walk(1500, chain.cost, 0.7 * chain.cost, 1e-4))
    assert (first.arrays.net.weights == second.arrays.net.weights).all()
    assert first.totals.tolist() == second.totals.tolist()
    assert (first.arrays.net.weights != third.arrays.net.weights).any()


def test_a_chain_of_wide_accumulators_never_leaves_32_bits():
    chain = some_chain(6, size=40)
    chain.arrays.net.forms[:, kernels.BIAS_LOW] = 24
    chain.arrays.net.forms[:, kernels.BIAS_HIGH] = 28
    chain.mixture[:] = [0, 0, 0, 1, 0, 0, 0]
    chain.walk(Walk(3000, chain.cost, chain.cost, 1e9))
    assert chain.statistics[kernels.BIAS, kernels.ACCEPTED] > 50
    network = network_of(chain.arrays, chain.network)
    reach = max(max(map(int, each)) for each in network.accumulator_reach())
    assert kernels.MOST_REACH / 2 < reach < kernels.MOST_REACH
    assert_exact(chain)
    assert_exact(Chain(network, chain.data, chain.unit, 0))  # the next block takes what this one leaves


def test_a_network_whose_accumulators_leave_30_bits_is_refused():
    chain = some_chain(6)
    *others, last = chain.network.layers
    wide = replace(last, bias=last.bias + kernels.MOST_REACH)
    with pytest.raises(ModelError, match="holds them in 30 bits"):
        Chain(chain.network.but(layers=(*others, wide)), chain.data, chain.unit, 0)


@pytest.mark.parametrize(
    ("largest", "powers"), [(1, 2), (2**10, 12), (2**21, 23), (2**22, 23), (2**23 - 1, 23), (2**24 - 1, 24)]
)
def test_no_weight_grows_beyond_what_the_solver_takes(largest, powers):
    chain = some_chain(6)
    first, *others = chain.network.layers
    weight = np.minimum(np.abs(first.weight), 1)
    weight[0, 0] = largest
    net = make_net(chain.network.but(layers=(replace(first, weight=weight), *others)))
    assert net.layers[0, kernels.POWERS] == powers
    assert MOST_WEIGHT > 2**23
