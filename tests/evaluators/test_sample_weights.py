"""Sample weights in every evaluator: a row of weight 2 counts as two rows."""

import numpy as np
import pytest
import torch

from mcprune.chain import moves, state
from mcprune.evaluators.choose import EvaluationProblem, make_canonical
from mcprune.evaluators.cuda_graph import GraphEvaluator
from mcprune.evaluators.folded import FoldedObjective
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.evaluators.fused_weights import FusedWeightsEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.base import Rows
from mcprune.objectives.named import make_objective
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

INPUTS, ROWS, CANDIDATES = 12, 150, 12
SIGNALS = {
    "plain loop": lambda gated, objective: FullEvaluator(gated, objective, max_memory=1),
    "stacked": FullEvaluator,
    "suffix": SuffixEvaluator,
    "fused": FusedEvaluator,
    "fused, early rejection": lambda gated, objective: FusedEvaluator(gated, objective, early_reject=0.01),
    "incremental": lambda gated, objective: IncrementalEvaluator(gated, objective, stacked=False),
    "incremental, stacked": lambda gated, objective: IncrementalEvaluator(gated, objective, stacked=True),
    "graph": GraphEvaluator,
    "graph, screened": lambda gated, objective: GraphEvaluator(gated, objective, screen="bf16"),
}
SINGLE = {name: SIGNALS[name] for name in ("plain loop", "stacked", "suffix")} | {"fused": FusedWeightsEvaluator}
CASES = [(name, "inputs") for name in SIGNALS] + [("fused", "units"), ("fused", "inputs,units")]
CASES += [(name, "weights") for name in SINGLE]
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(ROWS, INPUTS)).astype(np.float32)
X[X < -0.5] = 0.0  # rows that a move does not change
Y = DRAW.integers(0, 3, ROWS)
WEIGHTS = DRAW.integers(1, 4, ROWS)


def _problem(kinds, x, y, weights, hidden=(16, 8)):
    model = MLP((INPUTS, *hidden, 3), seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    gated = GatedModel(model, site_map(model, kinds, INPUTS))
    return EvaluationProblem(
        gated=gated,
        objective=make_objective("cross-entropy"),
        features=torch.from_numpy(np.ascontiguousarray(x.T)).T,
        targets=torch.from_numpy(y),
        plan=moves.move_plan(exchange=1.0, toggle=1.0),
        keep=gated.sites.size // 2,
        start_weight=4.0,
        sharpness=np.inf,
        lookahead=16,
        rows=None if weights is None else Rows(torch.from_numpy(np.asarray(weights, np.float64))),
    )


def _losses(make, problem):
    """The losses of the position, of candidates, and of the position after one of them was accepted."""
    evaluator = problem.start(make(problem.gated, problem.objective))
    now, candidates = evaluator.current()[0], problem.propose(CANDIDATES)
    losses = evaluator.losses(problem.current, candidates)[0]
    there = moves.dense(problem.current, candidates)[:, 3]
    evaluator.moved(there, candidates, np.array([3]))
    again = evaluator.losses(state.new_state(there, sharpness=np.inf), problem.propose(CANDIDATES))[0]
    return np.array([now, *losses, evaluator.current()[0], *again]), evaluator.error


@pytest.mark.parametrize(("name", "kinds"), CASES)
def test_a_row_of_weight_2_counts_as_two_rows(name, kinds):
    make = (SINGLE if kinds == "weights" else SIGNALS)[name]
    weighted, error = _losses(make, _problem(kinds, X, Y, WEIGHTS))
    repeated, _ = _losses(make, _problem(kinds, X.repeat(WEIGHTS, axis=0), Y.repeat(WEIGHTS), None))
    tolerance = max(2 * error, 5e-6)
    np.testing.assert_allclose(weighted, repeated, atol=tolerance, rtol=tolerance)
    # The scale does not matter; weights of 1 are none.
    np.testing.assert_allclose(_losses(make, _problem(kinds, X, Y, 0.01 * WEIGHTS))[0], weighted, rtol=1e-12)
    plain, _ = _losses(make, _problem(kinds, X, Y, None))
    np.testing.assert_allclose(_losses(make, _problem(kinds, X, Y, np.ones(ROWS)))[0], plain, rtol=1e-6)
    # Control: without the weights it is another loss.
    assert abs(plain - repeated)[0] > 50 * tolerance or error > 1e-3
    assert abs(plain - repeated).max() > 1e-3


def test_early_rejection_is_by_the_weighted_mean():
    """Candidates that are better only on rows of hardly any weight are rejected early, and those better on heavy rows are not."""
    x, y = np.tile(X, (8, 1)), np.tile(Y, 8)
    draw = np.random.default_rng(3).permutation(len(y))
    x, y = x[draw], y[draw]
    light = _problem("inputs", x, y, None)
    evaluator = light.start(FusedEvaluator(light.gated, light.objective, early_reject=0.01))
    candidates = light.propose(64)
    for weights in (np.ones(len(y)), np.where(y == 0, 1.0, 0.01), np.where(y == 0, 0.01, 1.0)):
        one = _problem("inputs", x, y, weights)
        evaluator = one.start(FusedEvaluator(one.gated, one.objective, early_reject=0.01))
        exact = one.start(FusedEvaluator(one.gated, one.objective, sorts_rows=False)).losses(one.current, candidates)[0]
        limits = np.full((1, 64), exact.min() + 0.01)
        early = evaluator.losses(one.current, candidates, limits)[0]
        is_early = evaluator.seen[0] < len(y)
        assert is_early.sum() > 20
        np.testing.assert_array_equal(early[~is_early], exact[~is_early])
        assert (exact[is_early] > limits[0, 0]).mean() > 0.95  # hardly any is rejected wrongly
        assert (early[is_early] > limits[0, 0]).all()


@pytest.mark.parametrize("objective", ["cross-entropy", "error", "auc", "rejection:0.5:1", "significance:1", "cost:0,1,2;1,0,1;2,1,0",
                                       "worst-group"])  # fmt: skip
def test_every_objective_counts_a_row_of_weight_2_twice(objective):
    logits = torch.from_numpy(DRAW.normal(size=(4, ROWS, 3)).astype(np.float32))
    judged = make_objective(objective, (0, 1, 2))
    repeated = judged.losses(
        logits.repeat_interleave(torch.from_numpy(WEIGHTS), dim=1), torch.from_numpy(Y.repeat(WEIGHTS))
    )
    judged.begin(Rows(torch.from_numpy(WEIGHTS.astype(np.float64))))
    np.testing.assert_allclose(judged.losses(logits, torch.from_numpy(Y)), repeated, rtol=1e-6)
    judged.begin(Rows(torch.from_numpy(WEIGHTS[::-1].astype(np.float64).copy())))
    assert (abs(judged.losses(logits, torch.from_numpy(Y)) - repeated) > 1e-4).any()


def test_folds_weigh_by_the_weights_of_their_rows():
    problem = _problem("inputs", X, Y, WEIGHTS)
    bounds = lambda rows: np.array([0, rows // 3, rows])  # noqa: E731
    folded = EvaluationProblem(
        **{name: getattr(problem, name) for name in ("gated", "features", "targets", "plan", "keep", "start_weight", "sharpness",
                                                     "lookahead", "rows")},
        objective=FoldedObjective(make_objective("cross-entropy"), bounds),
        classifiers=(problem.gated, problem.gated),
        bounds=bounds,
    )  # fmt: skip
    loss = folded.start(make_canonical(folded)).current()[0]
    assert loss == pytest.approx(problem.start(make_canonical(problem)).current()[0], rel=1e-6)
