"""Gates by rank in the method: n holds at every step, one trace for every lookahead and evaluator, walks cost nothing."""

import numpy as np
import pytest
from selection import long_but

from mcprune.chain.schedules import Schedule
from mcprune.errors import ConfigError
from mcprune.methods.markov.gates import WALKS, from_cut
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.items import Fixed
from mcprune.sites.space import SearchSpace

MIXTURES = [
    {"site": 1.0},
    {"site": 3.0, "exchange": 1.0},
    {"block": 1.0},
    {"uniform": 1.0},
    {"site": 2.0, "block": 1.0, "exchange": 2.0, "toggle": 1.0, "informed": 1.0},
]
FALLING = Schedule("geometric", 32.0, 6.0, 0.6)


def constant(value):
    return Schedule("constant", value, value)


def layered_space(sites, keep, least=(1, 1, 1), fixed=None):
    """Masks of `keep` sites in which each layer keeps one."""
    budget = Budget((CountBudget("sites", tuple(range(len(sites.groups))), keep),))
    return SearchSpace(sites, budget, fixed or Fixed(), least=least, final_least=least)


@pytest.mark.slow
@pytest.mark.parametrize(
    "temperature", long_but("greedy traces are compared in test_every_evaluator", [0.0, 0.02], 0.02)
)
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize(
    "plan",
    long_but("single moves of the mixture", MIXTURES, MIXTURES[0], MIXTURES[-1]),
    ids=lambda plan: "+".join(plan),
)
def test_the_trace_is_the_same_however_many_are_evaluated_ahead_and_by_whom(plan, pooled, temperature, bench):
    common = {"plan": plan, "temperature": constant(temperature), "by_rank": True, "pooled": pooled, "target": FALLING}
    common |= {"decisions": 40, "delta": constant(0.4)}
    trace, blocks = bench.trace(bench.chain("full", lookahead=1, **common), blocks=5)
    for evaluator, ahead in [("full", 3), ("full", 64), ("fused", 1), ("fused", 16)]:
        other, again = bench.trace(bench.chain(evaluator, lookahead=ahead, **common), blocks=5)
        np.testing.assert_array_equal(other, trace)
        assert [info.moves for info in again] == [info.moves for info in blocks]
    assert [info.kept for info in blocks] == (trace > 0).sum(axis=1).tolist() == [info.target for info in blocks]
    assert blocks[-1].kept == 6
    # every block decides as often, however many walks there are between
    assert all(info.decisions == 40 for info in blocks if 0 < info.kept < 32)
    assert all(info.proposals >= info.decisions + info.null_moves for info in blocks)
    assert all(info.evaluated <= 200 for info in blocks)
    if plan == {"site": 1.0}:
        assert sum(info.proposals for info in blocks) > 3 * 200


def test_another_seed_takes_another_way(bench):
    """The control of the test above."""
    common = {"plan": {"site": 1.0}, "by_rank": True, "pooled": True, "target": FALLING}
    assert not np.array_equal(*(bench.trace(bench.chain(seed=seed, **common), blocks=4)[0] for seed in (5, 6)))


def test_a_delta_that_reaches_nobody_ends_its_block_without_a_decision(bench):
    chain = bench.chain(plan={"site": 1.0}, by_rank=True, delta=constant(1e-12), decisions=3)
    info = chain.step(bench.batch, 1.0)
    assert (info.proposals, info.decisions, info.accepted) == (3 * WALKS, 0, 0)
    assert info.evaluated == 1  # the current mask


def test_while_all_sites_are_kept_a_block_is_short(bench):
    chain = bench.chain(plan={"site": 1.0}, by_rank=True, keep=32, decisions=30)
    info = chain.step(bench.batch, 1.0)
    assert (info.kept, info.proposals, info.decisions) == (32, 30, 0)


@pytest.mark.slow
@pytest.mark.parametrize("pooled", [True, False])
def test_each_layer_keeps_a_site_and_fixed_sites_stay(pooled, bench):
    sites = bench.chain().method.space.sites
    fixed = Fixed(np.array([3, 15]), np.array([0, 30]))
    chain = bench.chain(
        space=layered_space(sites, 5, fixed=fixed), keep=3, plan={"site": 2.0, "block": 1.0, "exchange": 1.0}, by_rank=True,
        pooled=pooled, target=Schedule("geometric", 28.0, 3.0, 0.5), delta=constant(1.0), temperature=constant(0.05),
    )  # fmt: skip
    layer = np.repeat(np.arange(3), [group.size for group in sites.groups])
    seen = set()
    for block in range(12):
        info = chain.step(bench.batch, (block + 1) / 12)
        mask = chain.position() > 0
        assert mask[fixed.kept].all()
        assert not mask[fixed.dropped].any()
        assert len(np.unique(layer[mask])) == 3
        assert info.kept == info.target == mask.sum()
        seen.add(mask.tobytes())
    assert len(seen) > 6
    assert (chain.finish(bench.batch) == mask).all()
    assert mask.sum() == 5


@pytest.mark.slow
def test_replicas_hold_n_each_and_swap(bench):
    chain = bench.chain(
        plan={"site": 1.0}, by_rank=True, pooled=True, temperature=constant(0.01), replicas=3, hottest=0.2, swap_every=16,
        target=FALLING, adapt_delta=0.9, delta=constant(0.2),
    )  # fmt: skip
    for block in range(8):
        info = chain.step(bench.batch, (block + 1) / 8)
        assert ((chain.state.chain.position > 0).sum(axis=1) == info.kept).all()
    assert info.decisions == 3 * 48
    assert chain.state.ladder.swaps.sum() > 0
    assert np.unique(chain.state.weights, axis=0).shape[0] == 3
    assert (chain.state.step_size.updates > 0).all()


def test_adaptation_counts_walks_as_accepted(bench):
    """At a tiny delta nearly every step is a walk: the share of accepted steps is near 1, so delta grows."""
    chain = bench.chain(
        plan={"site": 1.0}, by_rank=True, temperature=constant(0.01), adapt_delta=0.5, delta=constant(0.01), decisions=4
    )
    chain.step(bench.batch, 0.1)
    assert chain.state.step_size.delta[0] > 0.02


def test_a_position_is_the_distance_from_the_cut(bench):
    weights, mask = np.array([0.5, -0.25, 0.0, 1.0]), np.array([1.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(from_cut(weights, mask), [0.25, -0.5, -0.25, 0.75])
    assert (from_cut(weights, np.ones(4)) > 0).all()
    # a layer's only site may lie below the cut: its sign tells the mask all the same
    assert (np.sign(from_cut(weights, -mask)) == -mask).all()
    chain = bench.chain(plan={"site": 1.0}, by_rank=True)
    chain.step(bench.batch, 1.0)
    assert set(chain.training_gates()) == {0.0, 1.0}
    assert chain.training_gates().sum() == 6


def test_a_weight_outside_of_the_box_is_no_state(bench):
    chain = bench.chain(plan={"site": 1.0}, by_rank=True)
    chain.step(bench.batch, 1.0)
    chain.method.validate(chain.state)
    chain.state.weights[0, 3] = np.nan
    with pytest.raises(ValueError, match="box"):
        chain.method.validate(chain.state)


def test_a_budget_of_several_counts_is_no_cut(bench):
    sites = bench.chain().method.space.sites
    space = SearchSpace(sites, Budget((CountBudget("inputs", (0,), 3), CountBudget("units", (1, 2), 4))))
    with pytest.raises(ConfigError, match="--gates hard"):
        bench.chain(space=space, by_rank=True, pooled=True)
