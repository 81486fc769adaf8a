"""Columns with gaps or categories as columns of numbers, several for one, which are kept or dropped together.

A number with gaps has a column of its values, whose gaps are filled when the training rows are known, and one that is 1 where the value
is missing. A category has a column of 0 and 1 for each of its frequent values, one for all the others, and one for gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.data.roles.checks import differ_in_case, some
from mcprune.errors import DataError
from mcprune.types import AnyArray, FloatArray, IntArray

# A value of a category has a column of its own if it is in so many rows, and is one of so many of the most frequent.
LEAST_ROWS, MOST_VALUES = 5, 30


class Category(NamedTuple):
    """The cells of a category: an index of the values (rows,), -1 where the cell is missing."""

    codes: IntArray
    values: tuple[str, ...]


Cells = FloatArray | Category  # of a column: numbers (rows,), NaN where one is missing, or a category


class CodedColumn(NamedTuple):
    """A column of the table and its columns of numbers, in this order.

    Attributes
    ----------
    name : str
    values : tuple of str, or None
        Of a category, those with a column of their own; None for numbers.
    has_others : bool
        All other values of a category have a column together.
    has_gaps : bool
        A column says where the cell is missing.
    """

    name: str
    values: tuple[str, ...] | None = None
    has_others: bool = False
    has_gaps: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its columns of numbers."""
        own = (self.name,) if self.values is None else tuple(f"{self.name}={value}" for value in self.values)
        others = (f"{self.name} is another",) if self.has_others else ()
        return (*own, *others, *((f"{self.name} is missing",) if self.has_gaps else ()))

    def encode(self, cells: Cells) -> FloatArray:
        """Return its columns of numbers (rows, k); NaN stays where a number is missing."""
        if not isinstance(cells, Category):
            parts = [cells, np.isnan(cells)] if self.has_gaps else [cells]
            return np.stack(parts, axis=1).astype(np.float64)
        assert self.values is not None
        places = {value: place for place, value in enumerate(self.values)}
        width = len(self.values)
        place_of = np.array(
            [places.get(value, width if self.has_others else -1) for value in cells.values] + [-1], np.int64
        )
        place = place_of[cells.codes]  # the code -1 takes the last
        if self.has_gaps:
            place = np.where(cells.codes < 0, width + self.has_others, place)
        out = np.zeros((len(place), len(self.names)))
        rows = np.flatnonzero(place >= 0)
        out[rows, place[rows]] = 1.0
        return out

    def unknown(self, cells: Cells) -> list[str]:
        """Return the values of a category that have no column, not even together with others."""
        if self.values is None or self.has_others or not isinstance(cells, Category):
            return []
        return [
            value for code, value in enumerate(cells.values) if value not in self.values and (cells.codes == code).any()
        ]


class Coding(NamedTuple):
    """The columns of a table, each with its columns of numbers."""

    columns: tuple[CodedColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of numbers."""
        return tuple(name for column in self.columns for name in column.names)

    @property
    def original_names(self) -> tuple[str, ...]:
        """Names of the columns of the table."""
        return tuple(column.name for column in self.columns)

    @property
    def owner(self) -> IntArray:
        """The column of the table of each column of numbers."""
        return np.repeat(np.arange(len(self.columns)), [len(column.names) for column in self.columns])

    def groups(self) -> dict[str, dict[str, object]]:
        """Return the columns of several numbers as groups of tied sites, each of the cost of one."""
        return {
            column.name: {"sites": list(column.names), "cost": 1} for column in self.columns if len(column.names) > 1
        }

    def encode(self, cells: Sequence[Cells], columns: Sequence[int] | None = None) -> FloatArray:
        """Return the columns of numbers (rows, M) of some columns of the table, by default of all."""
        chosen = range(len(self.columns)) if columns is None else columns
        return np.concatenate(
            [self.columns[place].encode(one) for place, one in zip(chosen, cells, strict=True)], axis=1
        )

    def owners(self, columns: Sequence[int]) -> list[int]:
        """Return the columns of the table that some columns of numbers belong to, rising, each once."""
        return [int(place) for place in np.unique(self.owner[list(columns)])]

    def pick(self, name: str, cells: Sequence[Cells], columns: Sequence[int]) -> FloatArray:
        """Return some columns of numbers (rows, n), of the cells of their `owners`.

        Raises
        ------
        DataError
            Texts in a column of numbers, or an infinite number: the column, and the row counted from 1.
        """
        owners = self.owners(columns)
        for place, one in zip(owners, cells, strict=True):
            column = self.columns[place]
            if column.values is None and isinstance(one, Category):
                row = int(np.flatnonzero(one.codes >= 0)[0])
                raise DataError(
                    f"{name}: column {column.name!r} holds {one.values[one.codes[row]][:60]!r} in row {row + 1}, where a number is "
                    "needed. Correct it, or leave the cell empty."
                )
            if not isinstance(one, Category) and np.isinf(one).any():
                row = int(np.flatnonzero(np.isinf(one))[0])
                raise DataError(
                    f"{name}: column {column.name!r} is infinite in row {row + 1}. Give a number, or leave the cell empty."
                )
        places = np.flatnonzero(np.isin(self.owner, owners))
        return self.encode(cells, owners)[:, np.searchsorted(places, list(columns))]

    def unknown_values(self, cells: Sequence[Cells], columns: Sequence[int]) -> tuple[str, ...]:
        """Return notes on values of categories that the run did not have and that no column stands for."""
        notes = []
        for place, one in zip(self.owners(columns), cells, strict=True):
            if unknown := self.columns[place].unknown(one):
                notes.append(
                    f"column {self.columns[place].name!r} has values that the run did not have; they count as none of its values: "
                    f"{some(map(repr, unknown))}"
                )
        return tuple(notes)

    def to_dict(self) -> dict[str, object]:
        """Return JSON-able data, from which `from_dict` restores it."""
        return {
            "columns": [
                [one.name, one.values and list(one.values), one.has_others, one.has_gaps] for one in self.columns
            ]
        }

    @staticmethod
    def from_dict(saved: Mapping[str, object]) -> Coding:
        """Return the Coding of `to_dict`.

        Raises
        ------
        DataError
            Other data.
        """
        columns = saved.get("columns")
        if not isinstance(columns, list):
            raise DataError("a saved coding of columns is broken. Run again.")
        out = []
        for one in columns:
            fits = isinstance(one, list) and len(one) == 4 and isinstance(one[0], str)
            fits = fits and (
                one[1] is None or (isinstance(one[1], list) and all(isinstance(value, str) for value in one[1]))
            )
            if not fits or not all(isinstance(flag, bool) for flag in one[2:]):
                raise DataError("a saved coding of columns is broken. Run again.")
            out.append(CodedColumn(one[0], None if one[1] is None else tuple(one[1]), one[2], one[3]))
        return Coding(tuple(out))


class Coded(NamedTuple):
    """A table as columns of numbers.

    Attributes
    ----------
    coding : Coding
    features : ndarray of float64, shape (rows, M)
        NaN where a number is missing.
    notes : tuple of str
    """

    coding: Coding
    features: FloatArray
    notes: tuple[str, ...]


def code_table(name: str, names: Sequence[str], cells: Sequence[Cells], weights: FloatArray | None = None) -> Coded:
    """Choose how columns with gaps or categories become numbers, and apply it.

    Columns that say nothing so are left out: a category of one value, or of rare values only.

    Parameters
    ----------
    name : str
        For messages.
    names : sequence of str
    cells : sequence of Cells
    weights : ndarray, shape (rows,), optional
        How often each row counts where values of categories are counted.

    Raises
    ------
    DataError
        No column is left; two columns of numbers would have one name.
    """
    columns, used, empty = [], [], []
    for column, one in zip(names, cells, strict=True):
        coded = _category(column, one, weights) if isinstance(one, Category) else _number(column, one)
        if coded is None:
            empty.append(column)
        else:
            columns.append(coded)
            used.append(one)
    if not columns:
        raise DataError(
            f"{name}: no column is left: {some(map(repr, empty))} say nothing. Give columns of numbers or categories."
        )
    coding = Coding(tuple(columns))
    return Coded(coding, coding.encode(used), _notes(coding, used, empty))


def _number(name: str, cells: FloatArray) -> CodedColumn | None:
    is_missing = np.isnan(cells)
    return None if is_missing.all() else CodedColumn(name, has_gaps=bool(is_missing.any()))


def _category(name: str, cells: Category, weights: FloatArray | None) -> CodedColumn | None:
    known = cells.codes >= 0
    counts = np.bincount(cells.codes[known], None if weights is None else weights[known], minlength=len(cells.values))
    # Values of equal count by name: the order of the rows has no say.
    order = np.lexsort((np.array(cells.values, str), -counts))
    own = [place for place in order[:MOST_VALUES].tolist() if counts[place] >= LEAST_ROWS]
    has_others = bool(np.delete(counts, own).any())
    has_gaps = bool((cells.codes < 0).any())
    if not own or len(own) + has_others + has_gaps < 2:
        return None
    return CodedColumn(name, tuple(sorted(cells.values[place] for place in own)), has_others, has_gaps)


def _notes(coding: Coding, cells: Sequence[Cells], empty: Sequence[str]) -> tuple[str, ...]:
    notes = []
    categories = [
        f"{column.name!r} ({len(column.values)}{', and gaps' * column.has_gaps})"
        for column in coding.columns
        if column.values is not None
    ]
    if categories:
        notes.append(
            f"categories (values): {some(categories)}. Each value becomes an input, 0 or 1; inputs of a column are kept or "
            f"dropped together. Values in fewer than {LEAST_ROWS} rows or beyond the {MOST_VALUES} most frequent share one input; a "
            "value that only new rows have uses it too, or is all zeros"
        )
    gaps = [
        f"{column.name!r} ({int(np.isnan(one).sum()):,})"
        for column, one in zip(coding.columns, cells, strict=True)
        if not isinstance(one, Category) and column.has_gaps
    ]
    if gaps:
        notes.append(
            f"gaps (rows): {some(gaps)}. They are filled with the mean of the training rows, and an input, 0 or 1, marks them; it is "
            "kept or dropped with its column"
        )
    for column in coding.columns:
        if alike := differ_in_case(column.values or ()):
            notes.append(
                f"values of {column.name!r} that differ in upper and lower case alone: {some(alike)}. If they are one: write them alike"
            )
    if empty:
        notes.append(f"left out, because all cells are missing, equal, or values of few rows: {some(map(repr, empty))}")
    return tuple(notes)


def category_of(texts: Sequence[str | None]) -> Category:
    """Return a category of texts (rows,), None where one is missing."""
    codes: dict[str, int] = {}
    numbers = [-1 if text is None else codes.setdefault(text, len(codes)) for text in texts]
    return Category(np.array(numbers, np.int64), tuple(codes))


def has_gaps(features: AnyArray) -> bool:
    """Return whether numbers are missing."""
    return features.dtype.kind == "f" and bool(np.isnan(features).any())
