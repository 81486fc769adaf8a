"""Every row is evaluated by the classifier that was not trained on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from mcprune.chain import moves, state
from mcprune.evaluators.choose import EvaluationProblem, build, examine, make_canonical
from mcprune.evaluators.folded import FoldedFullEvaluator, FoldedObjective
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.base import Rows
from mcprune.objectives.named import make_objective
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.training.folds import split_rows

INPUTS = 12
CHAINS = np.zeros(1, np.int64)


def case(kind="inputs", objective="cross-entropy", weights=None, hidden=(16,), rows=210):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(rows, INPUTS)).astype(np.float32)
    y = draw.integers(0, 3, rows)
    folds = split_rows(y, "folds", fraction=0.0, folds=3, seed=0)
    order = np.concatenate(folds.evaluation)
    x, y = x[order], y[order]
    stack = []
    for place in range(3):
        model = MLP((INPUTS, *hidden, 3), seed=place)
        with torch.no_grad():  # classifiers that differ
            for parameter in model.parameters():
                parameter.mul_(2.0)
        stack.append(GatedModel(model, site_map(model, kind, INPUTS)))
    plain = make_objective(objective, (0, 1, 2), tuple(map(str, range(INPUTS))), is_weighted=weights is not None)
    return EvaluationProblem(
        gated=stack[0],
        objective=FoldedObjective(plain, folds.bounds),
        features=torch.from_numpy(np.ascontiguousarray(x.T)).T,
        targets=torch.from_numpy(y),
        plan=moves.move_plan(exchange=1.0),
        keep=stack[0].sites.size // 2,
        start_weight=4.0,
        sharpness=np.inf,
        lookahead=16,
        rows=None if weights is None else Rows(torch.from_numpy(weights)),
        classifiers=tuple(stack),
        bounds=folds.bounds,
    )


def row_losses(one, position):
    """Cross-entropy of each row by the classifier of its fold, in float64."""
    bounds, out = one.bounds(len(one.targets)), []
    for place, gated in enumerate(one.classifiers):
        part = slice(bounds[place], bounds[place + 1])
        model = GatedModel(gated.model.double(), gated.sites)
        with torch.no_grad():
            logits = model(one.features[part].double(), torch.from_numpy((position > 0).astype(np.float64)))
        out.append(functional.cross_entropy(logits, one.targets[part], reduction="none"))
        gated.model.float()
    return torch.cat(out).numpy()


@pytest.mark.parametrize("kind", ["inputs", "units", "inputs,units"])
@pytest.mark.parametrize("name", ["fused", "incremental", "full"])
def test_losses_are_those_of_a_plain_loop_over_the_folds_to_the_bit(name, kind):
    one = case(kind)
    candidates = one.propose(16)
    evaluator = one.start(build(name, one))
    bounds = one.bounds(len(one.targets))
    loop = np.zeros((1, 16))
    for place, gated in enumerate(one.classifiers):
        part = slice(bounds[place], bounds[place + 1])
        alone = replace(one, classifiers=(), bounds=None, gated=gated, **of_fold(one, place, part))
        alone.current = one.current
        share = float(bounds[place + 1] - bounds[place])
        loop += share * alone.start(build(name, alone)).losses(one.current, candidates)
    np.testing.assert_array_equal(evaluator.losses(one.current, candidates), loop / len(one.targets))


def of_fold(one, place, part):
    return {"objective": one.objective.parts[place], "features": one.features[part], "targets": one.targets[part]}


@pytest.mark.parametrize("name", ["fused", "incremental", "full"])
def test_a_loss_is_the_mean_over_all_rows_each_by_the_classifier_of_its_fold(name):
    one = case(rows=211)  # folds of unequal sizes
    evaluator = one.start(build(name, one))
    position = one.current.position[0]
    assert evaluator.current()[0] == pytest.approx(row_losses(one, position).mean(), abs=2e-6)
    candidates = one.propose(8)
    losses = evaluator.losses(one.current, candidates)[0]
    for k, there in enumerate(moves.dense(one.current, candidates)[0]):
        assert losses[k] == pytest.approx(row_losses(one, there).mean(), abs=2e-6)
    # Control: one classifier on all rows is something else.
    alone = FusedEvaluator(one.gated, one.objective.parts[0])
    alone.begin(one.features, one.targets, one.current.position, np.inf)
    assert abs(alone.current()[0] - evaluator.current()[0]) > 1e-3


def test_an_accepted_candidate_is_followed_by_every_fold():
    one = case()
    evaluator = one.start(build("fused", one))
    candidates = one.propose(4)
    losses = evaluator.losses(one.current, candidates)[0]
    there = moves.dense(one.current, candidates)[:, 2]
    evaluator.moved(there, candidates, np.array([2]))
    assert evaluator.current()[0] == losses[2]
    again = evaluator.losses(state.new_state(there, sharpness=np.inf), one.propose(4))
    assert np.isfinite(again).all()


def test_weights_of_rows_count_across_the_folds():
    weights = np.random.default_rng(1).random(210) ** 4
    one = case(weights=weights)
    canonical = one.start(make_canonical(one))
    assert isinstance(canonical, FoldedFullEvaluator)
    wanted = np.average(row_losses(one, one.current.position[0]), weights=weights)
    assert canonical.current()[0] == pytest.approx(wanted, abs=2e-6)
    assert canonical.at(one.current.position)[0] == canonical.current()[0]


def test_an_evaluator_that_cannot_serve_a_fold_says_why():
    one = case(objective="error")
    row = examine("fused", one, make_canonical(one))
    assert row.evaluator is None
    assert "cross-entropy" in row.reason


def test_a_fold_without_rows_in_a_small_batch_is_left_out():
    one = case()
    evaluator = build("full", one)
    evaluator.begin(one.features[:2], one.targets[:2], one.current.position, np.inf)
    assert np.isfinite(evaluator.current()).all()
