"""Draws follow Boltzmann's law on masks of n, by enumeration; wrong chains and wrong laws fail; a restored state goes on alike.

A right chain fails a chi-square test with probability ACCIDENT over the choice of seeds, which are fixed; every control must come out
below FAILURE. Masks of unlike chains, or of legs apart by more than the autocorrelation time, count as independent.
"""

import copy
import math

import numpy as np
import pytest
from laws import boltzmann, p_value
from selection import long_but
from table_masks import burnt_in, masks_of, table_sampler, uneven_table

from mcprune.errors import ConfigError
from mcprune.sampling.samples import Samples
from mcprune.sampling.walks.chains import MaskChains
from mcprune.sampling.walks.loss_model import LossModel
from mcprune.sampling.walks.surrogate import SurrogateGates
from mcprune.state import deserialize, serialize

ACCIDENT, FAILURE = 1e-4, 1e-9
SITES, KEEP, TEMPERATURE, CHAINS, LEGS = 8, 3, 0.15, 16, 500


def law_of(table, n, temperature):
    masks = masks_of(int(math.log2(len(table))), n)
    codes = masks @ (1 << np.arange(masks.shape[1]))
    return codes, boltzmann(table[codes], temperature)


def counts_of(masks, codes):
    seen = masks.reshape(-1, masks.shape[-1]) @ (1 << np.arange(masks.shape[-1]))
    return np.array([np.count_nonzero(seen == code) for code in codes])


def drawn(sampler, legs=LEGS):
    state = burnt_in(sampler)
    return sampler.draw(state, legs).arrays()


@pytest.mark.slow
@pytest.mark.parametrize("rungs", long_but("without a ladder the same law", [1, 3], 3))
def test_masks_are_drawn_by_boltzmann(rungs):
    table = uneven_table(SITES)
    sampler = table_sampler(table, KEEP, chains=CHAINS, rungs=rungs, temperature=TEMPERATURE)
    masks, losses = drawn(sampler)
    codes, law = law_of(table, KEEP, TEMPERATURE)
    assert (masks.sum(axis=2) == KEEP).all()
    assert losses == pytest.approx(table[masks @ (1 << np.arange(SITES))])
    counts = counts_of(masks[:, ::3], codes)
    assert p_value(counts, law) > ACCIDENT
    assert p_value(counts, law_of(table, KEEP, 1.5 * TEMPERATURE)[1]) < FAILURE


@pytest.mark.slow
@pytest.mark.parametrize("kind", long_but("another control", ["exchanges", "walks", "visits"], "exchanges"))
def test_a_broken_q_ratio_is_seen(kind, monkeypatch):
    """The control: informed exchanges, walks or trades with companions, accepted as if they were symmetric."""
    propose = SurrogateGates.propose

    def broken(self, *arguments):
        out = propose(self, *arguments)
        is_wrong = (self.visits is not None) == (kind == "visits")
        is_wrong &= kind == "visits" or self._is_walk == (kind == "walks")
        return out._replace(log_ratio=np.where(is_wrong, 0.0, out.log_ratio))

    monkeypatch.setattr(SurrogateGates, "propose", broken)
    if kind != "visits":  # which would make up for the others
        monkeypatch.setattr(MaskChains, "visit", lambda *_: None)
    if kind == "exchanges":  # without walks, which would make up for them
        monkeypatch.setattr(LossModel, "aim", lambda *_: None)
    table = uneven_table(SITES)
    masks, _ = drawn(table_sampler(table, KEEP, chains=CHAINS, temperature=TEMPERATURE))
    codes, law = law_of(table, KEEP, TEMPERATURE)
    assert p_value(counts_of(masks[:, ::3], codes), law) < FAILURE


@pytest.mark.slow
def test_errors_of_p_are_honest():
    """Of 20 sites 60 P within two errors: fewer than 51 has a chance below 1e-3 where the errors are right."""
    sites, n, inside = 20, 5, 0
    table = uneven_table(sites)
    for number, temperature in enumerate((0.15, 0.3, 1.0)):
        _, law = law_of(table, n, temperature)
        exact = law @ masks_of(sites, n)
        masks, losses = drawn(table_sampler(table, n, temperature=temperature, seed=number), 150)
        samples = Samples(masks, losses, temperature, math.nan, tuple(map(str, range(sites))))
        inside += int((np.abs(samples.probability - exact) <= 2 * samples.monte_carlo_error).sum())
    assert inside >= 51


@pytest.mark.slow
def test_chains_do_not_depend_on_what_is_evaluated_ahead():
    table = uneven_table(SITES)
    one, many = (drawn(table_sampler(table, KEEP, rungs=2, lookahead=ahead), 4) for ahead in (1, 16))
    np.testing.assert_array_equal(one[0], many[0])
    np.testing.assert_array_equal(one[1], many[1])


@pytest.mark.slow
@pytest.mark.parametrize("rungs", [1, 3])
def test_a_restored_state_goes_on_to_the_same_bits(rungs):
    table = uneven_table(SITES)
    sampler = table_sampler(table, KEEP, rungs=rungs)
    state = sampler.init()
    sampler.burn_in(state)
    saved = copy.deepcopy(serialize(state))

    def rest(sampler, state):
        while not state.is_burnt_in:
            sampler.burn_in(state)
        return [sampler.draw(state, 5).arrays() for _ in range(2)]

    other = table_sampler(table, KEEP, rungs=rungs)
    restored = deserialize(saved, other.init())
    for one, two in zip(rest(sampler, state), rest(other, restored), strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.slow
def test_proposals_and_temperature_are_frozen_after_the_burn_in():
    sampler = table_sampler(uneven_table(SITES), KEEP, rungs=3)
    state = burnt_in(sampler)
    before = state.temperature, state.probability.copy(), state.ladders.gaps.copy()
    model = serialize(state.model)
    sampler.draw(state, 6)
    assert state.temperature == before[0]
    np.testing.assert_array_equal(state.probability, before[1])
    assert serialize(state.model).keys() == model.keys()
    assert all(
        np.array_equal(now, then) for now, then in zip(serialize(state.model).values(), model.values(), strict=True)
    )
    np.testing.assert_array_equal(state.ladders.gaps, before[2])
    assert all(0 < rate <= 1 for rate in sampler.swap_rates(state))


@pytest.mark.slow
def test_informed_exchanges_of_independent_sites_are_all_accepted():
    """With exact odds and additive losses, but for what the number of sites ties together."""
    sites, n = 12, 4
    worth = np.linspace(0.0, 1.5, sites)
    table = 3.0 - ((np.arange(2**sites)[:, None] >> np.arange(sites)) & 1) @ worth
    sampler = table_sampler(table, n, temperature=0.25)
    state = burnt_in(sampler)
    sampler.draw(state, 40)
    assert state.accepted / state.decisions > 0.6


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_no_law_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature above 0"):
        table_sampler(uneven_table(4), 2, temperature=temperature)
