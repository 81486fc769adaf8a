"""scikit-learn's transformer: `MarkovSelector` chooses columns. `mcprune.estimators.pruned` has those that predict.

A fit is a function of the weighted set of rows: their order changes nothing, and a weight of 2 is a repeated row. It gives the mask
of `mcprune.prune` with test=0 and validation=0. Nothing is written, and no global state of numpy or torch is left changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import _safe_indexing, assert_all_finite
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted, validate_data

from mcprune.data.roles.tasks import CLASSIFICATION
from mcprune.estimators.columns import is_frame, numeric_frame
from mcprune.estimators.markov_fit import HIDDEN, MarkovFit
from mcprune.types import AnyArray, BoolArray

if TYPE_CHECKING:
    from sklearn.utils import Tags


class MarkovSelector(SelectorMixin, MarkovFit):  # type: ignore[misc]
    """Choose exactly n columns by a gradient-free Markov chain, while backprop trains the classifier that judges them.

    Parameters
    ----------
    keep : int, float, 'auto' or None
        n; a float is a share of the columns; None keeps a quarter, at least 1; 'auto' the fewest within one standard error of the best.
    task : 'auto', 'classification', 'regression' or 'multilabel'
        What y is: classes, numbers (rows,) or (rows, T), or 0 and 1 (rows, T). 'auto' decides by its values (docs/regression.md).
    hidden : tuple of int
        Widths of the classifier's hidden layers.
    epochs : int, optional
        Passes over the rows while searching; by default as many as `mcprune.prune` makes. With `estimator`: blocks of decisions.
    objective : str or callable
        What the chain minimises, see docs/objectives.md; "auto" is cross-entropy, of a regression the squared error.
    estimator : scikit-learn classifier or regressor, optional
        It judges the candidates in place of the network, on rows that it is not fitted on.
    evaluation : 'refit' or 'mask'
        With `estimator`: fit a clone on each candidate's columns (the right one, slow), or fit once on all columns and put the
        dropped ones at their mean (fast; misjudges columns that stand in for each other).
    must_keep, must_drop : list of int or str, optional
        Columns by place or name that are kept, or dropped, in any case; `keep` counts those kept.
    fdr : float, optional
        In place of `keep`: keep the columns that beat permuted copies of themselves, as many as the estimated share of false ones among
        them stays at most this (docs/error-rate.md). There may be none.
    scoring : str or callable, optional
        A scorer of scikit-learn, in place of `objective`: the chain maximises it. It must look at predictions alone.
    cv : int or splitter, optional
        Folds: each evaluates candidates by classifiers, or clones of `estimator`, that have not seen it. No row may be evaluated twice.
    warm_start : bool
        Start from the columns of the fit before, where that kept as many.
    verbose : bool
        Show the progress on standard error.
    options : dict, optional
        Further options of docs/options.md, such as {"temperature": 1e-4}.
    random_state : int, RandomState or None
        An int is the seed of the search itself; from a RandomState, or numpy's global one, a seed is drawn.
    n_jobs : int, optional
        Processes for `estimator` with `refit`.

    Attributes
    ----------
    support_ : ndarray of bool, shape (n_features_in_,)
    n_features_ : int
        Kept columns.
    ranking_ : ndarray of int, shape (n_features_in_,)
        1 for the kept columns, 2 for the next best, and so on.
    scores_ : ndarray of float, shape (n_features_in_,)
        The weights of the chain at its end; with `fdr` the statistics, with keep='auto' 1 for a kept column.
    fdr_ : ErrorRate, with `fdr`
        The statistic of each column, and the estimated false discovery rate of the kept ones.
    classes_ : ndarray, where y has classes
    n_features_in_ : int
    feature_names_in_ : ndarray of str, where the columns had names
    curve_ : Curve, with keep='auto'
        How good each number of columns was.

    Examples
    --------
    >>> from mcprune import MarkovSelector
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> MarkovSelector(5, random_state=0).fit(X, y).get_feature_names_out().size
    5
    """

    def __init__(
        self,
        keep: float | str | None = None,
        *,
        task: str = "auto",
        hidden: tuple[int, ...] = HIDDEN,
        epochs: int | None = None,
        objective: str | Callable[..., object] = "auto",
        estimator: object = None,
        evaluation: str = "refit",
        must_keep: Sequence[int | str] | None = None,
        must_drop: Sequence[int | str] | None = None,
        fdr: float | None = None,
        scoring: str | Callable[..., float] | None = None,
        cv: object = None,
        warm_start: bool = False,
        verbose: bool | int = False,
        options: Mapping[str, object] | None = None,
        random_state: object = None,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(
            keep,
            hidden=hidden,
            epochs=epochs,
            objective=objective,
            estimator=estimator,
            evaluation=evaluation,
            must_keep=must_keep,
            must_drop=must_drop,
            fdr=fdr,
            scoring=scoring,
            cv=cv,
            warm_start=warm_start,
            verbose=verbose,
            options=options,
            random_state=random_state,
            n_jobs=n_jobs,
        )
        self.task = task

    def fit(self, X: object, y: object, sample_weight: object = None, groups: object = None) -> MarkovSelector:
        """Choose the columns; X (rows, N), y (rows,), sample_weight (rows,), not negative, groups (rows,) for `cv`.

        With groups and without `cv` the folds keep the rows of a group together.
        """
        self._searched(X, y, sample_weight, groups)
        return self

    def transform(self, X: object) -> object:
        """Return the kept columns (rows, n) of rows with all N columns, with their gaps and categories as they are.

        A frame whose kept columns are not all numbers stays a frame, since an array would lose its categories; other frames become
        arrays, unless `set_output` says otherwise.
        """
        check_is_fitted(self)
        if is_frame(X) and self.support_.any():
            frame = validate_data(self, X, reset=False, skip_check_array=True)
            kept = _safe_indexing(frame, np.flatnonzero(self.support_), axis=1)
            numbers = numeric_frame(kept)
            if numbers is None:
                return kept
            assert_all_finite(numbers, allow_nan=True, input_name="X", estimator_name=type(self).__name__)
            return numbers if _get_output_config("transform", estimator=self)["dense"] == "default" else kept
        # As the mixin does it.
        rows = validate_data(self, X, reset=False, dtype=None, accept_sparse="csr", ensure_all_finite="allow-nan")
        return self._transform(rows)

    def _wished_task(self, labels: AnyArray) -> str:
        return self.task

    def _takes_several_targets(self) -> bool:
        return self.task != CLASSIFICATION

    def _get_support_mask(self) -> BoolArray:
        check_is_fitted(self)
        return self.support_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
