"""The scikit-learn estimators on targets that are numbers."""

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import mcprune
from mcprune import MarkovPrunedClassifier, MarkovPrunedRegressor, MarkovSelector

QUICK = {"random_state": 0, "epochs": 8, "options": {"retrain_epochs": 20}}
CHECKED = {"hidden": (32,), "epochs": 8, "options": {"retrain_epochs": 40, "retrain_learning_rate": 0.01}}


@pytest.fixture(scope="module")
def friedman():
    """300 rows of 10 columns, of which the first five tell."""
    return make_friedman1(300, 10, noise=0.5, random_state=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(MarkovPrunedRegressor(**CHECKED), id="regressor"),
        pytest.param(
            MarkovSelector(task="regression", **CHECKED),
            id="selector",
            marks=pytest.mark.long("fifty fits, as those of the selector of classes"),
        ),
    ],
)
def test_every_check_of_scikit_learn_passes(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    failed = {one["check_name"]: str(one["exception"]) for one in results if one["status"] not in ("passed", "skipped")}
    assert not failed
    assert {one["check_name"] for one in results if one["status"] == "skipped"} <= {"check_array_api_input"}
    assert not [one for one in results if one["expected_to_fail"]]
    assert len(results) >= 48


@pytest.mark.slow
def test_the_selector_keeps_the_columns_that_tell(friedman):
    x, y = friedman
    selector = MarkovSelector(5, random_state=0).fit(x, y)
    assert np.flatnonzero(selector.support_).tolist() == [0, 1, 2, 3, 4]
    assert not hasattr(selector, "classes_")
    assert selector.transform(x).shape == (300, 5)


def test_the_mask_is_that_of_prune(friedman):
    x, y = friedman
    selector = MarkovSelector(4, **QUICK).fit(x, y)
    result = mcprune.prune(x, y, keep=4, seed=0, epochs=8, retrain_epochs=20, test=0, validation=0, task="regression")
    assert np.flatnonzero(selector.support_).tolist() == result.mask.indices.tolist()


@pytest.mark.slow
def test_the_regressor_predicts_in_the_unit_of_y(friedman):
    x, y = friedman
    model = MarkovPrunedRegressor(5, random_state=0, options={"retrain_epochs": 60}).fit(x[:200], 100.0 * y[:200])
    assert model.score(x[200:], 100.0 * y[200:]) > 0.7
    assert model.predict(x[:3]).shape == (3,)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_several_targets(friedman):
    x, y = friedman
    both = np.stack([y, x[:, 7] + 0.01 * y], axis=1)
    model = MarkovPrunedRegressor(6, **QUICK).fit(x, both)
    assert model.predict(x).shape == (300, 2)
    assert model.support_[7]


def test_a_fit_is_a_function_of_the_weighted_rows(friedman):
    x, y = friedman
    weights = np.random.default_rng(0).integers(0, 3, 300)
    order = np.random.default_rng(1).permutation(300)
    one = MarkovPrunedRegressor(3, **QUICK).fit(x, y, weights)
    other = MarkovPrunedRegressor(3, **QUICK).fit(x.repeat(weights, axis=0), y.repeat(weights))
    shuffled = MarkovPrunedRegressor(3, **QUICK).fit(x[order], y[order], weights[order])
    np.testing.assert_array_equal(one.predict(x), other.predict(x))
    np.testing.assert_array_equal(one.predict(x), shuffled.predict(x))


@pytest.mark.parametrize("evaluation", ["refit", "mask"])
@pytest.mark.parametrize("objective", ["auto", "absolute"])
def test_columns_for_another_regressor(friedman, evaluation, objective):
    x, y = friedman
    estimator = make_pipeline(StandardScaler(), Ridge())
    model = MarkovPrunedRegressor(4, estimator=estimator, evaluation=evaluation, objective=objective, random_state=0)
    model.fit(x, 10.0 * y)
    assert np.flatnonzero(model.support_).tolist() == [0, 1, 3, 4]  # the third has no linear part
    assert model.score(x, 10.0 * y) > 0.65


@pytest.mark.slow
def test_in_a_grid_search_over_n():
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    pipe = Pipeline([("select", MarkovSelector(**QUICK).set_output(transform="pandas")), ("fit", Ridge(alpha=0.1))])
    search = GridSearchCV(pipe, {"select__keep": [1, 5]}, cv=3).fit(x, y)
    assert search.best_params_ == {"select__keep": 5}
    assert {"bmi", "s5"} <= set(search.best_estimator_["select"].get_feature_names_out())


def test_what_y_is_can_be_said(friedman):
    x, _ = friedman
    y = np.random.default_rng(0).integers(0, 4, 300)
    assert hasattr(MarkovSelector(3, **QUICK).fit(x, y), "classes_")
    assert not hasattr(MarkovSelector(3, task="regression", **QUICK).fit(x, y), "classes_")
    with pytest.raises(ValueError, match="task='numbers' is unknown"):
        MarkovSelector(3, task="numbers").fit(x, y)


def test_ranking_scores_and_number_of_columns(friedman):
    x, y = friedman
    selector = MarkovSelector(5, **QUICK).fit(x, y)
    assert selector.n_features_ == 5
    assert sorted(selector.ranking_.tolist()) == [1] * 5 + [2, 3, 4, 5, 6]
    assert (selector.ranking_[selector.support_] == 1).all()
    assert selector.scores_.shape == (10,)
    assert selector.scores_[selector.support_].min() > selector.scores_[~selector.support_].max()


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [None, Ridge()], ids=["network", "ridge"])
def test_a_scorer_is_what_is_minimised(friedman, estimator):
    x, y = friedman
    selector = MarkovSelector(3, scoring="neg_median_absolute_error", estimator=estimator, **QUICK).fit(x, y)
    assert {3} < set(np.flatnonzero(selector.support_))
    with pytest.raises(ValueError, match="both say what is minimised"):
        MarkovSelector(3, scoring="r2", objective="absolute", estimator=estimator, **QUICK).fit(x, y)
    with pytest.raises(ValueError, match="is no scorer"):
        MarkovSelector(3, scoring="nonsense", estimator=estimator, **QUICK).fit(x, y)


@pytest.mark.long("a scorer of numbers goes the same way")
def test_a_scorer_of_classes_gets_the_classes():
    x, y = make_friedman1(200, 6, random_state=0)
    names = np.where(y > np.median(y), "yes", "no")
    selector = MarkovSelector(3, scoring="roc_auc", **QUICK).fit(x, names)
    assert 3 in np.flatnonzero(selector.support_)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [None, Ridge()], ids=["network", "ridge"])
def test_folds_of_a_splitter_and_of_groups(friedman, estimator):
    x, y = friedman
    groups = np.arange(300) // 10
    by_groups = MarkovSelector(3, estimator=estimator, **QUICK).fit(x, y, groups=groups)
    by_splitter = MarkovSelector(3, cv=GroupKFold(4), estimator=estimator, **QUICK).fit(x, y, groups=groups)
    np.testing.assert_array_equal(by_groups.support_, by_splitter.support_)
    assert 3 in np.flatnonzero(MarkovSelector(3, cv=3, estimator=estimator, **QUICK).fit(x, y).support_)
    with pytest.raises(ValueError, match="no row is evaluated twice"):
        MarkovSelector(3, cv=ShuffleSplit(5, random_state=0), estimator=estimator, **QUICK).fit(x, y)


def test_sample_weights_and_groups_are_routed_through_a_pipeline(friedman):
    x, y = friedman
    with config_context(enable_metadata_routing=True):
        selector = MarkovSelector(3, **QUICK).set_fit_request(sample_weight=True, groups=True)
        pipe = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            selector,
            Ridge().set_fit_request(sample_weight=False),
        )
        pipe.fit(x, y, sample_weight=np.ones(300), groups=np.arange(300) // 10)
    assert pipe[1].n_features_ == 3


def test_a_warm_start_goes_on_from_the_columns_before(friedman):
    x, y = friedman
    selector = MarkovSelector(4, warm_start=True, **QUICK).fit(x, y)
    before = selector.support_.copy()
    selector.fit(x, y)
    assert (selector.support_ & before).sum() >= 3
    assert selector.set_params(keep=3).fit(x, y).n_features_ == 3
    with pytest.raises(ValueError, match="but estimator is given"):
        MarkovSelector(3, warm_start=True, estimator=Ridge(), **QUICK).fit(x, y)


def test_verbose_shows_the_progress(friedman, capsys):
    x, y = friedman
    MarkovSelector(4, verbose=True, **QUICK).fit(x, y)
    assert "epoch" in capsys.readouterr().err
    MarkovSelector(4, **QUICK).fit(x, y)
    assert not capsys.readouterr().err


@pytest.fixture(scope="module")
def labelled():
    """Rows whose three labels follow two of six columns."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 6))
    return x, np.stack([x[:, 1] > 0, x[:, 4] > 0.3, x[:, 1] + x[:, 4] > 0], axis=1).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [None, KNeighborsClassifier(5)])
def test_several_labels(labelled, estimator):
    x, y = labelled
    model = MarkovPrunedClassifier(2, estimator=estimator, random_state=0, epochs=None if estimator is None else 4)
    model.fit(x, y)
    assert model.get_support(indices=True).tolist() == [1, 4]
    assert model.classes_.tolist() == [0, 1, 2]
    answers = model.predict(x)
    assert answers.shape == y.shape
    assert answers.dtype.kind == "i"
    assert (answers == y).mean() > 0.9
    if estimator is None:
        probabilities = model.predict_proba(x)
        np.testing.assert_array_equal(probabilities > 0.5, answers == 1)
        np.testing.assert_array_equal(model.decision_function(x) > 0, answers == 1)
        assert 0 <= probabilities.min() < probabilities.max() <= 1
    model.fit(x, y[:, 0])
    assert set(model.predict(x)) == {0, 1}


@pytest.mark.slow
def test_a_scorer_of_several_labels(labelled):
    x, y = labelled
    selector = MarkovSelector(2, scoring="f1_macro", random_state=0, epochs=6).fit(x, y)
    assert selector.get_support(indices=True).tolist() == [1, 4]


def test_several_columns_of_classes_are_no_labels(labelled):
    x, y = labelled
    with pytest.raises(ValueError, match="y has 3 columns of other values than 0 and 1"):
        MarkovPrunedClassifier(2, random_state=0).fit(x, y + y.sum(axis=1, keepdims=True))
