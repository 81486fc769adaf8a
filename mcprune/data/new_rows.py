"""New rows for prediction, from files and from Python: only the columns that the pruned model keeps are needed."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mcprune.data.arrays import column_of_array
from mcprune.data.base import ImageShape, flat_rows
from mcprune.data.coding.coding import Cells, Coding
from mcprune.data.formats import cifar, idx
from mcprune.data.formats.archives import array_names, read_npy, read_npz
from mcprune.data.formats.frames import TYPED, as_frame, frame_cells, frame_values, names_of, read_typed
from mcprune.data.formats.header import Header, known_header
from mcprune.data.formats.reading import TextOptions
from mcprune.data.formats.tables import Columns, Preview, Rows, Table, cells_of, text_in_feature
from mcprune.data.formats.text_tables import read_text_table
from mcprune.data.load import existing
from mcprune.data.roles.checks import as_features, nearest, some
from mcprune.data.roles.columns import column_numbers
from mcprune.data.table_files import TABLES
from mcprune.errors import DataError, brief
from mcprune.types import AnyArray


class Layout(Protocol):
    """The columns of a run's data, which a Dataset and a pruned model know."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of all N feature columns."""

    @property
    def target_name(self) -> str | None:
        """Name of the target column, if it has one."""

    @property
    def file_width(self) -> int | None:
        """Columns of the table that the run has read; None where it was no table."""

    @property
    def image_shape(self) -> ImageShape | None:
        """Shape of an image; None for tables."""

    @property
    def coding(self) -> Coding | None:
        """The columns of a table with gaps or categories, each with its feature columns."""


class _Originals(NamedTuple):
    """The layout of the table's own columns, where features are made of them."""

    feature_names: tuple[str, ...]
    target_name: str | None
    file_width: int | None
    coding: Coding | None = None
    image_shape: ImageShape | None = None


class NewRows(NamedTuple):
    """Rows of the required columns.

    Attributes
    ----------
    values : ndarray, shape (rows, n)
        Unscaled and finite: uint8, float32 or float64, as in `Dataset.features`; NaN where a table with gaps has one.
    notes : tuple of str
        What was chosen on the user's behalf.
    """

    values: AnyArray
    notes: tuple[str, ...] = ()


def read_rows(
    path: str | os.PathLike[str],
    layout: Layout,
    columns: Sequence[int] | None = None,
    *,
    text: TextOptions | None = None,
) -> NewRows:
    """Read rows of a file for prediction.

    Parameters
    ----------
    path : path
        A table (.csv, .tsv, .txt, .parquet, ...): its columns are matched by name, in any order; the target and other columns are
        ignored. Without a header it must have the N columns in order, or all columns of the original file without a
        header, or only the required ones in order. A .npz (array X) or .npy file, one IDX file of images (or .gz), one
        CIFAR batch: N columns, or only the required ones.
    layout : Layout
    columns : sequence of int, optional
        The required feature columns; by default all.
    text : TextOptions, optional
        How a text table is written. Whether its first line is a header is decided given the known names, unless it is said here.

    Raises
    ------
    DataError
        As `load`; required columns that are missing (the nearest name is suggested) or have a gap, another number of
        columns or shape of images.
    """
    file = existing(os.fspath(path))
    suffix = file.suffix.lower()
    chosen = range(len(layout.feature_names)) if columns is None else list(columns)
    names = [layout.feature_names[i] for i in chosen]
    notes: list[str] = []
    if file.is_dir():
        raise DataError(f"{file}: a folder. Give one file of rows: a table, .npz, .npy, IDX images or a CIFAR .bin.")
    options = TextOptions() if text is None else text
    if layout.coding is not None:
        values = _read_coded(file, layout, layout.coding, chosen, options, notes)
    elif suffix in TABLES:
        table = _read_table(file, layout, names, options, notes)
        for column in table.texts:
            raise text_in_feature(file, table.names[column.feature], "1", column.values[0])
        values = table.features
    elif suffix in (".npz", ".npy"):
        values = _pick(str(file), flat_rows(str(file), np.atleast_1d(_archive(file)))[0], layout, chosen)
    elif suffix == ".bin":
        size = file.stat().st_size
        is_fine = size % cifar.record_bytes(1) != 0 and size % cifar.record_bytes(2) == 0
        values = _pick(str(file), cifar.read_batch(file, 2 if is_fine else 1)[0], layout, chosen)
    else:
        images, shape = idx.read_images(file)
        if layout.image_shape is not None and shape != layout.image_shape:
            raise DataError(
                f"{file}: images of shape {shape}, but the model takes {layout.image_shape}. Give images of that shape."
            )
        values = _pick(str(file), images, layout, chosen)
    if not len(values):
        raise DataError(f"{file}: no rows. Give at least one.")
    return NewRows(as_features(str(file), values, names, may_gap=layout.coding is not None), tuple(notes))


def _read_coded(
    file: Path, layout: Layout, coding: Coding, columns: Sequence[int], text: TextOptions, notes: list[str]
) -> AnyArray:
    """Return the required feature columns of a table with gaps or categories."""
    owners = coding.owners(columns)
    names = [coding.original_names[place] for place in owners]
    originals = _Originals(coding.original_names, layout.target_name, layout.file_width)
    if file.suffix.lower() in TABLES:
        texts = {coding.columns[place].name for place in owners if coding.columns[place].values is not None}
        cells = cells_of(_read_table(file, originals, names, text, notes, texts))
    elif file.suffix.lower() in (".npz", ".npy"):
        cells = _array_cells(str(file), np.atleast_2d(_archive(file)), coding, owners)
    else:
        raise DataError(f"{file}: the run's rows are those of a table. Give one: csv, parquet, .npz or .npy.")
    notes.extend(coding.unknown_values(cells, columns))
    return coding.pick(str(file), cells, columns)


def _array_cells(name: str, rows: AnyArray, coding: Coding, owners: Sequence[int]) -> list[Cells]:
    """Return the cells of some columns of rows (rows, columns of the table)."""
    if rows.ndim != 2 or rows.shape[1] not in (len(coding.columns), len(owners)):
        raise DataError(
            f"{name}: rows of shape {rows.shape}, but the table has {len(coding.columns)} columns, of which {len(owners)} are needed. "
            "Give rows of that width, or a frame."
        )
    places = owners if rows.shape[1] == len(coding.columns) else range(len(owners))
    columns = [coding.columns[owner] for owner in owners]
    return [
        column_of_array(name, column.name, rows[:, place], is_text=column.values is not None)
        for column, place in zip(columns, places, strict=True)
    ]


def take_rows(name: str, X: object, layout: Layout, columns: Sequence[int]) -> AnyArray:
    """Return the required columns of rows from Python: of a frame by name, of an array by place.

    Parameters
    ----------
    name : str
        For messages.
    X : data frame, or array-like of shape (rows, N), (rows, n) or images of N pixels
    layout : Layout
    columns : sequence of int, length n
        The required feature columns.

    Returns
    -------
    ndarray, shape (rows, n)
        Finite; other columns are ignored.

    Raises
    ------
    DataError
        Required columns that are missing, have texts or a gap (the row and the column are named), or another number of
        columns.
    """
    if layout.coding is not None:
        return _take_coded(name, X, layout, layout.coding, columns)
    names = [layout.feature_names[i] for i in columns]
    frame = as_frame(name, X)
    if frame is None:
        values = _pick(name, _as_rows(name, X), layout, columns)
    else:
        present = names_of(frame)
        if column_numbers(layout.feature_names) is not None and not set(names) & set(present):
            places = _places(name, frame.shape[1], layout, names)  # the run's columns had no names
        else:
            places = _by_name(name, present, names)
        values = frame_values(name, frame, places)
    if values.dtype.kind not in "biuf":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            raise DataError(
                f"{name}: the columns {some(map(repr, names))} have something that is not a number. Give numbers."
            ) from None
    is_finite = np.isfinite(values)
    if not is_finite.all():
        row, column = np.argwhere(~is_finite)[0]
        raise DataError(
            f"{name}: row {row} (counted from 0), column {names[column]!r} is {values[row, column]}, but a finite number "
            "is needed. Fill the value in, or leave out such rows."
        )
    return values


def _take_coded(name: str, X: object, layout: Layout, coding: Coding, columns: Sequence[int]) -> AnyArray:
    """Return the required feature columns of rows of a table with gaps or categories, or of rows that are such columns already."""
    owners = coding.owners(columns)
    frame = as_frame(name, X)
    if frame is None:
        rows = _as_rows(name, X)
        if rows.ndim == 2 and rows.shape[1] == len(layout.feature_names) != len(coding.columns):
            return rows[:, list(columns)]
        return coding.pick(name, _array_cells(name, rows, coding, owners), columns)
    names = [coding.original_names[place] for place in owners]
    originals = _Originals(coding.original_names, layout.target_name, layout.file_width)
    if column_numbers(coding.original_names) is not None and not set(names) & set(names_of(frame)):
        places = _places(name, frame.shape[1], originals, names)  # the run's columns had no names
    else:
        places = _by_name(name, names_of(frame), names)
    texts = {
        names_of(frame)[at]
        for at, owner in zip(places, owners, strict=True)
        if coding.columns[owner].values is not None
    }
    return coding.pick(name, frame_cells(name, frame, places, texts), columns)


def _as_rows(name: str, X: object) -> AnyArray:
    try:
        rows = np.asarray(X.detach().cpu() if hasattr(X, "detach") else X)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name}: no array ({brief(error)}). Give rows of equal length.") from None
    return rows.reshape(len(rows), -1) if rows.ndim > 2 else rows


def _pick(name: str, rows: AnyArray, layout: Layout, columns: Sequence[int]) -> AnyArray:
    """Return the required columns of rows without names."""
    width = len(layout.feature_names)
    if rows.ndim == 2 and rows.shape[1] == width:
        return rows[:, list(columns)] if len(columns) < width else rows
    if rows.ndim == 2 and rows.shape[1] == len(columns):
        return rows
    some_only = f", or the {len(columns)} columns that it keeps" if len(columns) < width else ""
    raise DataError(
        f"{name}: rows of shape {rows.shape}, but the model takes {width} columns{some_only}. Give rows of that width."
    )


def _archive(file: Path) -> AnyArray:
    if file.suffix.lower() == ".npy":
        return read_npy(file)
    names = array_names(file)
    only = names[0] if len(names) == 1 else "X"  # an archive of one array may call it anything
    return read_npz(file, (only,))[only]


def _read_table(
    file: Path,
    layout: Layout,
    names: Sequence[str],
    text: TextOptions,
    notes: list[str],
    texts: Collection[str] = (),
) -> Table:
    """Read the columns of some names; those of `texts` as texts."""

    def header_of(first: list[str], rows: Rows) -> Header:
        if text.header != "auto":
            return Header(text.header == "yes")
        decision = known_header(first, rows, layout.feature_names, names, layout.target_name)
        notes.extend([decision.note] if decision.note else [])
        return decision

    def choose(present: list[str], is_named: bool, _: Preview) -> Columns:
        if is_named:
            places = _by_name(file, present, names)
        else:
            places = _places(file, len(present), layout, names)
            if len(present) == len(names) < len(layout.feature_names):
                notes.append(f"without a header the columns are read as the kept ones: {some(map(repr, names))}")
        as_texts = frozenset(place for place, name in zip(places, names, strict=True) if name in texts)
        return Columns(places, None, as_texts=as_texts)

    is_typed = file.suffix.lower() in TYPED
    table = read_typed(file, choose, least=1) if is_typed else read_text_table(file, text, header_of, choose, least=1)
    notes[:0] = table.notes
    return table


def _by_name(where: object, present: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the indices of the required columns among those present."""
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{where}: {len(missing)} of {len(names)} required columns are missing: {some(map(repr, missing))}."
            f"{nearest(missing[0], present)} There are: {some(map(repr, present), 12)}."
        )
    twice = [name for name in names if list(present).count(name) > 1]
    if twice:
        raise DataError(f"{where}: several columns are called {some(map(repr, twice))}. Give each a name of its own.")
    return [list(present).index(name) for name in names]


def _places(where: object, width: int, layout: Layout, names: Sequence[str]) -> list[int]:
    """Return the indices of the required columns in rows without names.

    Rows may have all columns of the run's original file (where that had no header either, so that the names are their
    places), all N features, or only the required columns.
    """
    if width == layout.file_width and (numbers := column_numbers(names)) is not None:
        return numbers
    if width == len(layout.feature_names):
        return [layout.feature_names.index(name) for name in names]
    if width == len(names):
        return list(range(width))
    kept = f", or the {len(names)} that it keeps" if len(names) < len(layout.feature_names) else ""
    raise DataError(
        f"{where}: no header and {width} columns, but the model takes {len(layout.feature_names)}{kept}. "
        "Add a header line, or give --header yes if the first line is one."
    )
