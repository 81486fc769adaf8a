"""The trainers of a search."""

import numpy as np

from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.session.build.planner import make_plan
from mcprune.session.search_parts import make_trainer
from mcprune.training.stacked_steps import can_stack


def test_folds_of_few_rows_are_trained_at_once_though_they_differ_by_a_row():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(71, 8)), np.arange(71) % 2
    plan = make_plan(make_config(data="table", keep=2, validation=0, test=0), from_arrays(x, y))
    assert {len(rows) for rows in plan.folds.training} == {53, 54}
    trainers = make_trainer(plan).trainers
    assert {one.batch_size for one in trainers} == {53}
    assert can_stack(trainers)
