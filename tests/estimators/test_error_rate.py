"""`fdr` of the estimators; the competition itself is stood in for."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from mcprune import MarkovPrunedClassifier, MarkovSelector
from mcprune.errors import ConfigError, NothingFoundError
from mcprune.session.shadows import outcome
from mcprune.storage.events import ColumnStatistic, ErrorRate

OPTIONS = {"retrain_epochs": 2, "epochs": 2}


@pytest.fixture
def kept(monkeypatch):
    """Return a function that fixes the columns which win."""

    def fix(*columns):
        def compete(dataset, config):
            statistics = tuple(
                ColumnStatistic(j, f"x{j}", 0.5, 0.2, 0.05, j in columns) for j in range(dataset.n_inputs)
            )
            return ErrorRate(config.problem.fdr, 0.05, 0.5, statistics, 12, dataset.n_rows, 0.1)

        monkeypatch.setattr(outcome, "compete", compete)

    return fix


def test_the_selector_keeps_what_won(table, kept):
    kept(3, 8)
    x, y = table
    selector = MarkovSelector(fdr=0.1, random_state=0).fit(x, y)
    assert selector.get_support(indices=True).tolist() == [3, 8]
    assert selector.fdr_.rate == 0.05
    assert selector.transform(x).shape == (600, 2)
    assert clone(selector).fdr == 0.1


def test_the_classifier_predicts_from_what_won(table, kept):
    kept(3)
    x, y = table
    model = MarkovPrunedClassifier(fdr=0.1, random_state=0, hidden=(8,), options=OPTIONS | {"epochs": 2}).fit(x, y)
    assert model.get_support(indices=True).tolist() == [3]
    assert set(model.predict(x)) <= {"up", "down"}


def test_no_column_is_an_empty_selection_and_no_classifier(table, kept):
    kept()
    x, y = table
    selector = MarkovSelector(fdr=0.1, random_state=0).fit(x, y)
    assert not selector.support_.any()
    with pytest.warns(UserWarning, match="No features were selected"):
        assert selector.transform(x).shape == (600, 0)
    with pytest.raises(NothingFoundError, match="No column beats its shadow"):
        MarkovPrunedClassifier(fdr=0.1, random_state=0).fit(x, y)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"keep": 3}, "--keep with --fdr 0.1"),
        ({"keep": "auto"}, "keep"),
        ({"must_keep": [0]}, "--must-keep with --fdr 0.1"),
        (
            {"estimator": LogisticRegression()},
            r"fdr=0\.1 with an estimator, but columns and their shadows are evaluated",
        ),
        ({"options": {"fdr": 0.2}}, "options names fdr, which is no option of a fit"),
        ({"fdr": 1.5}, "fdr: "),
    ],
)
def test_what_contradicts_a_rate_is_refused(table, parameters, text):
    x, y = table
    with pytest.raises(ConfigError, match=text):
        MarkovSelector(**{"fdr": 0.1, "random_state": 0, **parameters}).fit(x, y)


def test_a_fit_without_a_rate_has_none(table):
    x, y = table
    selector = MarkovSelector(2, random_state=0, epochs=2).fit(x, np.asarray(y))
    assert not hasattr(selector, "fdr_")


def test_columns_with_gaps_and_categories_win_whole(monkeypatch):
    """A column of X whose cells are alike is in no competition, and places are those of X."""
    pd = pytest.importorskip("pandas")
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(200, 3)), columns=["a", "b", "c"])
    frame.loc[draw.random(200) < 0.2, "b"] = np.nan
    frame.insert(0, "same", "all")
    frame["color"] = draw.choice(["red", "green", "blue"], 200)
    target = ((frame["color"] == "red") ^ (frame["a"] > 0)).map({True: "up", False: "down"})

    def compete(dataset, config):
        names = dataset.coding.original_names
        statistics = tuple(
            ColumnStatistic(j, name, 0.5, 0.2, 0.05, name in ("a", "color")) for j, name in enumerate(names)
        )
        return ErrorRate(config.problem.fdr, 0.05, 0.5, statistics, 12, dataset.n_rows, 0.1)

    monkeypatch.setattr(outcome, "compete", compete)
    selector = MarkovSelector(fdr=0.1, random_state=0).fit(frame, target)
    assert selector.get_feature_names_out().tolist() == ["a", "color"]
    assert selector.fdr_.indices == (1, 4)
    assert selector.ranking_[[1, 4]].tolist() == [1, 1]
    assert selector.transform(frame).columns.tolist() == ["a", "color"]
    model = MarkovPrunedClassifier(fdr=0.1, random_state=0, hidden=(8,), options=OPTIONS).fit(frame, target)
    assert set(model.predict(frame[frame.columns])) <= {"up", "down"}
