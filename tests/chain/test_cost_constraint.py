"""The chain under a hard constraint visits the allowed masks by Boltzmann's law; conditioned proposals must fail that test.

Every sample is the last position of a replica of its own after STEPS proposals, and the law is that of the enumerated masks. A
right chain fails with probability ACCIDENT over the choice of seeds, which are fixed; the mutant must come out below FAILURE.
"""

import numpy as np
import pytest
from scipy.stats import chi2

from mcprune.chain import engine, moves, state
from mcprune.chain.cost_constraint import MaskRules, costs_of_counts, new_constraint
from mcprune.errors import ConfigError

REPLICAS, STEPS, ACCIDENT, FAILURE = 4_000, 250, 1e-4, 1e-9
CHAINS = np.arange(REPLICAS)
# 3 inputs, 2 and 2 units: a b + b c + 2 c, as of 3-2-2-2 in multiply-accumulates.
GROUP = np.array([0, 0, 0, 1, 1, 2, 2])
SITES, LIMIT = 7, 9


def rules_of(group, *, exact=(), base=(0, 0, 0)):
    """The cost a b + b c + 2 c of items of three layers, each with one at least."""
    items = np.flatnonzero(group >= 0)
    return MaskRules(
        start=np.searchsorted(items, np.arange(group.size + 1)),
        counter=group[items],
        amount=np.ones(items.size, np.int64),
        base=np.array(base),
        least=np.ones(3, np.int64),
        is_exact=np.isin(np.arange(3), exact),
        cost=np.zeros(3, np.int64),
        left=np.array([0, 1, 2]),
        right=np.array([1, 2, 3]),
        each=np.array([1, 1, 2]),
    )


RULES = rules_of(GROUP)
BITS = np.arange(2**SITES)[:, None] >> np.arange(SITES) & 1
COUNTS = np.stack([BITS[:, group == GROUP].sum(axis=1) for group in range(3)], axis=1)
COSTS = COUNTS[:, 0] * COUNTS[:, 1] + COUNTS[:, 1] * COUNTS[:, 2] + 2 * COUNTS[:, 2]
ALLOWED = (COSTS <= LIMIT) & (COUNTS >= 1).all(axis=1)
TABLE = np.random.default_rng(5).random(2**SITES)
RULE = {"alpha": 0.0, "n": 7.0}


def started(replicas, rules=RULES):
    start = np.tile(np.where(BITS[0b0101001], 1.5, -1.5), (replicas, 1))
    now = state.new_state(start, sharpness=np.inf)
    return now, new_constraint(rules, now)


def codes_of(positions):
    return (positions > 0) @ (1 << np.arange(SITES))


def table_losses(now, candidates):
    """Losses of the candidates, infinite where they were made null moves: those may not be looked at."""
    after = moves.dense(now, candidates)
    return np.where(candidates.size > 0, TABLE[codes_of(after)], np.inf)


def ends(plan, temperature, conditioned=False, delta=6.0, rules=RULES):
    now, constraint = started(REPLICAS, rules)
    engine.set_loss(now, TABLE[codes_of(now.position)], **RULE)
    ahead = 24 if conditioned else 1
    shared = {"sharpness": np.inf, "seed": 3, "chains": CHAINS}
    for _ in range(STEPS):
        candidates = moves.propose(now, ahead, plan=plan, delta=delta, **shared)
        closed = constraint.close(now, candidates, np.array([LIMIT]))
        if conditioned:  # the mutant: proposals that are not allowed are drawn again instead of staying
            first = np.argmin(closed, axis=1)
            rows = np.arange(REPLICAS)
            candidates = moves.Moves(*(np.ascontiguousarray(part[rows, first][:, None]) for part in candidates))
            constraint._changes = constraint._changes[rows, first][:, None]
        losses = table_losses(now, candidates)
        _, info = engine.advance(now, candidates, losses, temperature=temperature, **RULE, **shared)
        constraint.moved(info.index)
        now.step[:] += ahead - 1
    np.testing.assert_array_equal(constraint.counts[:, :-1], COUNTS[codes_of(now.position)])
    return codes_of(now.position)


def p_value(codes, temperature, allowed=ALLOWED):
    law = np.where(allowed, np.exp(-TABLE / temperature), 0.0)
    met, due = np.bincount(codes, minlength=law.size), law / law.sum() * codes.size
    assert not met[~allowed].any()
    met, due = met[allowed], due[allowed]
    small = due < 10
    met, due = np.append(met[~small], met[small].sum()), np.append(due[~small], due[small].sum())
    met, due = (met[:-1], due[:-1]) if due[-1] == 0 else (met, due)
    return float(chi2.sf(((met - due) ** 2 / due).sum(), due.size - 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(moves.move_plan(toggle=1), id="toggle", marks=pytest.mark.slow),
        pytest.param(moves.move_plan(exchange=2, toggle=1), id="exchange and toggle"),
        pytest.param(moves.move_plan(block=1, block_size=2, box=2.0), id="block", marks=pytest.mark.slow),
    ],
)
def test_visits_follow_boltzmann_among_the_allowed_masks(plan):
    assert 20 < ALLOWED.sum() < 60
    codes = ends(plan, 0.4)
    assert p_value(codes, 0.4) > ACCIDENT
    assert p_value(codes, 0.6) < FAILURE  # the test sees a law of another temperature


@pytest.mark.long("a control: 24 proposals for each step; that of another temperature stays")
def test_drawing_again_behind_the_wall_is_another_law():
    assert p_value(ends(moves.move_plan(exchange=2, toggle=1), 0.4, conditioned=True), 0.4) < FAILURE


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_the_trace_is_the_same_for_any_number_of_candidates_ahead(temperature):
    plan, traces, behind = moves.move_plan(exchange=2, toggle=1), [], []
    for ahead in (1, 3, 16):
        now, constraint = started(5)
        engine.set_loss(now, TABLE[codes_of(now.position)], **RULE)
        trace, count = np.zeros((5, 401), np.int64), 0
        while (now.step < 400).any():
            shared = {"sharpness": np.inf, "seed": 8, "chains": np.arange(5)}
            candidates = moves.propose(now, ahead, plan=plan, delta=1.0, **shared)
            closed = constraint.close(now, candidates, np.array([LIMIT]))
            before, room = now.step.copy(), np.minimum(400 - now.step, ahead)
            _, info = engine.advance(
                now, candidates, table_losses(now, candidates), temperature=temperature, room=room, **RULE, **shared
            )
            constraint.moved(info.index)
            count += int(closed[np.arange(ahead) < info.consumed[:, None]].sum())
            for r in np.flatnonzero(info.index >= 0):
                trace[r, before[r] + info.index[r] + 1] = 1 + codes_of(now.position[r])
        traces.append(trace)
        behind.append(count)
    assert behind[0] == behind[1] == behind[2] > 100
    assert (traces[0] > 0).sum() > 5
    for trace in traces[1:]:
        np.testing.assert_array_equal(trace, traces[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(moves.move_plan(exchange=2, toggle=1), id="exchange and toggle"),
        pytest.param(moves.move_plan(block=1, block_size=2, box=2.0), id="block", marks=pytest.mark.slow),
    ],
)
def test_an_exact_count_is_never_left_and_the_law_is_that_of_its_masks(plan):
    rules = rules_of(GROUP, exact=[0])
    allowed = ALLOWED & (COUNTS[:, 0] == 1)
    assert 10 < allowed.sum() < ALLOWED.sum()
    codes = ends(plan, 0.4, rules=rules)
    assert p_value(codes, 0.4, allowed) > ACCIDENT
    assert p_value(codes, 0.8, allowed) < FAILURE
    with pytest.raises(AssertionError):  # the control: without the exact count the chain leaves it
        p_value(ends(plan, 0.4), 0.4, allowed)


def test_counters_follow_what_items_add_to_them():
    """Items of several sites, of several counters, beside what is kept in any case; two costs."""
    rules = MaskRules(
        start=np.array([0, 2, 3, 5]),
        counter=np.array([0, 1, 0, 1, 2]),
        amount=np.array([2, 3, 1, 1, 7]),
        base=np.array([1, 0, 5]),
        least=np.array([0, 1, 0]),
        is_exact=np.zeros(3, bool),
        cost=np.array([0, 1, 1]),
        left=np.array([0, 2, 3]),
        right=np.array([1, 3, 3]),
        each=np.array([2, 1, 10]),
    )
    by_hand = {  # kept items: counters, costs
        (1, 0, 0): ([3, 3, 5], [18, 15]),
        (0, 1, 1): ([2, 1, 12], [4, 22]),
        (1, 1, 1): ([4, 4, 12], [32, 22]),
    }
    for kept, (counters, costs) in by_hand.items():
        now = state.new_state(np.where(kept, 1.0, -1.0), sharpness=np.inf)
        constraint = new_constraint(rules, now)
        assert constraint.counts[0].tolist() == [*counters, 1]
        assert constraint.costs()[0].tolist() == costs_of_counts(rules, counters).tolist() == costs
    now = state.new_state(np.array([[1.0, -1.0, -1.0]]), sharpness=np.inf)
    constraint = new_constraint(rules, now)
    toggles = moves.propose(
        now, 40, plan=moves.move_plan(toggle=1), delta=1.0, sharpness=np.inf, seed=0, chains=np.zeros(1, np.int64)
    )
    sites = toggles.sites[0, :, 0]
    for limits, open_items in (([99, 99], [1, 2]), ([99, 21], [1]), ([23, 99], []), ([24, 22], [1, 2])):
        again = toggles._replace(size=toggles.size.copy())
        closed = constraint.close(now, again, np.array(limits))[0]
        # Without the first item the second counter would be 0: it cannot go.
        assert sorted(set(sites[~closed].tolist())) == open_items, limits
        assert ((again.size[0] == 0) == closed).all()


def test_rules_of_other_items_are_refused():
    now = state.new_state(np.ones(4), sharpness=np.inf)
    with pytest.raises(ConfigError, match="7 items"):
        new_constraint(RULES, now)
