"""The checked rows of a fit, its folds and its task, and what a search leaves for the model that is trained on the kept columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mcprune.data.roles.targets import Label
from mcprune.data.roles.tasks import CLASSIFICATION, TASKS, resolve_task
from mcprune.errors import ConfigError
from mcprune.estimators.columns import Columns
from mcprune.types import AnyArray, BoolArray

if TYPE_CHECKING:  # they import torch, which `import mcprune.estimators` need not wait for
    from mcprune.config.schema import Config
    from mcprune.estimators.fitting import WeightedRows
    from mcprune.session.build.plan import Plan
    from mcprune.training.folds import Folds

GROUP_FOLDS = 4


class Searched(NamedTuple):
    """What a fit leaves for the model that is trained on the kept columns; no plan where another estimator evaluated.

    `mask` (M,) is of the columns of numbers, which `rows` have.
    """

    plan: Plan | None
    rows: WeightedRows
    config: Config
    mask: BoolArray


class Checked(NamedTuple):
    """The rows of a fit with what belongs to them.

    Attributes
    ----------
    rows : WeightedRows
        Of the columns of numbers, NaN in gaps.
    labels : list
        The classes; empty of numbers.
    columns : Columns
    task : str
    folds : Folds or None
        Of the rows, where `cv` or `groups` are given.
    """

    rows: WeightedRows
    labels: list[Label]
    columns: Columns
    task: str
    folds: Folds | None


def folds_of(cv: object, X: AnyArray, y: AnyArray, groups: AnyArray | None, task: str) -> Folds:
    """Return the folds of a splitter, or of so many folds; by default those that keep groups together.

    Raises
    ------
    ConfigError
        A row is in the evaluation part of two folds, or there is one fold.
    """
    from sklearn.model_selection import GroupKFold, check_cv

    from mcprune.training.folds import Folds

    if cv is None and groups is not None:
        cv = GroupKFold(min(GROUP_FOLDS, len(np.unique(groups))))
    splitter = check_cv(cv, y, classifier=task == CLASSIFICATION)
    parts = [(np.sort(train), np.sort(test)) for train, test in splitter.split(X, y, groups)]
    tested = [test for _, test in parts]
    counts = np.bincount(np.concatenate([np.empty(0, np.int64), *tested]), minlength=len(X))
    if len(parts) < 2 or counts.max() > 1:
        raise ConfigError(
            f"cv={cv!r} gives {len(parts)} folds in which a row is evaluated {counts.max()} times. Choose two folds or more in which no "
            "row is evaluated twice, such as KFold or GroupKFold."
        )
    return Folds(tuple(train for train, _ in parts), tuple(test for _, test in parts))


def task_of(wish: str, labels: AnyArray) -> str:
    """Return the task of checked targets.

    Raises
    ------
    ConfigError
        There is no such task.
    """
    if wish not in TASKS:
        raise ConfigError(f"task={wish!r} is unknown. Choose one of {', '.join(map(repr, TASKS))}.")
    return resolve_task(wish, labels, "y")[0]
