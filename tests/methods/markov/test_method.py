"""The Markov method on a fixed batch with a fixed classifier."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from selection import long_but, slow_but

from mcprune.chain import state
from mcprune.chain.schedules import Schedule
from mcprune.errors import NumericalError
from mcprune.evaluators.base import gates_of
from mcprune.methods.base import Batch
from mcprune.methods.markov.lookahead import Lookahead
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

MIXTURES = [
    {"uniform": 1.0},
    {"block": 1.0},
    {"site": 1.0},
    {"exchange": 1.0},
    {"toggle": 1.0},
    {"informed": 1.0},
    {"site": 1.0, "block": 1.0, "exchange": 2.0, "toggle": 1.0, "informed": 1.0},
]
ONE = Schedule("constant", 1.0, 1.0)
FALLING = Schedule("geometric", 32.0, 6.0, 0.6)


def stand(chain, mask):
    """Put the chain on a mask by hand."""
    chain.state.chain.position[0] = np.where(mask, 4.0, -4.0)
    state.refresh(chain.state.chain, sharpness=chain.state.sharpness)


def warm(value):
    return Schedule("constant", value, value)


def total_loss(bench, chain, alpha, n):
    """L_tot computed independently from the position, in float64 but for the classifier."""
    weights = chain.position()
    gated = GatedModel(bench.model, site_map(bench.model, "inputs,units", 14))
    gates = gates_of(weights, chain.state.sharpness)
    with torch.no_grad():
        logits = gated(bench.batch.features, torch.from_numpy(gates))
    cla = torch.nn.functional.cross_entropy(logits, bench.batch.targets).item()
    s = (
        (weights > 0).astype(float)
        if math.isinf(chain.state.sharpness)
        else 1 / (1 + np.exp(-chain.state.sharpness * weights))
    )
    return cla + alpha * (abs(s.sum() - n) + (s * (1 - s)).sum()) / s.size


@pytest.mark.parametrize("plan", MIXTURES)
@pytest.mark.parametrize("sharpness", [None, ONE])
def test_the_greedy_loss_never_rises_and_is_the_loss_of_where_it_stands(plan, sharpness, bench):
    chain = bench.chain(plan=plan, sharpness=sharpness, alpha=warm(3.0))
    start = total_loss(bench, chain, 3.0, 6)
    losses = [start]
    for block in range(8):
        update = chain.step(bench.batch, (block + 1) / 8)
        assert update.loss == pytest.approx(total_loss(bench, chain, 3.0, 6), abs=2e-6)
        assert update.loss == pytest.approx(update.cla + 3.0 * (update.sel + update.rej), abs=1e-9)
        losses.append(update.loss)
    assert all(after <= before + 1e-9 for before, after in pairwise(losses[1:]))
    assert losses[1] <= start + 2e-6
    # Nothing is dropped at the start, so nothing is exchanged; under hard gates a weight that keeps its sign is a tie.
    moving = MIXTURES[:3] + MIXTURES[4:5] + MIXTURES[6:] if sharpness else [MIXTURES[4], MIXTURES[6]]
    assert (losses[-1] < start - 1e-3) == (plan in moving)


@pytest.mark.slow
@pytest.mark.parametrize(
    "temperature", long_but("greedy traces are compared in test_every_evaluator", [0.0, 0.02], 0.02)
)
@pytest.mark.parametrize("sharpness", [None, Schedule("geometric", 1.0, 8.0)])
@pytest.mark.parametrize("plan", long_but("single moves of the mixture", MIXTURES[1:], MIXTURES[1], MIXTURES[-1]))
def test_the_trace_is_the_same_however_many_are_evaluated_ahead_and_by_whom(plan, sharpness, temperature, bench):
    common = {"plan": plan, "sharpness": sharpness, "temperature": warm(temperature), "alpha": warm(2.0)}
    common |= {"pooled": True, "target": FALLING, "decisions": 40}
    wanted, told = bench.trace(bench.chain("full", lookahead=1, **common), blocks=5)
    for evaluator, ahead in [("full", 3), ("full", 16), ("full", 64), ("fused", 1), ("fused", 64)]:
        trace, again = bench.trace(bench.chain(evaluator, lookahead=ahead, **common), blocks=5)
        np.testing.assert_array_equal(trace, wanted)
        assert [update.moves for update in again] == [update.moves for update in told]
        assert [update.accepted for update in again] == [update.accepted for update in told]
    assert sum(update.proposals for update in told) == 5 * 40


def test_staged_decisions_are_the_same_however_many_are_evaluated_ahead(bench):
    common = {"plan": MIXTURES[-1], "sharpness": ONE, "temperature": warm(0.02), "alpha": warm(0.1)}
    wanted, _ = bench.trace(bench.chain("staged", lookahead=1, **common))
    for ahead in (3, 16, 64):
        np.testing.assert_array_equal(bench.trace(bench.chain("staged", lookahead=ahead, **common))[0], wanted)


@pytest.mark.slow
def test_another_seed_takes_another_way(bench):
    """The control of the test above."""
    one, _ = bench.trace(bench.chain(pooled=True, target=FALLING))
    other, _ = bench.trace(bench.chain(pooled=True, target=FALLING, seed=6))
    assert not np.array_equal(one, other)


@pytest.mark.slow
def test_the_uniform_move_gives_the_same_trace_too(bench):
    common = {"plan": {"uniform": 1.0}, "sharpness": ONE, "alpha": warm(10.0), "delta": warm(0.3)}
    ways = [("full", 1), ("full", 3), ("full", 16), ("full", 64), ("fused", 1), ("fused", 16)]
    traces = [bench.trace(bench.chain(evaluator, lookahead=ahead, **common), 5)[0] for evaluator, ahead in ways]
    for trace in traces[1:]:
        np.testing.assert_array_equal(trace, traces[0])
    assert not np.array_equal(traces[0][0], traces[0][-1])


@pytest.mark.parametrize("evaluator", ["full", "fused"])
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_a_candidate_without_a_finite_loss_is_rejected_and_counted(evaluator, temperature, bench):
    broken = copy.deepcopy(bench)
    with torch.no_grad():
        broken.model.layers[0].weight[:, 0] = 1e20
    broken.batch.features[:, 0] = 1e30  # with its gate open the first layer overflows
    chain = broken.chain(evaluator, temperature=warm(temperature), plan={"toggle": 1.0})
    stand(chain, np.arange(32) != 0)
    nonfinite = 0
    for block in range(4):
        update = chain.step(broken.batch, (block + 1) / 4)
        nonfinite += update.nonfinite
        assert math.isfinite(update.loss)
        assert chain.position()[0] == -4.0
    assert nonfinite > 0


def test_a_current_loss_that_is_not_finite_ends_the_run_with_the_block_and_the_remedy(bench):
    chain = bench.chain()
    chain.step(bench.batch, 0.1)
    broken = Batch(torch.full_like(bench.batch.features, 1e38), bench.batch.targets)
    with pytest.raises(NumericalError, match=r"block 1.*--learning-rate"):
        chain.step(broken, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.05])
@pytest.mark.parametrize(
    "plan",
    long_but(
        "single moves of the mixture",
        [{"uniform": 1.0}, {"site": 1.0}, {"toggle": 1.0}, MIXTURES[-1]],
        {"uniform": 1.0}, MIXTURES[-1],
    ),
)  # fmt: skip
def test_ruling_out_by_the_bound_never_changes_the_trace(plan, temperature, bench):
    common = {"plan": plan, "sharpness": ONE, "temperature": warm(temperature), "alpha": warm(300.0)}
    with_bound, told = bench.trace(bench.chain(bound=0.0, **common))
    without, plain = bench.trace(bench.chain(bound=None, **common))
    np.testing.assert_array_equal(with_bound, without)
    assert [update.accepted for update in told] == [update.accepted for update in plain]
    assert sum(update.rejected_by_bound for update in told) > 5
    assert sum(update.rejected_by_bound for update in plain) == 0


def test_what_the_bound_rules_out_is_not_evaluated_and_a_null_move_is_not_ruled_out(bench):
    chain = bench.chain(sharpness=ONE, plan={"site": 1.0}, alpha=warm(60.0))
    asked = []
    losses = chain.evaluation.evaluator.losses
    chain.evaluation.evaluator.losses = lambda current, moves, limits: (
        asked.append(moves.size.shape[1]) or losses(current, moves)
    )
    chain.method.lookahead = Lookahead(1)
    update = chain.step(bench.batch, 1.0)
    assert sum(asked) == update.proposals - update.rejected_by_bound
    still = bench.chain(plan={"exchange": 1.0}).step(bench.batch, 1.0)
    assert (still.null_moves, still.rejected_by_bound, still.accepted) == (48, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.02])
def test_the_count_follows_the_falling_target_and_then_stays(temperature, bench):
    chain = bench.chain(
        plan={"exchange": 1.0}, pooled=True, target=FALLING, temperature=warm(temperature), alpha=warm(0.0)
    )
    kept = []
    for block in range(20):
        progress = (block + 1) / 20
        update = chain.step(bench.batch, progress)
        wanted = 32 * (6 / 32) ** min(progress / 0.6, 1.0)
        assert update.target == update.kept == math.ceil(wanted - 1e-9)
        kept.append(update.kept)
    assert kept == sorted(kept, reverse=True)
    assert kept[11:] == [6] * 9
    assert kept[0] < 32


@pytest.mark.slow
@pytest.mark.parametrize("temperature", slow_but([0.0, 0.05], 0.05))
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("plan", MIXTURES)
def test_hardening_keeps_exactly_n_the_largest(plan, pooled, temperature, bench):
    """Wherever the chain stands, too many kept or too few, and also before its first block."""
    for sharpness in (None, ONE):
        chain = bench.chain(plan=plan, pooled=pooled, temperature=warm(temperature), sharpness=sharpness)
        for block in range(3):
            mask = chain.finish(bench.batch)
            weights = chain.position()
            assert mask.sum() == 6
            assert weights[mask].min() >= weights[~mask].max()
            chain.step(bench.batch, (block + 1) / 3)
    few = bench.chain(plan=plan, pooled=pooled)
    stand(few, np.arange(32) < 4)
    few.step(bench.batch, 0.5)
    assert few.finish(bench.batch).sum() == 6


def test_what_the_target_had_not_yet_dropped_is_dropped_by_its_price_when_hardening(bench):
    """A run that is stopped early has too many, all of one weight: the lowest indices would be a bad choice."""
    chain = bench.chain(plan={"exchange": 1.0}, pooled=True, target=FALLING, pool=32)
    chain.step(bench.batch, 0.1)
    assert (chain.position() > 0).sum() > 20
    kept = np.flatnonzero(chain.position() > 0)
    mask = chain.finish(bench.batch)
    assert mask.sum() == (chain.position() > 0).sum() == 6
    np.testing.assert_array_equal(mask, chain.position() > 0)
    first = np.isin(np.arange(32), kept[:6])
    prices = chain.evaluation.canonical.at(np.where(np.stack([mask, first]), 4.0, -4.0))
    assert prices[0] < prices[1] - 0.01


@pytest.mark.slow
def test_weights_stay_in_the_box_at_a_temperature_and_are_free_at_none(bench):
    common = {"plan": {"uniform": 1.0}, "sharpness": ONE, "delta": warm(6.0), "alpha": warm(0.0)}
    hot, _ = bench.trace(bench.chain(temperature=warm(50.0), **common))
    assert np.abs(hot).max() <= 8.0
    assert np.abs(hot).max() > 7.0
    flat = Batch(torch.zeros_like(bench.batch.features), bench.batch.targets)
    cold = bench.chain(**common)
    for _ in range(30):
        cold.step(flat, 1.0)
    assert np.abs(cold.position()).max() > 8.0


def test_the_gates_of_training_are_those_of_the_chain(bench):
    chain = bench.chain(sharpness=Schedule("linear", 1.0, 5.0))
    np.testing.assert_allclose(chain.training_gates(), 1 / (1 + np.exp(-4.0)), rtol=1e-6)
    chain.step(bench.batch, 1.0)
    np.testing.assert_allclose(chain.training_gates(), 1 / (1 + np.exp(-5.0 * chain.position())), rtol=1e-5)
    hard = bench.chain(pooled=True)
    hard.step(bench.batch, 1.0)
    np.testing.assert_array_equal(hard.training_gates(), (hard.position() > 0).astype(np.float32))
