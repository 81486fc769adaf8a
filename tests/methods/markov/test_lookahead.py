"""How many candidates are evaluated ahead: the choice against brute force on known costs, and the cost of learning it."""

import tracemalloc

import numpy as np
import pytest

from mcprune.chain import moves, state
from mcprune.evaluators.base import gates_of
from mcprune.methods.markov.evaluation import take
from mcprune.methods.markov.lookahead import BYTES, TIE, Lookahead, consumed, fitting


class Running:
    """The choice and what it has learned."""

    def __init__(self, cap):
        self.lookahead = Lookahead(cap)
        self.state = self.lookahead.init()

    def size(self):
        return self.lookahead.size(self.state)

    def best(self):
        return self.lookahead.best(self.state)

    def observe(self, *batch):
        self.lookahead.observe(self.state, *batch)


def price(size, acceptance, first, slope):
    return (first + slope * size) / consumed(size, acceptance)


def simulate(ahead, acceptance, first, slope, decisions=6_000, noise=0.0, block=64, seed=0):
    """Seconds a decision of a chain whose costs are known; blocks cut the batches as the chain's do."""
    draw = np.random.default_rng(seed)
    spent, done, left = 0.0, 0, block
    while done < decisions:
        size = min(ahead.size() if isinstance(ahead, Running) else ahead, left)
        hits = np.flatnonzero(draw.random(size) < acceptance)
        used = int(hits[0]) + 1 if hits.size else size
        seconds = (first + slope * size) * (1.0 + noise * draw.exponential())
        spent += seconds
        if isinstance(ahead, Running):
            ahead.observe(size, seconds, used, int(hits.size > 0))
        done += used
        left = left - used or block
    return spent / done


def test_consumed_decisions_are_the_mean_of_a_cut_geometric_law():
    draw = np.random.default_rng(1)
    for acceptance in (0.01, 0.1, 0.5):
        hits = draw.random((40_000, 16)) < acceptance
        used = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 16)
        # 5 standard errors: a false alarm once in a million
        assert abs(used.mean() - consumed(16, acceptance)) < 5 * used.std() / 200
    assert consumed(7, 0.0) == 7
    assert consumed(7, 1.0) == 1
    assert consumed(64, 1e-12) == pytest.approx(64)


@pytest.mark.parametrize("acceptance", [0.0, 0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize(("first", "slope"), [(1.0, 0.02), (1.0, 1.0), (0.05, 1.0), (0.0, 1.0), (1.0, 0.0)])
def test_the_size_is_the_best_one_and_learning_it_costs_little(acceptance, first, slope):
    ahead = Running(64)
    spent = simulate(ahead, acceptance, first, slope)
    assert min(2 * ahead.best(), 64) >= 1
    wanted = min(price(size, ahead.state.acceptance, first, slope) for size in ahead.lookahead.sizes)
    assert price(ahead.best(), ahead.state.acceptance, first, slope) <= TIE * wanted * 1.01
    fixed = {size: simulate(size, acceptance, first, slope) for size in ahead.lookahead.sizes}
    assert spent <= 1.05 * fixed[1]
    assert spent <= 1.25 * min(fixed.values())


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_the_machine_does_not_mislead_it(seed):
    """Times with an exponential tail of their own size; nothing is asserted of a clock."""
    ahead = Running(64)
    spent = simulate(ahead, 0.1, 0.1, 1.0, noise=1.0, seed=seed)
    assert spent <= 1.3 * simulate(1, 0.1, 0.1, 1.0, noise=1.0, seed=seed)
    assert spent < 0.7 * simulate(64, 0.1, 0.1, 1.0, noise=1.0, seed=seed)  # the control: a size that does not fit


def test_it_follows_an_acceptance_that_changes():
    ahead = Running(64)
    simulate(ahead, 0.3, 1.0, 1.0)
    few = ahead.best()
    simulate(ahead, 0.0, 1.0, 1.0)
    assert few < 8
    assert ahead.best() == 64


def test_the_cap_is_a_size_and_no_size_is_above_it():
    assert Lookahead(1).sizes == [1]
    assert Lookahead(2).sizes == [1, 2]
    assert Lookahead(24).sizes == [1, 2, 4, 8, 16, 24]
    for cap in (1, 2, 24):
        ahead = Running(cap)
        for _ in range(60):
            assert 1 <= ahead.size() <= cap
            ahead.observe(ahead.size(), 1.0, 1, 0)


def test_memory_bounds_what_is_proposed_ahead():
    """A million sites that all change: what the moves and their gates take is within the bound, and no less than a third of it."""
    for bound in (2**20, 2**30):
        count = fitting(bound, 1, 1_000_000)
        assert count == 1 or bound / 3 < count * 1_000_000 * BYTES <= bound
    assert fitting(2**30, 4, 1_000_000) == fitting(2**30, 1, 1_000_000) // 4
    assert fitting(2**30, 1, 2) > 65_536  # sparse moves are never cut


def test_the_bytes_of_a_site_are_those_of_the_moves_and_their_gates():
    plan = moves.move_plan(uniform=1.0)
    rule = {"plan": plan, "delta": 1.0, "sharpness": 1.0, "seed": 0, "chains": np.zeros(1, np.int64)}
    moves.propose(state.new_state(np.zeros(4), sharpness=1.0), 4, **rule)  # compiling takes memory of its own
    tracemalloc.start()
    current = state.new_state(np.random.default_rng(0).normal(size=200_000), sharpness=1.0)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    batch = moves.propose(current, 4, **rule)
    part = take(batch, np.arange(4))
    gates_of(part.weights, 1.0)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert 0.5 * BYTES < peak / (4 * 200_000) <= BYTES
