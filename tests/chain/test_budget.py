"""The pruner's losses, the gates' sums whole and incremental, the acceptance rules as formulas."""

import math

import acceptance
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcprune.chain import budget, kernels, moves, state
from mcprune.errors import ConfigError, NumericalError

SHARPNESS = st.sampled_from([0.5, 1.0, 7.0, 90.0, math.inf])
WEIGHTS = st.lists(st.floats(-40, 40), min_size=1, max_size=30).map(np.array)


def plain_sums(w, sharpness):
    """Straight from the definitions, in extended precision."""
    if sharpness == math.inf:
        s = (w > 0).astype(np.longdouble)
        return np.array([s.sum(), 0, -1000.0 * np.sum(s == 0)], float)
    x = sharpness * w.astype(np.longdouble)
    s = 1 / (1 + np.exp(-x))
    logs = np.maximum(-np.logaddexp(np.longdouble(0), -x), -1000)
    return np.array([s.sum(), (s / (1 + np.exp(x))).sum(), logs.sum()], float)


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile
@given(w=WEIGHTS, sharpness=SHARPNESS)
def test_whole_sums_are_the_definitions(w, sharpness):
    np.testing.assert_allclose(
        budget.whole_sums(w[None], sharpness=sharpness)[0], plain_sums(w, sharpness), rtol=1e-13, atol=1e-15
    )


@pytest.mark.slow
@settings(deadline=None)
@given(w=WEIGHTS, sharpness=SHARPNESS, seed=st.integers(0, 999), block=st.integers(1, 30))
def test_the_sums_of_a_sparse_move_are_those_of_the_whole_position(w, sharpness, seed, block):
    here = state.new_state(w, sharpness=sharpness)
    plan = moves.move_plan(
        uniform=1, block=1, site=2, exchange=2, toggle=1, informed=1, block_size=min(block, w.size), box=40.0,
        add=np.ones(w.size), remove=np.ones(w.size),
    )  # fmt: skip
    drawn = moves.propose(here, 8, plan=plan, delta=9.0, sharpness=sharpness, seed=seed, chains=np.array([3]))
    whole = budget.whole_sums(moves.dense(here, drawn)[0], sharpness=sharpness)
    np.testing.assert_allclose(drawn.sums[0], whole, rtol=1e-12, atol=1e-11)


def test_losses_by_hand():
    # gates 1/2 and 1/5: sum .7, sum s(1-s) = .25 + .16, product .1
    sums = budget.whole_sums(np.array([[0.0, -math.log(4)]]), sharpness=1.0)
    assert budget.selection_loss(sums[:, 0], 1, 2) == pytest.approx(0.15)
    assert budget.rejection_loss(sums[:, 1], 2) == pytest.approx(0.205)
    assert budget.modified_rejection_loss(sums[:, 1], sums[:, 2], 2) == pytest.approx(0.205 + 0.1)
    assert budget.pruning_loss(sums, 1, 2) == pytest.approx(0.355)
    assert budget.pruning_loss(sums, 1, 2, modified=True) == pytest.approx(0.455)


def test_the_product_neither_underflows_nor_overflows_on_the_way():
    # one gate of 1e-300 among 999 ones: the product is 1e-300; a plain product of two of them would be 0 as
    # well
    w = np.full((1, 1000), 800.0)
    w[0, 0] = -300 * math.log(10)
    sums = budget.whole_sums(w, sharpness=1.0)
    assert sums[0, 2] == pytest.approx(-300 * math.log(10), rel=1e-12)
    w[0, 1] = w[0, 0]
    assert math.isfinite(budget.whole_sums(w, sharpness=1.0)[0, 2])


@settings(deadline=None)  # the first call may compile
@given(sums=st.tuples(st.floats(0, 50), st.floats(0, 12), st.floats(-900, 0)), modified=st.booleans())
def test_the_compiled_loss_is_the_documented_one(sums, modified):
    array = np.array(sums)
    plain = budget.pruning_loss(array, 12.5, 50, modified)
    assert kernels.pruning(array, 12.5, 50, modified) == pytest.approx(float(plain), rel=1e-15)


def test_hard_gates_come_and_go_without_a_trace():
    # log s = -1000 for a dropped hard gate: finite, so taking it out again restores the sum bit for bit
    w = np.array([4.0, -4.0, 4.0])
    here = state.new_state(w, sharpness=math.inf)
    plan = moves.move_plan(toggle=1)
    drawn = moves.propose(here, 20, plan=plan, delta=0.0, sharpness=math.inf, seed=0, chains=np.array([0]))
    assert set(drawn.sums[0, :, 2]) == {0.0, -2000.0}
    assert set(drawn.sums[0, :, 0]) == {1.0, 3.0}


@given(
    position=st.lists(st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0]), min_size=1, max_size=40).map(np.array),
    data=st.data(),
)
def test_a_mask_keeps_exactly_n_and_breaks_ties_by_index(position, data):
    n = data.draw(st.integers(0, position.size))
    kept = sorted(range(position.size), key=lambda i: (-position[i], i))[:n]
    chosen = state.mask(position, n)
    assert np.flatnonzero(chosen).tolist() == sorted(kept)
    assert (state.mask(np.stack([position, position]), n) == chosen).all()


def test_a_mask_of_too_many_or_of_nan_is_refused():
    with pytest.raises(ConfigError, match="keep=4"):
        state.mask(np.zeros(3), 4)
    with pytest.raises(NumericalError, match="NaN"):
        state.mask(np.array([1.0, math.nan]), 1)


@pytest.mark.parametrize("bad", [[], [[math.nan]], [[math.inf, 0.0]], np.zeros((1, 1, 1))])
def test_a_state_needs_finite_weights(bad):
    with pytest.raises(ConfigError):
        state.new_state(np.array(bad), sharpness=1.0)


@pytest.mark.parametrize("sharpness", [0.0, -1.0, math.nan])
def test_a_state_needs_a_positive_sharpness(sharpness):
    with pytest.raises(ConfigError, match="sharpness"):
        state.new_state(np.ones(2), sharpness=sharpness)


def test_acceptance_by_hand():
    assert acceptance.accept_probability([-1.0, 0.0, 1.0, math.nan, -math.inf], 0.0).tolist() == [1, 0, 0, 0, 0]
    assert acceptance.accept_probability([-1.0, 0.0, math.nan, math.inf], 0.5).tolist() == [1, 1, 0, 0]
    assert acceptance.accept_probability(1.0, 0.5) == pytest.approx(math.exp(-2))
    assert acceptance.accept_probability(1.0, 0.5, math.log(3)) == pytest.approx(3 * math.exp(-2))
    assert acceptance.accept_probability(-1.0, 0.5, -math.inf) == 0
    assert acceptance.accept_probability(1.0, 0.0, 99.0) == 0


@pytest.mark.parametrize(("change", "ratio"), [(0.3, 0.0), (0.3, 1.5), (-0.2, -1.0), (-0.2, 0.5)])
def test_flags_come_at_the_rate_of_the_probability(change, ratio):
    # the midpoints of m equal cells hit a probability to within 1 / m
    u = (np.arange(10_000) + 0.5) / 10_000
    share = acceptance.accept_flags(np.full(u.size, change), 0.4, u, ratio).mean()
    assert share == pytest.approx(float(acceptance.accept_probability(change, 0.4, ratio)), abs=1e-4)
