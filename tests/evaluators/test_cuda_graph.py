"""The graph evaluator's fixed-shape code on a CPU: against the plain loop in float64, within the error that it states."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators.cuda_graph import SAFETY, GraphEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate

N, ROWS = 12, 70
SPARSE = moves.move_plan(site=1.0, exchange=1.0, toggle=1.0, block=1.0, block_size=4)


def norms():
    model = nn.Sequential(
        *(nn.Linear(N, 17), nn.BatchNorm1d(17), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        *(nn.Linear(17, 9), nn.ELU(), nn.Linear(9, 3)),
    )
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2.0)
    return model


CASES = [
    *[
        (lambda name=name: MLP((N, 17, 9, 3), name, dropout=0.2, seed=4), kinds)
        for name in ("relu", "tanh", "sigmoid", "softplus", "gelu")
        for kinds in ("inputs", "units", "inputs,units")
    ],
    (lambda: MLP((N, 3), seed=4), "inputs"),
    (norms, "inputs,units"),
]


def gates(weights, sharpness):
    return (weights > 0).astype(np.float64) if math.isinf(sharpness) else 1.0 / (1.0 + np.exp(-sharpness * weights))


def started(problem, build, kinds, sharpness, **more):
    torch.manual_seed(0)
    case = problem(build(), kinds, (N,), ROWS, transposed=True)
    optimizer = torch.optim.Adam(case.model.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(case.model(case.x), case.y).backward()
        optimizer.step()
    current = state.new_state(np.random.default_rng(3).normal(0.0, 2.0, (2, case.sites.size)), sharpness=sharpness)
    evaluator = GraphEvaluator(case.gated, CrossEntropy(), **more)
    evaluator.begin(case.x, case.y, current.position, sharpness)
    return case, current, evaluator


def propose(current, sharpness, count=9, plan=SPARSE):
    return moves.propose(current, count, plan=plan, delta=3.0, sharpness=sharpness, seed=3, chains=np.arange(2))


def check(case, current, evaluator, sharpness, batch):
    """Every loss within the error; returns the largest difference relative to max(1, loss), and from the position."""
    losses, whole = evaluator.losses(current, batch), moves.dense(current, batch)
    worst = apart = 0.0
    for replica in range(2):
        usual = batch.size[replica] > 0
        wanted = case.losses(gates(whole[replica], sharpness)[usual])
        away = np.abs(losses[replica, usual] - wanted) / np.maximum(1.0, wanted)
        assert (away <= evaluator.error).all()
        here = case.losses(gates(current.position[replica : replica + 1], sharpness))[0]
        worst, apart = max(worst, *away), max(apart, *np.abs(wanted - here))
    return worst, apart


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [1.0, np.inf])
@pytest.mark.parametrize(("build", "kinds"), CASES)
def test_candidates_before_and_after_accepted_moves(build, kinds, sharpness, problem):
    case, current, evaluator = started(problem, build, kinds, sharpness, batch=4)  # 9 candidates: 4, 4 and 1 padded
    apart = 0.0
    for turn in range(5):
        batch = propose(current, sharpness)
        apart = max(apart, check(case, current, evaluator, sharpness, batch)[1])
        index = np.array([turn, -1 if turn % 2 else 8])
        for replica in np.flatnonzero(index >= 0):
            current.position[replica] = moves.dense(current, batch)[replica, index[replica]]
            current.step[replica] += 1
        state.refresh(current, sharpness=sharpness)
        evaluator.moved(current.position, batch, index)
    assert apart > 100 * evaluator.error


def test_a_new_batch_new_weights_and_another_sharpness_are_seen_at_begin(problem):
    case, current, evaluator = started(problem, CASES[2][0], "inputs,units", 1.0)
    batch = propose(current, 1.0)
    before = evaluator.losses(current, batch)
    with torch.no_grad():
        case.model.layers[0].weight.mul_(1.5)
    case.x, case.y = case.x[:50] * 0.5, case.y[:50]
    evaluator.begin(case.x, case.y, current.position, np.inf)
    state.refresh(current, sharpness=np.inf)
    check(case, current, evaluator, np.inf, propose(current, np.inf))
    assert len(evaluator._recorded) == len({key[1:] for key in evaluator._recorded})  # the old shape's are given up
    assert not np.array_equal(evaluator.losses(current, batch), before)


def test_shapes_are_the_same_whatever_the_batch_holds(problem, monkeypatch):
    """What can be recorded once: the same buffers, the same products."""
    _, current, evaluator = started(problem, CASES[0][0], "inputs", np.inf, batch=8)
    seen = []
    compute = evaluator._compute

    def spy(one):
        seen.append((id(one.local), tuple(one.local.shape), tuple(one.pre.shape)))
        return compute(one)

    monkeypatch.setattr(evaluator, "_compute", spy)
    for count in (1, 5, 8, 19):
        evaluator.losses(current, propose(current, np.inf, count))
    assert len(seen) >= 2 * 6
    assert len(set(seen)) == 1


def test_a_bf16_screen_is_away_by_more_than_float32_and_within_its_measured_band(problem):
    case, current, evaluator = started(problem, CASES[2][0], "inputs,units", 1.0, screen="bf16")
    plain = IncrementalEvaluator.error
    worst, _ = check(case, current, evaluator, 1.0, propose(current, 1.0, 40))
    assert worst > 2 * plain  # a screen indeed
    assert worst > evaluator.error / SAFETY / 4  # and a band of that size, no free pass
    assert evaluator.error > plain


def test_moves_of_many_sites_go_as_in_incremental(problem):
    case, current, evaluator = started(problem, lambda: MLP((N, 80, 3), seed=4), "inputs,units", 1.0)
    check(case, current, evaluator, 1.0, propose(current, 1.0, 3, moves.move_plan(uniform=1.0)))
    assert not evaluator._recorded


def test_memory_makes_the_batch_smaller(problem):
    case, current, evaluator = started(problem, CASES[0][0], "inputs", 1.0, max_memory=2**18)
    check(case, current, evaluator, 1.0, propose(current, 1.0))
    sizes = {len(one.local) for one in evaluator._recorded.values()}
    assert max(sizes) < evaluator.batch


@pytest.mark.parametrize(
    ("model", "objective", "words"),
    [
        (MLP((N, 5, 3)), ErrorRate, "cross-entropy only"),
        (nn.Sequential(nn.Linear(N, 5), nn.LayerNorm(5), nn.Linear(5, 3)), CrossEntropy, "there is a LayerNorm"),
    ],
)
def test_what_it_cannot_serve_it_refuses_and_says_why(model, objective, words, problem):
    with pytest.raises(ModelError, match=words):
        GraphEvaluator(problem(model, "inputs", (N,), 20).gated, objective())
    GraphEvaluator(problem(MLP((N, 5, 3)), "inputs", (N,), 20).gated, CrossEntropy())  # the control


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("screen", ["none", "tf32", "bf16"])
def test_on_a_gpu_the_recorded_batches_agree_with_the_plain_loop(screen, problem):
    case, current, _ = started(problem, CASES[2][0], "inputs,units", 1.0)
    case.model.cuda()
    evaluator = GraphEvaluator(case.gated, CrossEntropy(), screen=screen)
    evaluator.begin(case.x.cuda(), case.y.cuda(), current.position, 1.0)
    losses, batch = None, propose(current, 1.0)
    losses = evaluator.losses(current, batch)
    case.model.cpu()
    whole = moves.dense(current, batch)
    for replica in range(2):
        usual = batch.size[replica] > 0
        wanted = case.losses(gates(whole[replica], 1.0)[usual])
        assert (np.abs(losses[replica, usual] - wanted) <= evaluator.error * np.maximum(1.0, wanted)).all()
