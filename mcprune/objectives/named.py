"""Objectives by name: `NAME[:parameter...]`, or a user's function as `FILE.py:NAME`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import numpy as np

from mcprune.errors import ConfigError, ObjectiveError
from mcprune.objectives.base import Objective
from mcprune.objectives.classification import CrossEntropy, ErrorRate, ExactMatch
from mcprune.objectives.custom import OwnObjective, Units, from_file
from mcprune.objectives.decisions import Cost, WorstGroup
from mcprune.objectives.dense import DenseDivergence
from mcprune.objectives.losses import (
    BINARY,
    CROSS_ENTROPY,
    SQUARED,
    Absolute,
    Huber,
    MeanLoss,
    Poisson,
    Quantile,
    RowLoss,
    loss_of,
)
from mcprune.objectives.ranking import BackgroundAt, RocAuc, Significance
from mcprune.objectives.specs import FUNCTION, PLAIN, USAGE, check_text, is_file
from mcprune.types import FloatArray, InputField

WITHOUT_NUMBER: dict[str, RowLoss] = {loss.name: loss for loss in (SQUARED, Absolute(), Poisson(), BINARY)}
PLAIN_OBJECTIVES: dict[str, Callable[[], Objective]] = {
    PLAIN: CrossEntropy,
    "error": ErrorRate,
    "auc": RocAuc,
    "kl": DenseDivergence,
    "exact-match": ExactMatch,
}
PLAIN_NAMES = (*PLAIN_OBJECTIVES, *WITHOUT_NUMBER)


def make_loss(text: str, task: str) -> RowLoss:
    """Return the loss that backprop minimises under an objective of a task: its own, or the default of the task."""
    by_default = {"classification": CROSS_ENTROPY, "regression": SQUARED, "multilabel": BINARY}[task]
    if task == "classification" or is_file(text) or text.startswith(FUNCTION):
        return by_default
    return loss_of(make_objective(text)) or by_default


def make_objective(
    text: str | Callable[..., object],
    labels: Sequence[object] = (0, 1),
    columns: Sequence[str] = (),
    *,
    is_weighted: bool = False,
    units: Units | None = None,
    fields: tuple[InputField, ...] = (),
) -> Objective:
    """Return the objective that a text, or a function, means for a data set.

    Parameters
    ----------
    text : str or callable
    labels : sequence
        The classes, in order.
    columns : sequence of str
        The inputs' names.
    is_weighted : bool
        Rows have sample weights, which the objective must take.
    units : Units, optional
        From scaled numbers to the unit of the targets, where these are numbers.
    fields : tuple of InputField, optional
        The inputs in a row, where the model takes several.

    Raises
    ------
    ConfigError, ObjectiveError
        A name, parameter, class or column that does not exist; a function that takes no weights.
    """
    if not isinstance(text, str) or is_file(text):
        own = _own(text, units, is_weighted=is_weighted)
        own.fields = fields
        return own
    if text.startswith(FUNCTION):
        raise ConfigError(
            f"objective={text!r} was a function given from Python, which a file cannot hold; give --objective FILE.py:NAME"
        )
    name, *parameters = check_text(text).split(":")
    if name in ("huber", "quantile"):
        return MeanLoss(_loss_with_number(text, name, parameters))
    if name in PLAIN_NAMES:
        if parameters:
            raise ConfigError(f"objective={text!r}: {name} takes no parameter; write {USAGE[name]}")
        if name in WITHOUT_NUMBER:
            return MeanLoss(WITHOUT_NUMBER[name])
        return PLAIN_OBJECTIVES[name]()
    if name == "rejection":
        if not parameters:
            raise ConfigError(f"objective={text!r} needs the share of the signal that is kept; write rejection:0.5")
        share = _numbers(text, parameters[:1])[0]
        if not 0 < share <= 1:
            raise ConfigError(f"objective={text!r}: the signal efficiency must lie in 0..1, got {share:g}")
        label = _label(text, ":".join(parameters[1:]), labels)
        return BackgroundAt(share, label, str(labels[label]))
    if name == "significance":
        yields = None
        if len(parameters) >= 2:
            first, second = _numbers(text, parameters[:2])
            if not (first > 0 and second > 0):
                raise ConfigError(f"objective={text!r}: both expected yields must be above 0")
            yields, parameters = (first, second), parameters[2:]
        label = _label(text, ":".join(parameters), labels)
        return Significance(label, str(labels[label]), yields)
    if name == "cost":
        return Cost(_matrix(text, ":".join(parameters), len(labels)))
    if not parameters:
        return WorstGroup()
    column = ":".join(parameters)
    if column not in columns:
        near = difflib.get_close_matches(column, list(columns), n=1)
        hint = f"the nearest is {near[0]!r}" if near else "see the data's names"
        raise ConfigError(f"objective={text!r}: there is no input {column!r}; {hint}")
    return WorstGroup(list(columns).index(column), column)


def _own(text: str | Callable[..., object], units: Units | None, *, is_weighted: bool) -> OwnObjective:
    """Return the objective of a user's function, or of one in a file."""
    name = text if isinstance(text, str) else getattr(text, "__name__", type(text).__name__)
    own = from_file(text) if isinstance(text, str) else OwnObjective(text, name)
    if is_weighted and not own.takes_weights:
        raise ObjectiveError(
            f"objective {own.name!r} counts all rows alike, but the rows have sample weights. Give the function a parameter "
            "sample_weight: it gets the weights of the rows."
        )
    own.units = units
    return own


def _loss_with_number(text: str, name: str, parameters: Sequence[str]) -> RowLoss:
    if name == "huber" and not parameters:
        return Huber()
    if len(parameters) != 1:
        raise ConfigError(f"objective={text!r} needs one number; write {USAGE[name]}")
    number = _numbers(text, parameters)[0]
    if name == "huber":
        if not number > 0:
            raise ConfigError(f"objective={text!r}: the distance must be above 0, in standard deviations of the target")
        return Huber(number)
    if not 0 < number < 1:
        raise ConfigError(f"objective={text!r}: the level must lie between 0 and 1, got {number:g}")
    return Quantile(number)


def _numbers(text: str, parts: Sequence[str]) -> list[float]:
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = [float("nan")]
    if not np.isfinite(values).all():
        usage = USAGE[text.split(":")[0]]
        raise ConfigError(f"objective={text!r}: {':'.join(parts)!r} is no finite number; write {usage}")
    return values


def _label(text: str, name: str, labels: Sequence[object]) -> int:
    """Return the signal's class: the one named, or the last of two."""
    known = [str(label) for label in labels]
    if not name and len(known) == 2:
        return 1
    if name in known:
        return known.index(name)
    reason = f"there is no class {name!r}" if name else f"of {len(known)} classes one must be named the signal"
    raise ConfigError(f"objective={text!r}: {reason}; the classes are {', '.join(known[:20])}")


def _matrix(text: str, parameter: str, classes: int) -> FloatArray:
    rows = [_numbers(text, row.split(",")) for row in parameter.split(";")] if parameter else []
    if len(rows) != classes or any(len(row) != classes for row in rows):
        got = f"{len(rows)} rows of {', '.join(str(len(row)) for row in rows)}" if rows else "none"
        raise ConfigError(
            f"objective={text!r}: {classes} classes need {classes} rows of {classes} costs, got {got}; write rows by ';' and "
            "costs by ','"
        )
    return np.array(rows)
