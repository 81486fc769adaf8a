"""The chain's law is Boltzmann's, by enumeration and quadrature; wrong chains and wrong laws must fail.

Every sample is the last position of a replica of its own (10,000 of them, keyed by chain number) after more
than 10 integrated autocorrelation times (20 times the decay time where one mode rules), so the samples are
independent and chi-square has its textbook law. A right chain fails one test with probability ACCIDENT = 1e-4
over the choice of seeds, the whole file with less than 5e-3; the seeds are fixed. Every negative control must
come out below FAILURE = 1e-9.
"""

import math

import numpy as np
import pytest
from laws import boltzmann, codes_of, p_value
from selection import long_but

from mcprune.chain import budget, diagnostics, engine, moves, state

REPLICAS, ACCIDENT, FAILURE, W0, BOX = 10_000, 1e-4, 1e-9, 1.5, 8.0
CHAINS = np.arange(REPLICAS)


def table_of(sites, seed=0):
    """Unequal energies of all masks, spread over about one unit."""
    return np.random.default_rng(seed).random(2**sites)


def energies(positions, table, rule):
    sums = budget.whole_sums(positions, sharpness=rule.get("sharpness", 1.0))
    pruning = budget.pruning_loss(sums, rule["n"], positions.shape[1], rule.get("modified", False))
    return table[codes_of(positions)] + rule["alpha"] * pruning


def relaxed(start, steps, table, plan, rule, delta=6.0):
    """Last positions of the replicas, after 10 autocorrelation times of L_tot and of the first weight."""
    options = {"table": table, "plan": plan, "delta": delta, "sharpness": 1.0, "seed": 20, **rule}
    few = state.new_state(np.tile(start, (20, 1)), sharpness=1.0)
    engine.run_table(few, steps, chains=CHAINS[:20], **options)
    series = np.empty((2, 20, 2 * steps))
    for t in range(series.shape[2]):
        engine.run_table(few, 1, chains=CHAINS[:20], **options)
        series[0, :, t], series[1, :, t] = few.loss, few.position[:, 0]
    assert 10 * np.nanmax([diagnostics.autocorrelation_time(one) for one in series]) < steps
    many = state.new_state(np.tile(start, (REPLICAS, 1)), sharpness=1.0)
    engine.run_table(many, steps, chains=CHAINS, **options)
    return many.position


def corners(sites):
    """{-W0, +W0}^N by code."""
    bits = np.arange(2**sites)[:, None] >> np.arange(sites) & 1
    return np.where(bits, W0, -W0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sites", "temperature", "modified"),
    long_but(
        "the same law at other temperatures",
        [(3, 0.3, False), (4, 0.3, True), (4, 1.0, False), (5, 2.0, False)],
        (4, 0.3, True),
    ),
)
def test_toggles_visit_the_corners_by_boltzmann(sites, temperature, modified):
    table, rule = table_of(sites), {"temperature": temperature, "alpha": 1.5, "n": 1.0, "modified": modified}
    ends = relaxed(np.full(sites, W0), 300, table, moves.move_plan(toggle=1), rule)
    assert (np.abs(ends) == W0).all()
    counts = np.bincount(codes_of(ends), minlength=2**sites)
    energy = energies(corners(sites), table, rule)
    assert p_value(counts, boltzmann(energy, temperature)) > ACCIDENT
    assert p_value(counts, boltzmann(energy, temperature / 2)) < FAILURE
    assert p_value(counts, boltzmann(energy - table, temperature)) < FAILURE


@pytest.mark.slow
@pytest.mark.parametrize("temperature", long_but("the same law at another temperature", [0.3, 1.0], 1.0))
@pytest.mark.parametrize("kind", long_but("parts of the mixture", ["exchange", "informed", "both"], "both"))
def test_exchanges_visit_a_shell_by_boltzmann(kind, temperature):
    sites, kept = 5, 2
    table, rule = table_of(sites), {"temperature": temperature, "alpha": 1.5, "n": 1.0}
    shares = {"exchange": 1, "informed": 1} if kind == "both" else {kind: 1}
    start, steps = np.where(np.arange(sites) < kept, W0, -W0), 300 if temperature == 1 else 600
    ends = relaxed(start, steps, table, asymmetric(sites, **shares), rule)
    counts = np.bincount(codes_of(ends), minlength=2**sites)
    shell = (corners(sites) > 0).sum(axis=1) == kept
    law = np.where(shell, boltzmann(table, temperature), 0)
    assert p_value(counts, law) > ACCIDENT
    assert p_value(counts, np.where(shell, boltzmann(table, temperature / 2), 0)) < FAILURE


def asymmetric(sites, **shares):
    add, remove = np.geomspace(0.3, 2.5, sites), np.geomspace(3.0, 0.5, sites)
    return moves.move_plan(**shares, add=add, remove=remove)


@pytest.mark.slow
def test_a_mixture_of_all_discrete_moves_visits_the_corners_by_boltzmann():
    sites, temperature = 4, 0.4
    table, rule = table_of(sites), {"temperature": temperature, "alpha": 1.5, "n": 1.0}
    plan = asymmetric(sites, toggle=1, exchange=1, informed=2)
    counts = np.bincount(codes_of(relaxed(np.full(sites, W0), 300, table, plan, rule)), minlength=2**sites)
    law = boltzmann(energies(corners(sites), table, rule), temperature)
    assert p_value(counts, law) > ACCIDENT


def driven(start, until, ahead, table, plan, rule, decide):
    """Replicas driven from Python to step `until`: `decide` looks at each batch and takes what it wants.

    Losses behind the end are nan, so nothing is accepted there. (The positions at the ends of batches would have
    another law, since a batch ends just after an acceptance.)
    """
    here = state.new_state(np.tile(start, (REPLICAS, 1)), sharpness=1.0)
    engine.set_loss(here, table[codes_of(here.position)], alpha=rule["alpha"], n=rule["n"])
    while here.step.min() < until:
        drawn = moves.propose(here, ahead, plan=plan, delta=6.0, sharpness=1.0, seed=21, chains=CHAINS)
        losses = table[codes_of(moves.dense(here, drawn))]
        losses[here.step[:, None] + np.arange(ahead) >= until] = math.nan
        decide(here, drawn, losses)
    return here.position


@pytest.mark.slow
@pytest.mark.parametrize("with_ratio", [True, False])
def test_informed_exchanges_need_their_ratio(with_ratio):
    sites, kept, temperature = 5, 2, 1.0
    table, rule = table_of(sites), {"temperature": temperature, "alpha": 1.5, "n": 1.0}

    def decide(here, drawn, losses):
        if not with_ratio:
            drawn = drawn._replace(log_ratio=np.zeros_like(drawn.log_ratio))
        engine.advance(here, drawn, losses, sharpness=1.0, seed=21, chains=CHAINS, **rule)

    start = np.where(np.arange(sites) < kept, W0, -W0)
    ends = driven(start, 100, 3, table, asymmetric(sites, informed=1), rule, decide)
    counts = np.bincount(codes_of(ends), minlength=2**sites)
    law = np.where((corners(sites) > 0).sum(axis=1) == kept, boltzmann(table, temperature), 0)
    p = p_value(counts, law)
    assert p > ACCIDENT if with_ratio else p < FAILURE


@pytest.mark.slow
@pytest.mark.parametrize("best_of", [False, True])
def test_the_best_of_k_is_another_law(best_of):
    sites, temperature = 4, 0.5
    table, rule = table_of(sites), {"temperature": temperature, "alpha": 1.5, "n": 1.0}

    def decide(here, drawn, losses):
        if not best_of:
            engine.advance(here, drawn, losses, sharpness=1.0, seed=21, chains=CHAINS, **rule)
            return
        bounds = engine.thresholds(here, drawn, seed=21, chains=CHAINS, **rule)
        totals = losses + 1.5 * budget.pruning_loss(drawn.sums, 1.0, sites)
        best, rows = totals.argmin(axis=1), np.arange(REPLICAS)
        taken = np.flatnonzero(losses[rows, best] <= bounds[rows, best])
        here.position[taken] = moves.dense(here, drawn)[taken, best[taken]]
        here.step[:] += drawn.kind.shape[1]
        state.refresh(here, sharpness=1.0)
        engine.set_loss(here, table[codes_of(here.position)], alpha=rule["alpha"], n=rule["n"])

    ends = driven(np.full(sites, W0), 80, 8, table, moves.move_plan(toggle=1), rule, decide)
    counts = np.bincount(codes_of(ends), minlength=2**sites)
    law = boltzmann(energies(corners(sites), table, rule), temperature)
    variation = 0.5 * np.abs(counts / REPLICAS - law / law.sum()).sum()
    p = p_value(counts, law)
    # 10,000 samples of a right chain in 16 cells vary by .5 sqrt(16 / 10000) = .02 at most, on average
    assert (p < FAILURE and variation > 0.2) if best_of else (p > ACCIDENT and variation < 0.03)


def test_visits_of_one_long_chain_add_up_to_the_law():
    sites, temperature, steps = 4, 0.5, 400_000
    table, rule = table_of(sites), {"temperature": temperature, "alpha": 1.5, "n": 1.0}
    here = state.new_state(np.full((1, sites), W0), sharpness=1.0)
    _, info = engine.run_table(
        here, steps, table=table, plan=moves.move_plan(toggle=1), delta=0.0, sharpness=1.0, seed=3,
        chains=CHAINS[:1], **rule,
    )  # fmt: skip
    assert info.visits.sum() == steps
    law = boltzmann(energies(corners(sites), table, rule), temperature)
    variation = 0.5 * np.abs(info.visits[0] / steps - law / law.sum()).sum()
    # some 20 steps an independent sample: 20,000 of them, .5 sqrt(16 / 20000) = .014 on average
    assert variation < 0.03


def cells(positions, bins):
    """Cell numbers of positions in the box cut into bins^N equal cells."""
    edges = np.minimum((positions + BOX) / (2 * BOX) * bins, bins - 1).astype(int)
    return edges @ bins ** np.arange(positions.shape[1])


def quadrature(bins, sites, table, rule, alpha=None):
    """Probability of each cell by the midpoint rule, 24 (N = 1: 512) points a cell and axis."""
    points = 512 if sites == 1 else 24
    axis = (np.arange(bins * points) + 0.5) * 2 * BOX / (bins * points) - BOX
    grid = np.stack(np.meshgrid(*[axis] * sites), axis=-1).reshape(-1, sites)
    energy = energies(grid, table, rule if alpha is None else {**rule, "alpha": alpha})
    return np.bincount(cells(grid, bins), weights=boltzmann(energy, rule["temperature"]))


MIXTURE = {"uniform": 1, "site": 2, "block": 1, "toggle": 1, "exchange": 1, "informed": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "sites", "temperature"),
    long_but(
        "other settings of single moves",
        [
            ({"uniform": 1}, 1, 0.3),
            ({"uniform": 1}, 2, 0.5),
            ({"site": 1}, 2, 0.5),
            ({"site": 1}, 1, 2.0),
            ({"block": 1}, 2, 0.7),
            (MIXTURE, 2, 0.5),
        ],
        MIXTURE,
        {"block": 1},
        ({"uniform": 1}, 2, 0.5),
        ({"site": 1}, 2, 0.5),
    ),
)
def test_continuous_moves_fill_the_box_by_boltzmann(shares, sites, temperature):
    table, rule = table_of(sites, 4), {"temperature": temperature, "alpha": 3.0, "n": 0.7}
    plan = moves.move_plan(
        **shares, block_size=sites if "toggle" not in shares else 1, box=BOX,
        add=np.geomspace(0.3, 2, sites), remove=np.geomspace(3, 0.5, sites),
    )  # fmt: skip
    ends = relaxed(np.full(sites, 4.0), 700 if "site" in shares else 300, table, plan, rule)
    assert np.abs(ends).max() <= BOX
    bins = 16 if sites == 1 else 8
    counts = np.bincount(cells(ends, bins), minlength=bins**sites)
    assert p_value(counts, quadrature(bins, sites, table, rule)) > ACCIDENT
    assert p_value(counts, quadrature(bins, sites, table, rule, alpha=0.0)) < FAILURE
    assert p_value(counts, quadrature(bins, sites, np.zeros_like(table), rule)) < FAILURE


@pytest.mark.slow
def test_clipping_at_the_walls_would_be_another_law():
    # the control of the reflection: the same proposals, clipped, pile up in the outer cells
    rule = {"temperature": 2.0, "alpha": 0.0, "n": 0.7}
    rng = np.random.default_rng(5)
    w = np.zeros(REPLICAS)
    for _ in range(60):
        w = np.clip(w + 6.0 * rng.uniform(-1, 1, REPLICAS), -BOX, BOX)
    counts = np.bincount(cells(w[:, None], 16), minlength=16)
    assert p_value(counts, quadrature(16, 1, np.zeros(2), rule)) < FAILURE
    ends = relaxed(np.zeros(1), 400, np.zeros(2), moves.move_plan(site=1, box=BOX), rule)
    counts = np.bincount(cells(ends, 16), minlength=16)
    assert p_value(counts, np.ones(16)) > ACCIDENT


def test_the_test_itself_is_honest():
    # multinomial draws of a law fail at the stated rate: 2,000 draws at 1e-2, within 4 standard deviations
    rng = np.random.default_rng(0)
    law = boltzmann(table_of(4), 0.3)
    ps = np.array([p_value(rng.multinomial(REPLICAS, law / law.sum()), law) for _ in range(2000)])
    assert abs((ps < 1e-2).mean() - 1e-2) < 4 * math.sqrt(1e-2 / 2000)
