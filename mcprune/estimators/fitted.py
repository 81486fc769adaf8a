"""Evaluate masks with any classifier or regressor that has scikit-learn's `fit` and `predict`.

`refit` fits a clone on the kept columns for every candidate and so measures what the classifier can do with them. `mask` fits
once on all columns and sets the dropped ones to their mean: one prediction serves many candidates, but correlated columns, which
can replace each other, get too low a value. Both evaluate on rows that were not used in fitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import ClassifierMixin, clone
from sklearn.utils.validation import has_fit_parameter

from mcprune.chain import moves as chain_moves
from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.objectives.base import Objective, losses_of
from mcprune.sites.gates import GatedModel
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

SMALLEST = 1e-12  # least probability whose logarithm is taken
STACKED_VALUES = 1 << 23  # most numbers in the stacked rows of one prediction
WAYS = ("refit", "mask")


def seeded(estimator: ClassifierMixin, seed: int) -> ClassifierMixin:
    """Return a clone in which every `random_state` that is None is set, so that each candidate has one value."""
    copy = clone(estimator)
    parameters = copy.get_params(deep=True)
    open_ = {
        name: seed
        for name, value in parameters.items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    return copy.set_params(**open_) if open_ else copy


def takes_weights(estimator: ClassifierMixin) -> bool:
    """Whether `fit` takes sample weights, where the estimator is not a Pipeline."""
    return bool(has_fit_parameter(estimator, "sample_weight"))


def fitted(
    estimator: ClassifierMixin, features: FloatArray, targets: AnyArray, weights: FloatArray | None
) -> ClassifierMixin:
    """Return a fitted clone.

    Raises
    ------
    ModelError
        The estimator raises; the message quotes its error.
    """
    copy = clone(estimator)
    try:
        return copy.fit(features, targets) if weights is None else copy.fit(features, targets, sample_weight=weights)
    except Exception as error:  # the user's own
        raise _fault(estimator, f"on rows of shape {features.shape}", error) from error


def number_outputs(estimator: ClassifierMixin, features: FloatArray, link: str) -> FloatArray:
    """Return predicted numbers (rows, T) as outputs of a network with this link: see `TargetScaler`.

    Raises
    ------
    ModelError
        The estimator raises.
    """
    try:
        numbers = np.asarray(estimator.predict(features), np.float64).reshape(len(features), -1)
    except Exception as error:  # the user's own
        raise _fault(estimator, f"predicting rows of shape {features.shape}", error) from error
    if link == "log":
        return np.log(np.maximum(numbers, SMALLEST))
    if link == "logit":
        share = np.clip(numbers, SMALLEST, 1.0 - 1e-9)
        return np.asarray(np.log(share / (1.0 - share)))
    return numbers


def outputs(estimator: ClassifierMixin, features: FloatArray, classes: int) -> FloatArray:
    """Return log probabilities (rows, C), or decision values, or 0 for the predicted class and -1 for the others.

    Raises
    ------
    ModelError
        The estimator raises.
    """
    try:
        known = np.asarray(estimator.classes_)
        if hasattr(estimator, "predict_proba"):
            scores = np.log(np.clip(estimator.predict_proba(features), SMALLEST, 1.0))
        elif hasattr(estimator, "decision_function"):
            scores = np.asarray(estimator.decision_function(features), np.float64)
            if scores.ndim == 1:
                scores = np.stack([-scores, scores], axis=1) / 2
        else:
            scores = -(np.asarray(estimator.predict(features))[:, None] != known).astype(np.float64)
    except Exception as error:  # the user's own
        raise _fault(estimator, f"predicting rows of shape {features.shape}", error) from error
    if known.size == classes:
        return np.asarray(scores, np.float64)
    full = np.full((len(features), classes), np.log(SMALLEST))
    full[:, known] = scores
    return full


def _fault(estimator: ClassifierMixin, where: str, error: Exception) -> ModelError:
    message = (str(error).splitlines() or [""])[0]
    return ModelError(
        f"estimator={type(estimator).__name__} raised {type(error).__name__} {where}: {message}. "
        "Use one that can be fitted on any subset of the columns."
    )


def _refitted(
    estimator: ClassifierMixin,
    parts: tuple[FloatArray, AnyArray, FloatArray | None, FloatArray],
    kept: IntArray,
    classes: int,
    link: str | None,
) -> FloatArray:
    x_fit, y_fit, weights, x_eval = parts
    one = fitted(estimator, x_fit[:, kept], y_fit, weights)
    return _outputs(one, x_eval[:, kept], classes, link)


def _outputs(estimator: ClassifierMixin, features: FloatArray, classes: int, link: str | None) -> FloatArray:
    """Return the outputs of classes, or where there is a link those of numbers."""
    return outputs(estimator, features, classes) if link is None else number_outputs(estimator, features, link)


class FittedEvaluator:
    """Evaluator of one chain's hard masks; it is its own canonical evaluator. The value of each mask is cached.

    Parameters
    ----------
    estimator : a scikit-learn classifier or regressor
    objective : Objective
        Started on the evaluation rows.
    fit, evaluation : (features, targets, weights)
        Rows for fitting and for evaluation: float64 (rows, M), class indices or scaled numbers (rows, T), weights or None.
    classes : int
    owner : ndarray of int64, shape (M,), optional
        The site, of N, that each column belongs to; by default columns are sites.
    way : 'refit' or 'mask'
    n_jobs : int or None
        Number of joblib processes that fit the candidates of a batch, for `refit`.
    link : str or None
        Of numbers, see `mcprune.data.roles.tasks.TargetScaler`; None of classes.
    """

    name = "estimator"
    error = 0.0

    def __init__(
        self,
        estimator: ClassifierMixin,
        objective: Objective,
        fit: tuple[FloatArray, AnyArray, FloatArray | None],
        evaluation: tuple[FloatArray, AnyArray, FloatArray | None],
        *,
        classes: int,
        owner: IntArray | None = None,
        way: str = "refit",
        n_jobs: int | None = None,
        link: str | None = None,
    ) -> None:
        self.estimator, self.objective, self.classes, self.way = estimator, objective, classes, way
        self._link = link
        if link is not None and fit[1].shape[1] == 1:  # regressors take (rows,)
            fit = (fit[0], fit[1][:, 0], fit[2])
        self._owner = np.arange(fit[0].shape[1]) if owner is None else owner
        self._fit, self._evaluation = fit, evaluation
        self.targets = torch.from_numpy(evaluation[1])
        self._known: dict[bytes, float] = {}
        self._pool = Parallel(n_jobs=n_jobs)
        self.fits = 0
        if way == "mask":
            self._whole = fitted(estimator, *fit)
            self._mean = np.average(fit[0], axis=0, weights=fit[2])

    def __enter__(self) -> FittedEvaluator:
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`; the rows are always the evaluation rows, and the gates are hard."""
        self.position = position

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return self.at(self.position)

    def pieces(self, rows: int) -> list[tuple[GatedModel, Objective, slice]]:
        """See `Canonical.pieces`: there is no network whose rows could be looked at one by one."""
        return []

    def at(self, weights: FloatArray) -> FloatArray:
        """Return the objective of the masks of weight vectors, shape (K, N) -> (K,)."""
        return self.values(weights > 0)

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        replicas, count, sites = *moves.size.shape, state.position.shape[1]
        dense = chain_moves.dense(state, moves).reshape(replicas * count, sites)
        out = np.full(replicas * count, np.nan)
        changed = np.flatnonzero(moves.size.ravel() > 0)
        out[changed] = self.values(dense[changed] > 0)
        return out.reshape(replicas, count)

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        self.position = position

    def values(self, masks: BoolArray) -> FloatArray:
        """Return the objective of each mask (K, N); a mask without a column predicts the class frequencies, or the mean."""
        keys = [mask.tobytes() for mask in masks]
        new = {key: mask for key, mask in zip(keys, masks, strict=True) if key not in self._known}
        if new:
            chosen = np.stack(list(new.values()))
            logits = self._masked(chosen) if self.way == "mask" else self._refits(chosen)
            for key, one in zip(new, logits, strict=True):
                self._known[key] = float(
                    losses_of(self.objective, torch.from_numpy(one)[None], self.targets, new[key][None])[0]
                )
            self.fits += len(new)
        return np.array([self._known[key] for key in keys])

    def _refits(self, masks: BoolArray) -> list[FloatArray]:
        parts = (*self._fit, self._evaluation[0])
        kept = [np.flatnonzero(mask[self._owner]) for mask in masks]
        tasks = [delayed(_refitted)(self.estimator, parts, one, self.classes, self._link) for one in kept if one.size]
        logits = iter(self._pool(tasks))
        return [next(logits) if one.size else self._shares() for one in kept]

    def _masked(self, masks: BoolArray) -> list[FloatArray]:
        rows, columns = self._evaluation[0].shape
        chunk = max(1, STACKED_VALUES // max(1, rows * columns))
        out: list[FloatArray] = []
        for first in range(0, len(masks), chunk):
            part = masks[first : first + chunk][:, self._owner]
            stacked = np.where(part[:, None], self._evaluation[0], self._mean).reshape(len(part) * rows, columns)
            outputs = _outputs(self._whole, stacked, self.classes, self._link)
            out.extend(outputs.reshape(len(part), rows, outputs.shape[1]))
        return out

    def _shares(self) -> FloatArray:
        if self._link is not None:
            mean = np.atleast_1d(np.average(self._fit[1], axis=0, weights=self._fit[2]))
            mean = np.log(np.maximum(mean, SMALLEST)) if self._link == "log" else mean
            return np.repeat(mean[None], len(self._evaluation[1]), axis=0)
        counts = np.bincount(self._fit[1], weights=self._fit[2], minlength=self.classes)
        logs = np.log(np.clip(counts / counts.sum(), SMALLEST, 1.0))
        return np.repeat(logs[None], len(self._evaluation[1]), axis=0)


class FoldedEstimator(FittedEvaluator):
    """Evaluator of one chain's hard masks on several folds: a value is the mean over the folds.

    Parameters
    ----------
    parts : sequence of FittedEvaluator
        One for each fold, with an objective of its own.
    """

    def __init__(self, parts: Sequence[FittedEvaluator]) -> None:
        self.parts = tuple(parts)
        self.objective, self.targets = parts[0].objective, parts[0].targets

    @property
    def fits(self) -> int:  # type: ignore[override]
        """Masks that were evaluated, each on every fold."""
        return max(part.fits for part in self.parts)

    def __enter__(self) -> FoldedEstimator:
        for part in self.parts:
            part.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts:
            part.__exit__(kind, error, trace)

    def values(self, masks: BoolArray) -> FloatArray:
        """See `FittedEvaluator.values`."""
        return np.asarray(np.mean([part.values(masks) for part in self.parts], axis=0))
