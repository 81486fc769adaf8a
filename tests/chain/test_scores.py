"""Scores that the chain learns from its own proposals: worth having, never zero, and no bias once frozen."""

import itertools
import math

import numpy as np
import pytest

from mcprune.chain import engine, moves, scores, state
from mcprune.errors import ConfigError

SITES, KEEP, SEEDS = 80, 8, 12
COST = np.concatenate([np.linspace(1.0, 2.0, KEEP), np.full(SITES - KEEP, 0.0)])


def loss_of(positions):
    """What the dropped sites cost: KEEP of them matter, the others by crumbs that differ."""
    crumbs = 1e-3 * np.random.default_rng(1).random(SITES)
    return ((positions <= 0) * (COST + crumbs)).sum(axis=-1)


def decisions_until_found(kind, seed, turned=False, most=20_000):
    """Proposals until all sites that matter are kept, at T = 0; blocks of 32."""
    start = np.where(np.random.default_rng(seed).permutation(np.arange(SITES) < KEEP), 4.0, -4.0)
    here = state.new_state(start, sharpness=np.inf)
    statistics, chains = scores.new_statistics(SITES), np.zeros(1, np.int64)
    rule = {"temperature": 0.0, "alpha": 0.0, "n": KEEP, "seed": seed, "chains": chains}
    engine.set_loss(here, loss_of(here.position), alpha=0.0, n=KEEP)
    while here.step[0] < most:
        add, remove = statistics.scores
        if turned:
            add, remove = scores.floored(1 / add), scores.floored(1 / remove)
        plan = moves.move_plan(**{kind: 1.0}, add=add, remove=remove)
        until = here.step + 32
        while (left := until - here.step).any():
            drawn = moves.propose(here, 8, plan=plan, delta=1.0, sharpness=np.inf, seed=seed, chains=chains)
            losses = loss_of(moves.dense(here, drawn))
            _, info = engine.advance(here, drawn, losses, sharpness=np.inf, room=left, **rule)
            scores.count(statistics, drawn, info, np.zeros_like(losses, bool))
            if (here.position[0, :KEEP] > 0).all():
                return int(here.step[0])
        scores.end_block(statistics)
    return most


@pytest.mark.slow
def test_where_few_sites_matter_learned_scores_find_them_sooner_and_inverted_ones_later():
    exchange = np.array([decisions_until_found("exchange", seed) for seed in range(SEEDS)])
    informed = np.array([decisions_until_found("informed", seed) for seed in range(SEEDS)])
    inverted = np.array([decisions_until_found("informed", seed, turned=True) for seed in range(SEEDS)])
    # 10 of 12 by chance, were the two equal: .019
    assert (informed < exchange).sum() >= 10
    assert np.median(informed) < 0.7 * np.median(exchange)
    assert (inverted < exchange).sum() <= 3
    assert np.median(inverted) > 1.3 * np.median(exchange)


def test_scores_are_positive_sum_to_one_and_begin_equal():
    statistics = scores.new_statistics(5)
    np.testing.assert_allclose(statistics.scores, 0.2)
    scores.end_block(statistics)
    np.testing.assert_allclose(statistics.scores, 0.2)
    draw = np.random.default_rng(0)
    for _ in range(50):
        for part in statistics[:4]:
            part += 1e3 * draw.random(part.shape) ** 8
        statistics.accepted[:] = np.minimum(statistics.accepted, statistics.tries)
        statistics.change[:] *= draw.choice([-1, 1], statistics.change.shape)
        scores.end_block(statistics)
        np.testing.assert_allclose(statistics.scores.sum(axis=1), 1.0)
        assert statistics.scores.min() >= scores.FLOOR / 5 - 1e-12


def test_what_was_accepted_and_what_lowered_the_loss_scores_higher():
    statistics = scores.new_statistics(3)
    statistics.tries[:] = statistics.known[:] = 10.0
    statistics.accepted[scores.ADD] = [1.0, 2.0, 5.0]
    statistics.change[scores.REMOVE] = [3.0, 0.0, -3.0]
    scores.end_block(statistics)
    assert (np.diff(statistics.scores, axis=1) > 0).all()
    np.testing.assert_allclose(statistics.tries, 10 * scores.KEPT)


def test_every_consumed_move_is_counted_once_and_made_up_losses_are_not():
    here = state.new_state(np.where(np.arange(10) < 4, 2.0, -2.0), sharpness=np.inf)
    engine.set_loss(here, 1.0, alpha=0.0, n=4)
    plan = moves.move_plan(exchange=1, toggle=1, site=1)
    statistics, seen = scores.new_statistics(10), np.zeros((2, 10))
    key = {"seed": 1, "chains": np.zeros(1, np.int64)}
    for turn in range(30):
        drawn = moves.propose(here, 6, plan=plan, delta=1.0, sharpness=np.inf, **key)
        losses = np.full((1, 6), 2.0)
        losses[0, turn % 6] = 0.999**turn  # the only one that can be accepted
        unknown = np.arange(6)[None] == 0
        before = here.position.copy()
        _, info = engine.advance(here, drawn, losses, temperature=0.0, alpha=0.0, n=4, sharpness=np.inf, **key)
        scores.count(statistics, drawn, info, unknown)
        for k in range(info.consumed[0]):
            for site in drawn.sites[0, k][: drawn.size[0, k]] if drawn.kind[0, k] != moves.SITE else []:
                seen[scores.REMOVE if before[0, site] > 0 else scores.ADD, site] += 1
    np.testing.assert_array_equal(statistics.tries, seen)
    assert statistics.known.sum() < statistics.tries.sum()
    assert 0 < statistics.accepted.sum() < statistics.tries.sum()


def test_detailed_balance_holds_exactly_under_frozen_learned_scores():
    """pi(x) q(y|x) a(x, y) = pi(y) q(x|y) a(y, x) on a shell, with the engine's own log ratios; without them it fails."""
    draw, temperature = np.random.default_rng(3), 0.4
    statistics = scores.new_statistics(5)
    for part in statistics[:3]:
        part += draw.random(part.shape)
    scores.end_block(statistics)
    add, remove = statistics.scores
    plan, energy = moves.move_plan(informed=1, add=add, remove=remove), draw.random(32)
    ratios = {}
    shell = [frozenset(kept) for kept in itertools.combinations(range(5), 2)]
    for kept in shell:
        here = state.new_state(np.where(np.isin(np.arange(5), list(kept)), 2.0, -2.0), sharpness=np.inf)
        drawn = moves.propose(here, 400, plan=plan, delta=0.0, sharpness=np.inf, seed=0, chains=np.zeros(1, np.int64))
        for (i, j), ratio in zip(drawn.sites[0], drawn.log_ratio[0], strict=True):
            ratios[kept, kept - {int(i)} | {int(j)}] = float(ratio)
    assert len(ratios) == 10 * 6

    def flow(x, y, ratio):
        (i,), (j,) = x - y, y - x
        chance = remove[i] / remove[list(x)].sum() * add[j] / add[[s for s in range(5) if s not in x]].sum()
        level = {z: energy[sum(1 << site for site in z)] for z in (x, y)}
        return (
            math.exp(-level[x] / temperature) * chance * min(1.0, math.exp((level[x] - level[y]) / temperature + ratio))
        )

    even = [abs(flow(x, y, ratios[x, y]) - flow(y, x, ratios[y, x])) for x, y in ratios]
    plain = [abs(flow(x, y, 0.0) - flow(y, x, 0.0)) for x, y in ratios]
    assert max(even) < 1e-14
    assert max(plain) > 1e-4


def test_scores_from_outside_are_checked_and_floored():
    np.testing.assert_allclose(scores.floored(np.array([3.0, 0.0, 1.0])), 0.8 * np.array([0.75, 0, 0.25]) + 0.2 / 3)
    for bad in ([0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0], [[1.0]]):
        with pytest.raises(ConfigError, match="finite, none negative"):
            scores.floored(np.array(bad))
