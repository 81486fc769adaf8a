"""The columns of X as scikit-learn's estimators take them, and the columns of numbers that a search sees.

A column with gaps or categories becomes several columns of numbers, which are kept or dropped together (`mcprune.data.coding`). Support,
scores and names of an estimator are those of the columns of X.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import narwhals as nw
import numpy as np

from mcprune.data.arrays import column_of_array
from mcprune.data.coding.coding import Category, Cells, Coding, code_table, has_gaps
from mcprune.data.formats.frames import as_frame, frame_cells, frame_values, has_texts_or_gaps
from mcprune.data.formats.tables import FROM_ESTIMATOR
from mcprune.errors import ConfigError
from mcprune.storage.events import ErrorRate
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray


class Columns(NamedTuple):
    """How the N columns of X become M columns of numbers.

    Attributes
    ----------
    names : tuple of str, length N
    coding : Coding or None
        Of C columns of X; None where the columns are numbers without gaps, so that M = N.
    places : ndarray of int64, shape (C,)
        The column of X of each column of the coding, rising. The others have nothing to tell: all cells are missing, alike or rare.
    notes : tuple of str
        What becomes of gaps, rare values and unseen ones.
    """

    names: tuple[str, ...]
    coding: Coding | None
    places: IntArray
    notes: tuple[str, ...] = ()

    @property
    def number_names(self) -> tuple[str, ...]:
        """Names of the M columns of numbers."""
        return self.names if self.coding is None else self.coding.names

    @property
    def owner(self) -> IntArray:
        """The column of X of each column of numbers, shape (M,)."""
        return self.places if self.coding is None else self.places[self.coding.owner]

    def sites(self, support: BoolArray) -> BoolArray:
        """Return the mask (M,) of columns of numbers of a mask (N,) of columns of X."""
        return np.asarray(support)[self.owner]

    def support(self, mask: BoolArray, count: int | None, dropped: Sequence[int]) -> BoolArray:
        """Return the mask (N,) of columns of X of a mask (M,) of columns of numbers.

        Parameters
        ----------
        mask : ndarray of bool, shape (M,)
        count : int or None
            Columns to keep in all: the first ones that have nothing to tell are taken where the others are fewer. None: as many as
            the mask has.
        dropped : sequence of int
            Columns of X that are kept in no case.
        """
        out = np.zeros(len(self.names), bool)
        out[self.owner[mask]] = True
        if count is not None:
            silent = np.setdiff1d(np.arange(out.size), [*self.places.tolist(), *dropped])
            out[silent[: max(0, count - int(out.sum()))]] = True
        return out

    def scores(self, weights: FloatArray) -> FloatArray:
        """Return the weights (N,) of columns of X of those of columns of numbers (M,), which are equal within a column."""
        out = np.full(len(self.names), float(weights.min()) - 1.0)
        out[self.owner] = weights
        return out


class CodedRows(NamedTuple):
    """Rows as columns of numbers (rows, M), NaN where a number is missing."""

    features: FloatArray
    columns: Columns


def rate_of_columns(outcome: ErrorRate, columns: Columns) -> ErrorRate:
    """Return the outcome of a competition with the places of its columns in X."""
    of_x = tuple(replace(one, index=int(columns.places[one.index])) for one in outcome.columns)
    return replace(outcome, columns=of_x)


def is_frame(X: object) -> bool:
    """Return whether X is a data frame of any library."""
    return as_frame(FROM_ESTIMATOR, X) is not None


def has_texts(X: object) -> bool:
    """Return whether X is an array of Python objects with a text among them, as a ColumnTransformer gives it."""
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype != object:
        return False
    return any(isinstance(cell, str) for cell in X.flat)


def plain_columns(names: Sequence[str]) -> Columns:
    """Return the columns of numbers without gaps."""
    return Columns(tuple(names), None, np.arange(len(names)))


def frame_numbers(X: object) -> FloatArray | None:
    """Return the columns of a frame as float64 (rows, N), if they are numbers without gaps; else None.

    Raises
    ------
    DataError
        A column of dates or anything else but numbers and texts.
    """
    frame = as_frame(FROM_ESTIMATOR, X)
    if frame is None or has_texts_or_gaps(frame):
        return None
    return np.asarray(frame_values(FROM_ESTIMATOR, frame), np.float64)


def numeric_frame(X: object) -> AnyArray | None:
    """Return a frame whose columns all have numbers, or truth values, as an array, NaN in gaps; else None."""
    frame = as_frame(FROM_ESTIMATOR, X)
    if frame is None or not all(one.is_numeric() or one == nw.Boolean for one in frame.schema.values()):
        return None
    if has_texts_or_gaps(frame) or len(set(frame.schema.values())) > 1:
        return frame_values(FROM_ESTIMATOR, frame)
    return np.asarray(frame.to_numpy())


def code_rows(X: object, names: Sequence[str], used: BoolArray, weights: FloatArray) -> CodedRows | None:
    """Return the rows of a table with gaps or categories as columns of numbers; None if it has neither.

    Parameters
    ----------
    X : data frame, or array (rows, N)
    names : sequence of str
    used : ndarray of bool, shape (rows,)
        The rows that decide which values have a column of their own.
    weights : ndarray of float64, shape (rows,)
        How often each of them counts.

    Raises
    ------
    DataError
        No column has something to tell, or one holds dates.
    """
    if isinstance(X, np.ndarray) and X.dtype.kind == "f" and not has_gaps(X):
        return None
    cells = cells_of(X, range(len(names)))
    coded = code_table(FROM_ESTIMATOR, names, [rows_of(one, used) for one in cells], weights[used])
    place = {name: j for j, name in enumerate(names)}
    places = np.array([place[name] for name in coded.coding.original_names], np.int64)
    columns = Columns(tuple(names), coded.coding, places, coded.notes)
    return CodedRows(coded.coding.encode([cells[j] for j in places]), columns)


def kept_numbers(X: object, columns: Columns, mask: BoolArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the kept columns of numbers (rows, n) of new rows, and notes on values that the fit did not have; NaN are gaps.

    Parameters
    ----------
    X : data frame, or array (rows, N)
        Only its kept columns are read.
    columns : Columns
    mask : ndarray of bool, shape (M,)
        The kept columns of numbers.
    """
    kept = np.flatnonzero(mask)
    if columns.coding is None:
        frame = as_frame(FROM_ESTIMATOR, X)
        rows = np.asarray(X)[:, kept] if frame is None else frame_values(FROM_ESTIMATOR, frame, kept.tolist())
        return np.asarray(rows, np.float64), ()
    coding = columns.coding
    owners = coding.owners(kept.tolist())
    texts = [place for place in owners if coding.columns[place].values is not None]
    cells = cells_of(X, columns.places[owners].tolist(), columns.places[texts].tolist())
    return coding.pick(FROM_ESTIMATOR, cells, kept.tolist()), coding.unknown_values(cells, kept.tolist())


def cells_of(X: object, columns: Sequence[int], texts: Sequence[int] = ()) -> list[Cells]:
    """Return the cells of some columns of X; those of `texts` as categories, whatever they hold."""
    frame = as_frame(FROM_ESTIMATOR, X)
    if frame is not None:
        return frame_cells(FROM_ESTIMATOR, frame, columns, [str(frame.columns[j]) for j in texts])
    rows = np.asarray(X)
    return [column_of_array(FROM_ESTIMATOR, f"x{j}", rows[:, j], is_text=j in texts) for j in columns]


def rows_of(cells: Cells, rows: BoolArray) -> Cells:
    """Return some of the rows of a column."""
    return cells._replace(codes=cells.codes[rows]) if isinstance(cells, Category) else cells[rows]


def places_of(columns: Columns, option: str, chosen: Sequence[int | str] | None) -> list[int]:
    """Return the places in X of columns that are named, or numbered from 0, by the parameter `option`.

    Raises
    ------
    ConfigError
        There is no such column, or it has nothing to tell and must be kept.
    """
    out = []
    for one in chosen or ():
        if isinstance(one, str) and one in columns.names:
            place = columns.names.index(one)
        elif str(one).isdecimal() and int(one) < len(columns.names):
            place = int(one)
        else:
            raise ConfigError(
                f"{option} names {one!r}, which is no column. Give names or indices 0..{len(columns.names) - 1}."
            )
        if place not in columns.places and option == "must_keep":
            raise ConfigError(
                f"must_keep names {columns.names[place]!r}, whose cells are all missing, alike, or values of few rows. Leave it out."
            )
        out.append(place)
    return out
