"""Companions: each rung has the law of the model at its temperature; trading places with them leaves the law of the chain."""

import numpy as np
import pytest
from laws import boltzmann, p_value
from mask_laws import all_masks

from mcprune.sampling.walks.companions import HOTTEST, Companions
from mcprune.sampling.walks.loss_model import LossModel

SITES, KEEP, TEMPERATURE, CHAINS, LEGS = 8, 3, 0.4, 60, 120
ACCIDENT, FAILURE = 1e-4, 1e-9


@pytest.fixture(scope="module")
def model():
    draw = np.random.default_rng(0)
    out = LossModel.of(SITES)
    out.items[:] = draw.normal(size=SITES)
    pairs = np.triu(draw.normal(0.0, 0.5, (SITES, SITES)), 1)
    out.pairs[:] = pairs + pairs.T
    out.share[:] = draw.dirichlet(np.ones(SITES))
    out.tries = 4
    return out


def roamed(model, monkeypatch, legs=LEGS):
    """Masks of all companions after each leg (legs, C, K, M)."""
    monkeypatch.setattr("mcprune.sampling.walks.companions.TRIES", 8)
    companions = Companions.of(CHAINS, KEEP, SITES)
    here = np.tile(np.arange(SITES) < KEEP, (CHAINS, 1))
    out = []
    for _ in range(legs):
        companions.advance(model, here, TEMPERATURE, 1, np.arange(CHAINS))
        out.append(companions.masks.copy())
    return np.stack(out)


def counts_of(seen, masks):
    codes = 1 << np.arange(SITES)
    return (seen.reshape(-1, SITES) @ codes == (masks @ codes)[:, None]).sum(axis=1)


def test_each_rung_follows_the_model_at_its_temperature(model, monkeypatch):
    seen, masks = roamed(model, monkeypatch), all_masks(SITES, KEEP)
    assert (seen.sum(axis=3) == KEEP).all()
    temperatures = np.geomspace(TEMPERATURE, HOTTEST * TEMPERATURE, seen.shape[2])
    for rung, temperature in enumerate(temperatures):
        counts = counts_of(seen[::6, :, rung], masks)
        assert p_value(counts, boltzmann(model.energy(masks), temperature)) > ACCIDENT
        assert p_value(counts, boltzmann(model.energy(masks), 1.5 * temperature)) < FAILURE or rung


def test_companions_begin_at_the_masks_of_the_chains_and_again_after_a_change_of_the_model(model, monkeypatch):
    monkeypatch.setattr("mcprune.sampling.walks.companions.TRIES", 0)
    companions = Companions.of(2, KEEP, SITES)
    here = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]], bool)
    companions.advance(model, here, TEMPERATURE, 1, np.arange(2))
    np.testing.assert_array_equal(companions.masks, np.repeat(here[:, None], companions.masks.shape[1], axis=1))
    companions.end_round(is_last=False)
    companions.advance(model, here[::-1], TEMPERATURE, 1, np.arange(2))
    np.testing.assert_array_equal(companions.masks[:, 0], here[::-1])


@pytest.mark.parametrize(("accepted", "is_on"), [(0, False), (1, False), (40, True)])
def test_companions_whose_visits_are_hardly_accepted_stay_away_from_the_draws(accepted, is_on):
    companions = Companions.of(2, KEEP, SITES)
    companions.asked, companions.accepted = 1000, accepted
    companions.end_round(is_last=False)
    assert companions.is_on
    companions.asked, companions.accepted = 1000, accepted
    companions.end_round(is_last=True)
    assert companions.is_on == is_on


def test_the_model_counts_less_where_it_exaggerates():
    companions, draw = Companions.of(2, KEEP, SITES), np.random.default_rng(0)
    energy = draw.normal(size=4000)
    companions.learn(energy, 0.6 * energy + 0.5 * draw.normal(size=4000))
    assert companions.scale == pytest.approx(0.6, abs=0.03)
    companions.learn(energy, 3.0 * energy)
    assert companions.scale == 1.0
    companions.learn(np.zeros(4), np.arange(4.0))
    assert companions.scale == 1.0
