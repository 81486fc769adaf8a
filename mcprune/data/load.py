"""Open whatever the user names: a known set, a folder, a table, an archive; or take arrays as they are."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcprune.data import cifar, idx
from mcprune.data.archives import array_names, read_npy, read_npz
from mcprune.data.base import Dataset, Layout, assemble, flat_rows
from mcprune.data.checks import as_features, nearest, some
from mcprune.data.digits import BUNDLED, load_bundled
from mcprune.data.named import NAMED, load_named
from mcprune.data.tables import Columns, read_table, target_column, text_in_feature
from mcprune.errors import ConfigError, DataError
from mcprune.types import AnyArray

NAMES = (*BUNDLED, *NAMED)
ALIASES = {"cifar10": "cifar-10"}
_TABLES = (".csv", ".tsv", ".parquet")
_KINDS = (
    "a folder of IDX files (train-images-idx3-ubyte ...) or of CIFAR batches (data_batch_1.bin ...), "
    "or a .csv, .tsv, .parquet or .npz (X, y) file"
)


FROM_PYTHON = "arrays"  # `data` of a run whose rows were given as arrays: a name that no loader knows


def load(spec: str | os.PathLike[str], *, target: str | None = None) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    spec : str or path
        One of `NAMES` (a file of the same name is reached as ./digits), a folder of IDX files or of CIFAR
        binary batches, or a .csv, .tsv, .parquet or .npz file (arrays X and y).
    target : str, optional
        The target column of a table, or the target array of an .npz. By default of a table the column called
        target, label, class or y if just one of these exists, else the last column; `note` of the result says
        which.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        Missing, empty, broken or unfit for classification; the message says what was met and what to do.
    ConfigError
        `target` given for a set that has no columns to choose from.
    """
    text = ALIASES.get(os.fspath(spec), os.fspath(spec))
    if text in NAMES:
        _no_target(text, target)
        return load_bundled(text) if text in BUNDLED else load_named(text)
    path = existing(text)
    name = path.stem if path.is_file() else path.resolve().name
    suffix = path.suffix.lower()
    if path.is_dir():
        _no_target(text, target)
        return _load_folder(path, name)
    if suffix in _TABLES:
        return _load_table(path, name, target)
    if suffix == ".npz":
        wanted = ("X", target or "y")
        arrays = read_npz(path, wanted)
        features, shape = flat_rows(str(path), np.atleast_1d(arrays["X"]))
        return assemble(str(path), features, arrays[wanted[1]], image_shape=shape, target_name=target).renamed(name)
    raise DataError(f"{path}: not a kind of file that mcprune reads. Give one of {', '.join(NAMES)}, {_KINDS}.")


def existing(text: str) -> Path:
    """The path of a file with content or of a folder, or a DataError that says what is wrong."""
    if not text.strip() or "\0" in text:
        raise DataError(f"no data set is named ({text!r}). Give one of {', '.join(NAMES)}, {_KINDS}.")
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            return path
        if path.is_file():
            if path.stat().st_size == 0:
                raise DataError(f"{path}: the file is empty.")
            with path.open("rb"):
                return path
        there = path.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user that does not exist
        raise DataError(f"{text}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if there:
        raise DataError(f"{path}: neither a file nor a folder. Give {_KINDS}.")
    raise DataError(f"{text!r} does not exist.{nearest(text, NAMES)} Give one of {', '.join(NAMES)}, {_KINDS}.")


def _no_target(text: str, target: str | None) -> None:
    if target is not None:
        raise ConfigError(
            f"target={target!r}, but {text!r} has its classes fixed. Leave target out; it names a column of a table."
        )


def _load_folder(path: Path, name: str) -> Dataset:
    try:
        met = sorted(each.name for each in path.iterdir())
        if cifar.batch_files(path)[0]:
            return cifar.load_folder(path, name)
        if idx.image_files(path):
            return idx.load_folder(path, name)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    held = f"it holds {some(met)}" if met else "the folder is empty"
    raise DataError(f"{path}: no data set in this folder: {held}. Give {_KINDS}.")


def _load_table(path: Path, name: str, target: str | None) -> Dataset:
    note = ""

    def choose(names: list[str], named: bool) -> Columns:
        nonlocal note
        column, note = target_column(path, names, target)
        return Columns([i for i in range(len(names)) if i != column], column)

    table = read_table(path, choose)
    assert table.targets is not None  # `choose` always names one
    made = assemble(
        str(path),
        table.features,
        table.targets,
        feature_names=table.names,
        target_name=table.target_name,
        note=note,
    )
    return made.renamed(name)


def from_arrays(X: Any, y: Any, *, name: str = "arrays", feature_names: Sequence[str] | None = None) -> Dataset:
    """A Dataset from arrays, lists, torch tensors on the CPU or a pandas frame and series.

    Parameters
    ----------
    X : array-like, shape (rows, N), (rows, h, w) or (rows, channels, h, w)
        Numbers; the last two shapes are images. A frame's column names become the feature names.
    y : array-like, shape (rows,)
        str, int, bool or float.
    name : str
    feature_names : sequence of str, optional

    Raises
    ------
    DataError
        As `load`.
    """
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        feature_names = feature_names if feature_names is not None else [str(each) for each in X.columns]
        features = _from_frame(name, X)
    else:
        features = _as_array(name, X)
    features, shape = flat_rows(name, features)
    series_name = getattr(y, "name", None)
    try:
        targets = np.asarray(y if not hasattr(y, "iloc") else y.astype(object))
        if not isinstance(y, np.ndarray) and targets.dtype.kind in "US":
            targets = np.array(list(y), dtype=object)  # numpy turns [1, "a"] into texts without a word
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: the targets are no array ({error}). Give one class for each row.") from error
    if targets.ndim == 0:
        raise DataError(f"{name}: the targets are a single value. Give one class for each row.")
    return assemble(
        name,
        features,
        targets,
        feature_names=feature_names,
        image_shape=shape,
        target_name=series_name if isinstance(series_name, str) else None,
    )


def _as_array(name: str, X: Any) -> AnyArray:
    if isinstance(X, np.ma.MaskedArray):  # what is masked is missing
        X = np.ma.filled(X.astype(np.float64), np.nan)
    try:
        features = np.asarray(X)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name}: the features are no array ({str(error).splitlines()[0]}). Give rows of equal length."
        ) from error
    if features.dtype.kind in "OUS" and features.ndim == 2:
        for (row, column), cell in np.ndenumerate(features):
            if cell is not None and not _is_numeric(cell):
                raise text_in_feature(name, f"column {column + 1}", str(row + 1), cell)
        return features.astype(np.float64)
    if features.dtype == object:
        hint = " Make a sparse matrix dense with .toarray()." if hasattr(X, "toarray") else ""
        raise DataError(
            f"{name}: the features are {type(X).__name__} of Python objects. Give an array of numbers.{hint}"
        )
    return features


def _is_numeric(cell: Any) -> bool:
    try:
        float(cell)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _from_frame(name: str, X: Any) -> AnyArray:
    dtypes = [column.dtype for _, column in X.items()]
    if all(dtype == np.uint8 for dtype in dtypes):
        return np.asarray(X)
    features = np.empty(X.shape, dtype=np.float64)
    for j, (label, column) in enumerate(X.items()):
        try:
            if getattr(column.dtype, "kind", "O") in "mMc":
                raise ValueError
            features[:, j] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        except (ValueError, TypeError):
            cells = column.tolist()
            row = next((i for i, cell in enumerate(cells) if not isinstance(cell, int | float)), 0)
            raise text_in_feature(name, str(label), str(row + 1), cells[row] if cells else column.dtype) from None
    return features


def read_features(path: str | os.PathLike[str], layout: Layout) -> AnyArray:
    """Features of new rows, in the columns that a Dataset had, for prediction.

    Parameters
    ----------
    path : path
        A .csv, .tsv or .parquet file: its columns are found by name, in any order; the target and others are
        not looked at. Without a header it must have the N columns in order (or all columns of the original
        file without a header). A .npz (array X) or .npy file, one IDX file of images (or .gz), one CIFAR
        batch.
    layout : Dataset, Description or the like
        `feature_names`, `target_name`, `image_shape`.

    Returns
    -------
    ndarray, shape (rows, N)
        Unscaled: uint8, float32 or float64, as in `Dataset.features`.

    Raises
    ------
    DataError
        As `load`, columns missing (the nearest right name), another number of columns or shape of images.
    """
    file = existing(os.fspath(path))
    suffix = file.suffix.lower()
    if file.is_dir():
        raise DataError(f"{file}: a folder. Give one file of rows: a table, .npz, .npy, IDX images or a CIFAR .bin.")
    if suffix in _TABLES:
        features = read_table(
            file, lambda names, named: _match_columns(file, names, named, layout.feature_names)
        ).features
    elif suffix in (".npz", ".npy"):
        features, _ = flat_rows(str(file), np.atleast_1d(_rows_of_archive(file)))
    elif suffix == ".bin":
        fine = file.stat().st_size % 3073 != 0 and file.stat().st_size % 3074 == 0
        features, _ = cifar.read_batch(file, 2 if fine else 1)
    else:
        features, shape = idx.read_images(file)
        if layout.image_shape is not None and shape != layout.image_shape:
            raise DataError(f"{file}: images of shape {shape}, but the model was made for {layout.image_shape}.")
    if features.shape[1] != len(layout.feature_names):
        raise DataError(f"{file}: {features.shape[1]} columns, but the model was made for {len(layout.feature_names)}.")
    if not len(features):
        raise DataError(f"{file}: no rows.")
    return as_features(str(file), features, layout.feature_names)


def _rows_of_archive(file: Path) -> AnyArray:
    if file.suffix.lower() == ".npy":
        return read_npy(file)
    names = array_names(file)
    only = names[0] if len(names) == 1 else "X"  # an archive of one array may call it anything
    return read_npz(file, (only,))[only]


def _match_columns(path: Path, names: list[str], named: bool, wanted: Sequence[str]) -> Columns:
    position = {name: i for i, name in enumerate(names)}
    missing = [name for name in wanted if name not in position]
    if not missing:
        return Columns([position[name] for name in wanted], None)
    if not named and len(names) == len(wanted):
        return Columns(list(range(len(names))), None)
    if not named:
        raise DataError(
            f"{path}: no header and {len(names)} columns, but the model was made for {len(wanted)}. Add a header line."
        )
    raise DataError(
        f"{path}: {len(missing)} of {len(wanted)} feature columns are missing: {some(map(repr, missing))}."
        f"{nearest(missing[0], names)} The file has: {some(map(repr, names), 12)}."
    )
