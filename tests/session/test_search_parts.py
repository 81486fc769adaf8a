"""The trainers of a search, and the values of its events."""

from types import SimpleNamespace

import numpy as np
import pytest

from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.session.build.planner import make_plan
from mcprune.session.search_parts import make_trainer, refined_event
from mcprune.training.stacked_steps import can_stack


def test_folds_of_few_rows_are_trained_at_once_though_they_differ_by_a_row():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(71, 8)), np.arange(71) % 2
    plan = make_plan(make_config(data="table", keep=2, validation=0, test=0), from_arrays(x, y))
    assert {len(rows) for rows in plan.folds.training} == {53, 54}
    trainers = make_trainer(plan).trainers
    assert {one.batch_size for one in trainers} == {53}
    assert can_stack(trainers)


@pytest.mark.parametrize(
    ("start", "end", "exchanged"),
    [([1, 1, 0, 0], [1, 0, 1, 0], 1), ([1, 0, 0, 0], [1, 1, 1, 0], 2), ([1, 1, 1, 0], [0, 0, 1, 1], 2)],
)
def test_a_better_mask_counts_as_exchanged_also_where_sites_only_come(start, end, exchanged):
    """Under a bound on costs the chain may only add sites; its result must not be taken for the start."""
    batch = SimpleNamespace(targets=np.zeros(5))
    event = refined_event(np.array([start, end], bool), np.array([1.0, 0.5]), batch)
    assert (event.exchanged, event.loss, event.rows) == (exchanged, 0.5, 5)
    worse = refined_event(np.array([start, end], bool), np.array([0.5, 1.0]), batch)
    assert (worse.exchanged, worse.loss) == (0, 0.5)
