"""The validation rows on which a search is looked at."""

import numpy as np

from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.session import validation
from mcprune.session.build.planner import make_plan
from mcprune.session.validation import Validation


def test_of_very_many_validation_rows_an_even_sample_is_looked_at(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 5)), np.arange(400) % 2
    plan = make_plan(make_config(data="table", keep=2, validation=0.5), from_arrays(x, y))
    whole = Validation(plan)
    monkeypatch.setattr(validation, "MOST_ROWS", 50)
    some = Validation(plan)
    assert len(whole.targets) == 200
    assert len(some.targets) == len(some.features) == 50
    assert some.targets[0] == whole.targets[0]
    assert some.targets[-1] == whole.targets[-1]
    assert 0.0 <= some.accuracy(np.ones(5, bool)) <= 1.0
