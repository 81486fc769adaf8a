"""The fused evaluator against the plain loop in float64, within the error that it states."""

import math

import numba
import numpy as np
import pytest
import torch
from selection import long_but
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators.compiled.mlp_kernels import PART
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import MOST_SITES, FusedEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

N, ROWS = 21, 70  # neither widths nor rows are multiples of 16 or 32
ACTIVATIONS = ("relu", "tanh", "sigmoid", "softplus")
DEEP, FLAT = (N, 19, 33, 5), (N, 5)  # a depth costs a compilation
PLANS = {
    "site": moves.move_plan(site=1.0),
    "block": moves.move_plan(block=1.0, block_size=7),
    "exchange": moves.move_plan(exchange=1.0),
    "toggle": moves.move_plan(toggle=1.0),
    "mixture": moves.move_plan(site=1.0, block=1.0, exchange=1.0, toggle=1.0, block_size=3),
}
CHAINS = np.zeros(1, np.int64)


def gates(weights, sharpness):
    """The gates in float64, computed independently."""
    return (weights > 0).astype(np.float64) if math.isinf(sharpness) else 1.0 / (1.0 + np.exp(-sharpness * weights))


def train(case):
    """Give the classifier something to lose: a few steps on the batch's own classes."""
    optimizer = torch.optim.Adam(case.model.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(case.model(case.x), case.y).backward()
        optimizer.step()


def started(problem, widths, activation, kinds, sharpness, seed=0, replicas=1, rows=ROWS):
    case = problem(MLP(widths, activation, seed=1), kinds, (N,), rows, transposed=True, classes=5)
    train(case)
    draw = np.random.default_rng(seed)
    weights = draw.normal(0.0, 3.0, (replicas, case.sites.size))
    current = state.new_state(weights, sharpness=sharpness)
    fused = FusedEvaluator(case.gated, CrossEntropy())
    fused.begin(case.x, case.y, current.position, sharpness)
    return case, current, fused


def propose(current, plan, sharpness, count=12, chains=CHAINS):
    return moves.propose(current, count, plan=plan, delta=4.0, sharpness=sharpness, seed=3, chains=chains)


def go(current, candidates, index, sharpness):
    """Take candidate `index` of replica 0 by hand."""
    current.position[0] = moves.dense(current, candidates)[0, index]
    current.step[0] += index + 1
    state.refresh(current, sharpness=sharpness)


def close(values, wanted, evaluator):
    return np.abs(values - wanted) <= evaluator.error * np.maximum(1.0, wanted)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("sharpness", [1.0, np.inf])
@pytest.mark.parametrize("activation", long_but("the same under other activations", ACTIVATIONS, "relu", "tanh"))
@pytest.mark.parametrize("kinds", ["inputs", "units", "inputs,units", "units:layers.2", "inputs,units:layers.0"])
def test_candidates_before_and_after_accepted_moves(kinds, activation, sharpness, plan, problem):
    case, current, fused = started(problem, DEEP, activation, kinds, sharpness)
    checked, apart = 0, 0.0
    for _ in range(6):
        candidates = propose(current, PLANS[plan], sharpness)
        losses = fused.losses(current, candidates)[0]
        usual = np.flatnonzero(candidates.size[0] > 0)
        wanted = case.losses(gates(moves.dense(current, candidates)[0, usual], sharpness))
        assert close(losses[usual], wanted, fused).all()
        assert np.isnan(losses[candidates.size[0] == 0]).all()
        checked += len(set(wanted))
        here = case.losses(gates(current.position, sharpness))
        assert close(fused.current(), here, fused).all()
        apart = max(apart, np.abs(wanted - here).max())
        index = int(usual[-1])
        go(current, candidates, index, sharpness)
        fused.moved(current.position, candidates, np.array([index]))
    # An evaluator that answers with the current loss would be found out.
    assert apart > 100 * fused.error
    assert checked > 10


@pytest.mark.parametrize("plan", ["site", "block", "toggle", "exchange"])
@pytest.mark.parametrize("sharpness", [1.0, np.inf])
def test_no_hidden_layer(sharpness, plan, problem):
    case, current, fused = started(problem, FLAT, "relu", "inputs", sharpness)
    for _ in range(6):
        candidates = propose(current, PLANS[plan], sharpness)
        wanted = case.losses(gates(moves.dense(current, candidates)[0], sharpness))
        assert close(fused.losses(current, candidates)[0], wanted, fused).all()
        go(current, candidates, 2, sharpness)
        fused.moved(current.position, candidates, np.array([2]))


def test_an_input_and_a_unit_trade_their_weights(problem):
    """The one move that enters at the inputs and changes gates on the way up."""
    for sharpness in (1.0, np.inf):
        case, current, fused = started(problem, DEEP, "relu", "inputs,units", sharpness)
        met = 0
        for _ in range(20):
            candidates = propose(current, PLANS["exchange"], sharpness)
            levels = fused.level[candidates.sites[0]]
            mixed = np.flatnonzero((levels.min(axis=1) == 0) & (levels.max(axis=1) > 0))
            met += mixed.size
            wanted = case.losses(gates(moves.dense(current, candidates)[0, mixed], sharpness))
            assert close(fused.losses(current, candidates)[0, mixed], wanted, fused).all()
            go(current, candidates, int(mixed[0]), sharpness)
            fused.moved(current.position, candidates, np.array([mixed[0]]))
        assert met > 40


@pytest.mark.parametrize(
    ("activation", "sharpness", "plan"),
    [("relu", 1.0, "site"), ("tanh", 1.0, "mixture"), ("softplus", np.inf, "mixture"), ("sigmoid", 4.0, "exchange")],
)
def test_two_thousand_accepted_moves_do_not_drift_out_of_the_error(activation, sharpness, plan, problem):
    case, current, fused = started(problem, DEEP, activation, "inputs,units", sharpness)
    for turn in range(2000):
        candidates = propose(current, PLANS[plan], sharpness, count=1)
        go(current, candidates, 0, sharpness)
        fused.moved(current.position, candidates, np.array([0 if candidates.size[0, 0] else -1]))
        if turn % 400 == 399:
            here = case.losses(gates(current.position, sharpness))
            assert close(fused.current(), here, fused).all()
            ahead = propose(current, PLANS["mixture"], sharpness, count=30)
            usual = np.flatnonzero(ahead.size[0] > 0)
            wanted = case.losses(gates(moves.dense(current, ahead)[0, usual], sharpness))
            assert close(fused.losses(current, ahead)[0, usual], wanted, fused).all()
    # Without being told of the moves it would be far away.
    fresh = FusedEvaluator(case.gated, CrossEntropy())
    fresh.begin(case.x, case.y, np.random.default_rng(0).normal(0.0, 3.0, (1, case.sites.size)), sharpness)
    assert not close(fresh.current(), here, fresh).any()


def test_begin_sees_a_new_classifier_batch_and_sharpness(problem):
    case, current, fused = started(problem, DEEP, "relu", "inputs,units", 1.0)
    before = fused.current()
    with torch.no_grad():
        for parameter in case.model.parameters():
            parameter.mul_(1.3)
    case.x, case.y = case.x[:50], case.y[:50]
    fused.begin(case.x, case.y, current.position, 3.0)
    wanted = case.losses(gates(current.position, 3.0))
    assert close(fused.current(), wanted, fused).all()
    assert not close(before, wanted, fused).any()


def test_a_batch_that_is_a_slice_of_more_rows(problem):
    """How the session hands over its batches: no copy, and not contiguous either way."""
    case, current, _ = started(problem, DEEP, "relu", "inputs,units", 1.0)
    case.x, case.y = case.x[9:60], case.y[9:60]
    assert case.x.stride() == (1, ROWS)
    fused = FusedEvaluator(case.gated, CrossEntropy())
    fused.begin(case.x, case.y, current.position, 1.0)
    for _ in range(3):
        candidates = propose(current, PLANS["site"], 1.0)
        wanted = case.losses(gates(moves.dense(current, candidates)[0], 1.0))
        assert close(fused.losses(current, candidates)[0], wanted, fused).all()
        go(current, candidates, 1, 1.0)
        fused.moved(current.position, candidates, np.array([1]))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", [DEEP, FLAT, (N, 40, 14)])  # 14 classes: more than go through the last layer at once
def test_the_loss_of_an_accepted_candidate_is_that_of_the_position_bit_for_bit(widths, activation, problem):
    """A candidate computes the rows that it changes, picked out or side by side; following it computes rows side by side."""
    kinds = "inputs,units" if len(widths) > 2 else "inputs"
    case = problem(MLP(widths, activation, seed=1), kinds, (N,), ROWS, transposed=True, classes=5)
    case.x[:, ::2] *= torch.rand(ROWS, 11, generator=torch.Generator().manual_seed(1)) < 0.1  # few rows change
    train(case)
    current = state.new_state(np.random.default_rng(0).normal(0.0, 3.0, (1, case.sites.size)), sharpness=1.0)
    fused = FusedEvaluator(case.gated, CrossEntropy())
    fused.begin(case.x, case.y, current.position, 1.0)
    losses = []
    for _ in range(60):
        candidates = propose(current, PLANS["mixture"], 1.0, count=5)
        index = int(np.flatnonzero(candidates.size[0] > 0)[-1])
        losses.append(fused.losses(current, candidates)[0, index])
        go(current, candidates, index, 1.0)
        fused.moved(current.position, candidates, np.array([index]))
        assert fused.current()[0] == losses[-1]
    assert len(set(losses)) > 40
    assert close(losses[-1], case.losses(gates(current.position, 1.0))[0], fused)


@pytest.mark.parametrize("rows", [PART, PART + 1, 2 * PART + 77])
@pytest.mark.parametrize("kinds", ["inputs", "inputs,units", "units:layers.2"])
def test_several_parts_of_the_rows(kinds, rows, problem):
    """A batch of more rows than a part: losses, positions and bits are those of the plain loop over all rows."""
    case = problem(MLP(DEEP, seed=1), kinds, (N,), rows, transposed=True, classes=5)
    train(case)
    current = state.new_state(np.random.default_rng(0).normal(0.0, 3.0, (1, case.sites.size)), sharpness=1.0)
    fused = FusedEvaluator(case.gated, CrossEntropy())
    fused.begin(case.x, case.y, current.position, 1.0)
    for _ in range(8):
        candidates = propose(current, PLANS["mixture"], 1.0)
        usual = np.flatnonzero(candidates.size[0] > 0)
        losses = fused.losses(current, candidates)[0]
        assert (fused.seen[0, usual] == rows).all()
        assert close(losses[usual], case.losses(gates(moves.dense(current, candidates)[0, usual], 1.0)), fused).all()
        index = int(usual[-1])
        go(current, candidates, index, 1.0)
        fused.moved(current.position, candidates, np.array([index]))
        assert fused.current()[0] == losses[index]
        assert close(fused.current(), case.losses(gates(current.position, 1.0)), fused).all()


def test_replicas_stand_apart(problem):
    case, current, fused = started(problem, DEEP, "relu", "inputs,units", 1.0, replicas=3)
    candidates = propose(current, PLANS["mixture"], 1.0, chains=np.arange(3))
    index = np.array([1, -1, 4])
    whole = moves.dense(current, candidates)
    for replica in (0, 2):
        current.position[replica] = whole[replica, index[replica]]
    fused.moved(current.position, candidates, index)
    wanted = case.losses(gates(current.position, 1.0))
    assert close(fused.current(), wanted, fused).all()
    assert len(set(wanted.round(6))) == 3


@pytest.mark.parametrize(("widths", "rows"), [(DEEP, ROWS), ((N, 19, 5), 2 * PART + 90)], ids=["deep", "parts of rows"])
def test_one_and_two_threads_give_the_same_bits(problem, widths, rows):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread here")
    before = numba.get_num_threads()
    seen = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            _, current, fused = started(problem, widths, "relu", "inputs,units", 1.0, rows=rows)
            losses = []
            for _ in range(10):
                candidates = propose(current, PLANS["mixture"], 1.0, count=33)
                losses.append(fused.losses(current, candidates)[0])
                index = int(np.flatnonzero(candidates.size[0] > 0)[-1])
                go(current, candidates, index, 1.0)
                fused.moved(current.position, candidates, np.array([index]))
            seen.append(np.concatenate([*losses, fused.current()]))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(seen[0], seen[1])


def test_a_candidate_that_overflows_is_not_finite_and_leaves_the_rest_alone(problem):
    case = problem(MLP(DEEP, seed=1), "inputs", (N,), ROWS, transposed=True, classes=5)
    with torch.no_grad():
        case.model.layers[0].weight[:, 0] = 1e30
    case.x[:, 0] = 1e30
    weights = np.where(np.arange(N) == 0, -1.0, 1.0)[None]
    current = state.new_state(weights, sharpness=np.inf)
    toggles = propose(current, PLANS["toggle"], np.inf, count=60)
    for evaluator in (FusedEvaluator(case.gated, CrossEntropy()), FullEvaluator(case.gated, CrossEntropy())):
        evaluator.begin(case.x, case.y, current.position, np.inf)
        finite = np.isfinite(evaluator.losses(current, toggles)[0])
        np.testing.assert_array_equal(finite, toggles.sites[0, :, 0] != 0)
        assert np.isfinite(evaluator.current()).all()
        assert 0 < (~finite).sum() < 60


def chain(*modules):
    return nn.Sequential(*modules)


class OwnForward(nn.Sequential):
    def forward(self, x):
        return 2.0 * super().forward(x)


class OwnLinear(nn.Linear):
    def forward(self, x):
        return 2.0 * super().forward(x)


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = chain(nn.Linear(N, 5))

    def forward(self, x):
        return -self.inner(x)


def twice_the_same(module):
    return chain(nn.Linear(N, 8), nn.ReLU(), module, nn.ReLU(), module, nn.ReLU(), nn.Linear(8, 5))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Wrapped(), "Wrapped is not a plain chain"),
        (lambda: OwnForward(nn.Linear(N, 5)), "OwnForward is not a plain chain"),
        (lambda: chain(OwnLinear(N, 5)), "module 0 of the chain is a OwnLinear"),
        (lambda: twice_the_same(nn.Linear(8, 8)), "appears twice in the chain"),
        (lambda: MLP((N, 8, 5), "gelu"), "module 1 of the chain is a GELU"),
        (
            lambda: chain(nn.Linear(N, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)),
            "module 1 of the chain is a BatchNorm1d",
        ),
        (lambda: chain(nn.Linear(N, 8), nn.Linear(8, 5)), "module 1 of the chain is a Linear"),
        (
            lambda: chain(nn.Linear(N, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5)),
            "mixes activations",
        ),
        (lambda: chain(nn.Linear(N, 5), nn.ReLU()), "does not end in a linear layer"),
        (lambda: chain(), "does not end in a linear layer"),
        (lambda: MLP((N, 8, 5)).double(), "number types"),
        (lambda: chain(nn.Linear(N, 8), nn.Softplus(beta=2.0), nn.Linear(8, 5)), "beta"),
    ],
)
def test_what_it_cannot_serve_it_refuses_and_says_why(model, reason):
    built = model()
    with pytest.raises(ModelError, match=reason):
        FusedEvaluator(GatedModel(built, site_map(built, "inputs", N)), CrossEntropy())


def test_other_objectives_are_refused():
    model = MLP((N, 8, 5))
    with pytest.raises(ModelError, match="cross-entropy and losses of numbers only"):
        FusedEvaluator(GatedModel(model, site_map(model, "inputs", N)), ErrorRate())


@pytest.mark.parametrize("sharpness", [1.0, np.inf])
def test_moves_of_more_sites_than_pay_as_rows_go_through_products_and_are_followed(problem, sharpness):
    case, current, fused = started(problem, (N, 60, 33, 5), "relu", "inputs,units", sharpness)
    assert case.sites.size > MOST_SITES
    for _ in range(3):
        candidates = propose(current, moves.move_plan(uniform=1.0), sharpness)
        wanted = case.losses(gates(moves.dense(current, candidates)[0], sharpness))
        assert close(fused.losses(current, candidates)[0], wanted, fused).all()
        go(current, candidates, 2, sharpness)
        fused.moved(current.position, candidates, np.array([2]))
        assert close(fused.current()[0], wanted[2], fused)


def test_a_users_own_chain_with_one_activation_module_at_two_places_is_served(problem):
    torch.manual_seed(0)
    relu = nn.ReLU()
    model = chain(
        *(nn.Flatten(), nn.Linear(N, 19, bias=False), relu, nn.Dropout(0.5), nn.Linear(19, 33), relu, nn.Identity()),
        nn.Linear(33, 5),
    )
    case = problem(model, "inputs,units", (N,), ROWS, transposed=True, classes=5)
    model.train()  # dropout is off for the judges
    current = state.new_state(np.random.default_rng(0).normal(0.0, 3.0, (1, case.sites.size)), sharpness=1.0)
    fused = FusedEvaluator(case.gated, CrossEntropy())
    fused.begin(case.x, case.y, current.position, 1.0)
    candidates = propose(current, PLANS["mixture"], 1.0)
    usual = np.flatnonzero(candidates.size[0] > 0)
    wanted = case.losses(gates(moves.dense(current, candidates)[0, usual], 1.0))
    assert close(fused.losses(current, candidates)[0, usual], wanted, fused).all()
