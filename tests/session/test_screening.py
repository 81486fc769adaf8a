"""Many columns: those of low F are dropped beforehand, and the run says so."""

import numpy as np
import pytest

from mcprune import load, prune
from mcprune.config.rule import PerRow
from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.session.build import budget
from mcprune.session.build.planner import make_plan
from mcprune.storage.events import Note, RunStarted


def table(rows=120, columns=60):
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2
    x = rng.normal(size=(rows, columns))
    x[:, [4, 40]] += 3.0 * y[:, None]
    return x, y


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(budget, "WIDE", PerRow(0.0, 50, 50))
    monkeypatch.setattr(budget, "CANDIDATES", PerRow(0.0, 12, 12))


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


def test_the_classifiers_of_the_search_read_the_candidates_alone(few, tmp_path):
    x, y = table()
    options = dict(keep=2, epochs=8, retrain_epochs=2, seed=0)
    plan = make_plan(make_config(data="table", **options), from_arrays(x, y))
    assert plan.candidates.size == plan.gated.sites.size == 12
    assert plan.sites.size == plan.splits.n_inputs == 60
    assert {gated.model.widths for gated in plan.stack} == {(12, 64, 2)}
    result = prune(x, y, compare="yes", out=tmp_path / "run", **options)
    assert result.mask.support.size == 60
    assert set(np.flatnonzero(result.mask.support)) <= set(plan.candidates.tolist())
    assert result.model.model.widths == (2, 128, 64, 2)
    start = next(event for event in result.events if isinstance(event, RunStarted))
    assert start.classifier == "MLP 60-128-64-2, searched with 12-64-2"
    assert {"all sites", "random masks", "first-layer magnitude"} <= {score.name for score in result.events[-1].scores}
    assert load(tmp_path / "run").columns.tolist() == result.mask.indices.tolist()


@pytest.mark.parametrize(
    "options",
    [{"start": "obd"}, {"finetune": "warm"}, {"finetune": "none", "retrain_epochs": None}, {"eval_on": "held-out"}],
)
def test_what_reads_all_columns_of_a_search_still_does(options, few):
    x, y = table()
    result = prune(x, y, **{"keep": 2, "epochs": 4, "retrain_epochs": 1, "seed": 0, "compare": "no", **options})
    assert notes(result)
    assert len(result.mask.indices) == 2


@pytest.mark.parametrize("options", [{"must_drop": ["3"]}, {"method": "importance"}, {"keep": 20, "must_keep": ["5"]}])
def test_what_the_user_fixes_and_other_methods_are_left_alone(options, few):
    x, y = table()
    assert (
        notes(prune(x, y, **{"keep": 2, "epochs": 2, "retrain_epochs": 1, "seed": 0, "compare": "no", **options})) == []
    )


@pytest.mark.parametrize(("rows", "candidates"), [(40, 8), (100, 10), (120, 12), (400, None)])
def test_fewer_rows_have_fewer_candidates(rows, candidates, monkeypatch):
    monkeypatch.setattr(budget, "WIDE", PerRow(0.2, 10, 200))
    monkeypatch.setattr(budget, "CANDIDATES", PerRow(0.1, 8, 100))
    plan = make_plan(make_config(data="table", keep=2, validation=0.0, test=0.0), from_arrays(*table(rows)))
    assert (None if plan.candidates is None else plan.candidates.size) == candidates


def test_few_columns_are_all_candidates():
    x, y = table()
    assert notes(prune(x, y, keep=2, epochs=1, retrain_epochs=1, seed=0, compare="no")) == []
