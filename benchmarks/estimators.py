"""The scikit-learn estimators: how many of scikit-learn's checks pass, and the time of a grid search over n in a Pipeline.

python benchmarks/estimators.py --out benchmarks/results/estimators.json
"""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before all imports: one check needs it

import resource
import time
import warnings
from collections import Counter
from typing import Any

import common
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import mcprune

KEEPS, FOLDS, JOBS = [2, 3, 5, 8, 12], 5, 2


def checks(estimator: Any) -> dict[str, Any]:
    """Return how many checks passed, of how many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Counter(one["status"] for one in check_estimator(estimator, on_fail=None))
    name = f"check_estimator {type(estimator).__name__}"
    count = sum(found.values())
    print(f"{name}: {found['passed']} of {count} passed", dict(found), flush=True)
    return common.row(name, found["passed"], "checks passed", count, "higher", **found)


def cpu() -> float:
    """Return the processor time so far of this process and of its children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def grid(jobs: int | None) -> list[dict[str, Any]]:
    """Time the search of docs/scikit-learn.md."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    pipe = Pipeline(
        [
            ("scale", StandardScaler().set_output(transform="pandas")),
            ("select", mcprune.MarkovSelector(random_state=0)),
            ("classify", LogisticRegression()),
        ]
    )
    began, used = time.perf_counter(), cpu()
    found = GridSearchCV(pipe, {"select__keep": KEEPS}, cv=FOLDS, n_jobs=jobs).fit(X, y)
    took, used = time.perf_counter() - began, cpu() - used
    scores = dict(zip(KEEPS, found.cv_results_["mean_test_score"].round(4).tolist(), strict=True))
    fits = len(KEEPS) * FOLDS + 1
    print(
        f"grid search, {fits} fits, n_jobs={jobs}: {took:.1f} s, {used:.1f} s of processor time in this process; {scores}"
    )
    name = f"GridSearchCV over n, breast-cancer, {fits} fits, n_jobs={jobs}"
    rows = [common.row(name, round(took, 2), "s", 60.0, "lower", best=found.best_params_, scores=scores)]
    if jobs is None:  # workers of joblib are no children that have ended
        rows.append(common.row(f"{name}, processor time", round(used, 2), "s", 60.0, "lower"))
    return rows


def main() -> None:
    options = common.parser(__doc__.splitlines()[0], with_plot=False).parse_args()
    rows = [*grid(None), *([] if options.quick else grid(JOBS))]
    if not options.quick:
        rows += [checks(mcprune.MarkovSelector()), checks(mcprune.MarkovPrunedClassifier())]
    common.report(rows, 1, options.out, seed=0, versions={"scikit-learn": sklearn.__version__})


if __name__ == "__main__":
    main()
