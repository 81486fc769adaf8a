"""What the scikit-learn estimators share: parameters, checked rows, and the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_X_y
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, _num_samples, column_or_1d, validate_data

from mcprune.data.roles.targets import Label
from mcprune.data.roles.tasks import CLASSIFICATION, encode_numbers
from mcprune.errors import ConfigError, DataError
from mcprune.estimators.checked import Checked, Searched, folds_of, task_of
from mcprune.estimators.columns import (
    Columns,
    code_rows,
    frame_numbers,
    has_texts,
    is_frame,
    places_of,
    plain_columns,
    rate_of_columns,
)
from mcprune.estimators.doubts import warn_of_doubts
from mcprune.estimators.parameters import count_of, seed_of
from mcprune.path.search.levels import is_auto
from mcprune.types import AnyArray, BoolArray, FloatArray

if TYPE_CHECKING:  # they import torch, which `import mcprune.estimators` need not wait for
    from sklearn.utils import Tags

    from mcprune.config.schema import Config
    from mcprune.session.build.plan import Plan
    from mcprune.storage.events import ErrorRate

# The widths of the built-in classifier, as `mcprune.prune` has them by default.
HIDDEN = (128, 64)
# Attributes that only some fits set: those of the fit before would be taken for the new one's.
OF_ONE_FIT = ("fdr_", "curve_", "n_masks_", "classes_", "estimator_", "model_")
WITH_F = "+f"  # the second start of a warm one


class MarkovFit(BaseEstimator):  # type: ignore[misc]
    """What the estimators share: parameters, checked rows, the search."""

    support_: BoolArray

    def __init__(
        self,
        keep: float | str | None = None,
        *,
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
        self.keep = keep
        self.hidden = hidden
        self.epochs = epochs
        self.objective = objective
        self.estimator = estimator
        self.evaluation = evaluation
        self.must_keep = must_keep
        self.must_drop = must_drop
        self.fdr = fdr
        self.scoring = scoring
        self.cv = cv
        self.warm_start = warm_start
        self.verbose = verbose
        self.options = options
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _searched(self, X: object, y: object, sample_weight: object, groups: object) -> Searched:
        """Check everything, search, set the fitted attributes; return what a classifier is trained on.

        Raises
        ------
        ValueError
            Of scikit-learn's checks; ConfigError and DataError are ValueErrors too.
        """
        from mcprune.estimators import fitting

        for name in OF_ONE_FIT:
            self.__dict__.pop(name, None)
        checked = self._rows(X, y, sample_weight, groups)
        rows, labels, columns, task = checked.rows, checked.labels, checked.columns, checked.task
        dataset = fitting.dataset_of_rows(rows, labels, columns, task)
        objective = self._objective(labels or rows.targets.reshape(len(rows.targets), -1).T, task)
        settings, options = self._settings(columns), dict(self.options) if self.options is not None else {}
        settings["objective"] = objective
        if checked.folds is not None and self.estimator is None:
            settings |= {"eval_on": "folds", "eval_folds": len(checked.folds.training)}
        function = objective if callable(objective) else None
        if is_auto(self.keep) and self.fdr is None:
            if self.estimator is not None:
                raise ConfigError(
                    'keep="auto" compares numbers of columns by a network, but estimator is given. Leave one of them out.'
                )
            if checked.folds is not None:
                raise ConfigError(
                    'keep="auto" has folds of its own, but cv or groups are given. Leave one of them out.'
                )
            config, chosen, mask, self.curve_ = fitting.search_auto(dataset, settings, options, function)
            self._rank(columns, mask, mask.astype(np.float64))
            return Searched(chosen, rows, config, mask)
        warm = self._start(columns, settings.get("keep")) if self.warm_start else {}
        options = {**warm, **options}
        config = fitting.config_of(dataset, settings, options)
        plan: Plan | None = None
        if self.estimator is None:
            plan, mask, scores, outcome = fitting.search_mask(
                config, dataset, function, folds=checked.folds, is_shown=bool(self.verbose)
            )
            for text in warm.values():
                Path(text.removesuffix(WITH_F)).unlink(missing_ok=True)
            if outcome is not None:
                self.fdr_: ErrorRate = rate_of_columns(outcome, columns)
        else:
            mask, scores = self._wrapped(checked, objective, config)
        self._rank(columns, mask, scores)
        return Searched(plan, rows, config, mask)

    def _objective(self, outputs: Sequence[Label] | AnyArray, task: str) -> str | Callable[..., object]:
        """Return what the chain minimises, given the classes, or the targets one by one; a scorer takes its place."""
        if self.scoring is None:
            return self.objective
        if self.objective != "auto":
            raise ConfigError(
                f"scoring={self.scoring!r} and objective={self.objective!r} both say what is minimised. Leave one of them out."
            )
        from mcprune.estimators.scoring import same_objective, scoring_objective

        if same := same_objective(self.scoring, task, len(outputs)):
            return same
        return scoring_objective(self.scoring, task, np.asarray(self.classes_) if task == CLASSIFICATION else None)

    def _rank(self, columns: Columns, mask: BoolArray, weights: FloatArray) -> None:
        """Set `support_`, `scores_`, `ranking_` and `n_features_` of a mask (M,): rank 1 for what is kept, then by falling score."""
        count = self._count(len(columns.names)).get("keep")
        dropped = places_of(columns, "must_drop", self.must_drop) if columns.coding is not None else []
        self._columns, self.notes_ = columns, columns.notes
        self.support_ = columns.support(mask, count if isinstance(count, int) and self.fdr is None else None, dropped)
        self.scores_ = columns.scores(np.asarray(weights, np.float64))
        others = np.flatnonzero(~self.support_)
        self.ranking_ = np.ones(self.support_.size, np.int64)
        self.ranking_[others[np.argsort(-self.scores_[others], kind="stable")]] = np.arange(others.size) + 2
        self.n_features_ = int(self.support_.sum())

    def _start(self, columns: Columns, count: object) -> dict[str, str]:
        """Return the options of a search that starts from the columns of the fit before, where it has kept as many of as many."""
        if self.estimator is not None:
            raise ConfigError(
                "warm_start=True starts a network's search, but estimator is given. Leave one of them out."
            )
        before: BoolArray | None = getattr(self, "support_", None)
        if before is None or before.size != len(columns.names) or int(before[columns.places].sum()) != count:
            return {}
        from mcprune.estimators.fitting import mask_file

        return {"start": mask_file(columns.sites(before)) + WITH_F}

    def _rows(self, X: object, y: object, sample_weight: object, groups: object) -> Checked:
        """Return the checked rows with what belongs to them; errors as in `_searched`."""
        from mcprune.estimators import fitting

        table, labels = self._validated(X, y)
        task = task_of(self._wished_task(labels), labels)
        is_weighted = sample_weight is not None
        weights = _check_sample_weight(sample_weight, labels, dtype=np.float64, ensure_non_negative=True)
        used = weights > 0
        if not used.any():
            raise DataError(
                "sample_weight: all weights are zero, so no row is left to fit on; give some rows a weight above 0"
            )
        targets, of_used, classes = self._targets(labels, used, task)
        names = [
            str(name) for name in getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])
        ]
        coded = code_rows(table, names, used, weights)
        features, columns = (np.asarray(table), plain_columns(names)) if coded is None else coded
        if coded is not None:
            check_array(features, ensure_all_finite="allow-nan", estimator=self, input_name="X")
        if hasattr(self, "feature_names_in_"):  # without names the order of the rows is nothing to go by
            whole = np.flatnonzero(~np.isnan(features).any(axis=0) & np.isin(columns.number_names, names))
            mentioned = [*(self.must_keep or ()), *(self.must_drop or ())]
            if coded is not None:  # by name: places would be among the columns without gaps
                must = [("must_keep", self.must_keep), ("must_drop", self.must_drop)]
                mentioned = [names[place] for option, chosen in must for place in places_of(columns, option, chosen)]
            if whole.size:
                known = [columns.number_names[j] for j in whole]
                warn_of_doubts(known, features[used][:, whole], of_used, mentioned)
        if self.cv is None and groups is None:
            rows = fitting.rows_of_fit(self.estimator, features, targets, weights, is_weighted=is_weighted)
            return Checked(rows, classes, columns, task, None)
        parts = folds_of(self.cv, features, labels, None if groups is None else np.asarray(groups), task)
        rows, index = fitting.rows_in_place(features, targets, weights)
        return Checked(rows, classes, columns, task, parts.repeated(index))

    def _validated(self, X: object, y: object) -> tuple[object, AnyArray]:
        """Return the checked targets, and X as a float array, or as it is where it has texts or gaps.

        Raises
        ------
        ValueError
            Of scikit-learn's checks; DataError for a column of dates.
        """
        checks = {
            "dtype": [np.float64, np.float32], "ensure_min_samples": 2, "y_numeric": False, "ensure_all_finite": "allow-nan",
            "multi_output": self._takes_several_targets(), "estimator": self,
        }  # fmt: skip
        if not (is_frame(X) or has_texts(X)):
            table, labels = validate_data(self, X, y, **checks)
            return table, labels
        validate_data(self, X, y, skip_check_array=True)  # the names
        numbers = frame_numbers(X)
        table, labels = check_X_y(np.zeros((_num_samples(X), 1)) if numbers is None else numbers, y, **checks)
        return X if numbers is None else table, labels

    def _wished_task(self, labels: AnyArray) -> str:
        """Return what targets (rows,) or (rows, T) are to be, as the option `task`."""
        return CLASSIFICATION

    def _takes_several_targets(self) -> bool:
        return True

    def _targets(self, labels: AnyArray, used: BoolArray, task: str) -> tuple[AnyArray, AnyArray, list[Label]]:
        """Return the targets of all rows and of those that are used, and the classes; sets `classes_`, or the shape of numbers."""
        if task != CLASSIFICATION:
            if labels.ndim == 2 and labels.shape[1] == 1:
                labels = column_or_1d(labels, warn=True)
            self._is_flat = labels.ndim == 1
            numbers = encode_numbers("y", labels, task)
            return numbers, numbers[used], []
        labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
        classes, of_used = np.unique(labels[used], return_inverse=True)
        if classes.size < 2:
            raise DataError(
                f"the classifier needs rows of at least two classes, but all {int(used.sum())} rows with a weight "
                f"above 0 are of one class, {classes[0]!r}"
            )
        targets = np.zeros(len(labels), np.int64)
        targets[used] = of_used
        self.classes_ = classes
        return targets, of_used, classes.tolist()

    def _settings(self, columns: Columns) -> dict[str, object]:
        """Return what the parameters say, as options by flat name; defaults are left to the planner."""
        settings: dict[str, object] = {
            **self._count(len(columns.names)),
            "seed": seed_of(self.random_state),
        }
        if tuple(self.hidden) != HIDDEN:
            settings["hidden"] = tuple(self.hidden)
        optional = {name: getattr(self, name) for name in ("epochs", "must_keep", "must_drop", "fdr")}
        settings |= {name: value for name, value in optional.items() if value is not None}
        if columns.coding is None:
            return settings
        for name in ("must_keep", "must_drop"):
            if name in settings:
                places = places_of(columns, name, getattr(self, name))
                settings[name] = [columns.names[place] for place in places if place in columns.places] or None
        if isinstance(settings.get("keep"), int):  # the columns that have something to tell
            settings["keep"] = min(int(str(settings["keep"])), len(columns.places))
        return settings

    def _count(self, columns: int) -> dict[str, object]:
        """Return the option `keep`; empty where a path or the false discovery rate decides how many columns are kept."""
        if self.fdr is not None:
            return {"keep": self.keep}
        return {} if is_auto(self.keep) else {"keep": count_of(self.keep, columns)}

    def _checked_rows(self, X: object) -> object:
        """Return new rows with all N columns: a frame, or an array whose values are finite or missing.

        Raises
        ------
        ValueError
            Of scikit-learn's checks.
        """
        if is_frame(X) or has_texts(X):
            return validate_data(self, X, reset=False, skip_check_array=True)
        return validate_data(self, X, reset=False, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    def _wrapped(
        self, checked: Checked, objective: str | Callable[..., object], config: Config
    ) -> tuple[BoolArray, FloatArray]:
        from mcprune.estimators.wrapping import search_estimator

        mask, scores, self.n_masks_ = search_estimator(
            checked.rows,
            checked.labels,
            checked.columns,
            self.estimator,
            objective,
            config,
            way=self.evaluation,
            n_jobs=self.n_jobs,
            task=checked.task,
            folds=checked.folds,
        )
        return mask, scores
