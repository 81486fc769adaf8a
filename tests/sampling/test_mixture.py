"""Rungs between loss and model: each has the law of its mixture by enumeration, visits reach the last one, and controls fail."""

import math

import numpy as np
import pytest
from laws import boltzmann, p_value
from table_masks import TableEvaluator, burnt_in, masks_of, table_sampler, uneven_table

from mcprune.chain import tempering
from mcprune.methods.markov.state import Tally
from mcprune.sampling.walks import surrogate
from mcprune.sampling.walks.chains import MaskChains
from mcprune.sampling.walks.surrogate import Mixture

ACCIDENT, FAILURE = 1e-4, 1e-9
SITES, KEEP, TEMPERATURE, CHAINS, RUNGS, HOTTEST, SCALE = 8, 3, 0.15, 16, 3, 5.0, 0.7


def rungs_of(legs=400):
    """Masks (legs, C, rungs, N) of each rung beside a model that is wrong, and what it says of all masks."""
    table = uneven_table(SITES)
    sampler = table_sampler(
        table, KEEP, chains=CHAINS, rungs=RUNGS, temperature=TEMPERATURE, hottest=HOTTEST, lookahead=4
    )
    state = burnt_in(sampler)
    method, model, chain = sampler.method, state.model, state.chains.chain
    model.items += np.random.default_rng(5).normal(0.0, 0.4, SITES)
    method.gates.model, method.gates.mixture = model, Mixture(TEMPERATURE, SCALE)
    state.companions.scale, state.companions.is_started = SCALE, False
    method.load(state.chains, sampler.batch)
    ladders, tally, plan = state.each_ladder(), Tally.empty(len(method.chains)), method.mixture(None, 0.0)
    temperatures = tempering.temperatures(ladders[0], TEMPERATURE, HOTTEST * TEMPERATURE)
    seen = np.zeros((legs, CHAINS, RUNGS, SITES), bool)
    for leg in range(legs):
        method.leg(state.chains, ladders, temperatures, plan, 6, tally)
        method.visit(state.chains, ladders, temperatures, plan, state.companions, tally)
        for rung in range(RUNGS):
            seen[leg, :, rung] = chain.position[method.at_rung(ladders, rung)] > 0
    masks = masks_of(SITES, KEEP)
    codes = masks @ (1 << np.arange(SITES))
    return seen, TEMPERATURE / temperatures, codes, table[codes], SCALE * model.energy(masks)


def p_of(seen, codes, energy):
    codes_seen = seen.reshape(-1, SITES) @ (1 << np.arange(SITES))
    counts = (codes_seen == codes[:, None]).sum(axis=1)
    return p_value(counts, boltzmann(energy, TEMPERATURE))


@pytest.mark.slow
def test_each_rung_has_the_law_of_its_mixture():
    seen, shares, codes, loss, model = rungs_of()
    assert shares[0] == 1.0
    assert shares[-1] == pytest.approx(1 / HOTTEST)
    for rung, share in enumerate(shares):
        own = seen[::4, :, rung]
        assert p_of(own, codes, share * loss + (1.0 - share) * model) > ACCIDENT
        # The control: another share.
        assert p_of(own, codes, (share - 0.2) * loss + (1.2 - share) * model) < FAILURE
    assert p_of(seen[::4, :, 0], codes, loss) > ACCIDENT


@pytest.mark.slow
def test_moves_that_forget_the_model_are_seen(monkeypatch):
    """The control: proposals are those of a ladder of temperatures, swaps those of the mixture."""
    propose = surrogate.SurrogateGates.propose

    def forgetful(self, *arguments):
        mixture, self.mixture = self.mixture, None
        try:
            return propose(self, *arguments)
        finally:
            self.mixture = mixture

    monkeypatch.setattr(surrogate.SurrogateGates, "propose", forgetful)
    seen, shares, codes, loss, model = rungs_of(250)
    share = shares[-1]
    assert p_of(seen[::4, :, -1], codes, share * loss + (1.0 - share) * model) < FAILURE


def test_the_change_of_the_model_by_flipped_sites_is_that_of_its_energies():
    draw = np.random.default_rng(0)
    active = np.array([0, 2, 3, 5, 6])
    items, half = draw.normal(size=5), np.triu(draw.normal(size=(5, 5)), 1)
    pairs, place = half + half.T, np.full(SITES, -1)
    place[active] = np.arange(5)
    for _ in range(20):
        weights, sites = draw.choice([-1.0, 1.0], SITES), draw.permutation(SITES)[: draw.integers(0, 6)]
        after = weights.copy()
        after[sites] *= -1
        before, now = (
            float((one > 0)[active] @ items + 0.5 * (one > 0)[active] @ pairs @ (one > 0)[active])
            for one in (weights, after)
        )
        base = items + (weights > 0)[active] @ pairs
        assert surrogate.change_of(weights, place, base, pairs, sites) == pytest.approx(now - before)


def test_without_a_model_the_rungs_are_a_ladder_of_temperatures():
    mixture, temperatures = Mixture(0.2, 1.0), np.array([0.2, 0.4, 0.8])
    np.testing.assert_allclose(mixture.shares(temperatures), [1.0, 0.5, 0.25])
    np.testing.assert_allclose(mixture.of_model(temperatures), 0.2)
    np.testing.assert_allclose(Mixture(0.2, 0.5).of_model(temperatures), [0.2, 0.2 / 0.75, 0.2 / 0.625])


@pytest.mark.slow
def test_the_model_learns_from_losses_and_never_from_estimates(monkeypatch):
    """An evaluator may stop at a candidate that cannot be accepted: what it returns is above the limit, but below the loss."""
    asked = []

    def losses(self, state, moves, limits=None):
        asked.append(limits is not None)
        return exact(self, state, moves)

    exact = TableEvaluator.losses
    monkeypatch.setattr(TableEvaluator, "losses", losses)
    sampler = table_sampler(uneven_table(SITES), KEEP)
    state = sampler.init()
    while not state.is_burnt_in:
        sampler.burn_in(state)
    assert asked
    assert not any(asked)
    sampler.draw(state, 2)
    assert any(asked)


@pytest.mark.slow
def test_the_last_rung_is_the_one_that_is_visited(monkeypatch):
    visited = []
    visit = MaskChains.visit

    def noted(self, state, ladders, *others):
        before = state.chain.position > 0
        visit(self, state, ladders, *others)
        moved = ((state.chain.position > 0) != before).any(axis=1)
        visited.append((set(np.flatnonzero(moved)), set(self.at_rung(ladders, self.rungs - 1))))

    monkeypatch.setattr(MaskChains, "visit", noted)
    sampler = table_sampler(uneven_table(SITES), KEEP, rungs=3)
    sampler.draw(burnt_in(sampler), 10)
    assert any(moved for moved, _ in visited)
    assert all(moved <= last for moved, last in visited)
    assert math.isfinite(sampler.swap_rates(burnt_in(sampler))[0])
