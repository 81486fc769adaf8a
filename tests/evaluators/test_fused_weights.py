"""Evaluators where single weights are the sites, against a plain loop over models whose weights were multiplied."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.choose import EvaluationProblem, choose
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused_weights import FusedWeightsEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

N, ROWS = 21, 300  # more rows than a block, no multiple of 16
PLAN = moves.move_plan(exchange=1.0, toggle=1.0, site=1.0, block=1.0, block_size=6)
CHAINS = np.arange(2)


def data(rows=ROWS):
    draw = np.random.default_rng(rows)
    x = draw.normal(size=(N, rows)).astype(np.float32)
    x[draw.random(x.shape) < 0.5] = 0.0  # rows on which a weight does nothing
    x[4] = 0.0  # an input that is black everywhere
    return torch.from_numpy(x).T, torch.from_numpy(draw.integers(0, 5, rows))


def setting(sharpness, activation="relu", kinds="weights", bias=True):
    model = MLP((N, 13, 9, 5), activation, seed=1, bias=bias)
    gated = GatedModel(model, site_map(model, kinds, N))
    draw = np.random.default_rng(2)
    position = np.where(draw.random((2, gated.sites.size)) < 0.4, 4.0, -4.0) * draw.uniform(0.2, 1, gated.sites.size)
    return gated, state.new_state(position, sharpness=sharpness)


@torch.no_grad()
def loop(gated, position, sharpness, x, y):
    """Mean losses in float64, one model after the other."""
    out = []
    for weights in position:
        gates = torch.from_numpy(gates_of(weights, sharpness).astype(np.float64))
        model = copy.deepcopy(gated.model).double()
        for group in gated.sites.weights:
            model.get_submodule(group.layer).weight.mul_(gates[group.start : group.stop].view(group.shape))
        out.append(float(nn.functional.cross_entropy(model(x.double()), y)))
    return np.array(out)


def proposed(current, sharpness, seed):
    return moves.propose(current, 9, plan=PLAN, delta=4.0, sharpness=sharpness, seed=seed, chains=CHAINS)


def go(current, candidates, index, sharpness):
    for replica, k in enumerate(index):
        if k >= 0:
            current.position[replica] = moves.dense(current, candidates)[replica, k]
    state.refresh(current, sharpness=sharpness)


@pytest.mark.parametrize("kinds", ["weights", "weights:layers.2", "weights:layers.0,layers.4"])
@pytest.mark.parametrize("sharpness", [1.0, np.inf])
@pytest.mark.parametrize("build", [FullEvaluator, SuffixEvaluator, FusedWeightsEvaluator])
@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_losses_before_and_after_accepted_moves(activation, build, sharpness, kinds):
    gated, current = setting(sharpness, activation, kinds)
    evaluator, (x, y) = build(gated, CrossEntropy()), data()
    evaluator.begin(x, y, current.position, sharpness)
    spread = 0.0
    for turn in range(8):
        candidates = proposed(current, sharpness, turn)
        found = evaluator.losses(current, candidates)
        dense = moves.dense(current, candidates)
        wanted = np.stack([loop(gated, one, sharpness, x, y) for one in dense])
        is_move = candidates.size > 0
        assert np.abs(found - wanted)[is_move].max() < 1e-6
        spread = max(spread, np.ptp(wanted))
        index = np.array([turn % 9, -1 if turn % 3 else (turn + 4) % 9])
        go(current, candidates, index, sharpness)
        evaluator.moved(current.position, candidates, index)
        assert np.abs(evaluator.current() - loop(gated, current.position, sharpness, x, y)).max() < 1e-6
    assert spread > 1e-3  # the candidates do differ


def test_suffix_has_the_canonical_bits():
    gated, current = setting(np.inf)
    full, suffix, (x, y) = FullEvaluator(gated, ErrorRate()), SuffixEvaluator(gated, ErrorRate()), data()
    for evaluator in (full, suffix):
        evaluator.begin(x, y, current.position, np.inf)
    candidates = proposed(current, np.inf, 0)
    assert np.array_equal(full.losses(current, candidates), suffix.losses(current, candidates), equal_nan=True)


def test_what_changes_no_row_is_an_exact_tie():
    gated, current = setting(np.inf)
    fused, (x, y) = FusedWeightsEvaluator(gated, CrossEntropy()), data()
    fused.begin(x, y, current.position, np.inf)
    dead, live = 4, 5  # weights of the first unit, on a black input and on another
    candidates = proposed(current, np.inf, 0)
    candidates.size[:, :2] = 1
    candidates.sites[:, 0, 0], candidates.sites[:, 1, 0] = dead, live
    candidates.weights[:, :2, 0] = -current.position[:, [dead, live]]
    found = fused.losses(current, candidates)
    assert np.array_equal(found[:, 0], fused.current())
    assert (found[:, 1] != fused.current()).all()


def test_nothing_known_outlives_a_begin():
    """A step of a fused optimizer raises no version of a tensor, and what rounding has added up in a block ends with it."""
    gated, current = setting(np.inf)
    fused, (x, y) = FusedWeightsEvaluator(gated, CrossEntropy()), data()
    fused.begin(x, y, current.position, np.inf)
    for turn in range(6):
        candidates = proposed(current, np.inf, turn)
        go(current, candidates, np.array([turn, -1]), np.inf)
        fused.moved(current.position, candidates, np.array([turn, -1]))
    fused.begin(x, y, current.position, np.inf)
    other = FusedWeightsEvaluator(gated, CrossEntropy())
    other.begin(x, y, current.position, np.inf)
    assert np.array_equal(fused.current(), other.current())
    candidates = proposed(current, np.inf, 6)
    assert np.array_equal(fused.losses(current, candidates), other.losses(current, candidates), equal_nan=True)
    optimizer = torch.optim.AdamW(gated.model.parameters(), lr=0.1, fused=True)
    gated(x, gated.hard_gates(current.position[0] > 0)).square().mean().backward()
    optimizer.step()
    before = fused.current()
    fused.begin(x, y, current.position, np.inf)
    assert np.allclose(fused.current(), loop(gated, current.position, np.inf, x, y), atol=1e-6)
    assert np.abs(fused.current() - before).min() > 1e-2
    rows = data(ROWS + 1)
    fused.begin(*rows, current.position, np.inf)
    assert np.allclose(fused.current(), loop(gated, current.position, np.inf, *rows), atol=1e-6)
    assert not np.allclose(fused.current(), before, atol=1e-6)


def test_many_changed_weights_go_through_one_pass():
    gated, current = setting(1.0)
    fused, (x, y) = FusedWeightsEvaluator(gated, CrossEntropy()), data()
    fused.begin(x, y, current.position, 1.0)
    plan = moves.move_plan(uniform=1.0)
    candidates = moves.propose(current, 3, plan=plan, delta=2.0, sharpness=1.0, seed=0, chains=CHAINS)
    wanted = np.stack([loop(gated, one, 1.0, x, y) for one in moves.dense(current, candidates)])
    assert np.abs(fused.losses(current, candidates) - wanted).max() < 1e-6
    go(current, candidates, np.array([2, -1]), 1.0)
    fused.moved(current.position, candidates, np.array([2, -1]))
    assert np.abs(fused.current() - loop(gated, current.position, 1.0, x, y)).max() < 1e-6


def test_who_cannot_serve_says_why():
    gated, _ = setting(np.inf)
    mixed, _ = setting(np.inf, kinds="inputs,weights")
    with pytest.raises(ModelError, match="weights are sites, and it supports signals only"):
        IncrementalEvaluator(gated, CrossEntropy())
    with pytest.raises(ModelError, match="weights are not the only kind of site"):
        FusedWeightsEvaluator(mixed, CrossEntropy())
    with pytest.raises(ModelError, match="cross-entropy only"):
        FusedWeightsEvaluator(gated, ErrorRate())
    other = nn.ModuleList([nn.Linear(N, 5)])
    no_chain = GatedModel(other, site_map(other, "weights", N))
    with pytest.raises(ModelError, match="not a plain chain"):
        FusedWeightsEvaluator(no_chain, CrossEntropy())


@pytest.mark.parametrize(("kinds", "names"), [("weights", {"fused"}), ("inputs,weights", {"suffix", "full"})])
def test_the_choice(kinds, names):
    gated, _ = setting(np.inf, kinds=kinds)
    x, y = data()
    problem = EvaluationProblem(gated, CrossEntropy(), x, y, moves.move_plan(exchange=1.0), 100, 4.0, np.inf, 8)
    evaluator, _ = choose(problem, FullEvaluator(gated, CrossEntropy()), budget=0.01)
    assert evaluator.name in names
