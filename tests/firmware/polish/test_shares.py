"""Shares of the moves after what they gained."""

import numpy as np
import pytest
from polish_problem import settings_of, splits_of, start_network

from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.chain import mixture_of
from mcprune.firmware.polish.run import Polisher
from mcprune.firmware.polish.shares import FIXED, blended_rates, gain_rates, shares_of


def table(**rows):
    """Statistics of a block: for each move the work in rows, the change of the mean loss, what it spent of the budget."""
    statistics = np.zeros((kernels.MOVES, kernels.COUNTERS))
    for name, (seen, gain, spent) in rows.items():
        row = statistics[getattr(kernels, name.upper())]
        row[[kernels.SEEN, kernels.GAIN, kernels.SPENT]] = seen, gain, spent
    return statistics


def test_rates_are_gains_for_work_and_what_is_freed_has_a_price():
    statistics = table(bias=(1000, -0.2, 0), exchange=(4000, -0.2, 0), swap=(1000, 0.1, 0), remove=(1000, 0.0, -10))
    rates = gain_rates(statistics, 0.01)
    assert rates[kernels.BIAS] == pytest.approx(2e-4)
    assert rates[kernels.EXCHANGE] == pytest.approx(5e-5)
    assert rates[kernels.REMOVE] == pytest.approx(1e-4)
    assert rates[kernels.SWAP] == rates[kernels.NEIGHBOUR] == 0
    assert gain_rates(statistics, 0.0)[kernels.REMOVE] == 0


def test_the_move_that_gains_most_is_proposed_most_and_none_is_forgotten():
    first = mixture_of("all")
    rates = gain_rates(table(bias=(1000, -0.3, 0), exchange=(1000, -0.1, 0)), 0.0)
    shares = shares_of(first, rates)
    assert shares.sum() == pytest.approx(1)
    assert shares.argmax() == kernels.BIAS
    allowed = first > 0
    assert (shares[allowed] >= FIXED * first[allowed]).all()
    assert (shares[~allowed] == 0).all()
    assert (shares_of(first, np.zeros(kernels.MOVES)) == first).all()


def test_a_move_that_is_left_out_stays_out():
    rates = gain_rates(table(exchange=(1000, -0.3, 0), bias=(1000, -0.1, 0)), 0.0)
    shares = shares_of(mixture_of("bias,remove"), rates)
    assert shares[kernels.EXCHANGE] == 0
    assert shares[kernels.BIAS] > shares[kernels.REMOVE] > 0


def test_later_blocks_weigh_more():
    old, new = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert (blended_rates(np.zeros(2), new) == new).all()
    twice = blended_rates(blended_rates(old, new), new)
    assert twice[1] > twice[0] > 0


def test_a_chain_proposes_what_gains_and_a_fixed_one_does_not():
    def proposed(*, adaptive):
        polisher = Polisher(splits_of().train, settings_of(60, proposals=6000, drops=0, adaptive=adaptive))
        *_, last = polisher.run(polisher.start(start_network()))
        counts = last.statistics[: kernels.FORCED, kernels.PROPOSED]
        return counts / counts.sum(), last.rates

    fixed, rates = proposed(adaptive=False)
    np.testing.assert_allclose(fixed, mixture_of("all")[: kernels.FORCED], atol=0.03)
    assert not rates.any()
    changed, rates = proposed(adaptive=True)
    assert np.abs(changed - fixed).max() > 0.05  # eight standard errors
    assert rates.any()


def test_large_networks_are_colder():
    settings = settings_of(40, temperature=1e-4)
    assert settings.temperature_at(0, 40) == settings.temperature_at(0, 128) == 1e-4
    assert settings.temperature_at(0, 1280) == pytest.approx(1e-5)
    assert settings.temperature_at(5, 40) == 0
