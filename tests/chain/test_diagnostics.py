"""Diagnostics: autocorrelation times that are known in closed form, tallies, best so far."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from mcprune.chain import engine, moves, state
from mcprune.chain.diagnostics import BestSoFar, Tally, autocorrelation, autocorrelation_time, effective_sample_size
from mcprune.errors import ConfigError


def autoregression(phi, replicas, steps, seed=0):
    """Stationary AR(1): autocorrelation phi^t, so tau = (1 + phi) / (1 - phi)."""
    noise = np.random.default_rng(seed).normal(size=(replicas, steps))
    noise[:, 0] /= math.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=1)


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("replicas", [1, 8])
def test_autoregressions_have_their_known_time(phi, replicas):
    steps = 400_000 // replicas
    tau = (1 + phi) / (1 - phi)
    # Sokal's error of the estimate with window M = 5 tau is tau sqrt(2 (2 M + 1) / steps); 4 of them, seed
    # fixed; the window cuts off exp(-5) of the sum at most (the geometric tail beyond 5 tau steps), more
    # where lags are few
    error = tau * math.sqrt(2 * (2 * max(5 * tau, 5) + 1) / 400_000)
    series = autoregression(phi, replicas, steps)
    assert autocorrelation_time(series) == pytest.approx(tau, abs=4 * error + 0.03 * tau + 0.02 * (phi < 0))
    assert effective_sample_size(series) == pytest.approx(400_000 / tau, rel=0.25)


def test_the_mean_and_the_unit_do_not_matter():
    series = autoregression(0.9, 1, 20_000)
    tau = autocorrelation_time(series)
    assert autocorrelation_time(1e-200 * series) == pytest.approx(tau)
    assert autocorrelation_time(1e6 + series) == pytest.approx(tau, rel=1e-6)


def test_the_sum_is_the_plain_one():
    series = autoregression(0.5, 2, 300)
    x = series - series.mean()
    covariance = [np.mean([np.dot(row[: 300 - t], row[t:]) for row in x]) for t in range(300)]
    for lag in range(300):
        tau = 1 + 2 * sum(covariance[1 : lag + 1]) / covariance[0]
        if lag >= 5 * max(tau, 1):
            break
    assert autocorrelation_time(series) == pytest.approx(tau, rel=1e-12)


def test_a_constant_series_says_nothing():
    assert math.isnan(autocorrelation_time(np.full(100, 0.1)))
    assert math.isnan(effective_sample_size(np.zeros(100)))


def test_stuck_replicas_are_not_taken_for_mixing_ones():
    # each constant, at different places: within a replica nothing varies, but the common mean shows it
    assert autocorrelation_time(np.array([[0.0] * 100, [1.0] * 100])) > 20


@pytest.mark.parametrize("bad", [[1.0], [], [1.0, math.nan], np.zeros((2, 2, 2))])
def test_series_that_are_none_are_refused(bad):
    with pytest.raises(ConfigError, match="series"):
        autocorrelation_time(bad)


def test_the_tally_adds_up():
    tally = Tally()
    assert math.isnan(tally.acceptance())
    here = engine.set_loss(state.new_state(np.full((2, 6), 4.0), sharpness=1.0), 1.0, alpha=1.0, n=2.0)
    plan, chains = moves.move_plan(site=1, exchange=1), np.arange(2)
    accepted = consumed = 0
    for batch in range(40):
        drawn = moves.propose(here, 4, plan=plan, delta=4.0, sharpness=1.0, seed=0, chains=chains)
        losses = np.full((2, 4), 1.0 if batch % 2 else math.nan)
        _, info = engine.advance(
            here, drawn, losses, temperature=0.1, alpha=1.0, n=2.0, sharpness=1.0, seed=0, chains=chains
        )
        tally.add(info)
        accepted += (info.index >= 0).sum()
        consumed += info.consumed.sum()
    assert tally.consumed == consumed == here.step.sum()
    assert tally.acceptance() == accepted / consumed
    assert set(tally.rates()) == {"site", "exchange"}
    assert tally.null > 0
    assert tally.nonfinite > 0


def test_the_best_is_kept_when_the_chain_goes_on():
    best = BestSoFar()
    here = state.new_state(np.arange(6.0).reshape(2, 3) - 2, sharpness=1.0)
    assert not best.update(here)  # nan: unknown
    here.loss[:], here.step[:] = [math.nan, 5.0], [3, 9]
    assert best.update(here)
    assert (best.loss, best.step) == (5.0, 9)
    here.position[1] = 0
    assert best.position.tolist() == [1, 2, 3]
    here.loss[:] = [5.0, 6.0]
    assert not best.update(here)
    best.reset()
    assert best.update(here)
    assert best.position.tolist() == [-2, -1, 0]


def test_the_autocorrelation_is_the_sum_of_products_over_its_first():
    values = np.random.default_rng(5).normal(size=(2, 40))
    about = values - values.mean()
    products = np.array([(about[:, : 40 - lag] * about[:, lag:]).sum() for lag in range(40)])
    np.testing.assert_allclose(autocorrelation(values), products / products[0], atol=1e-12)
    assert autocorrelation(np.ones(9)) is None
