"""Objectives by name: `NAME[:parameter...]`, or a user's function as `FILE.py:NAME`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mcprune.errors import ConfigError
from mcprune.objectives.base import Objective
from mcprune.objectives.classification import CrossEntropy, ErrorRate, WeightedCrossEntropy
from mcprune.objectives.custom import OwnObjective, from_file
from mcprune.objectives.decisions import Cost, WorstGroup
from mcprune.objectives.ranking import BackgroundAt, RocAuc, Significance
from mcprune.objectives.specs import FUNCTION, PLAIN, USAGE, check_text, is_file


def make_objective(
    text: str | Callable[..., Any],
    labels: Sequence[Any] = (0, 1),
    columns: Sequence[str] = (),
    *,
    is_weighted: bool = False,
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
        Rows have weights.

    Raises
    ------
    ConfigError, ObjectiveError
        A name, parameter, class or column that does not exist.
    """
    if not isinstance(text, str):
        return OwnObjective(text, getattr(text, "__name__", type(text).__name__))
    if is_file(text):
        return from_file(text)
    if text.startswith(FUNCTION):
        raise ConfigError(
            f"objective={text!r} was a function given from Python, which a file cannot hold; give --objective FILE.py:NAME"
        )
    name, *given = check_text(text).split(":")
    if name in ("cross-entropy", "error", "auc"):
        if given:
            raise ConfigError(f"objective={text!r}: {name} takes no parameter; write {USAGE[name]}")
        if name == PLAIN:
            return WeightedCrossEntropy() if is_weighted else CrossEntropy()
        return ErrorRate() if name == "error" else RocAuc()
    if name == "rejection":
        if not given:
            raise ConfigError(f"objective={text!r} needs the share of the signal that is kept; write rejection:0.5")
        share = _numbers(text, given[:1])[0]
        if not 0 < share <= 1:
            raise ConfigError(f"objective={text!r}: the signal efficiency must lie in 0..1, met {share:g}")
        label = _label(text, ":".join(given[1:]), labels)
        return BackgroundAt(share, label, str(labels[label]))
    if name == "significance":
        yields = None
        if len(given) >= 2:
            first, second = _numbers(text, given[:2])
            if not (first > 0 and second > 0):
                raise ConfigError(f"objective={text!r}: both expected yields must be above 0")
            yields, given = (first, second), given[2:]
        label = _label(text, ":".join(given), labels)
        return Significance(label, str(labels[label]), yields)
    if name == "cost":
        return Cost(_matrix(text, ":".join(given), len(labels)))
    if not given:
        return WorstGroup()
    column = ":".join(given)
    if column not in columns:
        near = difflib.get_close_matches(column, list(columns), n=1)
        hint = f"the nearest is {near[0]!r}" if near else "see the data's names"
        raise ConfigError(f"objective={text!r}: there is no input {column!r}; {hint}")
    return WorstGroup(list(columns).index(column), column)


def _numbers(text: str, parts: Sequence[str]) -> list[float]:
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = [float("nan")]
    if not np.isfinite(values).all():
        usage = USAGE[text.split(":")[0]]
        raise ConfigError(f"objective={text!r}: {':'.join(parts)!r} is no finite number; write {usage}")
    return values


def _label(text: str, name: str, labels: Sequence[Any]) -> int:
    """Return the signal's class: the one named, or the last of two."""
    known = [str(label) for label in labels]
    if not name and len(known) == 2:
        return 1
    if name in known:
        return known.index(name)
    met = f"there is no class {name!r}" if name else f"of {len(known)} classes one must be named the signal"
    raise ConfigError(f"objective={text!r}: {met}; the classes are {', '.join(known[:20])}")


def _matrix(text: str, given: str, classes: int) -> Any:
    rows = [_numbers(text, row.split(",")) for row in given.split(";")] if given else []
    if len(rows) != classes or any(len(row) != classes for row in rows):
        met = f"{len(rows)} rows of {', '.join(str(len(row)) for row in rows)}" if rows else "none"
        raise ConfigError(
            f"objective={text!r}: {classes} classes need {classes} rows of {classes} costs, met {met}; write rows by ';' and "
            "costs by ','"
        )
    return np.array(rows)
