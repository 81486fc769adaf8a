"""The chain under a wall of cost visits the allowed masks by Boltzmann's law; conditioned proposals must fail that test.

Every sample is the last position of a replica of its own after STEPS proposals, and the law is that of the enumerated masks. A
right chain fails with probability ACCIDENT over the choice of seeds, which are fixed; the mutant must come out below FAILURE.
"""

import numpy as np
import pytest
from scipy.stats import chi2

from mcprune.chain import cost_constraint as wall
from mcprune.chain import engine, moves, state
from mcprune.errors import ConfigError

REPLICAS, STEPS, ACCIDENT, FAILURE = 10_000, 250, 1e-4, 1e-9
CHAINS = np.arange(REPLICAS)
# 3 inputs, 2 and 2 units: a b + b c + 2 c, as of 3-2-2-2 in multiply-accumulates.
TERMS = wall.CostTerms(np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([1, 1, 2]))
SITES, LIMIT = 7, 9
BITS = np.arange(2**SITES)[:, None] >> np.arange(SITES) & 1
COUNTS = np.stack([BITS[:, TERMS.group == group].sum(axis=1) for group in range(3)], axis=1)
COSTS = COUNTS[:, 0] * COUNTS[:, 1] + COUNTS[:, 1] * COUNTS[:, 2] + 2 * COUNTS[:, 2]
ALLOWED = (COSTS <= LIMIT) & (COUNTS >= 1).all(axis=1)
TABLE = np.random.default_rng(5).random(2**SITES)
RULE = {"alpha": 0.0, "n": 7.0}


def started(replicas):
    start = np.tile(np.where(BITS[0b0101001], 1.5, -1.5), (replicas, 1))
    now = state.new_state(start, sharpness=np.inf)
    return now, wall.new_wall(TERMS, now)


def codes_of(positions):
    return (positions > 0) @ (1 << np.arange(SITES))


def table_losses(now, candidates):
    """Losses of the candidates, infinite where they were made null moves: those may not be looked at."""
    after = moves.dense(now, candidates)
    return np.where(candidates.size > 0, TABLE[codes_of(after)], np.inf)


def ends(plan, temperature, conditioned=False, delta=6.0):
    now, fence = started(REPLICAS)
    engine.set_loss(now, TABLE[codes_of(now.position)], **RULE)
    ahead = 24 if conditioned else 1
    shared = {"sharpness": np.inf, "seed": 3, "chains": CHAINS}
    for _ in range(STEPS):
        candidates = moves.propose(now, ahead, plan=plan, delta=delta, **shared)
        closed = fence.close(now, candidates, LIMIT)
        if conditioned:  # the mutant: proposals behind the wall are drawn again instead of staying
            first = np.argmin(closed, axis=1)
            rows = np.arange(REPLICAS)
            candidates = moves.Moves(*(np.ascontiguousarray(part[rows, first][:, None]) for part in candidates))
            fence._changes = fence._changes[rows, first][:, None]
        losses = table_losses(now, candidates)
        _, info = engine.advance(now, candidates, losses, temperature=temperature, **RULE, **shared)
        fence.moved(info.index)
        now.step[:] += ahead - 1
    np.testing.assert_array_equal(fence.counts[:, :-1], COUNTS[codes_of(now.position)])
    return codes_of(now.position)


def p_value(codes, temperature):
    law = np.where(ALLOWED, np.exp(-TABLE / temperature), 0.0)
    met, due = np.bincount(codes, minlength=law.size), law / law.sum() * codes.size
    assert not met[~ALLOWED].any()
    met, due = met[ALLOWED], due[ALLOWED]
    small = due < 10
    met, due = np.append(met[~small], met[small].sum()), np.append(due[~small], due[small].sum())
    met, due = (met[:-1], due[:-1]) if due[-1] == 0 else (met, due)
    return float(chi2.sf(((met - due) ** 2 / due).sum(), due.size - 1))


@pytest.mark.parametrize(
    "plan",
    [moves.move_plan(toggle=1), moves.move_plan(exchange=2, toggle=1), moves.move_plan(block=1, block_size=2, box=2.0)],
    ids=["toggle", "exchange and toggle", "block"],
)
def test_visits_follow_boltzmann_among_the_allowed_masks(plan):
    assert 20 < ALLOWED.sum() < 60
    codes = ends(plan, 0.4)
    assert p_value(codes, 0.4) > ACCIDENT
    assert p_value(codes, 0.6) < FAILURE  # the test sees a law of another temperature


def test_drawing_again_behind_the_wall_is_another_law():
    assert p_value(ends(moves.move_plan(exchange=2, toggle=1), 0.4, conditioned=True), 0.4) < FAILURE


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_the_trace_is_the_same_for_any_number_of_candidates_ahead(temperature):
    plan, traces, behind = moves.move_plan(exchange=2, toggle=1), [], []
    for ahead in (1, 3, 16):
        now, fence = started(5)
        engine.set_loss(now, TABLE[codes_of(now.position)], **RULE)
        trace, count = np.zeros((5, 401), np.int64), 0
        while (now.step < 400).any():
            shared = {"sharpness": np.inf, "seed": 8, "chains": np.arange(5)}
            candidates = moves.propose(now, ahead, plan=plan, delta=1.0, **shared)
            closed = fence.close(now, candidates, LIMIT)
            before, room = now.step.copy(), np.minimum(400 - now.step, ahead)
            _, info = engine.advance(
                now, candidates, table_losses(now, candidates), temperature=temperature, room=room, **RULE, **shared
            )
            fence.moved(info.index)
            count += int(closed[np.arange(ahead) < info.consumed[:, None]].sum())
            for r in np.flatnonzero(info.index >= 0):
                trace[r, before[r] + info.index[r] + 1] = 1 + codes_of(now.position[r])
        traces.append(trace)
        behind.append(count)
    assert behind[0] == behind[1] == behind[2] > 100
    assert (traces[0] > 0).sum() > 5
    for trace in traces[1:]:
        np.testing.assert_array_equal(trace, traces[0])


def test_a_wall_of_other_sites_is_refused():
    now = state.new_state(np.ones(4), sharpness=np.inf)
    with pytest.raises(ConfigError, match="7 sites"):
        wall.new_wall(TERMS, now)
