"""The command line, `prune` and the selector plan a search by the same functions: the same data, seed and options give one mask."""

import csv
import json

import numpy as np
import pandas
import pytest
from selection import long_but
from sklearn.datasets import load_breast_cancer, load_iris, load_wine, make_classification

import mcprune
from mcprune.cli.main import main
from mcprune.data.base import Dataset
from mcprune.data.prepare import canonical_order, prepare
from mcprune.estimators import fitting
from mcprune.estimators.columns import plain_columns

QUICK = {"epochs": 5, "retrain_epochs": 1, "threads": 1}


def made():
    """300 rows of 7 columns and three classes of texts; some rows stand there twice."""
    X, y = make_classification(250, 7, n_informative=4, n_classes=3, random_state=1)
    again = np.arange(50)
    return np.vstack([X, X[again]]), np.array(["b", "c", "a"])[np.append(y, y[again])]


SETS = {
    "wine": lambda: load_wine(return_X_y=True),
    "breast-cancer": lambda: load_breast_cancer(return_X_y=True),
    "made": made,
}


def by_command_line(folder, X, y, keep, options):
    """Return the kept columns of a run on a table in a text file."""
    path, out = folder / "rows.csv", folder / "run"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"c{j}" for j in range(X.shape[1])), "target"])
        writer.writerows([*map(repr, row), label] for row, label in zip(X.tolist(), y.tolist(), strict=True))
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    code = main(
        ["run", "--data", str(path), f"--keep={keep}", f"--out={out}", "--compare=no", "--quiet", "--force", *words]
    )
    assert code == 0
    return json.loads((out / "mask.json").read_text())["indices"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", long_but("the same at another seed", [0, 5], 5))
@pytest.mark.parametrize("name", long_but("another table", SETS, "wine", "made"))
def test_one_mask_whichever_door_is_used(name, seed, tmp_path):
    X, y = SETS[name]()
    options = {"test": 0.0, "validation": 0.0, "seed": seed, **QUICK}
    line = by_command_line(tmp_path, X, y, 3, options)
    result = mcprune.prune(X, y, keep=3, **options)
    selector = mcprune.MarkovSelector(3, random_state=seed, options=QUICK).fit(X, y)
    assert line == result.mask.indices.tolist() == selector.get_support(indices=True).tolist()
    frame = pandas.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    order = np.random.default_rng(0).permutation(len(y))
    problem = mcprune.Problem(None, (frame.iloc[order], y[order]), keep=3, test=0.0, validation=0.0)
    whole = mcprune.fit(problem, mcprune.Markov(), seed=seed, **QUICK)
    assert whole.mask.indices.tolist() == line


@pytest.mark.slow
def test_one_mask_under_the_same_split(tmp_path):
    X, y = load_wine(return_X_y=True)
    options = {"test": 0.25, "validation": 0.15, "seed": 2, **QUICK}
    line = by_command_line(tmp_path, X, y, 4, options)
    selector = mcprune.MarkovSelector(4, random_state=2, options={"test": 0.25, "validation": 0.15, **QUICK}).fit(X, y)
    assert line == mcprune.prune(X, y, keep=4, **options).mask.indices.tolist()
    assert line == selector.get_support(indices=True).tolist()


def test_the_pruned_classifier_is_that_of_prune():
    X, y = load_iris(return_X_y=True)
    result = mcprune.prune(X, y, keep=2, test=0.0, validation=0.0, seed=1, **QUICK)
    classifier = mcprune.MarkovPrunedClassifier(2, random_state=1, options=QUICK).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X), result.model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, {}),
        ({"hidden": (32,)}, {"hidden": (32,)}),
        ({"epochs": 9}, {"epochs": 9}),
        ({"keep": None}, {"keep": None}),
    ],
)
def test_all_settings_are_those_of_prune(settings, more):
    """The whole configuration, as settled: rows, epochs, batches, evaluation rows, retraining."""
    X, y = load_wine(return_X_y=True)
    plans = []

    class Watch(mcprune.Callback):
        def on_start(self, search):
            plans.append(search.plan)
            raise KeyboardInterrupt

    chosen = {"keep": 5, **more}
    with pytest.raises(KeyboardInterrupt):
        mcprune.prune(X, y, test=0.0, validation=0.0, seed=3, callbacks=[Watch()], **chosen)
    selector = mcprune.MarkovSelector(**{"keep": 5, **settings}, random_state=3)
    rows = fitting.weighted_rows(X, y, np.ones(len(y)))
    columns = plain_columns([f"x{j}" for j in range(13)])
    dataset = fitting.dataset_of_rows(rows, [0, 1, 2], columns)
    config = fitting.config_of(dataset, selector._settings(columns), {})
    plan = fitting.make_plan(config, dataset)
    given = plan.config.replace(keep=plans[0].config.problem.keep).flat()
    assert given == plans[0].config.flat()
    assert plan.settings.train == plans[0].settings.train
    assert plan.settings.search == plans[0].settings.search
    assert plan.settings.evaluation == plans[0].settings.evaluation
    np.testing.assert_array_equal(plan.splits.train.features, plans[0].splits.train.features)


def test_the_order_of_rows_changes_nothing_where_all_train():
    draw = np.random.default_rng(0)
    X, y = draw.integers(-1, 2, (40, 3)).astype(np.float64), draw.integers(0, 2, 40)
    X[0, 0] = -0.0
    order = draw.permutation(40)
    tables = [
        Dataset("a", values, y[rows], (0, 1), ("a", "b", "c"))
        for values, rows in ((X, np.arange(40)), (X[order], order), (X[order].astype(np.float32), order))
    ]
    first, *others = (prepare(table, seed=0, validation=0, test=0, scale="none") for table in tables)
    for other in others:
        np.testing.assert_array_equal(first.train.features, other.train.features)
        np.testing.assert_array_equal(first.train.targets, other.train.targets)
    assert sorted(canonical_order(tables[0])) == list(range(40))
    parted = [prepare(table, seed=0, validation=0, test=0.2, scale="none").train.features for table in tables[:2]]
    assert not np.array_equal(*parted)  # the control: a split is drawn over the rows as they come


def test_an_integer_is_the_seed_itself_and_a_random_state_draws_one():
    settings = [
        mcprune.MarkovSelector(1, random_state=state)._settings(plain_columns("abc"))["seed"]
        for state in (7, np.int64(7))
    ]
    assert settings == [7, 7]
    draws = [
        mcprune.MarkovSelector(1, random_state=np.random.RandomState(7))._settings(plain_columns("abc"))["seed"]
        for _ in range(2)
    ]
    assert draws[0] == draws[1] != 7


@pytest.mark.slow
def test_what_a_fit_decides_itself_is_no_option():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(mcprune.McpruneError, match="options names sites, which is no option of a fit"):
        mcprune.MarkovSelector(2, options={"sites": "units"}).fit(X, y)
    weights = np.linspace(0.5, 1.5, len(y))  # which every option takes
    for options in ({"validation": 0.2}, {"start": "obd"}, {"method": "importance"}):
        selector = mcprune.MarkovSelector(2, options={**QUICK, **options})
        assert selector.fit(X, y, weights).get_support().sum() == 2


@pytest.mark.slow
@pytest.mark.parametrize("eval_on", long_but("without folds", ["folds", "held-out", "train"], "folds"))
def test_an_objective_of_two_classes_on_rows_sorted_by_class(eval_on):
    """Each fold evaluates rows of both classes, wherever they stand."""
    X, y = load_breast_cancer(return_X_y=True)
    order = np.argsort(y, kind="stable")
    options = {"objective": "auc", "eval_on": eval_on, "epochs": 2, "retrain_epochs": 1, "threads": 1, "hidden": (8,)}
    selector = mcprune.MarkovSelector(
        3, objective="auc", random_state=0, hidden=(8,), options={"eval_on": eval_on, **QUICK}
    )
    assert selector.fit(X, y).get_support().sum() == 3
    assert len(mcprune.prune(X[order], y[order], keep=3, test=0.0, validation=0.0, **options).mask) == 3
