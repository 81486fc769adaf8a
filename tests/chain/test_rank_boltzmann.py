"""Gates by rank visit the masks of n by Boltzmann's law, by enumeration; wrong chains and wrong laws must fail.

As in test_boltzmann: 4,000 replicas of their own random numbers from one common start, seen after more than 10
autocorrelation times, so that chi-square has its textbook law. A right chain fails one test with probability ACCIDENT over the choice
of seeds, which are fixed; every negative control must come out below FAILURE.
"""

import itertools
import math

import numpy as np
import pytest
from laws import boltzmann, codes_of, p_value
from selection import long_but

from mcprune.chain import diagnostics, moves, state
from mcprune.chain.ranks import gates
from mcprune.chain.ranks.table import run_table

REPLICAS, ACCIDENT, FAILURE = 4_000, 1e-4, 1e-9
CHAINS = np.arange(REPLICAS)


def table_of(sites, seed=0):
    """Unequal energies of all masks, spread over about one unit."""
    return np.random.default_rng(seed).random(2**sites)


def plan_of(sites, shares):
    return moves.move_plan(
        **shares, block_size=2, box=gates.BOX, add=np.geomspace(0.3, 2.5, sites), remove=np.geomspace(3.0, 0.5, sites)
    )


def begun(sites, n, replicas, layers=None):
    """Replicas that all start at the same weights."""
    weights = np.tile(gates.draw_weights(1, np.array([1]), sites), (replicas, 1))
    here = state.new_state(
        np.where(gates.top(weights[:1], n, layers), 1.0, -1.0).repeat(replicas, axis=0), sharpness=np.inf
    )
    return here, gates.new_ranks(here, weights, layers)


def relaxed(sites, n, steps, table, shares, temperature, delta=1.2, layers=None):
    """Masks of the replicas at the end, after 10 autocorrelation times of the loss and of the first weight."""
    options = {"table": table, "plan": plan_of(sites, shares), "delta": delta, "temperature": temperature, "seed": 20}
    few, ranks = begun(sites, n, 20, layers)
    run_table(few, ranks, steps, chains=CHAINS[:20], **options)
    series = np.empty((2, 20, 2 * steps))
    for t in range(series.shape[2]):
        run_table(few, ranks, 1, chains=CHAINS[:20], **options)
        series[0, :, t], series[1, :, t] = few.loss, ranks.weights[:, 0]
    assert 10 * np.nanmax([diagnostics.autocorrelation_time(one) for one in series]) < steps
    many, ranks = begun(sites, n, REPLICAS, layers)
    run_table(many, ranks, steps, chains=CHAINS, **options)
    assert ((many.position > 0).sum(axis=1) == n).all()
    return many.position, ranks.weights


def volumes(sites, n, layers=None):
    """The share of the orders of the weights that have each mask, by its code."""
    out = np.zeros(2**sites)
    for order in itertools.permutations(range(sites)):
        out[codes_of(gates.top(np.array(order, float)[None], n, layers))] += 1
    return out / math.factorial(sites)


CASES = {
    "site": ({"site": 1}, 6, 2, 0.5, 1.2, 600),
    "site, cold": ({"site": 1}, 5, 2, 0.25, 1.2, 2000),
    "site, small delta": ({"site": 1}, 4, 2, 0.5, 0.4, 1500),
    "site, delta beyond the box": ({"site": 1}, 6, 3, 1.0, 3.0, 500),
    "site, 8 sites": ({"site": 1}, 8, 3, 0.7, 1.5, 600),
    "block": ({"block": 1}, 6, 2, 0.5, 1.2, 500),
    "uniform": ({"uniform": 1}, 5, 2, 0.5, 0.5, 500),
    "exchange": ({"exchange": 1}, 6, 2, 0.5, 1.0, 300),
    "site and exchange": ({"site": 3, "exchange": 1}, 6, 2, 0.3, 1.0, 900),
    "all": ({"site": 4, "block": 1, "uniform": 1, "exchange": 1, "toggle": 1, "informed": 2}, 6, 3, 0.4, 0.7, 700),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    long_but(
        "other settings, and single moves of the mixture",
        CASES, "site", "all",
    ),
)  # fmt: skip
def test_masks_of_n_are_visited_by_boltzmann(case):
    shares, sites, n, temperature, delta, steps = CASES[case]
    table = table_of(sites)
    if (
        "exchange" in shares and len(shares) == 1
    ):  # weights only change hands: the first one moves as rarely as its site
        ends = relaxed(sites, n, steps, table, {**shares, "toggle": 1e-9}, temperature, delta)[0]
    else:
        ends, weights = relaxed(sites, n, steps, table, shares, temperature, delta)
        assert np.abs(weights).max() <= gates.BOX
    counts = np.bincount(codes_of(ends), minlength=2**sites)
    is_allowed = volumes(sites, n) > 0
    assert is_allowed.sum() == math.comb(sites, n)
    assert p_value(counts, np.where(is_allowed, boltzmann(table, temperature), 0)) > ACCIDENT
    assert p_value(counts, np.where(is_allowed, boltzmann(table, temperature / 2), 0)) < FAILURE
    assert p_value(counts, is_allowed.astype(float)) < FAILURE


@pytest.mark.slow
@pytest.mark.parametrize(
    "shares",
    [
        pytest.param({"site": 1}, id="site", marks=pytest.mark.long("a part of the mixture")),
        pytest.param({"site": 2, "block": 1, "exchange": 2, "informed": 1}, id="mixture"),
    ],
)
def test_with_least_numbers_a_mask_has_the_weight_of_its_volume(shares):
    sites, n, temperature = 6, 3, 0.5
    layers, table = np.array([0, 0, 1, 1, -1, -1]), table_of(sites)
    ends, _ = relaxed(sites, n, 800, table, shares, temperature, layers=layers)
    counts = np.bincount(codes_of(ends), minlength=2**sites)
    volume = volumes(sites, n, layers)
    assert p_value(counts, volume * boltzmann(table, temperature)) > ACCIDENT
    assert p_value(counts, (volume > 0) * boltzmann(table, temperature)) < FAILURE


@pytest.mark.slow
@pytest.mark.parametrize(
    "shares",
    [
        pytest.param({"site": 1}, id="site", marks=pytest.mark.long("a part of the mixture")),
        pytest.param({"site": 3, "exchange": 1}, id="mixture"),
    ],
)
def test_masks_seen_after_a_number_of_decisions_have_the_same_law(shares):
    sites, n, temperature, decisions = 5, 2, 0.5, 120
    table, plan = table_of(sites), plan_of(sites, shares)
    here, ranks = begun(sites, n, REPLICAS)
    here.cla[:] = table[codes_of(here.position)]
    key = {"plan": plan, "delta": 0.6, "seed": 22, "chains": CHAINS}
    left = np.full(REPLICAS, decisions)
    while left.any():
        drawn = gates.propose(here, ranks, 2, **key, room=left, steps=np.full(REPLICAS, 1000))
        losses = table[codes_of(moves.dense(here, drawn.moves))]
        left -= gates.advance(here, ranks, drawn, losses, temperature=temperature, **key).consumed
    counts = np.bincount(codes_of(here.position), minlength=2**sites)
    assert np.unique(here.step).size > 30
    assert p_value(counts, np.where(volumes(sites, n) > 0, boltzmann(table, temperature), 0)) > ACCIDENT


@pytest.mark.slow
@pytest.mark.parametrize("wall", ["reflected", "clipped"])
def test_clipping_at_the_walls_would_be_another_law(wall):
    # the control: the same chain in plain numpy, with both walls
    sites, n, temperature = 5, 2, 0.5
    table, rng, rows = table_of(sites), np.random.default_rng(5), np.arange(REPLICAS)

    def code(w):
        return (1 << np.argsort(-w, axis=1, kind="stable")[:, :n]).sum(axis=1)

    w = rng.uniform(-1, 1, (REPLICAS, sites))
    for _ in range(400):
        new, site = w.copy(), rng.integers(sites, size=REPLICAS)
        x = w[rows, site] + 1.9 * rng.uniform(-1, 1, REPLICAS)
        new[rows, site] = np.clip(x, -1, 1) if wall == "clipped" else np.where(abs(x) > 1, np.sign(x) * 2 - x, x)
        change = table[code(new)] - table[code(w)]
        is_taken = (code(new) == code(w)) | (rng.random(REPLICAS) < np.exp(np.minimum(-change / temperature, 0)))
        w[is_taken] = new[is_taken]
    counts = np.bincount(code(w), minlength=2**sites)
    p = p_value(counts, np.where(volumes(sites, n) > 0, boltzmann(table, temperature), 0))
    assert p < FAILURE if wall == "clipped" else p > ACCIDENT
