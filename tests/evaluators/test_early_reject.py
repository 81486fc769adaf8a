"""Staged decisions: what is given up early, and how often wrongly."""

import copy

import numpy as np
import pytest
import torch
from selection import long_but
from torch import nn

from mcprune.chain import moves, state
from mcprune.evaluators.early_rejection import FEWEST
from mcprune.evaluators.fused import SORTED, FusedEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy

N, ROWS, BATCH = 21, 20_000, 1000
CHAINS = np.zeros(1, np.int64)


@pytest.fixture(scope="module")
def seen():
    """A trained classifier on rows in random order, with sites at random weights."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(N, ROWS, generator=draw).T
    y = (x[:, 0] * x[:, 1] > 0).long() + (x[:, 4] > 0.8).long()
    model = MLP((N, 19, 33, 5), seed=1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[:2000]), y[:2000]).backward()
        optimizer.step()
    return model, x, y


@pytest.fixture(scope="module")
def trained(seen):
    """Give a classifier by its depth, trained on eight of the columns."""
    _, x, y = seen
    models = {}

    def of(depth):
        if depth not in models:
            model = models[depth] = MLP((N, *depth, 5), seed=1)
            optimizer = torch.optim.Adam(model.parameters(), 0.02)
            for _ in range(400):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[:3000] * (torch.arange(N) < 8)), y[:3000]).backward()
                optimizer.step()
        return copy.deepcopy(models[depth])

    return of


def start(seen, problem, early_reject, first=0, count=BATCH):
    model, x, y = seen
    case = problem(model, "inputs,units", (N,), 4, transposed=True)
    weights = np.random.default_rng(1).normal(1.0, 2.0, (1, case.sites.size))
    current = state.new_state(weights, sharpness=1.0)
    evaluator = FusedEvaluator(case.gated, CrossEntropy(), early_reject=early_reject)
    evaluator.begin(x[first : first + count], y[first : first + count], current.position, 1.0)
    return current, evaluator


def propose(current, count=40, seed=0):
    plan = moves.move_plan(site=1.0, exchange=1.0)
    return moves.propose(current, count, plan=plan, delta=4.0, sharpness=1.0, seed=seed, chains=CHAINS)


def test_who_is_given_up_lies_above_its_limit_and_the_others_keep_every_bit(seen, problem):
    current, plain = start(seen, problem, None)
    _, staged = start(seen, problem, 0.01)
    candidates = propose(current, 300)
    exact = plain.losses(current, candidates)
    limits = np.full((1, 300), plain.current()[0])
    losses = staged.losses(current, candidates, limits)
    early = staged.seen < BATCH
    assert 30 < early.sum() < 270
    assert (staged.seen[early] >= FEWEST).all()
    assert (losses[early] > limits[early]).all()
    np.testing.assert_array_equal(losses[~early], exact[~early])
    assert (exact < limits).sum() > 20  # some are better, and hardly one of them is given up
    assert (early & (exact < limits)).sum() <= 1


def test_without_limits_every_row_is_seen(seen, problem):
    current, plain = start(seen, problem, None)
    _, staged = start(seen, problem, 0.01)
    candidates = propose(current)
    exact = plain.losses(current, candidates)
    assert (plain.seen == BATCH).all()
    np.testing.assert_array_equal(staged.losses(current, candidates), exact)
    staged.losses(current, candidates, np.full((1, 40), -10.0))  # a limit that no loss can be below
    assert (staged.seen < BATCH).all()


def test_a_batch_of_few_rows_has_no_looks(seen, problem):
    current, staged = start(seen, problem, 0.01, count=2 * FEWEST - 2)
    candidates = propose(current)
    limits = staged.losses(current, candidates) + 1e-9
    staged.losses(current, candidates, limits)
    assert (staged.seen == 2 * FEWEST - 2).all()


@pytest.mark.slow
@pytest.mark.parametrize("kinds", ["inputs,units", "inputs"])
@pytest.mark.parametrize("count", long_but("fewer rows", [1000, 3000], 3000))
@pytest.mark.parametrize("depth", [(19, 33), (24,)])
def test_what_is_rejected_by_certainty_is_above_its_limit(count, depth, kinds, seen, trained, problem):
    """Without a rate no decision changes, whatever the limits are; the rest keeps every bit."""
    _, x, y = seen
    case = problem(trained(depth), kinds, (N,), 4, transposed=True)
    weights = np.where(np.arange(case.sites.size) % N < 8, 1.0, -1.0)[None]
    weights[0, N:] = 1.0  # all units
    current = state.new_state(weights, sharpness=np.inf)
    evaluators = [FusedEvaluator(case.gated, CrossEntropy(), sorts_rows=sorts) for sorts in (False, True)]
    share = []
    for evaluator in evaluators:
        evaluator.begin(x[:count], y[:count], current.position, np.inf)
        plan = moves.move_plan(toggle=1.0, exchange=1.0)
        candidates = moves.propose(current, 200, plan=plan, delta=4.0, sharpness=np.inf, seed=2, chains=CHAINS)
        exact = evaluator.losses(current, candidates)
        assert (evaluator.seen == count).all()
        now = evaluator.current()[0]
        for room in (-0.1 * now, 0.0, now):
            limits = np.full((1, 200), now + room)
            losses = evaluator.losses(current, candidates, limits)
            early = evaluator.seen < count
            np.testing.assert_array_equal(losses < limits, exact < limits)
            assert (exact[early] > limits[early]).all()
            np.testing.assert_array_equal(losses[~early], exact[~early])
            assert early.any()
            assert room <= 0.0 or not early.all()
            if room == 0.0:
                share.append(evaluator.seen.mean() / count)
        # Control: a limit just above a candidate's own loss rejects nothing, one just below it nothing either: that is rounding.
        for hair in (1e-9, -1e-9):
            evaluator.losses(current, candidates, exact + hair)
            assert (evaluator.seen == count).all()
    if count >= SORTED:
        assert share[1] < 0.8 * share[0]  # the highest losses first


@pytest.mark.parametrize("early_reject", [0.02, 0.1])
def test_the_rate_of_wrong_rejections_is_kept_in_the_worst_case(early_reject, seen, problem):
    """Every limit is set to the candidate's own loss and a hair more, so that every early rejection is wrong."""
    wrong = total = 0
    for first in range(0, ROWS, BATCH):
        current, plain = start(seen, problem, None, first)
        _, staged = start(seen, problem, early_reject, first)
        candidates = propose(current, seed=first)
        limits = plain.losses(current, candidates) + 1e-9
        staged.losses(current, candidates, limits)
        wrong += (staged.seen < BATCH).sum()
        total += 40
    # Four looks share the rate and see much of the same, so the union of them stays below it; not far below.
    assert 0.1 * early_reject < wrong / total < 1.2 * early_reject


def test_a_candidate_that_overflows_is_not_taken_for_hopeless_or_finite(seen, problem):
    model, x, y = seen
    case = problem(model, "inputs", (N,), 4, transposed=True)
    huge = x[:BATCH].clone()
    huge[:, 0] = 3e38
    current = state.new_state(np.where(np.arange(N) == 0, -1.0, 1.0), sharpness=np.inf)
    evaluator = FusedEvaluator(case.gated, CrossEntropy(), early_reject=0.01)
    evaluator.begin(huge, y[:BATCH], current.position, np.inf)
    plan = moves.move_plan(toggle=1.0)
    toggles = moves.propose(current, 60, plan=plan, delta=1.0, sharpness=np.inf, seed=0, chains=CHAINS)
    losses = evaluator.losses(current, toggles, np.full((1, 60), evaluator.current()[0]))[0]
    adds = toggles.sites[0, :, 0] == 0
    assert adds.any()
    assert not np.isfinite(losses[adds]).any()
    assert np.isfinite(losses[~adds]).all()
