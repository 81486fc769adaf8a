"""Any scorer of scikit-learn as the objective of a search."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

from mcprune.data.roles.tasks import CLASSIFICATION, MULTILABEL, REGRESSION
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, FloatArray

SMALLEST = 1e-12  # least probability whose logarithm is taken
# Objectives that order masks as these scorers do. They are computed for many candidates at once, the scorers for one at a time.
OF_CLASSES = {"accuracy": "error", "neg_log_loss": "cross-entropy", "roc_auc_ovr": "auc"}
OF_TWO_CLASSES = {**OF_CLASSES, "roc_auc": "auc"}
OF_NUMBERS = {
    "r2": "squared",
    "neg_mean_squared_error": "squared",
    "neg_root_mean_squared_error": "squared",
    "neg_mean_absolute_error": "absolute",
}


class KnownClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier whose probabilities (rows, C) are known, whatever the rows."""

    def __init__(self, probabilities: FloatArray | None = None, classes: AnyArray | None = None) -> None:
        self.probabilities = probabilities
        self.classes = classes

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> AnyArray:
        """The classes, in the order of the probabilities."""
        return np.asarray(self.classes)

    def predict_proba(self, X: object) -> FloatArray:
        """Return the known probabilities."""
        return np.asarray(self.probabilities)

    def predict(self, X: object) -> AnyArray:
        """Return the most probable classes."""
        chosen: AnyArray = self.classes_[np.asarray(self.probabilities).argmax(axis=1)]
        return chosen

    def decision_function(self, X: object) -> FloatArray:
        """Return the log-odds of the second of two classes, or the logarithms of all probabilities."""
        logs = np.log(np.clip(np.asarray(self.probabilities), SMALLEST, 1.0))
        return np.asarray(logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs)


class KnownLabels(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier of several labels whose probabilities (rows, T) are known, whatever the rows."""

    def __init__(self, probabilities: FloatArray | None = None) -> None:
        self.probabilities = probabilities

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> AnyArray:
        """The places of the labels."""
        return np.arange(np.asarray(self.probabilities).shape[1])

    def predict_proba(self, X: object) -> FloatArray:
        """Return the known probabilities."""
        return np.asarray(self.probabilities)

    def predict(self, X: object) -> AnyArray:
        """Return 1 for the labels that are more probable than not."""
        return np.asarray(np.asarray(self.probabilities) > 0.5, np.int64)


class KnownRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted regressor whose numbers are known, whatever the rows."""

    def __init__(self, numbers: FloatArray | None = None) -> None:
        self.numbers = numbers

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: object) -> FloatArray:
        """Return the known numbers."""
        return np.asarray(self.numbers)


def same_objective(scoring: str | Callable[..., float], task: str, count: int) -> str | None:
    """Return the objective that orders masks as a scorer does; None where there is none.

    Parameters
    ----------
    scoring : str or callable
    task : str
    count : int
        Of the classes, or of the targets.
    """
    if not isinstance(scoring, str):
        return None
    if task == CLASSIFICATION:
        return (OF_TWO_CLASSES if count == 2 else OF_CLASSES).get(scoring)
    return OF_NUMBERS.get(scoring) if task == REGRESSION and count == 1 else None


def scoring_objective(scoring: str | Callable[..., float], task: str, classes: AnyArray | None) -> Callable[..., float]:
    """Return an objective of predictions and targets: the scorer's value with its sign changed.

    Parameters
    ----------
    scoring : str or callable
        A name of `sklearn.metrics.get_scorer_names()`, or scorer(estimator, X, y). It gets an estimator whose answers are known, and rows
        of zeros: it must look at predictions alone.
    task : str
    classes : ndarray or None
        None where targets are numbers, or several labels.

    Raises
    ------
    ConfigError
        There is no such scorer.
    """
    try:
        scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    except (ValueError, TypeError) as error:
        raise ConfigError(f"scoring={scoring!r} is no scorer ({str(error).splitlines()[0][:120]})") from None
    if not callable(scorer):
        raise ConfigError(
            f"scoring={scoring!r} is a {type(scoring).__name__}. Give the name of a scorer, or a callable."
        )
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", type(scoring).__name__)

    def known(predictions: FloatArray, targets: AnyArray) -> tuple[BaseEstimator, FloatArray, AnyArray]:
        rows = np.zeros((len(targets), 1))
        if task == MULTILABEL:
            return KnownLabels(np.array(predictions)), rows, np.array(targets, np.int64)
        if classes is None:
            return KnownRegressor(np.array(predictions)), rows, np.array(targets)
        return KnownClassifier(np.array(predictions), classes), rows, classes[targets]

    warned: set[str] = set()

    def plain(predictions: FloatArray, targets: AnyArray) -> float:
        return -once(warned, scorer, *known(predictions, targets))

    def weighted(predictions: FloatArray, targets: AnyArray, sample_weight: FloatArray | None = None) -> float:
        if sample_weight is None:
            return plain(predictions, targets)
        return -once(warned, scorer, *known(predictions, targets), sample_weight=np.array(sample_weight))

    objective = weighted if _takes_weights(scorer) else plain
    objective.__name__ = f"minus {name}"
    return objective


def once(warned: set[str], scorer: Callable[..., float], *arguments: object, **more: object) -> float:
    """Return a score; a warning is shown once and not for each of thousands of candidates: `warned` has those that were."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        score = float(scorer(*arguments, **more))
    for one in caught:
        if str(one.message) not in warned:
            warned.add(str(one.message))
            warnings.warn(one.message, one.category, stacklevel=2)
    return score


def _takes_weights(scorer: Callable[..., float]) -> bool:
    try:
        return "sample_weight" in inspect.signature(scorer).parameters
    except (TypeError, ValueError):
        return False
