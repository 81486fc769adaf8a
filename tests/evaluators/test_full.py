from types import SimpleNamespace

import numpy as np
import pytest
import torch
from selection import long_but
from torch import nn

from mcprune.chain import moves, state
from mcprune.evaluators import full as full_evaluator
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.full import FullEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate

CHAINS = np.zeros(1, np.int64)


class Hidden(nn.Module):
    """A user's module whose activation no list of modules shows."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(12, 9), nn.Linear(9, 3)

    def forward(self, x):
        return self.last(nn.functional.silu(self.first(x)))


def with_norms():
    model = nn.Sequential(
        nn.Linear(12, 17), nn.BatchNorm1d(17), nn.ReLU(), nn.Dropout(0.5), nn.Linear(17, 9), nn.ELU(), nn.Linear(9, 3)
    )
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2.0)
    return model


def cnn():
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(36, 11), nn.Tanh(), nn.Linear(11, 3)),
    )


def mlp(activation):
    return lambda: MLP((12, 17, 9, 3), activation, seed=4)


MODELS = [
    *[
        (mlp(name), kinds, (12,))
        for name in ("relu", "tanh", "sigmoid", "softplus", "gelu")
        for kinds in ("inputs", "inputs,units")
    ],
    (mlp("relu"), "units:layers.2", (12,)),
    (lambda: MLP((12, 3), seed=4), "inputs", (12,)),
    (with_norms, "inputs,units", (12,)),
    (Hidden, "inputs", (12,)),
    *[(cnn, kinds, (1, 8, 8)) for kinds in ("inputs", "units", "inputs,units")],
]


def evaluator(case, weights, sharpness, max_memory):
    full = FullEvaluator(case.gated, CrossEntropy(), max_memory=max_memory)
    full.begin(case.x, case.y, weights[:1], sharpness)
    return full


@pytest.fixture
def stacking(monkeypatch):
    """Stacks are taken wherever no bit changes, whatever the clock says."""
    monkeypatch.setattr(full_evaluator, "is_faster", lambda first, second: True)


@pytest.mark.parametrize("stack_is_faster", [True, False])
def test_a_stack_is_taken_only_where_it_is_faster(stack_is_faster, problem, monkeypatch):
    case = problem(mlp("relu")(), "inputs", (12,), 128)
    seen = []
    case.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    clock = iter(range(10_000))
    slow = "_loop" if stack_is_faster else "_stack"
    plain = getattr(FullEvaluator, slow)

    def slowed(self, gates):
        for _ in range(100):
            next(clock)
        return plain(self, gates)

    monkeypatch.setattr(FullEvaluator, slow, slowed)
    monkeypatch.setattr(full_evaluator, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    weights = np.random.default_rng(0).normal(0.0, 2.0, (32, case.sites.size))
    full = evaluator(case, weights, np.inf, 2**30)
    count = full.chunk(case.sites.size)
    assert (count > 1) == stack_is_faster
    seen.clear()
    full.at(weights)
    assert seen == ([count * 128] * (32 // count) if stack_is_faster else [128] * 32)


@pytest.mark.slow
@pytest.mark.usefixtures("stacking")
@pytest.mark.parametrize("rows", long_but("as many rows as many chunks", [7, 65, 300], 7, 300))
@pytest.mark.parametrize(("build", "kinds", "shape"), MODELS)
def test_every_chunk_gives_the_bits_of_the_plain_loop(build, kinds, shape, rows, problem):
    torch.manual_seed(0)
    case = problem(build(), kinds, shape, rows)
    weights = np.random.default_rng(rows).normal(0.0, 2.0, (23, case.sites.size))
    for sharpness in (1.0, np.inf):
        loop = case.losses(gates_of(weights, sharpness))
        assert len(set(loop)) > 10  # the candidates differ, so equality below says something
        for max_memory in (1, 300_000, 2**30):
            full = evaluator(case, weights, sharpness, max_memory)
            np.testing.assert_array_equal(full.at(weights), loop)
            for start in (0, 5, 22):
                np.testing.assert_array_equal(full.at(weights[start : start + 7]), loop[start : start + 7])
            assert full.current()[0] == loop[0]


@pytest.mark.usefixtures("stacking")
def test_rows_laid_out_input_by_input_have_the_same_bits_in_every_chunk(problem):
    """The session's batches are transposed in memory, a stacked copy of them is not."""
    case = problem(mlp("relu")(), "inputs,units", (12,), 300, transposed=True)
    weights = np.random.default_rng(1).normal(0.0, 2.0, (23, case.sites.size))
    loop = case.losses(gates_of(weights, 1.0))
    for max_memory in (1, 2**30):
        np.testing.assert_array_equal(evaluator(case, weights, 1.0, max_memory).at(weights), loop)


@pytest.mark.parametrize("share", ["uniform", "block", "site", "exchange", "toggle"])
@pytest.mark.parametrize("sharpness", [1.0, np.inf])
def test_sparse_moves_are_the_whole_positions_that_they_stand_for(share, sharpness, problem):
    case = problem(mlp("relu")(), "inputs,units", (12,), 100)
    rng = np.random.default_rng(2)
    current = state.new_state(rng.normal(0.0, 2.0, (2, case.sites.size)), sharpness=sharpness)
    plan = moves.move_plan(**{share: 1.0}, block_size=5)
    chains = np.arange(2)
    candidates = moves.propose(current, 9, plan=plan, delta=2.0, sharpness=sharpness, seed=1, chains=chains)
    whole = moves.dense(current, candidates)
    full = FullEvaluator(case.gated, CrossEntropy())
    full.begin(case.x, case.y, current.position, sharpness)
    losses = full.losses(current, candidates)
    for replica in range(2):
        np.testing.assert_array_equal(losses[replica], case.losses(gates_of(whole[replica], sharpness)))
    assert not np.array_equal(losses[0], losses[1])


def test_a_move_that_was_not_available_has_no_loss(problem):
    case = problem(mlp("relu")(), "inputs", (12,), 100)
    current = state.new_state(np.full(12, 4.0), sharpness=np.inf)  # nothing is dropped, so nothing can be exchanged
    plan = moves.move_plan(exchange=1.0, toggle=1.0)
    candidates = moves.propose(current, 40, plan=plan, delta=1.0, sharpness=np.inf, seed=0, chains=CHAINS)
    full = FullEvaluator(case.gated, CrossEntropy())
    full.begin(case.x, case.y, current.position, np.inf)
    np.testing.assert_array_equal(np.isnan(full.losses(current, candidates)), candidates.size == 0)
    assert 0 < (candidates.size == 0).sum() < 40


@pytest.mark.parametrize(("build", "kinds", "shape"), [MODELS[1], MODELS[-1]])
def test_a_stack_of_candidates_holds_each_with_its_own_gates(build, kinds, shape, problem, monkeypatch):
    """Whole chunks are stacked; what is left over goes one by one on a CPU."""
    case = problem(build(), kinds, shape, 100)
    weights = np.random.default_rng(3).normal(0.0, 2.0, (23, case.sites.size))
    full = evaluator(case, weights, 1.0, 2**30)
    seen = []
    case.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    monkeypatch.setattr(full, "chunk", lambda sites, candidates: 5)
    stacked = full.at(weights)
    assert seen == [500, 500, 500, 500, 100, 100, 100]
    loop = case.losses(gates_of(weights, 1.0))
    np.testing.assert_allclose(stacked, loop, rtol=1e-6)
    assert np.ptp(loop) > 1e-3  # the candidates differ by far more


def test_nothing_is_tried_for_candidates_that_do_not_fill_a_stack(problem):
    """A few rows make a large stack: trying and timing it would take longer than a whole search by the loop."""
    case = problem(mlp("relu")(), "inputs", (12,), 10)
    weights = np.random.default_rng(3).normal(0.0, 2.0, (410, case.sites.size))
    full = evaluator(case, weights, 1.0, 2**30)
    seen = []
    case.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    full.at(weights[:3])
    assert seen == [10, 10, 10]
    full.at(weights)  # the control: 409 candidates fill one
    assert max(seen) == 4090


@pytest.mark.parametrize("max_memory", [1, 300_000, 2**20, 2**30])
def test_memory_bounds_a_stack_on_a_gpu(max_memory, problem):
    case = problem(mlp("relu")(), "inputs", (12,), 100)
    full = FullEvaluator(case.gated, CrossEntropy(), max_memory=max_memory)
    full.features = SimpleNamespace(shape=(100, 12), numel=lambda: 1200, is_cuda=True)
    rows = 100 * full.chunk(12)
    # inputs plain and gated, gates, units, logits, float32
    assert rows == 100 or rows * 4 * (12 + 12 + 12 + 17 + 9 + 3) <= max_memory
    assert rows > max_memory / 4 / (12 + 12 + 12 + 2 * (17 + 9 + 3)) - 100  # and it is made use of


def test_the_classifier_is_judged_without_dropout_and_goes_on_training(problem):
    torch.manual_seed(0)
    case = problem(MLP((12, 17, 3), dropout=0.5, seed=0), "inputs", (12,), 100)
    weights = np.random.default_rng(4).normal(size=(5, 12))
    case.model.train()
    full = evaluator(case, weights, 1.0, 2**30)
    np.testing.assert_array_equal(full.at(weights), full.at(weights))
    np.testing.assert_array_equal(full.at(weights), case.losses(gates_of(weights, 1.0)))
    assert case.model.training
    assert not torch.equal(case.model(case.x), case.model(case.x))  # dropout was on: the test could fail


def test_a_new_batch_and_new_classifier_weights_are_seen_at_begin(problem):
    case = problem(mlp("relu")(), "inputs", (12,), 100)
    weights = np.random.default_rng(5).normal(size=(4, 12))
    full = evaluator(case, weights, 1.0, 2**30)
    before = full.at(weights)
    with torch.no_grad():
        case.model.layers[0].weight.mul_(1.5)
    case.x = case.x * 2.0
    full.begin(case.x, case.y, weights[:1], 1.0)
    np.testing.assert_array_equal(full.at(weights), case.losses(gates_of(weights, 1.0)))
    assert not np.array_equal(full.at(weights), before)


def test_the_share_of_wrong_answers_counts_rows_and_a_broken_candidate_is_not_right(problem):
    case = problem(mlp("relu")(), "inputs", (12,), 100)
    weights = np.random.default_rng(6).normal(size=(4, 12))
    full = FullEvaluator(case.gated, ErrorRate())
    full.begin(case.x, case.y, weights[:1], np.inf)
    with torch.no_grad():
        wrong = [
            (case.model(case.x * torch.from_numpy(row > 0)).argmax(1) != case.y).sum().item() / 100 for row in weights
        ]
    np.testing.assert_allclose(full.at(weights), wrong, rtol=1e-7)
    logits = torch.zeros(2, 3, 2)
    logits[0, 1, 0] = torch.nan
    assert np.isnan(ErrorRate().losses(logits, torch.zeros(3, dtype=torch.int64))).tolist() == [True, False]


def test_gates_are_a_sigmoid_that_never_overflows():
    weights = np.array([-1e4, -800.0, -4.0, 0.0, 4.0, 800.0, 1e4])
    soft = gates_of(weights, 1.0)
    np.testing.assert_allclose(soft[2:5], 1 / (1 + np.exp(-weights[2:5])), rtol=1e-7)
    assert soft[0] == 0.0
    assert soft[-1] == 1.0
    assert gates_of(weights, np.inf).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
