"""The engine: one trace for every K, decisions equal to thresholds, nothing non-finite gets in."""

import math

import acceptance
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import long_but

from mcprune.chain import budget, engine, moves, state
from mcprune.chain.philox import ACCEPT, uniforms
from mcprune.errors import ConfigError, NumericalError

R = 3
CHAINS = np.array([7, 8, 2**32 - 1])
EVERY = {"uniform": 1, "block": 2, "site": 3, "exchange": 2, "toggle": 1, "informed": 2}


def landscape(positions):
    """A rugged L_cla of whole positions (..., N), in rounded basic operations: the same bits in any batch."""
    bent = positions / (1 + np.abs(positions))
    waves = np.arange(1, positions.shape[-1] + 1) % 5 - 2
    return (bent * waves).sum(axis=-1) ** 2 / positions.shape[-1] + bent.sum(axis=-1) / 9 + 3


def options_for(sites, shares, temperature, modified=False):
    plan = moves.move_plan(
        **shares, block_size=min(3, sites), box=8.0 if temperature else math.inf,
        add=np.linspace(0.2, 2, sites), remove=np.linspace(1, 0.3, sites),
    )  # fmt: skip
    key = {"seed": 5, "chains": CHAINS}
    rule = {"temperature": temperature, "alpha": 2.0, "n": sites / 3, "modified": modified, **key}
    return plan, {"delta": 3.0, "sharpness": 1.0, **key}, rule


def start(sites, rule, replicas=R):
    position = np.random.default_rng(3).normal(0, 3, (replicas, sites))
    here = state.new_state(position, sharpness=1.0)
    loss = {name: rule[name] for name in ("alpha", "n", "modified")}
    return engine.set_loss(here, landscape(position), **loss)


def trace(sites, shares, temperature, ahead, steps=700, modified=False):
    """Accepted moves below `steps`: (replica, step, move, bytes of position, sums, L_tot)."""
    plan, drawing, rule = options_for(sites, shares, temperature, modified)
    here = start(sites, rule)
    met = []
    while here.step.min() < steps:
        drawn = moves.propose(here, ahead, plan=plan, **drawing)
        before = here.step.copy()
        _, info = engine.advance(here, drawn, landscape(moves.dense(here, drawn)), sharpness=1.0, **rule)
        for r in np.flatnonzero((info.index >= 0) & (before + info.index < steps)):
            what = here.position[r].tobytes() + here.sums[r].tobytes() + here.loss[r].tobytes()
            met.append((int(r), int(before[r] + info.index[r]), int(info.kind[r]), what))
    return sorted(met)


@pytest.mark.slow
@pytest.mark.parametrize(
    "shares",
    long_but(
        "single moves of the mixture",
        [*({kind: 1} for kind in moves.KINDS), EVERY],
        {"site": 1},
        {"exchange": 1},
        EVERY,
    ),
)
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_the_trace_is_the_same_for_every_k(shares, temperature):
    # 2 sites: the sums are computed again after step 128 j - 1 where that is accepted, whatever K
    for sites in (2, 12):
        serial = trace(sites, shares, temperature, 1)
        assert len(serial) >= (3 if temperature == 0 and sites > 2 else 0)
        for ahead in (3, 16, 64):
            assert trace(sites, shares, temperature, ahead) == serial


def test_the_trace_of_the_modified_loss_is_another_but_as_invariant():
    serial = trace(6, EVERY, 0.3, 1, modified=True)
    assert trace(6, EVERY, 0.3, 16, modified=True) == serial
    assert trace(6, EVERY, 0.3, 1) != serial


@pytest.mark.slow
def test_running_sums_are_computed_again_at_fixed_steps():
    # a constant loss at a huge temperature accepts nearly all; drift is planted and must be gone after step
    # 64 * 2
    here = state.new_state(np.full((1, 2), 3.0), sharpness=1.0)
    here.sums[0, 0] += 0.25
    options = {"delta": 1.0, "alpha": 0.0, "n": 1.0, "sharpness": 1.0, "seed": 0, "chains": np.array([0])}
    options |= {"table": np.zeros(1), "plan": moves.move_plan(site=1, box=8.0), "temperature": 1e9}
    engine.run_table(here, 127, **options)
    drift = here.sums - budget.whole_sums(here.position, sharpness=1.0)
    assert drift[0, 0] == pytest.approx(0.25)
    engine.run_table(here, 1, **options)
    np.testing.assert_array_equal(here.sums, budget.whole_sums(here.position, sharpness=1.0))


@pytest.mark.parametrize("temperature", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("shares", [EVERY, {"site": 1}, {"exchange": 1}])
def test_run_table_walks_the_same_trace(temperature, shares):
    sites, steps = 5, 500
    table = np.random.default_rng(1).random(2**sites)
    plan, drawing, rule = options_for(sites, shares, temperature)
    whole, parts = start(sites, rule), start(sites, rule)
    whole, counts = engine.run_table(
        whole, steps, table=table, plan=plan, **drawing, **{k: v for k, v in rule.items() if k not in drawing}
    )
    engine.set_loss(parts, table[(parts.position > 0) @ (1 << np.arange(sites))], alpha=2.0, n=rule["n"])
    tallied = np.zeros((2, R, 6), np.int64)
    null, visits = np.zeros(R, np.int64), np.zeros((R, 2**sites), np.int64)
    for _ in range(steps):
        drawn = moves.propose(parts, 1, plan=plan, **drawing)
        losses = table[(moves.dense(parts, drawn) > 0) @ (1 << np.arange(sites))]
        parts, info = engine.advance(parts, drawn, losses, sharpness=1.0, **rule)
        tallied += [info.proposed, info.accepted]
        null += info.null
        visits[np.arange(R), (parts.position > 0) @ (1 << np.arange(sites))] += 1
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(tallied, [counts.proposed, counts.accepted])
    np.testing.assert_array_equal(null, counts.null)
    np.testing.assert_array_equal(visits, counts.visits)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.0, 1e-3, 0.7]), data=st.data())
def test_advance_decides_as_the_thresholds_do(seed, temperature, data):
    plan, drawing, rule = options_for(9, EVERY, temperature)
    drawing["seed"] = rule["seed"] = seed
    here = start(9, rule)
    drawn = moves.propose(here, 8, plan=plan, **drawing)
    bounds = engine.thresholds(here, drawn, **rule)
    offsets = np.array(data.draw(st.lists(st.integers(0, 4), min_size=8 * R, max_size=8 * R))).reshape(R, 8)
    near = [bounds, np.nextafter(bounds, -9e9), np.nextafter(bounds, 9e9), bounds + 0.1, bounds * np.nan]
    losses = np.choose(offsets, near)
    good = np.isfinite(losses) & (losses <= bounds if temperature else losses < bounds)
    expected = np.where(good.any(axis=1), good.argmax(axis=1), -1)
    _, info = engine.advance(here, drawn, losses, sharpness=1.0, **rule)
    np.testing.assert_array_equal(info.index, expected)
    np.testing.assert_array_equal(info.consumed, np.where(expected < 0, 8, expected + 1))
    taken = np.flatnonzero(expected >= 0)
    np.testing.assert_array_equal(here.cla[taken], losses[taken, expected[taken]])


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_the_decision_is_the_textbook_rule(temperature):
    # flags from acceptance.py, loss changes from the whole positions: no shared code but the random numbers
    plan, drawing, rule = options_for(9, EVERY, temperature)
    here = start(9, rule)
    drawn = moves.propose(here, 200, plan=plan, **drawing)
    positions = moves.dense(here, drawn)
    losses = landscape(positions)
    whole = [
        landscape(w) + 2 * budget.pruning_loss(budget.whole_sums(w, sharpness=1.0), rule["n"], 9)
        for w in (here.position, *positions)
    ]
    changes = np.stack(whole[1:]) - whole[0][:, None]
    u = np.array([[uniforms(5, c, k, ACCEPT, 1)[0] for k in range(200)] for c in CHAINS.tolist()])
    flags = acceptance.accept_flags(changes, temperature, u, drawn.log_ratio) & (drawn.size > 0)
    bounds = engine.thresholds(here, drawn, **rule)
    np.testing.assert_array_equal(losses <= bounds if temperature else losses < bounds, flags)
    _, info = engine.advance(here, drawn, losses, sharpness=1.0, **rule)
    seen = np.isfinite(info.loss_change) & (drawn.size > 0)
    np.testing.assert_allclose(info.loss_change[seen], changes[seen], atol=1e-12)
    assert (seen.sum(axis=1) + info.null == info.consumed).all()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from([{k: 1} for k in moves.KINDS] + [EVERY]),
    odd=st.floats(0, 1),
    temperature=st.sampled_from([0.0, 0.5]),
)
def test_nothing_non_finite_gets_in_and_the_greedy_loss_never_rises(seed, kind, odd, temperature):
    rng = np.random.default_rng(seed)
    plan, drawing, rule = options_for(10, kind, temperature)
    drawing["seed"] = rule["seed"] = seed
    here = start(10, rule)
    for _ in range(12):
        drawn = moves.propose(here, 6, plan=plan, **drawing)
        losses = rng.normal(3, 2, (R, 6))
        bad = rng.random((R, 6)) < odd
        losses[bad] = rng.choice([math.nan, math.inf, -math.inf], bad.sum())
        before = here.loss.copy()
        _, info = engine.advance(here, drawn, losses, sharpness=1.0, **rule)
        seen = np.arange(6) < info.consumed[:, None]
        np.testing.assert_array_equal(info.nonfinite, (bad & seen & (drawn.size > 0)).sum(axis=1))
        assert all(np.isfinite(field).all() for field in here)
        if temperature == 0:
            # the decision is exact; L_tot itself is a rounded sum of two numbers
            assert (here.loss <= before + 1e-15 * np.abs(before)).all()
            assert (here.loss[info.index < 0] == before[info.index < 0]).all()
        fresh = state.new_state(here.position, sharpness=1.0)
        np.testing.assert_array_equal(fresh.tree, here.tree)
        np.testing.assert_allclose(fresh.sums, here.sums, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(state.kept_count(here), (here.position > 0).sum(axis=1))


@pytest.mark.parametrize("kind", ["exchange", "informed"])
@given(cla=st.floats(1e-9, 1e3), alpha=st.floats(0, 1e6), n=st.floats(0, 10))
@settings(deadline=None)
def test_an_exchange_at_equal_loss_is_a_tie_whatever_alpha(kind, cla, alpha, n):
    plan, drawing, rule = options_for(10, {kind: 1}, 0.0)
    rule |= {"alpha": alpha, "n": n}
    here = start(10, rule)
    engine.set_loss(here, cla, alpha=alpha, n=n)
    drawn = moves.propose(here, 4, plan=plan, **drawing)
    _, info = engine.advance(here, drawn, np.full((R, 4), cla), sharpness=1.0, **rule)
    assert (info.index == -1).all()
    assert (info.loss_change == 0).all()
    drawn = moves.propose(here, 4, plan=plan, **drawing)
    _, info = engine.advance(here, drawn, np.full((R, 4), np.nextafter(cla, 0)), sharpness=1.0, **rule)
    assert (info.index == 0).all()


def test_null_steps_are_counted_and_never_taken():
    plan, drawing, rule = options_for(4, {"exchange": 1}, 0.5)
    here = engine.set_loss(state.new_state(np.full((R, 4), 4.0), sharpness=1.0), 1.0, alpha=2.0, n=2.0)
    drawn = moves.propose(here, 5, plan=plan, **drawing)
    assert (engine.thresholds(here, drawn, **rule) == -math.inf).all()
    _, info = engine.advance(here, drawn, np.full((R, 5), math.nan), sharpness=1.0, **rule)
    assert (info.null == 5).all()
    assert (info.nonfinite == 0).all()
    assert (info.loss_change == 0).all()
    assert (here.step == 5).all()


def test_each_replica_has_its_own_temperature_alpha_and_n():
    plan, drawing, rule = options_for(8, EVERY, 0.5)
    rule |= {"temperature": np.array([0.0, 0.1, 2.0]), "alpha": np.array([1.0, 2.0, 3.0])}
    rule["n"] = np.array([2.0, 3.0, 4.5])
    here = start(8, rule)
    drawn = moves.propose(here, 30, plan=plan, **drawing)
    together = engine.thresholds(here, drawn, **rule)
    for r in range(R):
        one = {name: float(rule[name][r]) for name in ("temperature", "alpha", "n")}
        np.testing.assert_array_equal(together[r], engine.thresholds(here, drawn, **{**rule, **one})[r])


def test_a_loss_that_is_not_known_or_not_finite_is_refused():
    plan, drawing, rule = options_for(4, {"site": 1}, 0.0)
    here = state.new_state(np.ones((R, 4)), sharpness=1.0)
    drawn = moves.propose(here, 2, plan=plan, **drawing)
    with pytest.raises(NumericalError, match="set_loss"):
        engine.advance(here, drawn, np.zeros((R, 2)), sharpness=1.0, **rule)
    with pytest.raises(NumericalError, match="not finite"):
        engine.set_loss(here, math.nan, alpha=1.0, n=2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": np.zeros((R, 3))}, "losses have shape"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"alpha": math.inf}, "alpha"),
        ({"n": -1.0}, "n=-1"),
        ({"seed": 2**32}, "seed"),
        ({"chains": np.array([0, 1, -1])}, "chains"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    plan, drawing, rule = options_for(4, {"site": 1}, 0.0)
    here = start(4, rule)
    drawn = moves.propose(here, 2, plan=plan, **drawing)
    with pytest.raises(ConfigError, match=message):
        engine.advance(here, drawn, **{"losses": np.zeros((R, 2)), "sharpness": 1.0, **rule, **changes})


def test_a_table_of_another_length_is_refused():
    plan, drawing, rule = options_for(4, {"site": 1}, 0.0)
    with pytest.raises(ConfigError, match="2\\*\\*N"):
        engine.run_table(start(4, rule), 1, table=np.zeros(8), plan=plan, **{**drawing, **rule})
    with pytest.raises(ConfigError, match="steps"):
        engine.run_table(start(4, rule), -1, table=np.zeros(1), plan=plan, **{**drawing, **rule})
