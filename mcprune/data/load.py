"""Load what the user names: a known data set, a folder, a table, an archive; or take arrays and frames."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.arrays import as_array, as_targets
from mcprune.data.base import Dataset, ImageShape, assemble, flat_rows
from mcprune.data.checks import nearest, some
from mcprune.data.columns import Header, RowNumbers, column_names, find_header, row_numbers, target_column
from mcprune.data.doubts import doubtful_columns
from mcprune.data.formats import cifar, idx
from mcprune.data.formats.archives import read_npz
from mcprune.data.formats.frames import as_frame, frame_values, names_of, read_parquet
from mcprune.data.formats.tables import Columns, Rows, read_csv, require_names
from mcprune.data.named import BUNDLED, NAMED, load_bundled, load_named
from mcprune.data.weights import refuse_column, weight_column, with_weights
from mcprune.errors import ConfigError, DataError
from mcprune.types import AnyArray

NAMES = (*BUNDLED, *NAMED)
ALIASES = {"cifar10": "cifar-10"}
TABLES = (".csv", ".tsv", ".parquet")
_KINDS = (
    "a folder of IDX files (train-images-idx3-ubyte ...) or of CIFAR batches (data_batch_1.bin ...), "
    "or a .csv, .tsv, .parquet or .npz (X, y) file"
)


FROM_PYTHON = "arrays"  # `data` of a run on arrays from Python: a name that no loader knows


class Reading(NamedTuple):
    """How a table is read.

    Attributes
    ----------
    target : str or None
        The column that holds the class; of an .npz file, the array.
    header : 'auto', 'yes' or 'no'
        Whether the first line of a text table holds the columns' names.
    id_columns : 'drop' or 'keep'
        Columns that only number or name the rows: leave them out, or keep them as features. Arrays and frames with such
        columns are refused under 'drop', since a mask's indices are those of their columns.
    required : tuple of str
        Columns that are features in any case.
    sample_weight : str or None
        The column that holds the rows' weights, which is then no feature; of an .npz file, the array.
    """

    target: str | None = None
    header: str = "auto"
    id_columns: str = "drop"
    required: tuple[str, ...] = ()
    sample_weight: str | None = None


def load(
    spec: str | os.PathLike[str],
    *,
    target: str | None = None,
    header: str = "auto",
    id_columns: str = "drop",
    required: Sequence[str] = (),
    sample_weight: str | None = None,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    spec : str or path
        One of `NAMES` (a file of the same name is reached as ./digits), a folder of IDX files or of CIFAR
        binary batches, or a .csv, .tsv, .parquet or .npz file (arrays X and y).
    target : str, optional
        The target column of a table, or the target array of an .npz. By default of a table the column called
        target, label, class or y if just one of these exists, else the last column; `notes` of the result say
        which.
    header, id_columns, required, sample_weight
        See `Reading`.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        Missing, empty, broken or unfit for classification, with the cause and the remedy.
    ConfigError
        A `target`, or a column of weights, for a data set that has no named columns; a `header` or `id_columns` for what is no table.
    """
    text = ALIASES.get(os.fspath(spec), os.fspath(spec))
    if text in NAMES:
        _no_target(text, target)
        _no_table(text, header=header, id_columns=id_columns)
        refuse_column(text, sample_weight)
        return load_bundled(text) if text in BUNDLED else load_named(text)
    reading = Reading(target, header, id_columns, tuple(required), sample_weight)
    path = existing(text)
    name = path.stem if path.is_file() else path.resolve().name
    suffix = path.suffix.lower()
    if path.is_dir():
        _no_target(text, target)
        _no_table(text, header=header, id_columns=id_columns)
        refuse_column(text, sample_weight)
        return _load_folder(path, name)
    if suffix in TABLES:
        return _load_table(path, reading).renamed(name)
    if suffix == ".npz":
        _no_table(text, header=header)
        classes = target or "y"
        arrays = read_npz(path, ("X", classes) if sample_weight is None else ("X", classes, sample_weight))
        features, shape = flat_rows(str(path), np.atleast_1d(arrays["X"]))
        dataset = _from_rows(str(path), features, arrays[classes], None, reading, image_shape=shape, target_name=target)
        return (dataset if sample_weight is None else with_weights(dataset, arrays[sample_weight])).renamed(name)
    raise DataError(f"{path}: not a kind of file that mcprune reads. Give one of {', '.join(NAMES)}, {_KINDS}.")


def existing(text: str) -> Path:
    """Return the path of a folder or of a file with content.

    Raises
    ------
    DataError
        Neither, empty, or unreadable.
    """
    if not text.strip() or "\0" in text:
        raise DataError(f"no data set is named ({text!r}). Give one of {', '.join(NAMES)}, {_KINDS}.")
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            return path
        if path.is_file():
            if path.stat().st_size == 0:
                raise DataError(f"{path}: the file is empty. Copy or download it again.")
            with path.open("rb"):
                return path
        is_other = path.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user that does not exist
        raise DataError(
            f"{text}: cannot be read ({getattr(error, 'strerror', None) or error}). Check the path."
        ) from error
    if is_other:
        raise DataError(f"{path}: neither a file nor a folder. Give {_KINDS}.")
    raise DataError(f"{text!r} does not exist.{nearest(text, NAMES)} Give one of {', '.join(NAMES)}, {_KINDS}.")


def _no_target(text: str, target: str | None) -> None:
    if target is not None:
        raise ConfigError(
            f"target={target!r}, but {text!r} has its classes fixed. Leave target out; it names a column of a table."
        )


def _no_table(text: str, *, header: str = "auto", id_columns: str = "drop") -> None:
    """Refuse options of tables for what is none."""
    for name, value, usual in (("header", header, "auto"), ("id_columns", id_columns, "drop")):
        if value != usual:
            raise ConfigError(
                f"{name}={value!r}, but {text!r} is no table. Leave {name} out; it is for csv and tsv files."
            )


def _load_folder(path: Path, name: str) -> Dataset:
    try:
        names = sorted(each.name for each in path.iterdir())
        if cifar.batch_files(path)[0]:
            return cifar.load_folder(path, name)
        if idx.image_files(path):
            return idx.load_folder(path, name)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error
    content = f"it has {some(names)}" if names else "the folder is empty"
    raise DataError(f"{path}: no data set in this folder: {content}. Give {_KINDS}.")


def _load_table(path: Path, reading: Reading) -> Dataset:
    notes: list[str] = []

    def header_of(first: list[str], rows: Rows) -> Header:
        if reading.header != "auto":
            return Header(reading.header == "yes")
        header = find_header(first, rows, reading.target)
        notes.extend([header.note] if header.note else [])
        return header

    def choose(names: list[str], is_named: bool) -> Columns:
        require_names(path, names)
        weights = None
        if reading.sample_weight is not None:
            weights = weight_column(path, names, reading.sample_weight, reading.target)
        others = [i for i in range(len(names)) if i != weights]
        place, note = target_column(path, [names[i] for i in others], reading.target, is_named=is_named)
        notes.extend([note] if note else [])
        return Columns(
            [i for i in others if i != others[place]],
            others[place],
            skips_identifiers=reading.id_columns == "drop",
            weights=weights,
        )

    is_parquet = path.suffix.lower() == ".parquet"
    table = read_parquet(path, choose) if is_parquet else read_csv(path, header_of, choose)
    assert table.targets is not None  # `choose` always names one
    numbers = row_numbers(table.names, table.features)
    out = _left_out(numbers, table.names, reading)
    left_out = [*table.identifiers, *(table.names[j] for j in out)]
    if left_out:
        notes.append(
            f"left out, as {'it only numbers or names' if len(left_out) == 1 else 'they only number or name'} the rows: "
            f"{_columns(left_out)}. If that is a measurement: --id-columns keep, or --must-keep"
        )
    names = [name for j, name in enumerate(table.names) if j not in out]
    features = np.delete(table.features, out, axis=1) if out else table.features
    dataset = assemble(str(path), features, table.targets, feature_names=names, target_name=table.target_name)
    dataset = _with_doubts(dataset, names, notes, reading.required, [table.names[j] for j in numbers.possible])
    dataset = replace(dataset, file_width=table.width)
    return dataset if table.weights is None else with_weights(dataset, table.weights)


def _left_out(numbers: RowNumbers, names: Sequence[str], reading: Reading) -> list[int]:
    """Return the columns to leave out because they number the rows; none if no other column would be left."""
    if reading.id_columns == "keep":
        return []
    out = [j for j in numbers.certain if names[j] not in reading.required]
    return out if len(out) < len(names) else []


def _with_doubts(
    dataset: Dataset, names: Sequence[str], notes: Sequence[str], required: Sequence[str], identifiers: Sequence[str]
) -> Dataset:
    """Return the Dataset of a table with notes on doubtful columns; `identifiers` may number the rows."""
    doubts = doubtful_columns(names, dataset.features, dataset.targets, mentioned=required, identifiers=identifiers)
    return replace(dataset, notes=tuple(notes), doubts=doubts)


def from_arrays(
    X: object,
    y: object,
    *,
    name: str = FROM_PYTHON,
    feature_names: Sequence[str] | None = None,
    id_columns: str = "drop",
    required: Sequence[str] = (),
    sample_weight: object = None,
) -> Dataset:
    """Make a Dataset of arrays, lists, torch tensors on the CPU, or a frame and a series of pandas, polars or pyarrow.

    Parameters
    ----------
    X : array-like, shape (rows, N), (rows, h, w) or (rows, channels, h, w), or data frame
        Numbers; the last two shapes are images. A frame's column names become the feature names.
    y : array-like or series, shape (rows,)
        str, int, bool or float.
    name : str
    feature_names : sequence of str, optional
    id_columns, required
        See `Reading`.
    sample_weight : array-like (rows,), series, or name of a column of a frame X, optional
        The rows' weights. A column of X is then no feature, and a mask's indices do not count it.

    Raises
    ------
    DataError
        As `load`; a column that only numbers the rows.
    ConfigError
        A name of a column, but X is no frame.
    """
    frame = as_frame(name, X)
    if isinstance(sample_weight, str):
        if frame is None:
            refuse_column(f"an X of type {type(X).__name__}", sample_weight)
        else:
            place = weight_column(name, names_of(frame), sample_weight, None)
            sample_weight = frame.get_column(frame.columns[place])
            frame = frame.drop(frame.columns[place])
    if frame is not None:
        features: AnyArray = frame_values(name, frame)
        feature_names = names_of(frame) if feature_names is None else feature_names
    else:
        features = as_array(name, X)
    features, shape = flat_rows(name, features)
    targets, target_name = as_targets(name, y)
    dataset = _from_rows(
        name,
        features,
        targets,
        feature_names,
        Reading(id_columns=id_columns, required=tuple(required)),
        image_shape=shape,
        target_name=target_name,
    )
    return dataset if sample_weight is None else with_weights(dataset, sample_weight)


def _from_rows(
    name: str,
    features: AnyArray,
    targets: AnyArray | Sequence[object],
    feature_names: Sequence[str] | None,
    reading: Reading,
    *,
    image_shape: ImageShape | None,
    target_name: str | None,
) -> Dataset:
    """Make the Dataset of rows whose columns all stay, so that a mask's indices are theirs."""
    if image_shape is not None or not features.size:
        return assemble(
            name, features, targets, feature_names=feature_names, image_shape=image_shape, target_name=target_name
        )
    names = column_names(features.shape[1]) if feature_names is None else [str(each) for each in feature_names]
    dataset = assemble(name, features, targets, feature_names=names, target_name=target_name)
    numbers = row_numbers(names, features)
    out = _left_out(numbers, names, reading)
    if out:
        first = out[0]
        raise DataError(
            f"{name}: {_columns([names[j] for j in out])} only numbers the rows ({some(features[:3, first], 3)}, ...), "
            f"which carries no information. Remove it, such as with numpy.delete(X, {first}, axis=1) or "
            f"X.drop(columns={names[first]!r}); or pass id_columns='keep' if it is one."
        )
    return _with_doubts(dataset, names, (), reading.required, [names[j] for j in numbers.possible])


def _columns(names: Sequence[str]) -> str:
    return f"column{'' if len(names) == 1 else 's'} {some(map(repr, names), 4)}"
