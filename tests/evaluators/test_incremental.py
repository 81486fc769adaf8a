"""The incremental evaluator against the plain loop in float64, one by one and stacked, within the error that it states."""

import math

import numpy as np
import pytest
import torch
from selection import long_but
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators import incremental as module
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate

N, ROWS = 12, 70
PLANS = {
    "sparse": moves.move_plan(site=1.0, exchange=1.0, toggle=1.0),
    "many": moves.move_plan(site=0.3, block=1.0, uniform=0.5, block_size=4),
}


class Functional(nn.Module):
    """A model of one's own whose inputs meet one Linear; `leaky` lets them pass by it as well."""

    def __init__(self, leaky=False):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(N, 9), nn.Linear(9, 9), nn.Linear(9, 3)
        self.leaky = leaky

    def forward(self, x):
        h = nn.functional.silu(self.first(x))
        h = h + torch.tanh(self.second(h))
        return self.last(h) + (x.mean(dim=1, keepdim=True) if self.leaky else 0.0)


def norms():
    model = nn.Sequential(
        *(nn.Flatten(), nn.Linear(N, 17), nn.BatchNorm1d(17), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        *(nn.Linear(17, 9), nn.ELU(), nn.Linear(9, 8), nn.BatchNorm1d(8, affine=False)),
        *(nn.Tanh(), nn.Linear(8, 3)),
    )
    for one in model.modules():
        if isinstance(one, nn.BatchNorm1d):
            one.running_mean.normal_()
            one.running_var.uniform_(0.5, 2.0)
    return model


def cnn():
    """Only its units feed a Linear."""
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(27, 11), nn.Tanh(), nn.Linear(11, 9), nn.ReLU(), nn.Linear(9, 3)),
    )


CASES = [
    *[
        (lambda name=name: MLP((N, 17, 9, 3), name, dropout=0.2, seed=4), kinds, (N,))
        for name in ("relu", "tanh", "sigmoid", "softplus", "gelu")
        for kinds in ("inputs", "units", "inputs,units", "units:layers.3")
    ],
    (lambda: MLP((N, 3), seed=4), "inputs", (N,)),
    (norms, "inputs", (3, 4)),
    (norms, "inputs,units", (3, 4)),
    (cnn, "units", (1, 8, 8)),
    (Functional, "inputs", (N,)),
]
# Every kind of site under relu, and inputs and units together under the others.
SOME = long_but("kinds of sites under other activations", CASES, *CASES[:4], *CASES[6:20:4], *CASES[20:])


def trained(case):
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(case.model.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(case.model(case.x), case.y).backward()
        optimizer.step()
    return case


def gates(weights, sharpness):
    return (weights > 0).astype(np.float64) if math.isinf(sharpness) else 1.0 / (1.0 + np.exp(-sharpness * weights))


def started(problem, build, kinds, shape, sharpness, objective=CrossEntropy, **more):
    torch.manual_seed(0)
    case = trained(problem(build(), kinds, shape, ROWS, transposed=len(shape) == 1))
    current = state.new_state(np.random.default_rng(3).normal(0.0, 2.0, (2, case.sites.size)), sharpness=sharpness)
    evaluator = IncrementalEvaluator(case.gated, objective(), **more)
    evaluator.begin(case.x, case.y, current.position, sharpness)
    return case, current, evaluator


def accept(current, batch, index, sharpness, *evaluators):
    for replica in np.flatnonzero(index >= 0):
        current.position[replica] = moves.dense(current, batch)[replica, index[replica]]
        current.step[replica] += 1 + index[replica]
    state.refresh(current, sharpness=sharpness)
    for one in evaluators:
        one.moved(current.position, batch, index)


def propose(current, plan, sharpness, count=6, seed=3):
    return moves.propose(current, count, plan=plan, delta=3.0, sharpness=sharpness, seed=seed, chains=np.arange(2))


def within(values, wanted, evaluator):
    return bool((np.abs(values - wanted) <= evaluator.error * np.maximum(1.0, np.abs(wanted))).all())


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("sharpness", [1.0, np.inf])
@pytest.mark.parametrize(("build", "kinds", "shape"), SOME)
def test_candidates_before_and_after_accepted_moves(build, kinds, shape, sharpness, stacked, problem):
    case, current, evaluator = started(problem, build, kinds, shape, sharpness, stacked=stacked)
    apart = 0.0
    for turn in range(4):
        for plan in PLANS.values():
            batch = propose(current, plan, sharpness)
            losses = evaluator.losses(current, batch)
            whole = moves.dense(current, batch)
            for replica in range(2):
                usual = batch.size[replica] > 0
                wanted = case.losses(gates(whole[replica], sharpness)[usual])
                assert within(losses[replica, usual], wanted, evaluator)
                here = case.losses(gates(current.position[replica : replica + 1], sharpness))[0]
                assert within(evaluator.current()[replica], here, evaluator)
                apart = max(apart, *np.abs(wanted - here))
            accept(current, batch, np.array([turn, -1 if turn % 2 else 5]), sharpness, evaluator)
    assert apart > 100 * evaluator.error  # an evaluator that changes nothing fails


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "kinds", "sharpness"),
    [(CASES[0][0], "inputs", 1.0), (CASES[2][0], "inputs,units", np.inf), (norms, "inputs,units", 1.0)],
)
def test_a_thousand_accepted_moves_stay_within_the_error(build, kinds, sharpness, problem, monkeypatch):
    """Also without the refresh, which comes at the 1,000th."""
    monkeypatch.setattr(module, "REFRESH", 10**9)
    case, current, evaluator = started(problem, build, kinds, (N,), sharpness)
    worst = 0.0
    for turn in range(1000):
        batch = propose(current, PLANS["sparse"], sharpness, 1)
        accept(current, batch, np.where(batch.size[:, 0] > 0, 0, -1), sharpness, evaluator)
        current.step[:] += batch.size[:, 0] == 0
        if turn % 100 == 99:
            wanted = case.losses(gates(current.position, sharpness))
            worst = max(worst, *(np.abs(evaluator.current() - wanted) / np.maximum(1.0, wanted)))
    assert worst <= evaluator.error
    assert evaluator.replicas[0].accepted > 900


def test_every_thousandth_accepted_move_is_computed_again(problem, monkeypatch):
    monkeypatch.setattr(module, "REFRESH", 3)
    case, current, evaluator = started(problem, CASES[0][0], "inputs", (N,), 1.0)
    evaluator.replicas[0].logits += 1.0  # a drift that is no rounding
    evaluator.replicas[0].logits[:, 0] -= 3.0
    for turn in range(3):
        batch = propose(current, PLANS["sparse"], 1.0, 40, seed=turn)
        pick = int(np.flatnonzero(batch.size[0] > 0)[0])
        accept(current, batch, np.array([pick, -1]), 1.0, evaluator)
        wanted = case.losses(gates(current.position, 1.0))
        assert within(evaluator.current(), wanted, evaluator) == (turn == 2)


def test_rows_whose_changed_inputs_are_zero_do_not_run(problem):
    case, current, evaluator = started(problem, CASES[0][0], "inputs", (N,), np.inf)
    case.x[:, 2] = 0.0
    case.x[:5, 2] = 1.0
    evaluator.begin(case.x, case.y, current.position, np.inf)
    seen = []
    case.model.get_submodule("layers.3").register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    batch = moves.propose(
        current, 60, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    evaluator.losses(current, batch)
    wanted = [(case.x[:, site] != 0).sum().item() for site in batch.sites[:, :, 0].ravel()]
    assert seen == wanted
    assert 5 in seen


@pytest.mark.parametrize("stacked", [False, True])
def test_an_objective_that_knows_only_whole_batches_is_served(stacked, problem):
    case, current, evaluator = started(problem, CASES[2][0], "inputs,units", (N,), np.inf, ErrorRate, stacked=stacked)
    full = FullEvaluator(case.gated, ErrorRate())
    full.begin(case.x, case.y, current.position, np.inf)
    batch = propose(current, PLANS["sparse"], np.inf, 20)
    np.testing.assert_allclose(evaluator.losses(current, batch), full.losses(current, batch), rtol=1e-6)


def test_memory_cuts_the_stacks_and_changes_nothing(problem):
    case, current, evaluator = started(problem, CASES[2][0], "inputs,units", (N,), 1.0, stacked=True)
    batch = propose(current, PLANS["sparse"], 1.0, 20)
    whole = evaluator.losses(current, batch)
    seen = []
    case.model.get_submodule("layers.6").register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    evaluator.max_memory = 2**17
    np.testing.assert_allclose(evaluator.losses(current, batch), whole, rtol=1e-6)
    assert max(seen) <= evaluator.chunk(1) * ROWS < 20 * ROWS


def test_dropout_is_off_and_the_model_goes_on_training(problem):
    case, current, evaluator = started(problem, CASES[0][0], "inputs", (N,), 1.0)
    case.model.train()
    batch = propose(current, PLANS["sparse"], 1.0)
    np.testing.assert_array_equal(evaluator.losses(current, batch), evaluator.losses(current, batch))
    assert case.model.training


def bare_norm():
    return nn.Sequential(nn.Linear(N, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("build", "kinds", "shape", "words"),
    [
        (cnn, "inputs,units", (1, 8, 8), "first layer after the inputs is a Conv2d"),
        (lambda: Functional(leaky=True), "inputs", (N,), "other layers than the first Linear"),
        (Functional, "units:first", (N,), "inside a module that is not a chain"),
        (
            lambda: nn.Sequential(nn.Linear(N, 6), nn.Softmax(1), nn.Linear(6, 3)),
            "units",
            (N,),
            "is a Softmax, not a Linear",
        ),
        (lambda: nn.Sequential(nn.LayerNorm(N), nn.Linear(N, 3)), "inputs", (N,), "0 Linear layers read the inputs"),
        (bare_norm, "inputs", (N,), "mixes the rows"),
        (lambda: MLP((N, 5, 3)).double(), "units", (N,), "float64"),
    ],
)
def test_what_it_cannot_serve_it_refuses_and_says_why(build, kinds, shape, words, problem):
    case = problem(build(), kinds, shape, 20)
    with pytest.raises(ModelError, match=words):
        IncrementalEvaluator(case.gated, CrossEntropy()).begin(case.x, case.y, np.ones((1, case.sites.size)), np.inf)


def test_a_model_of_ones_own_is_left_as_it_was(problem):
    case, current, evaluator = started(problem, Functional, "inputs", (N,), 1.0)
    evaluator.losses(current, propose(current, PLANS["sparse"], 1.0))
    assert "forward" not in vars(case.model.first)
    assert not case.model.first._forward_hooks
