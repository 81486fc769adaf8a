"""Replicas on a ladder: each rung has its own Boltzmann law although temperatures change hands; wrong swaps must fail.

Samples are every THIN-th round of one long run, more than 10 integrated autocorrelation times apart, so chi-square has its
textbook law. A right ladder fails with probability 1e-4 a rung over the choice of seeds (they are fixed), and wrong swaps come
out below 1e-9.
"""

import numpy as np
import pytest
from laws import boltzmann, codes_of, p_value
from selection import long_but

from mcprune.chain import diagnostics, engine, moves, philox, state, tempering
from mcprune.errors import ConfigError

SITES, RUNGS, ROUNDS, EVERY, THIN = 4, np.array([0.15, 0.4, 1.0]), 14_000, 8, 20
TABLE = np.random.default_rng(2).random(2**SITES)


def tempered(rounds, table=TABLE, rungs=RUNGS, every=EVERY, adapts=False):
    """Codes and losses (rounds, R) by rung, and the ladder, of toggles with a round of swaps after every `every` steps."""
    sites, replicas = int(np.log2(table.size)), rungs.size
    here = state.new_state(np.full((replicas, sites), 1.5), sharpness=np.inf)
    ladder, chains, plan = tempering.new_ladder(replicas), np.arange(replicas), moves.move_plan(toggle=1)
    codes, losses = np.empty((rounds, replicas), np.int64), np.empty((rounds, replicas))
    for t in range(rounds):
        if adapts:
            tempering.adapt(ladder)
            rungs = tempering.temperatures(ladder, rungs[0], rungs[-1])
        engine.run_table(
            here, every, table=table, plan=plan, delta=0.0, temperature=rungs[ladder.rung], alpha=0.0, n=1.0,
            sharpness=np.inf, seed=4, chains=chains,
        )  # fmt: skip
        tempering.swap(ladder, here.loss, rungs, seed=4, step=int(here.step[0]))
        codes[t, ladder.rung], losses[t, ladder.rung] = codes_of(here.position), here.loss
    return codes, losses, ladder


@pytest.mark.slow
def test_every_rung_visits_by_its_own_boltzmann_law_with_swaps_on():
    codes, losses, ladder = tempered(ROUNDS)
    for rung, temperature in enumerate(RUNGS):
        assert 10 * diagnostics.autocorrelation_time(losses[:, rung]) < THIN
        counts = np.bincount(codes[THIN::THIN, rung], minlength=TABLE.size)
        assert p_value(counts, boltzmann(TABLE, temperature)) > 1e-4
        assert p_value(counts, boltzmann(TABLE, temperature / 4)) < 1e-9
    rates = ladder.swaps / ladder.attempts
    assert ((rates > 0.1) & (rates < 0.95)).all()
    # What the rates should be, by enumeration; 7,000 correlated attempts scatter by .012.
    due = [exact_rate(TABLE, RUNGS[i], RUNGS[i + 1]) for i in range(2)]
    np.testing.assert_allclose(rates, due, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", long_but("another control", ["sign", "always"], "sign"))
def test_wrong_swaps_are_another_law(wrong, monkeypatch):
    right = tempering.swap_probability
    mutants = {
        "sign": lambda loss, other, cold, hot: right(other, loss, cold, hot),
        "always": lambda loss, other, cold, hot: np.ones_like(loss),
    }
    monkeypatch.setattr(tempering, "swap_probability", mutants[wrong])
    codes, _, _ = tempered(ROUNDS)
    counts = np.bincount(codes[THIN::THIN, 0], minlength=TABLE.size)
    assert p_value(counts, boltzmann(TABLE, RUNGS[0])) < 1e-9


def exact_rate(table, cold, hot):
    """Mean swap probability of two rungs under their laws."""
    chance = tempering.swap_probability(table[:, None], table[None, :], cold, hot)
    return float(boltzmann(table, cold) @ chance @ boltzmann(table, hot))


def test_the_swap_probability_is_that_of_detailed_balance():
    draw = np.random.default_rng(0)
    one, other, cold, hot = draw.random((4, 50)) + 0.1
    forth = tempering.swap_probability(one, other, cold, hot)
    back = tempering.swap_probability(other, one, cold, hot)
    np.testing.assert_allclose(forth * np.exp(-one / cold - other / hot), back * np.exp(-other / cold - one / hot))
    np.testing.assert_allclose(np.maximum(forth, back), 1.0)


def test_replicas_make_round_trips_and_none_across_a_gap_that_is_too_wide():
    _, _, ladder = tempered(2000)
    assert ladder.trips.sum() > 50
    steep = np.where(
        np.arange(2**14) == 2**14 - 1, 0.0, 100.0
    )  # the cold replica stays at it, a hot one hardly meets it
    _, _, stuck = tempered(300, table=steep, rungs=np.array([0.01, 1e6]))
    assert stuck.trips.sum() == 0


def test_round_trips_are_counted_from_the_coldest_to_the_hottest_and_back():
    ladder = tempering.new_ladder(3)
    # losses that swap every pair that is asked: the hotter rung always holds the lower loss
    loss = np.zeros(3)
    where = []
    for step in range(12):
        loss[np.argsort(ladder.rung)] = [3.0, 2.0, 1.0]
        tempering.swap(ladder, loss, RUNGS, seed=0, step=step)
        where.append(ladder.rung.tolist())
    assert where[:3] == [[1, 0, 2], [2, 0, 1], [2, 1, 0]]
    # Replica 0 starts at the coldest and is back after 5 rounds; a full turn of the three takes 6.
    assert [row[0] for row in where] == [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]
    assert ladder.trips[0] == 2
    np.testing.assert_array_equal(ladder.swaps, ladder.attempts)
    tempering.forget(ladder)
    assert not ladder.trips.any()
    assert not ladder.attempts.any()


@pytest.mark.long("methods/markov/test_tempering adapts a ladder as well")
def test_the_adapted_ladder_evens_the_swap_rates_and_keeps_its_ends():
    """One mask at 0 and 63 about 1: all the heat lies at one temperature, where even gaps hardly swap."""
    table = 1.0 + 0.1 * np.random.default_rng(5).random(64)
    table[-1] = 0.0
    rungs = tempering.temperatures(tempering.new_ladder(6), 0.05, 2.0)
    before = [exact_rate(table, rungs[i], rungs[i + 1]) for i in range(5)]
    _, _, ladder = tempered(6000, table=table, rungs=rungs, every=20, adapts=True)
    found = tempering.temperatures(ladder, 0.05, 2.0)
    after = [exact_rate(table, found[i], found[i + 1]) for i in range(5)]
    assert (found[0], found[-1]) == (0.05, 2.0)
    assert (np.diff(found) > 0).all()
    assert np.ptp(before) > 0.4
    assert np.ptp(after) < 0.15
    assert min(after) > 1.5 * min(before)


def test_the_ladder_waits_until_every_pair_was_asked_and_a_pair_never_collapses():
    ladder = tempering.new_ladder(4)
    rungs = tempering.temperatures(ladder, 1.0, 8.0)
    np.testing.assert_allclose(rungs, [1, 2, 4, 8])
    assert not tempering.adapt(ladder)
    tempering.swap(ladder, np.zeros(4), rungs, seed=0, step=0)
    assert not tempering.adapt(ladder)
    tempering.swap(ladder, np.zeros(4), rungs, seed=0, step=1)
    assert tempering.adapt(ladder)
    np.testing.assert_allclose(ladder.gaps, 1 / 3)
    for _ in range(5000):
        ladder.chance[:] = [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
        tempering.adapt(ladder)
    assert ladder.gaps.min() >= 0.9 * tempering.NARROWEST / 3
    assert ladder.gaps.sum() == pytest.approx(1.0)
    two = tempering.new_ladder(2)
    tempering.swap(two, np.zeros(2), np.array([1.0, 2.0]), seed=0, step=0)
    assert not tempering.adapt(two)


def test_swaps_are_a_function_of_seed_step_and_pair_and_meet_no_other_purpose():
    rungs, loss = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.9, 0.1, 0.8])

    def swapped(seed, step):
        return tuple(tempering.swap(tempering.new_ladder(4), loss, rungs, seed=seed, step=step))

    assert swapped(0, 3) == swapped(0, 3)
    assert len({swapped(0, step) for step in range(40)}) > 2
    assert len({swapped(seed, 3) for seed in range(40)}) > 2
    drawn = [philox.uniforms(0, 0, 3, purpose, 1)[0] for purpose in range(7)]
    assert len(set(drawn)) == 7


def test_a_ladder_without_two_ends_is_refused():
    ladder = tempering.new_ladder(2)
    for coldest, hottest in [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, np.inf)]:
        with pytest.raises(ConfigError, match="0 < coldest < hottest"):
            tempering.temperatures(ladder, coldest, hottest)
    assert tempering.temperatures(tempering.new_ladder(1), 0.0, np.inf).tolist() == [0.0]
    with pytest.raises(ConfigError, match="at least one chain"):
        tempering.new_ladder(0)


@pytest.mark.parametrize("ahead", [1, 3, 16])
def test_a_replica_consumes_no_more_than_its_room_and_the_rest_is_as_if_never_proposed(ahead):
    table, plan, chains = np.random.default_rng(0).random(32), moves.move_plan(toggle=2, exchange=1), np.arange(3)
    rule = {"temperature": 0.3, "alpha": 1.0, "n": 2.0, "seed": 7, "chains": chains}
    until = np.array([40, 7, 0])
    here = state.new_state(np.full((3, 5), 2.0), sharpness=1.0)
    engine.set_loss(here, table[codes_of(here.position)], alpha=1.0, n=2.0)
    counted = np.zeros((3, 3), np.int64)
    while (left := until - here.step).any():
        drawn = moves.propose(here, ahead, plan=plan, delta=1.0, sharpness=1.0, seed=7, chains=chains)
        losses = table[codes_of(moves.dense(here, drawn))]
        _, info = engine.advance(here, drawn, losses, sharpness=1.0, room=left, **rule)
        assert (info.consumed <= left).all()
        counted += [info.consumed, info.proposed.sum(axis=1), np.isfinite(info.loss_change).sum(axis=1)]
    np.testing.assert_array_equal(counted, [until] * 3)
    for replica in range(3):
        alone = state.new_state(np.full((1, 5), 2.0), sharpness=1.0)
        engine.run_table(
            alone, int(until[replica]), table=table, plan=plan, delta=1.0, sharpness=1.0,
            **{**rule, "chains": chains[replica : replica + 1]},
        )  # fmt: skip
        for one, other in zip(alone, here, strict=True):
            np.testing.assert_array_equal(one[0], other[replica])
    with pytest.raises(ConfigError, match="room"):
        engine.advance(here, drawn, losses, sharpness=1.0, room=np.zeros(2, np.int64), **rule)
