"""Dropping the cheapest of a pool, with losses that are made up."""

import numpy as np
import pytest
from scipy import stats

from mcprune.chain import state
from mcprune.methods.base import whole
from mcprune.methods.markov.enforce import budget
from mcprune.methods.markov.enforce.budget import cheapest, enforce_count, pool_losses

N = 20


class Prices:
    """An evaluator whose loss of a removal is the site's price."""

    def __init__(self, prices):
        self.prices = np.asarray(prices, dtype=float)
        self.asked = []

    def losses(self, current, moves, limits=None):
        assert (moves.size == 1).all()
        sites = moves.sites[0, :, 0]
        np.testing.assert_array_equal(moves.weights[0, :, 0], -current.position[0, sites])
        assert (current.position[0, sites] > 0).all()
        self.asked.append(sites.tolist())
        return self.prices[sites][None]


def start():
    return state.new_state(np.full((1, N), 4.0), sharpness=np.inf)


def drop_all(current, prices, target, pool_size=N, temperature=0.0, seed=0):
    turn = 0
    while state.kept_count(current)[0] > target:
        whole(enforce_count(
            current, prices, target=target, pool=pool_size, temperature=temperature, sharpness=np.inf, seed=seed,
            block=turn,
        ))  # fmt: skip
        turn += 1
    return np.flatnonzero(current.position[0] < 0)


@pytest.mark.parametrize("target", [19, 17, 6, 1])
def test_the_cheapest_go_until_the_target_is_met_exactly(target):
    prices = np.random.default_rng(0).permutation(N) / 10
    current = start()
    np.testing.assert_array_equal(drop_all(current, Prices(prices), target), np.sort(np.argsort(prices)[: N - target]))
    assert state.kept_count(current)[0] == target
    np.testing.assert_array_equal(np.abs(current.position), 4.0)
    np.testing.assert_allclose(current.sums[0, 0], target)


def test_ties_go_to_the_lowest_index():
    assert drop_all(start(), Prices(np.zeros(N)), 13).tolist() == list(range(7))
    prices = np.zeros(N)
    prices[[0, 2]] = 1.0
    assert drop_all(start(), Prices(prices), 15).tolist() == [1, 3, 4, 5, 6]


def test_a_removal_without_a_finite_loss_comes_last():
    prices = np.full(N, 5.0)
    prices[0], prices[1], prices[2] = np.nan, np.inf, -np.inf
    assert drop_all(start(), Prices(prices), 3).tolist() == list(range(3, N))


def test_at_most_an_eighth_of_the_kept_goes_at_once_and_no_more_than_the_pool_is_asked_for():
    current, prices = start(), Prices(np.zeros(N))
    evaluated = whole(enforce_count(
        current, prices, target=5, pool=3, temperature=0.0, sharpness=np.inf, seed=0, block=0
    ))  # fmt: skip
    assert state.kept_count(current)[0] == 18
    assert evaluated == 6
    assert len(set(prices.asked[0])) == 6
    assert (
        whole(enforce_count(current, prices, target=18, pool=3, temperature=0.0, sharpness=np.inf, seed=0, block=1))
        == 0
    )


def test_a_small_pool_is_drawn_again_by_block_and_seed_and_repeats():
    def first_pool(seed, block):
        prices = Prices(np.zeros(N))
        whole(
            enforce_count(start(), prices, target=19, pool=4, temperature=0.0, sharpness=np.inf, seed=seed, block=block)
        )
        return tuple(prices.asked[0])

    assert first_pool(0, 0) == first_pool(0, 0)
    pools = {first_pool(seed, block) for seed in range(5) for block in range(5)}
    assert len(pools) > 20
    counts = np.bincount(np.concatenate([first_pool(7, block) for block in range(1000)]), minlength=N)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_at_a_temperature_a_site_is_dropped_with_its_boltzmann_weight():
    """The Gumbel form: P(i first) = exp(-loss_i / T) / sum; the mutant without noise must fail."""
    losses, temperature = np.array([0.0, 0.1, 0.25, 0.5]), 0.2
    law = np.exp(-losses / temperature)
    draw = np.random.default_rng(0)
    uniforms = draw.random((20_000, 4))
    first = np.array([cheapest(losses, 1, temperature, row)[0] for row in uniforms])
    wanted = law / law.sum() * len(first)
    assert stats.chisquare(np.bincount(first, minlength=4), wanted).pvalue > 1e-4
    hotter = np.array([cheapest(losses, 1, 0.25, row)[0] for row in uniforms])
    assert stats.chisquare(np.bincount(hotter, minlength=4), wanted).pvalue < 1e-6
    assert (cheapest(losses, 2, 0.0, uniforms[0]) == [0, 1]).all()


class Returns(Prices):
    """An evaluator whose loss of a toggle is the site's price, whether it is dropped or comes back."""

    def losses(self, current, moves, limits=None):
        sites = moves.sites[0, :, 0]
        np.testing.assert_array_equal(moves.weights[0, :, 0], -current.position[0, sites])
        self.asked.append(sites.tolist())
        return self.prices[sites][None]


def test_a_wave_takes_the_best_back_at_once_and_only_where_it_may():
    prices = Returns(np.random.default_rng(1).permutation(N) / 10)
    position = np.where(np.arange(N) < 5, 4.0, -4.0)
    rule = {"target": 12, "pool": N, "temperature": 0.0, "sharpness": np.inf, "seed": 0, "block": 0}
    current = state.new_state(position, sharpness=np.inf)
    assert whole(enforce_count(current, prices, **rule)) == 0  # the control: without leave nothing comes back
    assert whole(enforce_count(current, prices, **rule, may_grow=True)) == N - 5
    kept = np.flatnonzero(current.position[0] > 0)
    best = 5 + np.argsort(prices.prices[5:])[:7]
    np.testing.assert_array_equal(kept, np.sort(np.concatenate([np.arange(5), best])))
    np.testing.assert_allclose(current.sums[0, 0], 12)


def test_no_more_come_back_than_there_are():
    current = state.new_state(np.where(np.arange(N) < 5, 4.0, -4.0), sharpness=np.inf)
    prices = Returns(np.zeros(N))
    whole(
        enforce_count(
            current, prices, target=N + 9, pool=1, temperature=0.0, sharpness=np.inf, seed=0, block=0, may_grow=True
        )
    )
    assert state.kept_count(current)[0] == N


def test_a_pool_is_evaluated_in_parts_of_the_given_size():
    prices = Prices(np.random.default_rng(3).random(N))
    drawn = [np.arange(1, 12)]
    at_once = whole(pool_losses(start(), prices, drawn, 0))
    assert len(prices.asked) == 1
    parts = pool_losses(start(), prices, drawn, 4)
    assert len(list(iter_values(parts))) == 2  # between three parts
    assert list(map(len, prices.asked[1:])) == [4, 4, 3]
    np.testing.assert_array_equal(whole(pool_losses(start(), prices, drawn, 4)), at_once)


def iter_values(parts):
    yield from parts


class Limited(Prices):
    """An evaluator that returns an estimate above the limit where the price is above it."""

    def __init__(self, prices):
        super().__init__(prices)
        self.early = 0

    def losses(self, current, moves, limits=None):
        exact = super().losses(current, moves)
        if limits is None:
            return exact
        self.early += int((exact > limits).sum())
        return np.where(exact > limits, limits + 1e-3, exact)


@pytest.mark.parametrize("temperature", [0.0, 0.3])
@pytest.mark.parametrize("at_once", [0, 7])
def test_limits_change_nothing_of_what_is_dropped(temperature, at_once, monkeypatch):
    """The same sites go, from pools whose evaluator stops at the limits, at T = 0 and with noise."""
    monkeypatch.setattr(budget, "LIMITED", 5)
    for seed in range(20):
        prices = np.random.default_rng(seed).normal(size=N)
        kept = []
        for kind in (Prices, Limited):
            current, evaluator = start(), kind(prices)
            for turn in range(6):
                whole(enforce_count(
                    current, evaluator, target=11, pool=N, temperature=temperature, sharpness=np.inf, seed=seed, block=turn,
                    at_once=at_once,
                ))  # fmt: skip
            kept.append(current.position[0] > 0)
        np.testing.assert_array_equal(*kept)
        assert evaluator.early > 10
