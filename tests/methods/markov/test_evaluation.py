"""The evaluator's error is measured while the chain runs, and decisions within 4 times the largest seen are canonical."""

import numpy as np
import pytest

from mcprune.chain.schedules import Schedule
from mcprune.methods.markov.evaluation import AUDIT, SAFETY

# Losses that differ by little: soft gates and small steps.
CLOSE = {
    "plan": {"site": 1.0},
    "sharpness": Schedule("constant", 1.0, 1.0),
    "delta": Schedule("constant", 0.3, 0.3),
    "decisions": 24,
}


class Off:
    """An evaluator that lies by up to `away`, much more than it states."""

    def __init__(self, inner, away):
        self.inner, self.away, self.draw = inner, away, np.random.default_rng(0)
        self.name, self.error = "off", 1e-12

    def begin(self, *args):
        self.inner.begin(*args)

    def moved(self, *args):
        self.inner.moved(*args)

    def current(self):
        return self.inner.current() + self.away * self.draw.choice([-1.0, 1.0])

    def losses(self, *args):
        values = self.inner.losses(*args)
        return values + self.away * self.draw.choice([-1.0, 1.0], values.shape)


@pytest.mark.slow
@pytest.mark.parametrize("evaluator", ["suffix", "incremental", "fused", "graph"])
def test_what_is_measured_is_within_what_is_stated(evaluator, bench):
    chain = bench.chain(evaluator, **CLOSE)
    bench.trace(chain, 2 * AUDIT)
    assert chain.state.error.measured <= max(chain.evaluation.evaluator.error, 1e-12)


def test_the_canonical_evaluator_is_not_compared_with_itself(bench):
    chain = bench.chain("full", **CLOSE)
    bench.trace(chain, 2 * AUDIT)
    assert chain.state.error.measured is None


def test_the_band_follows_the_largest_difference_seen(bench):
    chain = bench.chain("fused", **CLOSE)
    chain.evaluation.evaluator = Off(chain.evaluation.evaluator, 1e-3)
    chain.state.error.stated = chain.evaluation.evaluator.error
    taken, at = [], chain.evaluation.canonical.at

    def count(weights):
        taken.append(len(weights))
        return at(weights)

    chain.evaluation.canonical.at = count
    bench.trace(chain, 1)
    before = sum(size == 2 for size in taken)  # close decisions, taken again
    bench.trace(chain, AUDIT)
    assert 0.9e-3 < chain.state.error.measured < 2.1e-3  # the current loss and an accepted one may both be off
    taken.clear()
    bench.trace(chain, 1)
    assert sum(size == 2 for size in taken) > before + 3
    assert SAFETY * chain.state.error.measured > 1e3 * chain.evaluation.evaluator.error


@pytest.mark.slow
def test_one_look_every_eighth_block(bench):
    chain = bench.chain("suffix", **CLOSE)  # exact: nothing is settled by the canonical evaluator
    looks, at = [], chain.evaluation.canonical.at

    def count(weights):
        looks.append(len(weights))
        return at(weights)

    chain.evaluation.canonical.at = count
    bench.trace(chain, 2 * AUDIT + 1)
    assert looks == [1, 1, 1]
