"""Evaluators under the losses of numbers: each gives the value of the plain loop, within the error that it states."""

import numpy as np
import pytest
import torch

from mcprune.chain import moves, state
from mcprune.evaluators.compiled.mlp_kernels import PART
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.base import Rows
from mcprune.objectives.named import make_objective
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

LOSSES = ("squared", "absolute", "huber:0.7", "quantile:0.2", "poisson", "binary-cross-entropy")
N, ROWS = 21, 70
CHAINS = np.zeros(1, np.int64)


def started(kind, loss, widths, *, rows=ROWS, weighted=False, sites="inputs", sharpness=np.inf, seed=0):
    """Return an evaluator and the plain loop on one batch, and the position."""
    draw = np.random.default_rng(seed)
    gated = GatedModel(model := MLP(widths, "relu", seed=1), site_map(model, sites, widths[0]))
    x = torch.from_numpy(np.ascontiguousarray(draw.normal(size=(widths[0], rows)).astype(np.float32))).T
    y = draw.normal(size=(rows, widths[-1]))
    y = {"poisson": np.exp(y).round(), "binary-cross-entropy": (y > 0).astype(float)}.get(loss, y)
    objectives = [make_objective(loss, ()) for _ in range(2)]
    if weighted:
        weights = torch.from_numpy(draw.random(rows) + 0.1)
        for one in objectives:
            one.begin(Rows(weights))
    evaluator, loop = kind(gated, objectives[0]), FullEvaluator(gated, objectives[1], max_memory=1)
    current = state.new_state(draw.normal(0.0, 3.0, (1, gated.sites.size)), sharpness=sharpness)
    for one in (evaluator, loop):
        one.begin(x, torch.from_numpy(y).float(), current.position, sharpness)
    return evaluator, loop, current


def propose(current, plan, sharpness=np.inf, count=12):
    return moves.propose(current, count, plan=plan, delta=4.0, sharpness=sharpness, seed=3, chains=CHAINS)


def check(evaluator, loop, current, plan, sharpness=np.inf):
    """Compare candidates, then take some of them and compare again."""
    for _ in range(3):
        batch = propose(current, plan, sharpness)
        usual = batch.size[0] > 0
        values, expected = (one.losses(current, batch)[0, usual] for one in (evaluator, loop))
        limit = max(evaluator.error, 1e-12) * np.maximum(1.0, expected)
        assert (np.abs(values - expected) <= limit).all()
        apart = np.abs(np.subtract.outer(expected, expected)) > 2 * limit.max()
        assert ((np.subtract.outer(values, values) > 0) == (np.subtract.outer(expected, expected) > 0))[apart].all()
        chosen = int(np.flatnonzero(usual)[0])
        current.position[0] = moves.dense(current, batch)[0, chosen]
        current.step[0] += chosen + 1
        state.refresh(current, sharpness=sharpness)
        for one in (evaluator, loop):
            one.moved(current.position, batch, np.array([chosen]))
        assert np.abs(evaluator.current() - loop.current()) <= limit.max()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("widths", [(N, 19, 1), (N, 19, 33, 3), (N, 2)], ids=["one", "deep", "flat"])
def test_fused_gives_the_value_of_the_loop(loss, widths):
    plan = moves.move_plan(site=1.0, block=1.0, exchange=1.0, toggle=1.0, block_size=3)
    check(*started(FusedEvaluator, loss, widths), plan)


@pytest.mark.parametrize("kind", [IncrementalEvaluator, SuffixEvaluator])
@pytest.mark.parametrize("loss", ["squared", "huber:0.7"])
def test_the_others_give_the_value_of_the_loop(kind, loss):
    check(*started(kind, loss, (N, 19, 33, 3)), moves.move_plan(exchange=1.0))


@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_fused_with_soft_gates_units_weights_and_more_rows_than_a_part(loss):
    plan = moves.move_plan(block=1.0, exchange=1.0, block_size=3)
    settings = {"rows": PART + 37, "weighted": True, "sites": "inputs,units", "sharpness": 1.0}
    check(*started(FusedEvaluator, loss, (N, 19, 12, 2), **settings), plan, sharpness=1.0)


def test_a_move_of_many_sites_goes_by_matrix_products():
    check(*started(FusedEvaluator, "absolute", (90, 8, 1)), moves.move_plan(block=1.0, block_size=70))


def test_a_candidate_whose_outputs_are_not_finite_is_not_finite():
    evaluator, loop, current = started(FusedEvaluator, "squared", (N, 19, 1))
    with torch.no_grad():
        evaluator.layers[-1].bias.fill_(float("nan"))
    for one in (evaluator, loop):
        one.begin(one.features if one is loop else loop.features, loop.targets, current.position, np.inf)
        assert not np.isfinite(one.current()).any()
