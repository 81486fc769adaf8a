"""Replicas, adapted delta and learned scores in the Markov method, on a fixed batch with a fixed classifier."""

import math

import numpy as np
import pytest
from selection import long_but

from mcprune.chain import engine, moves, scores, tempering
from mcprune.chain.schedules import Schedule
from mcprune.errors import ConfigError
from mcprune.methods.importance.scorer import ScorerState
from mcprune.methods.markov.informed import Informed
from mcprune.methods.markov.proposals import ProposalState

COLD, HOT = 2e-3, 3e-2
FALLING = Schedule("geometric", 32.0, 6.0, 0.4)
ONE = Schedule("constant", 1.0, 1.0)
MIXTURE = {"site": 1.0, "exchange": 2.0, "toggle": 1.0, "informed": 1.0}


def warm(value):
    return Schedule("constant", value, value)


def ladder(**changes):
    return {"temperature": warm(COLD), "replicas": 3, "hottest": HOT, **changes}


def whole_trace(bench, chain, blocks=4):
    """All that a block leaves: positions of all replicas, their rungs, what is told."""
    out = []
    for block in range(blocks):
        update = chain.step(bench.batch, (block + 1) / blocks)
        counts = update.moves, update.accepted, update.null_moves, update.rejected_by_bound, update.kept
        out.append((chain.state.chain.position.tobytes(), chain.state.ladder.rung.tolist(), counts, update.adapted))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("swap_every", long_but("the same trace at other intervals of swaps", [0, 7, 16], 7))
def test_the_trace_of_all_replicas_is_the_same_however_many_are_evaluated_ahead_and_by_whom(swap_every, bench):
    common = ladder(plan=MIXTURE, sharpness=ONE, pooled=True, target=FALLING, decisions=40, swap_every=swap_every)
    common |= {"adapt_delta": 0.3, "learned": True, "warm_up": 0.6}
    wanted = whole_trace(bench, bench.chain("full", lookahead=1, **common))
    assert any(rung != [0, 1, 2] for _, rung, _, _ in wanted)
    for ahead in (3, 64):
        assert whole_trace(bench, bench.chain("full", lookahead=ahead, **common)) == wanted
    fused = whole_trace(bench, bench.chain("incremental", lookahead=1, **common))
    for ahead in (3, 64):
        assert whole_trace(bench, bench.chain("incremental", lookahead=ahead, **common)) == fused
    assert [part[:2] for part in fused] == [part[:2] for part in wanted]
    assert whole_trace(bench, bench.chain("full", seed=6, **common)) != wanted


@pytest.mark.slow
@pytest.mark.parametrize("evaluator", ["full", "incremental"])
def test_replicas_that_never_swap_are_the_single_chains_of_their_numbers(evaluator, bench, monkeypatch):
    """Bit by bit, pool and hardening too: what one replica does is no business of another."""
    monkeypatch.setattr(tempering, "swap_probability", lambda loss, *_: np.zeros_like(loss))
    common = {"plan": {"exchange": 1.0, "toggle": 1.0}, "pooled": True, "target": FALLING, "pool": 2}
    together = bench.chain(evaluator, **common, **ladder(swap_every=10))
    temperatures = tempering.temperatures(together.state.ladder, COLD, HOT)
    alone = [bench.chain(evaluator, **common, temperature=warm(value)) for value in temperatures]
    for replica, chain in enumerate(alone):
        chain.method.chains = np.array([replica])
    for block in range(6):
        told = together.step(bench.batch, (block + 1) / 6)
        single = [chain.step(bench.batch, (block + 1) / 6) for chain in alone]
        for replica, chain in enumerate(alone):
            np.testing.assert_array_equal(together.state.chain.position[replica], chain.state.chain.position[0])
            np.testing.assert_array_equal(together.state.chain.loss[replica], chain.state.chain.loss[0])
        assert (told.loss, told.kept, told.gate_sum) == (single[0].loss, single[0].kept, single[0].gate_sum)
        assert told.accepted == sum(update.accepted for update in single)
        assert told.proposals == 3 * 48
    assert len({row.tobytes() for row in together.state.chain.position}) == 3
    np.testing.assert_array_equal(together.finish(bench.batch), alone[0].finish(bench.batch))


@pytest.mark.slow
def test_the_coldest_replica_is_what_is_shown_trained_and_hardened(bench):
    chain = bench.chain(plan={"exchange": 1.0}, pooled=True, target=FALLING, **ladder(swap_every=8))
    seen = set()
    for block in range(6):
        update = chain.step(bench.batch, (block + 1) / 6)
        cold = int(np.flatnonzero(chain.state.ladder.rung == 0)[0])
        seen.add(cold)
        np.testing.assert_array_equal(chain.position(), chain.state.chain.position[cold])
        np.testing.assert_array_equal(chain.training_gates(), (chain.state.chain.position[cold] > 0).astype(np.float32))
        assert update.loss == chain.state.chain.loss[cold]
        assert (chain.state.chain.position > 0).sum(axis=1).tolist() == [update.target] * 3
        assert update.temperature == COLD
    assert len(seen) > 1
    np.testing.assert_array_equal(chain.finish(bench.batch), chain.position() > 0)


@pytest.mark.slow
def test_a_replica_is_judged_at_the_temperature_and_proposes_with_the_delta_of_its_rung(bench, monkeypatch):
    chain = bench.chain(
        plan={"site": 1.0, "toggle": 1.0}, sharpness=ONE, adapt_delta=0.4, warm_up=0.3, **ladder(swap_every=6)
    )
    met, advance, propose = [], engine.advance, moves.propose

    def proposed(current, *arguments, **options):
        met.append([chain.state.ladder.rung.copy(), options["delta"]])
        return propose(current, *arguments, **options)

    def advanced(*arguments, **options):
        met[-1].append(options["temperature"])
        return advance(*arguments, **options)

    monkeypatch.setattr(moves, "propose", proposed)
    monkeypatch.setattr(engine, "advance", advanced)
    for block in range(8):
        told = chain.step(bench.batch, (block + 1) / 8).adapted
        for rung, delta, temperature in met:
            np.testing.assert_array_equal(delta, np.array(told.deltas)[rung])
            np.testing.assert_array_equal(temperature, np.array(told.temperatures)[rung])
        turned = {tuple(rung) for rung, _, _ in met}
        met.clear()
    assert len(set(told.deltas)) == 3
    assert turned != {(0, 1, 2)}


@pytest.mark.slow
def test_ladder_and_delta_change_during_the_warm_up_and_never_after(bench):
    common = ladder(plan={"site": 1.0, "exchange": 1.0}, sharpness=ONE, adapt_delta=0.5, swap_every=4, warm_up=0.5)
    chain = bench.chain(**common)
    told = [chain.step(bench.batch, (block + 1) / 20).adapted for block in range(20)]
    assert [part.frozen_at for part in told] == [None] * 10 + [480] * 10
    for name in ("temperatures", "deltas"):
        assert len({tuple(getattr(part, name)) for part in told[:11]}) > 8
        assert len({tuple(getattr(part, name)) for part in told[10:]}) == 1
        assert all(len(getattr(part, name)) == 3 for part in told)
    assert all(part.temperatures[0] == COLD and part.temperatures[-1] == HOT for part in told)
    bounds = chain.state.step_size.bounds
    assert all(bounds[0] <= value <= bounds[1] for part in told for value in part.deltas)
    # Twelve legs a block, the two pairs in turn: six attempts each, counted again from the warm-up's end.
    assert chain.state.ladder.attempts.tolist() == [60, 60]
    assert all(0 <= rate <= 1 for rate in told[-1].swap_rates)


def known(adapted):
    return {name for name, value in adapted._asdict().items() if value is not None}


def test_what_is_not_adapted_is_not_told(bench):
    assert bench.chain().step(bench.batch, 1.0).adapted is None
    only = bench.chain(plan={"site": 1.0}, sharpness=ONE, adapt_delta=0.4).step(bench.batch, 1.0).adapted
    assert known(only) == {"deltas", "frozen_at"}  # the warm-up is over
    assert known(bench.chain(**ladder()).step(bench.batch, 0.1).adapted) == {
        "temperatures",
        "swap_rates",
        "round_trips",
    }


def plans_of(bench, chain, monkeypatch, blocks=10):
    """The plans that each block proposed from, and its candidates with the position they started from."""
    met, propose = [], moves.propose

    def watched(current, *arguments, **options):
        drawn = propose(current, *arguments, **options)
        met[-1].append((options["plan"], current.position.copy(), drawn))
        return drawn

    monkeypatch.setattr(moves, "propose", watched)
    for block in range(blocks):
        met.append([])
        chain.step(bench.batch, (block + 1) / blocks)
    return met


@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_the_scores_are_frozen_in_a_block_and_at_a_temperature_after_the_warm_up(temperature, bench, monkeypatch):
    options = {"plan": {"informed": 1.0, "toggle": 1.0}, "learned": True, "temperature": warm(temperature)}
    blocks = plans_of(bench, bench.chain(**options, warm_up=0.5), monkeypatch)
    used = []
    for block in blocks:
        first = block[0][0]
        used.append(first.add.tobytes() + first.remove.tobytes())
        for plan, position, drawn in block:
            np.testing.assert_array_equal([plan.add, plan.remove], [first.add, first.remove])
            check_ratios(plan, position, drawn)
    kept_changing = 10 if temperature == 0 else 6
    assert len(set(used[:kept_changing])) == kept_changing
    assert len(set(used[kept_changing - 1 :])) == 1


def check_ratios(plan, position, drawn):
    """The q-ratio of every informed candidate, computed independently from section 3's formula with the scores of the block."""
    kept = position[0] > 0
    whole_a, whole_b = plan.remove[kept].sum(), plan.add[~kept].sum()
    for k in np.flatnonzero((drawn.kind[0] == moves.INFORMED) & (drawn.size[0] > 0)):
        i, j = drawn.sites[0, k, :2]
        assert kept[i]
        assert not kept[j]
        a, b = plan.remove, plan.add
        ratio = a[j] * b[i] * whole_a * whole_b / (a[i] * b[j] * (whole_a - a[i] + a[j]) * (whole_b - b[j] + b[i]))
        assert drawn.log_ratio[0, k] == pytest.approx(math.log(ratio), abs=1e-9)


class Given:
    """Scores from outside that grow over the run."""

    def __init__(self, add, remove):
        self.add, self.remove, self.asked = add, remove, []

    def init(self):
        return ProposalState(0.0, ScorerState())

    def update(self, state, statistics, progress):
        self.asked.append(progress)
        statistics.scores[:] = [scores.floored(self.add + progress), scores.floored(self.remove)]


@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_scores_from_outside_take_the_place_of_the_learned_ones(temperature, bench, monkeypatch):
    add, remove = np.arange(32.0), np.arange(32.0)[::-1]
    options = {"plan": {"informed": 1.0, "toggle": 1.0}, "learned": True, "temperature": warm(temperature)}
    chain = bench.chain(**options, warm_up=0.5)
    chain.method.informed = Informed(Given(add, remove), None)
    chain.state = chain.method.init()
    blocks = plans_of(bench, chain, monkeypatch, 4)
    # At a temperature the law would be another one if the scores went on changing.
    asked = chain.method.informed.proposals.asked
    assert asked == ([0.25, 0.5, 0.75, 1.0] if temperature == 0 else [0.25, 0.5])
    for block, progress in zip(blocks, [0.25, 0.5, *([0.75, 1.0] if temperature == 0 else [0.5, 0.5])], strict=True):
        np.testing.assert_array_equal(block[0][0].add, scores.floored(add + progress))
        np.testing.assert_array_equal(block[0][0].remove, scores.floored(remove))


def test_what_does_not_go_together_is_refused(bench):
    with pytest.raises(ConfigError, match=r"replicas=3 at temperature 0.*give temperature a positive value"):
        bench.chain(**ladder(temperature=warm(0.0)))
    with pytest.raises(ConfigError, match="must be above 0"):
        bench.chain(**ladder(temperature=Schedule("linear", 0.01, 0.0)))
    with pytest.raises(ConfigError, match=r"hottest=0\.03, but the coldest"):
        bench.chain(**ladder(temperature=Schedule("linear", 0.01, 0.05)))
    with pytest.raises(ConfigError, match="none of the moves uses delta"):
        bench.chain(plan={"exchange": 1.0}, adapt_delta=0.3)
    with pytest.raises(ConfigError, match="a schedule of its own"):
        bench.chain(plan={"site": 1.0}, adapt_delta=0.3, delta=Schedule("linear", 1.0, 2.0))
