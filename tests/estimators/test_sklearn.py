"""The scikit-learn estimators: scikit-learn's own checks in full, and what they do not ask for."""

import pickle

import joblib
import numpy as np
import pandas
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_classifiers_train, check_estimator

import mcprune
from mcprune import MarkovPrunedClassifier, MarkovSelector

QUICK = {"random_state": 0, "epochs": 4, "options": {"retrain_epochs": 10}}


# The checks fit a hundred times.
CHECKED = {"hidden": (32,), "epochs": 8, "options": {"retrain_epochs": 40, "retrain_learning_rate": 0.01}}


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer(return_X_y=True, as_frame=True)


@pytest.fixture
def few():
    """120 rows of 8 columns, of which the first three tell."""
    return make_classification(
        120, 8, n_informative=3, n_redundant=0, n_classes=2, class_sep=2.0, shuffle=False, random_state=0
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@pytest.mark.parametrize(
    "estimator", [MarkovSelector(**CHECKED), MarkovPrunedClassifier(**CHECKED)], ids=lambda one: type(one).__name__
)
def test_every_check_of_scikit_learn_passes(estimator):
    """The one that may be skipped needs SCIPY_ARRAY_API=1 before all imports: benchmarks/estimators.py runs it too."""
    found = check_estimator(estimator, on_skip=None, on_fail=None)
    failed = {one["check_name"]: str(one["exception"]) for one in found if one["status"] not in ("passed", "skipped")}
    assert not failed
    assert {one["check_name"] for one in found if one["status"] == "skipped"} <= {"check_array_api_input"}
    assert not [one for one in found if one["expected_to_fail"]]
    names = {one["check_name"] for one in found}
    assert {"check_sample_weight_equivalence_on_dense_data", "check_fit_idempotent", "check_estimators_pickle"} <= names
    assert len(found) >= 50


@pytest.mark.long("one of scikit-learn's checks, with a full fit where the others are short")
@pytest.mark.filterwarnings("ignore")
def test_a_low_score_is_allowed_for_a_quarter_of_the_columns_alone():
    classifier = MarkovPrunedClassifier(1.0)
    assert not classifier.__sklearn_tags__().classifier_tags.poor_score
    assert MarkovPrunedClassifier().__sklearn_tags__().classifier_tags.poor_score
    check_classifiers_train("MarkovPrunedClassifier", classifier)


@pytest.mark.parametrize(
    ("keep", "count"), [(None, 2), (1, 1), (3, 3), (np.int64(8), 8), (0.25, 2), (0.01, 1), (1.0, 8)]
)
def test_exactly_n_are_kept(keep, count, few):
    selector = MarkovSelector(keep, **QUICK).fit(*few)
    assert selector.get_support().sum() == selector.transform(few[0]).shape[1] == count


def test_of_one_column_a_quarter_is_one(few):
    assert MarkovSelector(**QUICK).fit(few[0][:, :1], few[1]).get_support().tolist() == [True]


@pytest.mark.parametrize("keep", [0, 9, -1, 1.5, 0.0, True, "all", float("nan")])
def test_impossible_keeps_are_refused(keep, few):
    with pytest.raises(ValueError, match=r"but there are 8 columns\. Choose a whole number 1 <= keep <= 8"):
        MarkovSelector(keep, **QUICK).fit(*few)


@pytest.mark.slow
def test_what_tells_is_found(few):
    """Three columns of eight: a random choice finds all three in 1 of 56."""
    assert MarkovSelector(3, random_state=0).fit(*few).get_support(indices=True).tolist() == [0, 1, 2]


@pytest.mark.slow
def test_frames_keep_their_names_and_other_columns_are_refused(cancer):
    X, y = cancer
    X = X.iloc[:, :8]
    names = pandas.Series(np.where(y == 1, "benign", "malignant"))
    selector = MarkovSelector(3, **QUICK).set_output(transform="pandas").fit(X, names)
    out = selector.transform(X)
    assert list(out.columns) == list(selector.get_feature_names_out()) == list(X.columns[selector.get_support()])
    assert selector.feature_names_in_.tolist() == list(X.columns)
    assert selector.n_features_in_ == 8
    classifier = MarkovPrunedClassifier(3, **QUICK).fit(X, names)
    assert classifier.classes_.tolist() == ["benign", "malignant"]
    assert set(classifier.predict(X)) <= {"benign", "malignant"}
    for one in (selector.transform, classifier.predict):
        with pytest.raises(ValueError, match="feature names"):
            one(X[X.columns[::-1]])
        with pytest.raises(ValueError, match="feature names"):
            one(X.rename(columns={"mean radius": "radius"}))
    with pytest.raises(ValueError, match="8 features"):
        MarkovSelector(3, **QUICK).fit(X.to_numpy(), y).transform(X.to_numpy()[:, :7])


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [None, LogisticRegression(), GaussianNB()], ids=str)
def test_a_weight_is_a_repeated_row_to_the_last_bit(estimator, few):
    """And the order of the rows has no say; other weights are the control."""
    X, y = few
    draw = np.random.default_rng(0)
    weights = draw.integers(0, 4, len(y))
    options = {"estimator": estimator, **({} if estimator is not None else QUICK), "random_state": 0}
    order = draw.permutation(len(y))
    fits = [
        MarkovPrunedClassifier(3, **options).fit(X[order], y[order], weights[order]),
        MarkovPrunedClassifier(3, **options).fit(X.repeat(weights, axis=0), y.repeat(weights)),
        MarkovPrunedClassifier(3, **options).fit(X, y),
    ]
    answers = [one.predict_proba(X) for one in fits]
    assert answers[0].tolist() == answers[1].tolist()
    assert answers[0].tolist() != answers[2].tolist()


@pytest.mark.slow
def test_weights_change_what_is_kept():
    """Two kinds of rows, each told by a column of its own: the heavier kind decides."""
    draw = np.random.default_rng(0)
    kind, y = draw.integers(0, 2, 200), draw.integers(0, 2, 200)
    X = draw.normal(size=(200, 2))
    X[np.arange(200), kind] += 4.0 * y
    for heavy in (0, 1):
        weights = np.where(kind == heavy, 10.0, 1.0)
        assert MarkovSelector(1, random_state=0, epochs=6).fit(X, y, weights).get_support(indices=True).tolist() == [
            heavy
        ]


def test_a_row_has_the_same_answer_alone(few):
    X, y = few
    classifier = MarkovPrunedClassifier(3, **QUICK).fit(X, y)
    np.testing.assert_allclose(
        classifier.predict_proba(X), np.vstack([classifier.predict_proba(row[None]) for row in X]), rtol=1e-12
    )


def test_fits_pickle_and_leave_threads_and_random_states_as_they_were(few, tmp_path):
    torch.set_num_threads(2)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_num_threads(), torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002
    classifier = MarkovPrunedClassifier(3, **QUICK).fit(*few)
    after = torch.get_num_threads(), torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.set_num_threads(1)
    assert after == before
    joblib.dump(classifier, tmp_path / "one")
    for again in (pickle.loads(pickle.dumps(classifier)), joblib.load(tmp_path / "one")):
        assert again.predict_proba(few[0]).tolist() == classifier.predict_proba(few[0]).tolist()


@pytest.mark.parametrize("estimator", [MarkovSelector(), MarkovPrunedClassifier()], ids=lambda one: type(one).__name__)
def test_not_fitted(estimator, few):
    with pytest.raises(NotFittedError):
        (estimator.transform if hasattr(estimator, "transform") else estimator.predict)(few[0])
    with pytest.raises(NotFittedError):
        estimator.get_support()


@pytest.mark.long("a grid search of frames is in test_columns.py")
def test_grid_search_over_n_in_a_pipeline_and_processes(few):
    pipe = Pipeline(
        [("scale", StandardScaler()), ("select", MarkovSelector(**QUICK)), ("classify", LogisticRegression())]
    )
    found = GridSearchCV(pipe, {"select__keep": [1, 3]}, cv=3, n_jobs=2).fit(*few)
    assert found.best_params_ == {"select__keep": 3}
    alone = GridSearchCV(pipe, {"select__keep": [1, 3]}, cv=3).fit(*few)
    assert found.cv_results_["mean_test_score"].tolist() == alone.cv_results_["mean_test_score"].tolist()
    assert cross_val_score(MarkovPrunedClassifier(3, random_state=0), *few, cv=3).mean() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("way", ["refit", "mask"])
@pytest.mark.parametrize(
    "estimator",
    [
        GaussianNB(),
        KNeighborsClassifier(),
        LinearSVC(),
        RandomForestClassifier(5),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=lambda one: type(one).__name__,
)
def test_any_classifier_can_judge(estimator, way, few):
    """A forest without a seed gets one: fitted twice it would give two values, and the same mask comes twice."""
    options = {"estimator": estimator, "evaluation": way, "epochs": 4, "random_state": 2, "options": {"decisions": 12}}
    one = MarkovSelector(2, **options).fit(*few)
    if way == "refit":  # a small forest that is surely wrong where columns are at their mean is no judge
        assert set(one.get_support(indices=True)) <= {0, 1, 2}
    assert one.get_support().sum() == 2
    assert one.n_masks_ > 8
    again = MarkovSelector(2, **options).fit(*few)
    assert one.get_support().tolist() == again.get_support().tolist()


def test_the_classifier_of_the_user_predicts(few):
    X, y = few
    own = MarkovPrunedClassifier(3, estimator=LinearSVC(), random_state=0).fit(X, np.array(["no", "yes"])[y])
    assert set(own.predict(X)) == {"no", "yes"}
    assert not hasattr(own, "predict_proba")
    assert own.estimator_.n_features_in_ == 3
    kept = own.get_support(indices=True)
    plain = LinearSVC(random_state=own.estimator_.random_state).fit(X[:, kept], y)
    assert (plain.predict(X[:, kept]) == (own.predict(X) == "yes")).mean() > 0.99


@pytest.mark.long("test_columns has a grid search in two processes")
def test_processes_find_the_same_mask(few):
    masks = [
        MarkovSelector(3, estimator=GaussianNB(), random_state=0, epochs=3, n_jobs=jobs).fit(*few).get_support()
        for jobs in (1, 2)
    ]
    assert masks[0].tolist() == masks[1].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [None, GaussianNB()], ids=str)
def test_objectives_and_fixed_columns(estimator, few):
    options = {"estimator": estimator, "random_state": 0, "epochs": 6}
    held = MarkovSelector(3, objective="auc", must_keep=[7], must_drop=["x0"], **options).fit(*few)
    kept = held.get_support(indices=True).tolist()
    assert 7 in kept
    assert 0 not in kept
    assert len(kept) == 3

    def late(predictions, targets, mask):
        return float(1 - mask[-3:].mean())

    assert MarkovSelector(3, objective=late, **options).fit(*few).get_support(indices=True).tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="objective 'worse' raised ZeroDivisionError"):
        MarkovSelector(3, objective=worse, **options).fit(*few)


def worse(predictions, targets):
    return 1 / 0


class Broken(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective": "acc"}, "there is no objective 'acc'"),
        ({"estimator": Broken()}, "estimator=Broken raised RuntimeError on rows of shape"),
        ({"estimator": GaussianNB(), "evaluation": "drop"}, "evaluation='drop' is unknown"),
        ({"estimator": GaussianNB(), "options": {"temperature": "1se"}}, "temperature=1se, but standard errors"),
        ({"options": {"epoch": 3}}, "there is no option 'epoch' .did you mean 'epochs'"),
        ({"must_keep": ["x9"]}, "names 'x9', which is no site"),
    ],
)
def test_what_cannot_be_run_is_refused(options, says, few):
    with pytest.raises(mcprune.McpruneError, match=says):
        MarkovSelector(3, random_state=0, **options).fit(*few)


def test_weights_for_an_estimator_that_takes_none(few):
    X, y = few
    with pytest.raises(mcprune.McpruneError, match=r"KNeighborsClassifier.fit takes none"):
        MarkovSelector(2, estimator=KNeighborsClassifier()).fit(X, y, np.linspace(0.1, 1, len(y)))


def test_rows_without_weight_and_single_classes_are_told():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"all weights are zero|at least one non-zero"):
        MarkovSelector().fit(X, y, np.zeros(len(y)))
    with pytest.raises(ValueError, match="at least two classes"):
        MarkovSelector().fit(X, y, (y == 1).astype(float))
    classifier = MarkovPrunedClassifier(**QUICK).fit(X, y, (y != 1).astype(float))
    assert classifier.classes_.tolist() == [0, 2]


def test_a_named_column_that_only_numbers_the_rows_is_warned_of():
    X, y = make_classification(60, 4, random_state=0)
    frame = pandas.DataFrame(X, columns=list("abcd")).reset_index()
    selector = MarkovSelector(2, epochs=1, random_state=0)
    with pytest.warns(UserWarning, match="'index' only numbers the rows"):
        selector.fit(frame, y)
    for options in ({"must_drop": ["index"]}, {"must_keep": ["index"]}, {"must_drop": [0]}):
        MarkovSelector(2, epochs=1, random_state=0, **options).fit(frame, y)
    selector.fit(frame.to_numpy(), y)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("evt_weight", "weight", "looks like sample weights. Pass it as sample_weight"),
        ("leak", "leak", "sorts the classes"),
    ],
)
def test_a_named_column_that_may_be_no_measurement_is_warned_of(name, kind, words):
    X, y = make_classification(60, 3, n_informative=2, n_redundant=0, random_state=0)
    frame = pandas.DataFrame(X, columns=list("abc"))
    frame[name] = np.random.default_rng(0).gamma(2.0, 0.5, 60) + 100 * y * (kind == "leak")
    with pytest.warns(UserWarning, match=f"'{name}' {words}"):
        MarkovSelector(2, epochs=1, random_state=0).fit(frame, y)
    MarkovSelector(2, epochs=1, random_state=0, must_drop=[name]).fit(frame, y)
    MarkovSelector(2, epochs=1, random_state=0).fit(frame.to_numpy(), y)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_gap_in_a_dropped_column_of_a_frame_does_no_harm(few):
    features, classes = few
    whole = pandas.DataFrame(features, columns=[f"x{place}" for place in range(8)])
    selector = MarkovSelector(2, **QUICK).fit(whole, classes)
    classifier = MarkovPrunedClassifier(2, **QUICK).fit(whole, classes)
    assert (selector.support_ == classifier.support_).all()
    kept, dropped = (whole.columns[mask][0] for mask in (selector.support_, ~selector.support_))
    calls = [selector.transform, classifier.predict, classifier.predict_proba]
    expected = [call(whole) for call in calls]
    for gap in (np.nan, np.inf, None):
        rows, broken = whole.copy(), whole.copy()
        rows.loc[3, dropped] = broken.loc[3, kept] = gap
        for call, values in zip(calls, expected, strict=True):
            assert np.array_equal(call(rows), values)
        if gap == np.inf:
            for call in calls:
                with pytest.raises(ValueError, match="infinity"):
                    call(broken)
                with pytest.raises(ValueError, match="infinity"):
                    call(rows.to_numpy(float))  # without names, as scikit-learn's checks ask for it
            with pytest.raises(ValueError, match="infinity"):
                clone(selector).fit(rows, classes)  # a fit looks at all columns
            continue
        moved = selector.transform(broken)
        assert np.argwhere(np.isnan(moved)).tolist() == [[3, list(whole.columns[selector.support_]).index(kept)]]
        at_mean = whole.copy()
        at_mean.loc[3, kept] = whole[kept].mean()
        for call in calls[1:]:
            np.testing.assert_allclose(call(broken).astype(float), call(at_mean).astype(float), rtol=1e-6)
            assert np.array_equal(call(rows.to_numpy(float)), call(whole))
        assert clone(selector).fit(rows, classes).n_features_ == 2
    rows = whole.copy()
    rows.loc[3, dropped] = np.nan
    framed = clone(selector).set_output(transform="pandas").fit(whole, classes).transform(rows)
    assert framed.equals(whole.loc[:, selector.support_])


def test_a_fit_leaves_nothing_of_the_fit_before(few):
    """A clone of another estimator would predict, on columns that it was not fitted to."""
    x, y = few
    model = MarkovPrunedClassifier(2, estimator=LogisticRegression(), random_state=0, epochs=2).fit(x, y)
    assert (hasattr(model, "estimator_"), hasattr(model, "n_masks_"), hasattr(model, "model_")) == (True, True, False)
    model.set_params(estimator=None).fit(x, y)
    assert (hasattr(model, "estimator_"), hasattr(model, "n_masks_"), hasattr(model, "model_")) == (False, False, True)
    fresh = MarkovPrunedClassifier(2, random_state=0, epochs=2).fit(x, y)
    np.testing.assert_array_equal(model.predict_proba(x), fresh.predict_proba(x))
