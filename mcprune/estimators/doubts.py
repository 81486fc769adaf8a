"""Warn of columns that may be no measurements."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mcprune.data.roles.columns import row_numbers
from mcprune.data.roles.doubts import doubtful_columns
from mcprune.types import AnyArray, FloatArray

# By kind of doubt: what named columns do, and what to do with them.
DOUBTS = {
    "identifier": ("only numbers the rows", "Leave it out of X"),
    "weight": ("looks like sample weights", "Pass it as sample_weight in place of a column of X"),
    "copy": ("determines the class, with one value for each class", "Leave it out of X if it is a copy of y"),
    "gap": (
        "holds one number, such as -999, far from all others",
        "Put NaN in its place if it stands for a missing value",
    ),
    "date": (
        "holds dates as whole numbers, such as 20260131",
        "Make numbers of them that may matter in place of the column",
    ),
    "sorts": ("sorts the classes, each of which has a range of its own", "Leave it out of X if it was made from y"),
}


def warn_of_doubts(names: Sequence[str], X: FloatArray, targets: AnyArray, mentioned: Sequence[int | str]) -> None:
    """Warn of each kind of doubtful columns once.

    Parameters
    ----------
    names : sequence of str, length N
    X : ndarray, shape (rows, N)
    targets : ndarray of int64, shape (rows,), or of float64, shape (rows, T)
    mentioned : sequence of int or str
        Columns that the parameters name, by place (a number) or name (a text, or its place): nobody overlooks these.
    """
    texts = {column for column in mentioned if isinstance(column, str)}
    places = {str(column) for column in mentioned if column not in names or not isinstance(column, str)}
    named = texts | {name for j, name in enumerate(names) if str(j) in places}
    numbering = row_numbers(names, X)
    numbers = tuple(names[j] for j in numbering.certain if names[j] not in named)
    possible = [names[j] for j in numbering.possible]
    noted = doubtful_columns(names, X, targets, mentioned={*named, *numbers}, identifiers=possible)
    doubts = [(numbers, "identifier")] if numbers else []
    doubts += [(doubt.names, doubt.kind) for doubt in noted]
    for columns, kind in doubts:
        if kind in DOUBTS:
            verb, remedy = DOUBTS[kind]
            warnings.warn(
                f"{', '.join(map(repr, columns[:4]))} {verb}. {remedy}, or name it in must_drop (or in must_keep if it is a "
                "measurement).",
                UserWarning,
                stacklevel=4,
            )
