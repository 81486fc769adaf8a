"""Many columns: those of low F are dropped beforehand, and the run says so."""

import numpy as np
import pytest

from mcprune import prune
from mcprune.session.build import budget
from mcprune.storage.events import Note


def table(rows=120, columns=60):
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2
    x = rng.normal(size=(rows, columns))
    x[:, [4, 40]] += 3.0 * y[:, None]
    return x, y


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(budget, "WIDE", 50)
    monkeypatch.setattr(budget, "CANDIDATES", 12)


def notes(result):
    return [event.text for event in result.events if isinstance(event, Note) and "candidates" in event.text]


def test_columns_of_low_f_are_no_candidates(few):
    x, y = table()
    result = prune(x, y, keep=2, epochs=2, retrain_epochs=1, seed=0, compare="no")
    assert notes(result) == [
        "60 columns: the 12 with the highest F on the training rows are candidates, the others are dropped"
    ]
    assert result.mask.support.size == 60
    assert len(result.mask.indices) == 2
    assert {4, 40} & set(result.mask.indices.tolist())


@pytest.mark.parametrize("options", [{"must_drop": ["3"]}, {"method": "importance"}, {"keep": 20, "must_keep": ["5"]}])
def test_what_the_user_fixes_and_other_methods_are_left_alone(options, few):
    x, y = table()
    assert (
        notes(prune(x, y, **{"keep": 2, "epochs": 2, "retrain_epochs": 1, "seed": 0, "compare": "no", **options})) == []
    )


def test_few_columns_are_all_candidates():
    x, y = table()
    assert notes(prune(x, y, keep=2, epochs=1, retrain_epochs=1, seed=0, compare="no")) == []
