"""The acceptance of gates by rank: what it tells of delta, which targets can be reached, and whether they are the efficient ones.

The targets of the textbooks, .44 for one dimension and .234 for many (Roberts & Rosenthal 2001), are for smooth densities. Here the law
is one of masks: a table of losses with pairwise terms, at a temperature at which about a third of the exchanges is accepted.
"""

import math

import numpy as np
import pytest
from selection import long_but

from mcprune.chain import moves, state, stepsize
from mcprune.chain.ranks import gates
from mcprune.chain.ranks.table import run_table

N, KEPT, CHAINS, TEMPERATURE = 12, 4, 32, 0.5
BOUND = 2.0 * gates.BOX  # of an adapted delta


@pytest.fixture(scope="module")
def losses():
    draw, codes = np.random.default_rng(1), np.arange(1 << N)
    bits = ((codes[:, None] >> np.arange(N)) & 1).astype(float)
    linear, pairs = draw.normal(size=N), np.triu(draw.normal(size=(N, N)), 1)
    return bits @ linear + np.einsum("ki,ij,kj->k", bits, pairs, bits) / math.sqrt(N)


class Chains:
    """Chains at rest on the table; a call runs all of them."""

    def __init__(self, table, plan, seed=0):
        weights = gates.draw_weights(seed, np.arange(CHAINS), N)
        self.state = state.new_state(np.where(gates.top(weights, KEPT), 1.0, -1.0), sharpness=np.inf)
        self.ranks = gates.new_ranks(self.state, weights)
        self.rule = {
            "table": table,
            "plan": plan,
            "temperature": TEMPERATURE,
            "seed": seed,
            "chains": np.arange(CHAINS),
        }

    def run(self, steps, delta):
        return run_table(self.state, self.ranks, steps, delta=delta, **self.rule)


def mixture(**shares):
    return moves.move_plan(**shares, box=gates.BOX)


def rates(table, delta, warm=500, steps=2000, **shares):
    """Accepted of the decisions, and walks and accepted decisions of all steps: means over the chains, with standard errors."""
    chains = Chains(table, mixture(**shares))
    chains.run(warm, delta)
    info = chains.run(steps, delta)
    proposed, decided, accepted = (part.sum(axis=1) for part in (info.proposed, info.decided, info.accepted))
    both = accepted / decided, (proposed - decided + accepted) / proposed
    return [(part.mean(), part.std(ddof=1) / math.sqrt(CHAINS)) for part in both]


def efficiency(table, delta, calls=1500, thin=4, **shares):
    """Independent losses for each decision, by the integrated autocorrelation time (initial positive sequence, Geyer 1992)."""
    chains = Chains(table, mixture(**shares))
    chains.run(500, delta)
    trace, decisions = np.empty((calls, CHAINS)), 0
    for call in range(calls):
        decisions += int(chains.run(thin, delta).decided.sum())
        trace[call] = chains.state.cla
    trace -= trace.mean()
    spectrum = np.abs(np.fft.rfft(trace, 2 * calls, axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, axis=0)[:calls].mean(axis=1)
    correlation /= correlation[0]
    pairs = correlation[1:-1:2] + correlation[2::2]
    end = int(np.argmax(pairs < 0)) if (pairs < 0).any() else pairs.size
    return calls * CHAINS / (1.0 + 2.0 * pairs[:end].sum()) / decisions


def adapted(table, target, blocks=200, **shares):
    """Delta, and the acceptance that it had over the last third of the blocks."""
    chains, size = Chains(table, mixture(**shares)), stepsize.new_step_size(0.3, CHAINS, gates.BOX)
    seen = []
    for _ in range(blocks):
        info = chains.run(40, size.delta[:CHAINS])
        taken = info.proposed - info.decided + info.accepted
        stepsize.adapt(size, info.proposed, taken, target)
        seen.append(taken.sum() / info.proposed.sum())
    return float(np.median(size.delta)), float(np.mean(seen[-blocks // 3 :]))


@pytest.mark.slow
def test_delta_does_not_change_how_many_decisions_of_a_site_are_accepted(losses):
    """At rest the order of the weights is independent of the mask: whatever delta, a kept and a dropped site drawn at random trade."""
    exchange, error = rates(losses, 1.0, exchange=1.0)[0]
    for delta in (0.3, 1.0, 3.0):
        accepted, other = rates(losses, delta, site=1.0)[0]
        assert abs(accepted - exchange) < 4.0 * math.hypot(error, other), delta
    # The control: a move of all sites exchanges several at once, and more of them with a larger delta.
    all_at_once, other = rates(losses, 2.0, uniform=1.0)[0]
    assert exchange - all_at_once > 10.0 * math.hypot(error, other)


@pytest.mark.parametrize("target", [0.44, 0.234])
def test_one_site_at_a_time_reaches_no_target_of_the_textbooks_and_needs_none(losses, target):
    """Walks count as accepted, so acceptance falls with delta, but never that far: delta goes to its bound, where it is best."""
    delta, acceptance = adapted(losses, target, site=1.0)
    assert delta == BOUND
    assert acceptance > 0.6


@pytest.mark.slow
def test_one_site_at_a_time_is_the_more_efficient_the_larger_delta_is(losses):
    small, middle, large = (efficiency(losses, delta, site=1.0) for delta in (0.1, 0.3, BOUND))
    assert large > 1.5 * middle > 2.0 * small


@pytest.mark.slow
@pytest.mark.parametrize("target", long_but("another target", [0.44, 0.234], 0.234))
def test_all_sites_at_once_reach_the_targets_and_are_efficient_there(losses, target):
    delta, acceptance = adapted(losses, target, uniform=1.0)
    assert abs(acceptance - target) < 0.02
    assert delta < BOUND
    here = efficiency(losses, delta, calls=600, uniform=1.0)
    best = max(efficiency(losses, other, calls=600, uniform=1.0) for other in (0.6, 0.9))
    assert here > 0.75 * best
    # The control: a step so small that three of four are accepted costs more than half.
    assert efficiency(losses, 0.2, calls=600, uniform=1.0) < 0.5 * best
