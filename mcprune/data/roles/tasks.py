"""What is predicted: classes, numbers, or several labels of a row; and numbers as a network learns them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcprune.data.roles.checks import some
from mcprune.data.roles.targets import is_missing, plain_value
from mcprune.errors import ConfigError, DataError
from mcprune.types import AnyArray, FloatArray, IntArray

CLASSIFICATION, REGRESSION, MULTILABEL = "classification", "regression", "multilabel"
TASKS = ("auto", CLASSIFICATION, REGRESSION, MULTILABEL)
LINKS = ("identity", "log", "logit")
# Different numbers above which a numeric target is measured rather than a class: whole ones, and others.
WHOLE, FRACTIONS = 20, 10
STRATA = 10  # quantiles of a target, in place of classes where rows are split
LEAST_STRATUM = 5  # rows
_WHOLE = re.compile(r"-?[0-9]+")


def resolve_task(wish: str, raw: AnyArray | Sequence[object], where: str) -> tuple[str, str]:
    """Return the task of raw targets, and a note where `auto` took a regression or several labels.

    Parameters
    ----------
    wish : str
        One of `TASKS`.
    raw : array or sequence of length rows
        As `mcprune.data.roles.targets.encode` takes it, or of shape (rows, T) with several numbers or labels a row.
    where : str
        For the note.

    Notes
    -----
    Texts and truth values are classes. Whole numbers are measured where there are more than 20 different ones, unless these
    are 0, 1, 2, ... or 1, 2, 3, ... with two rows or more each; other numbers where there are more than 10 different ones, or where a
    value has one row alone.
    """
    if wish != "auto":
        return wish, ""
    if isinstance(raw, np.ndarray) and raw.ndim == 2 and raw.shape[1] > 1:
        values = _as_numbers(raw)
        if values is None:
            return CLASSIFICATION, ""
        if np.isin(values, (0.0, 1.0)).all():
            if (values.sum(axis=1) == 1).all():
                return CLASSIFICATION, ""  # one-hot classes, which are refused with the remedy
            return MULTILABEL, f"task: multilabel, since {where} has {raw.shape[1]} columns of 0 and 1"
        return REGRESSION, f"task: regression, since {where} has {raw.shape[1]} columns of numbers"
    values = _as_numbers(raw)
    if values is None:
        return CLASSIFICATION, ""
    distinct, counts = np.unique(values, return_counts=True)
    if bool((distinct == np.rint(distinct)).all()):
        is_coded = distinct[0] in (0, 1) and distinct[-1] - distinct[0] == distinct.size - 1 and counts.min() > 1
        is_measured = distinct.size > WHOLE and not is_coded
    else:
        is_measured = distinct.size > FRACTIONS or (distinct.size > 2 and counts.min() == 1)
    if not is_measured:
        return CLASSIFICATION, ""
    return REGRESSION, (
        f"task: regression, since {where} has {distinct.size:,} different numbers in {values.size:,} rows; --task classification takes "
        "them as classes"
    )


def _as_numbers(raw: AnyArray | Sequence[object]) -> FloatArray | None:
    """Return numbers as float64; None for texts, truth values, and what is missing or mixed: `encode` says what is wrong."""
    values = np.asarray(raw) if isinstance(raw, np.ndarray) else None
    if values is not None and values.dtype.kind in "iuf":
        return np.asarray(values, np.float64) if np.isfinite(values).all() and values.size else None
    if values is not None and values.dtype.kind != "O":
        return None
    try:
        cells = [plain_value(each) for each in (values.ravel().tolist() if values is not None else raw)]
    except UnicodeDecodeError:
        return None
    kinds = {type(each) for each in cells}
    is_text = kinds == {str} and not all(_WHOLE.fullmatch(str(each).strip()) for each in cells)  # 007 is a name
    if not cells or not (is_text or kinds <= {int, float}):
        return None
    try:
        numbers = np.array([float(each) for each in cells])  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        return None
    if not np.isfinite(numbers).all():
        return None
    return numbers if values is None else numbers.reshape(values.shape)


def encode_numbers(
    name: str, raw: AnyArray | Sequence[object], task: str, target_name: str | None = None
) -> FloatArray:
    """Return the targets (rows, T) of a regression, or the 0 and 1 of several labels, as float64.

    Parameters
    ----------
    name, target_name : str
        For messages.
    raw : array or sequence of length rows
        Numbers, or texts that are numbers, of shape (rows,) or (rows, T).
    task : str
        `regression` or `multilabel`.

    Raises
    ------
    DataError
        A target that is no number, missing or infinite, the same in all rows, or no 0 or 1 where these are labels.
    """
    where = f"{name}: the target" + (f" {target_name!r}" if target_name is not None else "")
    values = np.asarray(raw) if isinstance(raw, np.ndarray) else np.array([plain_value(one) for one in raw], object)
    if values.ndim not in (1, 2) or values.size == 0:
        raise DataError(f"{where} has the shape {values.shape}. Give one number for each row, or (rows, targets).")
    table = values.reshape(len(values), -1)
    if table.dtype.kind in "biuf":
        numbers = table.astype(np.float64)
    else:
        numbers = np.empty(table.shape)
        for place, cell in np.ndenumerate(table):
            numbers[place] = _number(where, place[0], plain_value(cell), task)
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if bad.size:
        raise DataError(
            f"{where} is missing (empty, NaN or infinite) in {bad.size} of {len(numbers)} rows; counted from 1: {some(bad + 1)}. Fill "
            "in the number or remove these rows."
        )
    if task == MULTILABEL and not np.isin(numbers, (0.0, 1.0)).all():
        raise DataError(f"{where} holds other numbers than 0 and 1, but each column is a label. Use task='regression'.")
    constant = [place for place in range(numbers.shape[1]) if np.ptp(numbers[:, place]) == 0]
    if constant:
        which = "" if numbers.shape[1] == 1 else f" in column {constant[0]}"
        raise DataError(
            f"{where} is {numbers[0, constant[0]]:g} in all {len(numbers)} rows{which}, so there is nothing to predict. Is it the right "
            "target column?"
        )
    return numbers


def _number(where: str, row: int, cell: object, task: str) -> float:
    if is_missing(cell):
        return float("nan")
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{where} holds {str(cell)[:60]!r} in row {row + 1}, where task={task!r} needs a number. Use task='classification', or name "
            "the column of numbers as the target."
        ) from None


def strata_of(targets: AnyArray) -> IntArray:
    """Return the stratum (rows,) of each row: its class, or the quantile of its number.

    Parameters
    ----------
    targets : ndarray, of int64 (rows,), or of float (rows, T)
        Of several numbers the mean rank counts.
    """
    if targets.dtype.kind != "f":
        return targets
    rows = len(targets)
    strata = max(1, min(STRATA, rows // LEAST_STRATUM))
    ranks = np.zeros(rows)
    for column in targets.T:
        values, place = np.unique(column, return_inverse=True)
        ranks += (np.cumsum(np.bincount(place, minlength=len(values))) - 1.0)[place]  # equal numbers have one rank
    _, place = np.unique(ranks, return_inverse=True)
    middle = np.cumsum(np.bincount(place)) - 0.5 * np.bincount(place)
    _, out = np.unique((middle * strata / rows).astype(np.int64)[place], return_inverse=True)
    return np.asarray(out, np.int64)


class TargetScaler(NamedTuple):
    """Numbers as a network learns them: (y - shift) / scale.

    Attributes
    ----------
    shift, scale : ndarray of float64, shape (T,)
    link : str
        Of the network's outputs f to the scaled numbers: `identity`, `log` (exp f) or `logit` (1 / (1 + exp(-f))).
    """

    shift: FloatArray
    scale: FloatArray
    link: str = "identity"

    def apply(self, targets: AnyArray) -> AnyArray:
        """Return the scaled targets (rows, T) in float32."""
        return np.asarray((targets - self.shift) / self.scale, np.float32)

    def invert(self, scaled: AnyArray) -> FloatArray:
        """Return scaled numbers (rows, T) in the unit of the targets."""
        return np.asarray(scaled, np.float64) * self.scale + self.shift

    def predictions(self, outputs: AnyArray) -> FloatArray:
        """Return what a network's outputs (rows, T) say in the unit of the targets."""
        wide = np.asarray(outputs, np.float64)
        if self.link == "log":
            wide = np.exp(np.minimum(wide, 80.0))
        elif self.link == "logit":
            wide = 1.0 / (1.0 + np.exp(-np.clip(wide, -80.0, 80.0)))
        return self.invert(wide)


def fit_target_scaler(targets: FloatArray, weights: FloatArray | None, task: str, link: str) -> TargetScaler:
    """Return the scaling of targets (rows, T), fitted on training rows.

    Raises
    ------
    ConfigError
        Numbers below 0, or no number above it, where the logarithm of their mean is predicted.
    """
    count = targets.shape[1]
    if task == MULTILABEL:
        return TargetScaler(np.zeros(count), np.ones(count), "logit")
    share = np.full(len(targets), 1.0 / len(targets)) if weights is None else weights / weights.sum()
    mean = share @ targets
    if link == "log":
        if targets.min() < 0 or (mean <= 0).any():
            raise ConfigError(
                f"objective='poisson' is for counts, but the target goes down to {targets.min():g}. Use objective='squared', or shift "
                "the target to at least 0."
            )
        return TargetScaler(np.zeros(count), mean, "log")
    deviation = np.sqrt(share @ (targets - mean) ** 2)
    return TargetScaler(mean, np.where(deviation > 0, deviation, 1.0), "identity")
