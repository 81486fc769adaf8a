"""Data frames of pandas, polars, pyarrow and others, through narwhals; parquet and feather files, through pyarrow."""

import importlib.util
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np

from mcprune.data.coding.coding import Category, Cells, category_of
from mcprune.data.formats.cells import are_odd_numbers, number_text
from mcprune.data.formats.tables import Chooser, Table, Texts, text_in_feature, text_in_weights
from mcprune.data.roles.checks import distinct_names, is_missing
from mcprune.data.roles.columns import MIN_COUNTED_ROWS
from mcprune.errors import DataError, brief
from mcprune.types import AnyArray, FloatArray

TYPED = (".parquet", ".feather")
PREVIEW = 1_000  # rows that columns are chosen by
Frame = nw.DataFrame[Any]
Series = nw.Series[Any]


def as_frame(name: str, X: object) -> Frame | None:
    """Return a data frame of any library as a narwhals frame; None if X is not a frame.

    Raises
    ------
    DataError
        A lazy frame, which has no rows yet; columns of one name.
    """
    if hasattr(X, "columns") and hasattr(X, "iloc"):  # pandas allows equal names
        distinct_names(name, [str(each) for each in X.columns])
    frame = nw.from_native(X, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        raise DataError(f"{name}: a lazy frame has no rows yet. Give frame.collect().")
    if not isinstance(frame, nw.DataFrame):
        return None
    distinct_names(name, names_of(frame))
    return frame


def names_of(frame: Frame) -> tuple[str, ...]:
    """Return the columns' names as texts: pandas allows numbers."""
    return tuple(str(each) for each in frame.columns)


def frame_values(name: str, frame: Frame, columns: Iterable[int] | None = None) -> AnyArray:
    """Return columns of a frame as numbers, in the order of `columns`; missing cells are NaN.

    Returns
    -------
    ndarray, shape (rows, columns)
        uint8 where all columns are, else float64.

    Raises
    ------
    DataError
        A column of texts, dates or anything else but numbers: its name, the row and the cell.
    """
    chosen = range(frame.shape[1]) if columns is None else list(columns)
    series = [frame.get_column(frame.columns[i]) for i in chosen]
    if series and all(each.dtype == nw.UInt8 for each in series):
        return np.stack([each.to_numpy() for each in series], axis=1)
    values = np.empty((frame.shape[0], len(series)))
    for j, each in enumerate(series):
        values[:, j] = _numbers(name, each)
    return values


def _numbers(name: str, series: Series) -> FloatArray:
    dtype = series.dtype
    if dtype.is_integer() and not series.null_count():  # pyarrow casts no integer that would be rounded
        return np.asarray(series.to_numpy(), np.float64)
    if (dtype.is_numeric() and not dtype.is_integer()) or dtype == nw.Boolean:
        return np.asarray(series.cast(nw.Float64).to_numpy(), np.float64)
    cells = series.to_list()
    if dtype.is_integer():
        return np.array([np.nan if is_missing(cell) else float(cell) for cell in cells], np.float64)
    is_mixed = dtype in (nw.Object, nw.Categorical, nw.Enum)  # whose cells may be numbers
    for row, cell in enumerate(cells):
        if not is_missing(cell) and not (is_mixed and isinstance(cell, int | float | np.number)):
            raise text_in_feature(name, str(series.name), str(row + 1), cell)
    return np.array([np.nan if is_missing(cell) else float(cell) for cell in cells], np.float64)


def frame_cells(
    name: str, frame: Frame, columns: Iterable[int] | None = None, texts: Collection[str] = ()
) -> list[Cells]:
    """Return columns of a frame, as numbers or as categories: texts, categories, and columns that `texts` names.

    Raises
    ------
    DataError
        A column of dates or anything else: its name, the row and the cell.
    """
    chosen = range(frame.shape[1]) if columns is None else columns
    out: list[Cells] = []
    for series in (frame.get_column(frame.columns[i]) for i in chosen):
        if (
            str(series.name) in texts
            or series.dtype in (nw.String, nw.Categorical, nw.Enum)
            or _is_object_of_texts(series)
        ):
            cells = _texts(series)
            known = [cell for cell in cells if cell is not None]
            if str(series.name) not in texts and are_odd_numbers(known):
                row = next(row for row, cell in enumerate(cells) if cell is not None)
                raise text_in_feature(name, str(series.name), str(row + 1), cells[row])
            out.append(category_of(cells))
        else:
            out.append(_numbers(name, series))
    return out


def has_texts_or_gaps(frame: Frame) -> bool:
    """Return whether a frame has a column of texts or categories, or a missing cell."""
    for column in frame.columns:
        series = frame.get_column(column)
        if series.dtype in (nw.String, nw.Categorical, nw.Enum) or _is_object_of_texts(series) or series.null_count():
            return True
        if series.dtype.is_float() and bool(series.is_nan().any()):
            return True
    return False


def _is_object_of_texts(series: Series) -> bool:
    """Return whether a column of Python objects has texts only."""
    if series.dtype != nw.Object:
        return False
    cells = [cell for cell in series.to_list() if not is_missing(cell)]
    return bool(cells) and all(isinstance(cell, str) for cell in cells)


def _texts(series: Series) -> list[str | None]:
    """Return the cells of a column of categories as texts, those of whole numbers without a point; of missing ones None."""
    cells = [int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in series.to_list()]
    return [None if is_missing(cell) or str(cell).strip() == "" else str(cell).strip() for cell in cells]


def _is_identifier(series: Series) -> bool:
    """Return whether a column has texts that are different in each row, and are not measurements that are stored as texts."""
    rows = len(series)
    if series.dtype != nw.String or rows < MIN_COUNTED_ROWS or series.null_count() or series.n_unique() < rows:
        return False
    cells = series.to_list()
    return not (any("." in cell or "," in cell for cell in cells) and all(number_text(cell) for cell in cells))


def column_values(name: str, y: object) -> tuple[Sequence[object] | AnyArray, str | None] | None:
    """Return the cells and the name of a series, or of a frame of one column; None if y is neither.

    Raises
    ------
    DataError
        A frame of several columns.
    """
    series = nw.from_native(y, pass_through=True, allow_series=True)
    if isinstance(series, nw.DataFrame):
        if series.shape[1] != 1:
            raise DataError(
                f"{name}: the target has {series.shape[1]} columns. Give one class for each row (not one-hot)."
            )
        series = series.get_column(series.columns[0])
    if not isinstance(series, nw.Series):
        return None
    is_integer = series.dtype.is_integer() and not series.null_count()
    return series.to_numpy() if is_integer else series.to_list(), None if series.name is None else str(series.name)


def read_typed(path: Path, choose: Chooser, *, least: int = 2) -> Table:
    """Read columns of a .parquet or .feather file; the stored index of a pandas frame is not one of them.

    Raises
    ------
    DataError
        No pyarrow, not such a file, fewer columns than `least`, and errors of `frame_values`.
    """
    kind = path.suffix.lower().removeprefix(".")
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(
            f"{path}: reading {kind} needs pyarrow, which is not installed. Install it by "
            "pip install pyarrow, or save the table as .csv."
        )
    import pyarrow.feather
    import pyarrow.parquet

    try:
        if kind == "feather":
            table = pyarrow.feather.read_table(path)
        else:
            with pyarrow.parquet.ParquetFile(path) as file:
                distinct_names(str(path), file.schema_arrow.names)
                table = file.read()
        distinct_names(str(path), table.column_names)
        table.validate(full=True)  # offsets and texts, which reading does not check
        index = (table.schema.pandas_metadata or {}).get("index_columns", [])
        return _from_arrow(
            path, table.drop_columns([name for name in table.column_names if name in index]), choose, least
        )
    except DataError:
        raise
    except Exception as error:  # flipped bytes get as far as its decoders, which raise nearly anything
        raise DataError(f"{path}: not a readable {kind} file ({brief(error)}). Write it again.") from error


def _from_arrow(path: Path, table: Any, choose: Chooser, least: int) -> Table:
    names = [str(name) for name in table.column_names]
    if len(names) < least:
        raise DataError(f"{path}: {len(names)} columns. At least one feature and the target are needed.")
    distinct_names(str(path), names)
    frame = nw.from_native(table, eager_only=True)
    columns = choose(names, True, lambda i: frame[:PREVIEW, i].to_list())
    identifiers = [i for i in columns.features if columns.skips_identifiers and _is_identifier(frame[:, i])]
    chosen = [i for i in columns.features if i not in identifiers]
    features, texts = _columns(str(path), frame, chosen, columns.as_texts)
    return Table(
        [names[i] for i in chosen],
        features,
        None if columns.target is None else frame[:, columns.target].to_list(),
        None if columns.target is None else names[columns.target],
        tuple(names[i] for i in identifiers),
        None if columns.weights is None else _weights(str(path), frame[:, columns.weights]),
        len(names),
        texts=texts,
        columns=tuple(as_texts(frame[:, i]) for i in columns.texts),
    )


def _columns(
    name: str, frame: Frame, chosen: Sequence[int], as_texts: Collection[int]
) -> tuple[AnyArray, tuple[Texts, ...]]:
    """Return columns as numbers, with codes in those of texts, and these texts."""
    if not as_texts and not has_texts_or_gaps(frame[:, list(chosen)] if chosen else frame):
        return frame_values(name, frame, chosen), ()
    cells = frame_cells(name, frame, chosen, [frame.columns[i] for i in as_texts])
    features = np.empty((frame.shape[0], len(cells)))
    texts = []
    for place, one in enumerate(cells):
        if isinstance(one, Category):
            features[:, place] = np.where(one.codes < 0, np.nan, one.codes)
            texts.append(Texts(place, one.values))
        else:
            features[:, place] = one
    return features, tuple(texts)


def as_texts(series: Series) -> list[str]:
    """Return the cells of a column as texts, empty where one is missing; dates as ISO 8601 writes them."""
    return [
        "" if is_missing(cell) else cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
        for cell in series.to_list()
    ]


def _weights(name: str, series: Series) -> FloatArray:
    """Return sample weights (rows,), unchecked; texts are refused."""
    if not (series.dtype.is_numeric() or series.dtype == nw.Boolean):
        raise text_in_weights(name, str(series.name), "1", series[0] if len(series) else "nothing")
    return _numbers(name, series)
