"""The scikit-learn estimators on frames with gaps and categories: a column stays one column from fit to predict."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

import mcprune
from mcprune import MarkovPrunedClassifier, MarkovPrunedRegressor, MarkovSelector

QUICK = {"random_state": 0, "epochs": 12, "options": {"retrain_epochs": 20}}
TELLING = ["age", "city", "weight"]


def table(rows=240, seed=0):
    """Ten columns, of which a number, a category and a number with gaps that tell by being gaps decide the class."""
    draw = np.random.default_rng(seed)
    city = draw.choice(["oslo", "rome", "bern", "kiel"], rows)
    age = draw.normal(size=rows)
    weight = draw.normal(size=rows)
    is_gap = draw.random(rows) < 0.3
    score = 1.5 * age + 2.0 * np.isin(city, ["oslo", "rome"]) + 2.0 * is_gap + 0.3 * draw.normal(size=rows)
    frame = pd.DataFrame({f"noise_{j}": draw.normal(size=rows) for j in range(5)})
    frame.loc[draw.random(rows) < 0.1, "noise_3"] = np.nan
    frame["team"] = pd.Categorical(draw.choice(["red", "blue"], rows))
    frame["age"], frame["city"] = age, pd.Categorical(city)
    frame["weight"] = np.where(is_gap, np.nan, weight)
    frame["smokes"] = draw.random(rows) < 0.5
    return frame, np.where(score > np.median(score), "ill", "well"), score


@pytest.fixture(scope="module")
def rows():
    return table()


def test_the_columns_that_tell_are_kept_by_their_own_names(rows):
    X, y, _ = rows
    selector = MarkovSelector(3, **QUICK).set_output(transform="pandas").fit(X, y)
    assert selector.get_feature_names_out().tolist() == TELLING
    assert selector.feature_names_in_.tolist() == list(X.columns)
    assert selector.support_.shape == selector.ranking_.shape == selector.scores_.shape == (10,)
    assert sorted(selector.ranking_) == [1, 1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert any("gaps" in note for note in selector.notes_)
    pd.testing.assert_frame_equal(selector.transform(X), X[TELLING])


def test_without_set_output_categories_stay_a_frame_and_numbers_an_array(rows):
    X, y, _ = rows
    selector = MarkovSelector(3, **QUICK).fit(X, y)
    pd.testing.assert_frame_equal(selector.transform(X), X[TELLING])
    numbers = MarkovSelector(2, must_drop=["city", "team"], **QUICK).fit(X, y)
    out = numbers.transform(X)
    assert isinstance(out, np.ndarray)
    np.testing.assert_array_equal(out, X[numbers.get_feature_names_out()].to_numpy(float))
    assert np.isnan(out).any()


def test_the_mask_is_that_of_prune(rows):
    X, y, _ = rows
    selector = MarkovSelector(3, **QUICK).fit(X, y)
    result = mcprune.prune(X, y, keep=3, seed=0, epochs=12, retrain_epochs=20, test=0, validation=0, progress=False)
    names = {name.partition("=")[0].partition(" is ")[0] for name in result.mask.names}
    assert names == set(selector.get_feature_names_out())


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [None, LogisticRegression()], ids=["network", "logistic"])
def test_predictions_need_the_kept_columns_alone(rows, estimator):
    X, y, _ = rows
    model = MarkovPrunedClassifier(3, estimator=estimator, random_state=0).fit(X[:160], y[:160])
    assert model.score(X[160:], y[160:]) > 0.85
    expected = model.predict_proba(X)
    assert expected.shape == (240, 2)
    spoilt = X.assign(noise_0=np.nan, team="?", noise_4="text")
    np.testing.assert_array_equal(model.predict_proba(spoilt), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), expected)
    objects = X.to_numpy(object)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        np.testing.assert_array_equal(model.predict_proba(objects), expected)


@pytest.mark.slow
def test_a_regression_on_gaps_and_categories(rows):
    X, _, score = rows
    model = MarkovPrunedRegressor(3, random_state=0).fit(X[:160], score[:160])
    assert model.get_support(indices=True).tolist() == [6, 7, 8]
    assert model.score(X[160:], score[160:]) > 0.6


@pytest.mark.parametrize(
    "estimator",
    [None, pytest.param(LogisticRegression(), marks=pytest.mark.long("ten seconds of what the network shows"))],
    ids=["network", "logistic"],
)
def test_a_weight_is_a_repeated_row_and_the_order_has_no_say(rows, estimator):
    X, y, _ = rows
    draw = np.random.default_rng(5)
    weights, order = draw.integers(0, 3, 240), draw.permutation(240)
    options = {
        "estimator": estimator,
        "random_state": 0,
        "epochs": 4,
        "options": {} if estimator else {"retrain_epochs": 4},
    }
    index = np.repeat(np.arange(240), weights)
    fits = [
        MarkovPrunedClassifier(3, **options).fit(X.iloc[order], y[order], weights[order]),
        MarkovPrunedClassifier(3, **options).fit(X.iloc[index], y[index]),
        MarkovPrunedClassifier(3, **options).fit(X, y),
    ]
    answers = [one.predict_proba(X).tolist() for one in fits]
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


def test_values_that_the_fit_did_not_have_are_said_and_count_as_none(rows):
    X, y, _ = rows
    model = MarkovPrunedClassifier(3, **QUICK).fit(X, y)
    new = X.assign(city="lima")
    with pytest.warns(UserWarning, match="'city' has values that the run did not have.*'lima'"):
        model.predict(new)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X)
    # A gap where the fit had none is filled with the mean.
    np.testing.assert_allclose(
        model.predict_proba(X.assign(age=np.nan)), model.predict_proba(X.assign(age=X["age"].mean())), rtol=1e-6
    )


def test_columns_without_anything_to_tell_come_last(rows):
    X, y, _ = rows
    X = X[TELLING].assign(empty=np.nan, same="one", name=[f"person {j}" for j in range(240)])
    selector = MarkovSelector(3, **QUICK).fit(X, y)
    assert selector.get_feature_names_out().tolist() == TELLING
    assert selector.ranking_.tolist() == [1, 1, 1, 2, 3, 4]
    four = MarkovSelector(5, must_drop=["empty"], **QUICK).fit(X, y)
    assert four.get_feature_names_out().tolist() == [*TELLING, "same", "name"]
    with pytest.raises(mcprune.McpruneError, match="must_keep names 'same', whose cells are all missing, alike"):
        MarkovSelector(3, must_keep=["same"], **QUICK).fit(X, y)


def test_columns_are_held_by_name_and_by_place(rows):
    X, y, _ = rows
    held = MarkovSelector(2, must_keep=["team"], must_drop=[7], **QUICK).fit(X, y)
    assert held.support_[5]
    assert not held.support_[7]
    with pytest.raises(mcprune.McpruneError, match="must_keep names 'tean', which is no column"):
        MarkovSelector(2, must_keep=["tean"], **QUICK).fit(X, y)


def test_dates_are_refused_with_the_remedy(rows):
    X, y, _ = rows
    X = X.assign(when=pd.Timestamp("2026-01-05"))
    with pytest.raises(
        mcprune.McpruneError, match=r"'when' holds .* a date or a time\. Make numbers of it .* remove 'when' from X"
    ):
        MarkovSelector(3, **QUICK).fit(X, y)


def test_gaps_in_arrays(rows):
    X, y, _ = rows
    numbers = X.drop(columns=["city", "team"]).to_numpy(float)
    selector = MarkovSelector(2, **QUICK).fit(numbers, y)
    assert selector.get_support(indices=True).tolist() == [5, 6]
    np.testing.assert_array_equal(selector.transform(numbers), numbers[:, 5:7])
    with pytest.raises(ValueError, match="infinity"):
        MarkovSelector(2, **QUICK).fit(np.where(np.isnan(numbers), np.inf, numbers), y)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_other_libraries(rows, library):
    pytest.importorskip(library)
    X, y, _ = rows
    here = MarkovPrunedClassifier(3, **QUICK).fit(X, y)
    if library == "polars":
        import polars

        frame = polars.from_pandas(X)
    else:
        import pyarrow

        frame = pyarrow.Table.from_pandas(X, preserve_index=False)
    there = MarkovPrunedClassifier(3, **QUICK).fit(frame, y)
    assert there.feature_names_in_.tolist() == list(X.columns)
    np.testing.assert_array_equal(there.predict_proba(frame), here.predict_proba(X))
    out = MarkovSelector(3, **QUICK).fit(frame, y).transform(frame)
    assert [str(name) for name in getattr(out, "column_names", getattr(out, "columns", None))] == TELLING


@pytest.mark.slow
def test_a_pipeline_with_a_column_transformer_under_a_grid_search_in_two_processes(rows):
    X, y, _ = rows
    prepare = ColumnTransformer(
        [
            ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
            ("classes", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["team"]),
        ],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    pipe = Pipeline(
        [
            ("prepare", prepare.set_output(transform="pandas")),
            ("select", MarkovSelector(random_state=0, epochs=12)),
            ("classify", HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)),
        ]
    )
    search = GridSearchCV(pipe, {"select__keep": [1, 3]}, cv=3, n_jobs=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"select__keep": 3}
    assert search.best_score_ > 0.8
    assert set(search.best_estimator_["select"].get_feature_names_out()) == set(TELLING)


def test_skops_writes_and_reads_fitted_estimators(rows, tmp_path):
    io = pytest.importorskip("skops.io")
    X, y, score = rows
    fits = [
        (MarkovPrunedClassifier(3, **QUICK).fit(X, y), "predict_proba"),
        (MarkovPrunedClassifier(3, estimator=LogisticRegression(), random_state=0).fit(X, y), "predict_proba"),
        (MarkovPrunedRegressor(3, **QUICK).fit(X, score), "predict"),
        (MarkovSelector(3, **QUICK).set_output(transform="pandas").fit(X, y), "transform"),
    ]
    for fitted, method in fits:
        path = tmp_path / f"{type(fitted).__name__}.skops"
        io.dump(fitted, path)
        unknown = io.get_untrusted_types(file=path)
        assert all(name.startswith(("mcprune.", "collections.")) for name in unknown), unknown
        again = io.load(path, trusted=unknown)
        pd.testing.assert_frame_equal(pd.DataFrame(getattr(again, method)(X)), pd.DataFrame(getattr(fitted, method)(X)))
