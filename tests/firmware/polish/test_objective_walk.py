"""Chains that are decided by another objective than the cross-entropy."""

import numpy as np
import pytest
import torch
from digit_chains import assert_exact, some_chain, some_rows

from mcprune.firmware.polish import objective_walk
from mcprune.firmware.polish.engine.arrays import network_of
from mcprune.firmware.polish.engine.chain import Walk
from mcprune.firmware.polish.objective_walk import (
    Decisions,
    fast_value,
    has_fast_value,
    objective_value,
    walk_by_objective,
)  # fmt: skip
from mcprune.objectives.named import make_objective

LABELS, NAMES = (0, 1, 2), tuple(f"x{column}" for column in range(6))


@pytest.mark.parametrize("efficiency", ["0.01", "0.3", "0.5", "0.95", "1"])
def test_the_background_without_a_sort_is_that_of_the_objective(efficiency):
    rows = some_rows(2, 900, 6, 3)
    draw = np.random.default_rng(0)
    for label in range(3):
        objective = make_objective(f"rejection:{efficiency}:{label}", LABELS, NAMES)
        assert has_fast_value(objective, rows)
        for distinct in (1, 3, 20, 900):  # few: many rows of equal scores
            logits = draw.normal(size=(distinct, 3)).astype(np.float32)[draw.integers(0, distinct, 900)]
            expected = objective.losses(torch.from_numpy(logits[None]), torch.from_numpy(rows.targets))[0]
            assert fast_value(objective, rows, logits) == pytest.approx(expected, abs=1e-12)


def test_weighted_rows_and_other_objectives_have_no_such_value():
    rows = some_rows(2, 300, 6, 3, is_weighted=True)
    assert not has_fast_value(make_objective("rejection:0.5:1", LABELS, NAMES, is_weighted=True), rows)
    assert not has_fast_value(make_objective("auc", LABELS, NAMES), some_rows(2, 300, 6, 3))


@pytest.mark.parametrize("name", ["rejection:0.5:1", "significance:1", "auc", "error"])
@pytest.mark.parametrize("seed", [2, 3])  # without and with weights
def test_the_objective_falls_within_the_budget_and_the_state_is_exact(name, seed):
    chain = some_chain(seed, zeros=0)
    objective = make_objective(name, LABELS, NAMES, is_weighted=chain.data.weights is not None)
    budget, before = chain.cost, objective_value(chain, objective)
    walk_by_objective(chain, Walk(150, budget, budget, 0.0), objective)
    after = objective_value(chain, objective)
    assert after < before
    assert chain.cost <= budget
    assert_exact(chain)
    network = network_of(chain.arrays, chain.network)
    assert Decisions(objective).value_on(network, chain.data) == pytest.approx(after, abs=1e-9)
    walk_by_objective(chain, Walk(50, budget, budget // 2, 0.0), objective)
    assert chain.cost <= budget // 2
    assert_exact(chain)


def test_several_candidates_at_once_give_what_one_after_the_other_gives(monkeypatch):
    objective = make_objective("auc", LABELS, NAMES)
    weights = []
    for ahead in (1, 8):
        monkeypatch.setattr(objective_walk, "LOOKAHEAD", ahead)
        chain = some_chain(2, zeros=0)
        walk_by_objective(chain, Walk(120, chain.cost, 0.8 * chain.cost, 1e-3), objective)
        weights.append(chain.arrays.net.weights.copy())
    assert (weights[0] == weights[1]).all()
