"""Load what the user names: a known data set, a folder, a table, an archive; or take arrays and frames."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np

from mcprune.data.arrays import as_array, as_targets
from mcprune.data.base import Dataset, ImageShape, assemble, flat_rows
from mcprune.data.coding.coding import has_gaps
from mcprune.data.formats import cifar, idx
from mcprune.data.formats.archives import read_npz
from mcprune.data.formats.frames import as_frame, as_texts, frame_cells, frame_values, has_texts_or_gaps, names_of
from mcprune.data.formats.reading import Reading, ReadingOptions
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.named import BUNDLED, NAMED, load_bundled, load_named
from mcprune.data.roles.checks import nearest, some
from mcprune.data.roles.columns import column_names, row_numbers
from mcprune.data.table_files import (
    TABLES,
    TEXTS,
    coded_dataset,
    left_out,
    load_table,
    quoted,
    refuse_two_orders,
    with_doubts,
    with_order,
)
from mcprune.data.weights import refuse_column, weight_column, with_weights
from mcprune.errors import ConfigError, DataError
from mcprune.types import AnyArray

NAMES = (*BUNDLED, *NAMED)
ALIASES = {"cifar10": "cifar-10"}
_KINDS = (
    "a folder of IDX files (train-images-idx3-ubyte ...) or of CIFAR batches (data_batch_1.bin ...), "
    f"or a {', '.join(TABLES)} or .npz (X, y) file"
)
_COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz")
# What to do with files of other kinds.
_REMEDIES = {
    (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"): "a spreadsheet. Save the sheet as CSV and give that file.",
    _COMPRESSED: "a compressed file. Unpack it and give the table in it.",
    (
        ".arff",
        ".sav",
        ".dta",
        ".sas7bdat",
        ".rds",
        ".rdata",
        ".json",
        ".jsonl",
        ".orc",
        ".arrow",
        ".ipc",
        ".npy",
        ".db",
        ".sqlite",
        ".h5",
        ".hdf5",
        ".mat",
    ): "a kind of table that mcprune does not read. Save it as CSV or parquet, or pass a frame from Python.",
    (
        ".pkl",
        ".pickle",
        ".joblib",
    ): "a pickle, which may run any program, so it is never opened. Save the table as CSV or parquet.",
}


def load(spec: str | os.PathLike[str], reading: Reading | None = None, **options: Unpack[ReadingOptions]) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    spec : str or path
        One of `NAMES` (a file of the same name is reached as ./digits), a folder of IDX files or of CIFAR
        binary batches, a table (.csv, .tsv, .txt, .parquet, ...), or an .npz file (arrays X and y).
    reading : Reading, optional
    **options
        Fields of the `Reading` by name, such as target="species". Which column is the target of a table where none is named:
        see `mcprune.data.roles.columns.target_column`; `notes` of the result say it.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        Missing, empty, broken or unfit for classification, with the cause and the remedy.
    ConfigError
        A `target`, or a column of weights, for a data set that has no named columns; options of tables for what is no table.
    """
    reading = (Reading() if reading is None else reading)._replace(**options)
    refuse_two_orders(reading)
    text = ALIASES.get(os.fspath(spec), os.fspath(spec))
    if text in NAMES:
        _refuse_options(text, reading)
        dataset = load_bundled(text) if text in BUNDLED else load_named(text)
        check_task(dataset, reading.task)
        return dataset
    path = existing(text)
    name = path.stem if path.is_file() else path.resolve().name
    suffix = path.suffix.lower()
    if path.is_dir():
        _refuse_options(text, reading)
        dataset = _load_folder(path, name)
        check_task(dataset, reading.task)
        return dataset
    if suffix in TABLES:
        if suffix not in TEXTS:
            _refuse(
                text,
                reading,
                ("header", "separator", "decimal", "encoding"),
                "is no text table",
                "csv, tsv and the like",
            )
        return load_table(path, reading).renamed(name)
    if suffix == ".npz":
        others = [name for name in reading.options_of_tables() if name != "id_columns"]
        _refuse(text, reading, others, "is no table", "tables")
        classes, weights = reading.target or "y", reading.sample_weight
        arrays = read_npz(path, ("X", classes) if weights is None else ("X", classes, weights))
        features, shape = flat_rows(str(path), np.atleast_1d(arrays["X"]))
        dataset = _from_rows(
            str(path), features, arrays[classes], None, reading, image_shape=shape, target_name=reading.target
        )
        return (dataset if weights is None else with_weights(dataset, arrays[weights])).renamed(name)
    for suffixes, remedy in _REMEDIES.items():
        if suffix in suffixes:
            raise DataError(f"{path}: {remedy}")
    raise DataError(f"{path}: not a kind of file that mcprune reads. Give one of {', '.join(NAMES)}, {_KINDS}.")


def check_task(dataset: Dataset, task: str) -> None:
    """Refuse another task than that of the targets of a data set.

    Raises
    ------
    ConfigError
    """
    if task not in ("auto", dataset.task):
        raise ConfigError(
            f"task={task!r}, but the targets of {dataset.name!r} are of a {dataset.task}. Leave task out."
        )


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


def _refuse_options(text: str, reading: Reading) -> None:
    """Refuse options of tables for data of a fixed form."""
    if reading.target is not None:
        raise ConfigError(
            f"target={reading.target!r}, but {text!r} has its classes fixed. Leave target out; it names a column of a table."
        )
    _refuse(text, reading, reading.options_of_tables(), "is no table", "tables")
    refuse_column(text, reading.sample_weight)


def _refuse(text: str, reading: Reading, names: Iterable[str], why: str, whose: str) -> None:
    """Refuse some of the options of tables."""
    for name, value in reading.options_of_tables().items():
        if name in names:
            raise ConfigError(f"{name}={value!r}, but {text!r} {why}. Leave {name} out; it is for {whose}.")


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


def from_arrays(
    X: object,
    y: object,
    *,
    name: str = FROM_PYTHON,
    feature_names: Sequence[str] | None = None,
    reading: Reading | None = None,
    id_columns: str = "drop",
    required: Sequence[str] = (),
    sample_weight: object = None,
    task: str = "auto",
) -> Dataset:
    """Make a Dataset of arrays, lists, torch tensors on the CPU, or a frame and a series of pandas, polars or pyarrow.

    Parameters
    ----------
    X : array-like, shape (rows, N), (rows, h, w) or (rows, channels, h, w), or data frame
        Numbers; the last two shapes are images. A frame's column names become the feature names.
    y : array-like or series, shape (rows,); for several targets (rows, T)
        str, int, bool or float.
    name : str
    feature_names : sequence of str, optional
    reading : Reading, optional
        Columns of a frame X with a role of their own: they are then no features, and a mask's indices do not count them.
    id_columns, required, task
        In place of `reading`: see there.
    sample_weight : array-like (rows,), series, or name of a column of a frame X, optional
        The rows' weights; goes before that of `reading`.

    Raises
    ------
    DataError
        As `load`; a column that only numbers the rows.
    ConfigError
        A name of a column, but X is no frame.
    """
    if reading is None:
        reading = Reading(id_columns=id_columns, required=tuple(required), task=task)
    if isinstance(sample_weight, str):
        reading, sample_weight = reading._replace(sample_weight=sample_weight), None
    if sample_weight is not None:
        reading = reading._replace(sample_weight=None)
    refuse_two_orders(reading)
    frame = as_frame(name, X)
    entities = times = None
    if frame is None:
        refuse_columns(f"an X of type {type(X).__name__}", reading)
        features: AnyArray = as_array(name, X)
    else:
        taken = [
            None
            if column is None
            else frame.get_column(frame.columns[weight_column(name, names_of(frame), column, None, role)])
            for column, role in (
                (reading.sample_weight, "for the sample weights"),
                (reading.split_by, "to split by"),
                (reading.split_time, "of times"),
            )
        ]
        sample_weight = taken[0] if sample_weight is None else sample_weight
        entities, times = (None if column is None else as_texts(column) for column in taken[1:])
        roles = (reading.sample_weight, reading.split_by, reading.split_time, *reading.ignore)
        frame = frame.drop([column for column in frame.columns if str(column) in roles])
        feature_names = names_of(frame) if feature_names is None else feature_names
        if has_texts_or_gaps(frame):
            dataset = coded_dataset(name, feature_names, frame_cells(name, frame), *as_targets(name, y))
            dataset = with_order(with_doubts(dataset, dataset.notes, reading.required, ()), reading, entities, times)
            return dataset if sample_weight is None else with_weights(dataset, sample_weight)
        features = frame_values(name, frame)
    features, shape = flat_rows(name, features)
    targets, target_name = as_targets(name, y)
    dataset = _from_rows(
        name,
        features,
        targets,
        feature_names,
        reading,
        image_shape=shape,
        target_name=target_name,
    )
    dataset = with_order(dataset, reading, entities, times)
    return dataset if sample_weight is None else with_weights(dataset, sample_weight)


def refuse_columns(what: str, reading: Reading) -> None:
    """Refuse names of columns for rows that have none."""
    refuse_column(what, reading.sample_weight)
    for name, value in (("split_by", reading.split_by), ("split_time", reading.split_time), ("ignore", reading.ignore)):
        if value:
            raise ConfigError(
                f"{name}={value!r} names a column that is no feature, and {what} has none. Give a file or a frame, or a Dataset with "
                "entities or times."
            )


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
            name,
            features,
            targets,
            feature_names=feature_names,
            image_shape=image_shape,
            target_name=target_name,
            task=reading.task,
        )
    names = column_names(features.shape[1]) if feature_names is None else [str(each) for each in feature_names]
    if has_gaps(features):
        columns = [np.ascontiguousarray(features[:, j], np.float64) for j in range(features.shape[1])]
        dataset = coded_dataset(name, names, columns, targets, target_name, reading.task)
        return with_doubts(dataset, dataset.notes, reading.required, ())
    dataset = assemble(name, features, targets, feature_names=names, target_name=target_name, task=reading.task)
    numbers = row_numbers(names, features)
    out = left_out(numbers, names, reading)
    if out:
        raise DataError(
            f"{name}: {quoted([names[j] for j in out])} only numbers the rows ({some(features[:3, out[0]], 3)}, ...), "
            f"which carries no information. Remove it, such as with numpy.delete(X, {out[0]}, axis=1) or "
            f"X.drop(columns={names[out[0]]!r}); or pass id_columns='keep' if it is one."
        )
    return with_doubts(dataset, dataset.notes, reading.required, [names[j] for j in numbers.possible])
