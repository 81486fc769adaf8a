"""One data set, and the one way to make it: every loader ends in `assemble`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcprune.data.coding.coding import Coding
from mcprune.data.roles.checks import as_features, differ_in_case, distinct_names, some
from mcprune.data.roles.columns import column_names
from mcprune.data.roles.doubts import ColumnNote
from mcprune.data.roles.pixels import square_shape
from mcprune.data.roles.targets import Label, encode
from mcprune.data.roles.tasks import CLASSIFICATION, encode_numbers, resolve_task
from mcprune.errors import DataError
from mcprune.types import AnyArray, FloatArray, InputField, IntArray

ImageShape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows with a class or with numbers each, as they are in the source: not yet split or scaled.

    Attributes
    ----------
    name : str
    features : ndarray, shape (rows, N)
        uint8 where the source has bytes, else float32; float64 only where float32 would blur a column (such as
        time stamps: large values that differ little). All finite.
    targets : ndarray of int64, shape (rows,), or of float64, shape (rows, T)
        The class index, 0..C-1; or the numbers of a regression, the 0 and 1 of several labels.
    labels : tuple
        The original class values (str, int, bool or float, as plain Python objects) in sorted order; their
        index is the class. Empty where targets are numbers.
    feature_names : tuple of str, length N
        Distinct. Pixels are called pixel_ROW_COLUMN, or pixel_CHANNEL_ROW_COLUMN; those of a table keep its names.
    image_shape : tuple or None
        (height, width) or (channels, height, width), their product is N; None for tables, unless their columns look like pixels.
    test_rows : ndarray of int64 or None
        The rows of the test part that the data have of their own (MNIST's 10,000), else None.
    target_name : str or None
        The column that the targets were read from, if there is one.
    notes : tuple of str
        What was chosen on the user's behalf, to be shown.
    doubts : tuple of ColumnNote
        On columns that may be no measurements, to be shown.
    weights : ndarray of float64, shape (rows,), or None
        Sample weights, above 0; None where all rows count alike.
    file_width : int or None
        Columns of the table that it was read from, with the target and those that are no features; None where it was no table.
    entities : ndarray of int64, shape (rows,), or None
        Numbers of entities, such as patients, of which no two parts share one.
    times : ndarray of float64, shape (rows,), or None
        Training rows come before validation rows before test rows.
    coding : Coding or None
        Of a table with gaps or categories: the columns of the table, each with its features. Then NaN are gaps.
    task : str
        `classification`, `regression` or `multilabel`.
    target_names : tuple of str, length T
        Where targets are numbers.
    fields : tuple of InputField
        The inputs of a model that takes several of them, or one that is no float; empty where a row is one input.
    """

    name: str
    features: AnyArray
    targets: AnyArray
    labels: tuple[Label, ...]
    feature_names: tuple[str, ...]
    image_shape: ImageShape | None = None
    test_rows: IntArray | None = None
    target_name: str | None = None
    notes: tuple[str, ...] = ()
    weights: FloatArray | None = None
    doubts: tuple[ColumnNote, ...] = ()
    file_width: int | None = None
    entities: IntArray | None = None
    times: FloatArray | None = None
    coding: Coding | None = None
    task: str = CLASSIFICATION
    target_names: tuple[str, ...] = ()
    fields: tuple[InputField, ...] = ()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.features.shape[0])

    @property
    def n_inputs(self) -> int:
        """Number of feature columns, N."""
        return int(self.features.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes, C; 0 where targets are numbers."""
        return len(self.labels)

    @property
    def n_outputs(self) -> int:
        """Number of outputs of a network: one a class, or one a target."""
        return len(self.labels) or len(self.target_names)

    def renamed(self, name: str) -> "Dataset":
        """Return the same rows under another name (while a file is checked, messages name it by its path)."""
        return replace(self, name=name)


def pixel_names(shape: ImageShape) -> tuple[str, ...]:
    """Names of the pixels of an image in C order: pixel_ROW_COLUMN or pixel_CHANNEL_ROW_COLUMN."""
    return tuple("pixel_" + "_".join(map(str, index)) for index in np.ndindex(*shape))


def flat_rows(name: str, features: AnyArray) -> tuple[AnyArray, ImageShape | None]:
    """Return features as (rows, N), and the image shape if they are (rows, h, w) or (rows, channels, h, w)."""
    if features.ndim == 2:
        return features, None
    if features.ndim not in (3, 4):
        raise DataError(
            f"{name}: the features have the shape {features.shape}. Give (rows, columns), (rows, height, "
            "width) or (rows, channels, height, width)."
        )
    shape = tuple(int(size) for size in features.shape[1:])
    if len(shape) == 3 and shape[0] > 4 and shape[2] in (1, 3, 4):
        raise DataError(
            f"{name}: images of shape {shape} look like (height, width, channels). Put the channels first, "
            "for example with X.transpose(0, 3, 1, 2)."
        )
    return features.reshape(features.shape[0], int(np.prod(shape))), shape


def assemble(
    name: str,
    features: AnyArray,
    raw_targets: AnyArray | Sequence[object],
    *,
    feature_names: Sequence[str] | None = None,
    image_shape: ImageShape | None = None,
    test_rows: IntArray | None = None,
    target_name: str | None = None,
    notes: tuple[str, ...] = (),
    coding: Coding | None = None,
    task: str = "auto",
) -> Dataset:
    """Check everything that a run needs, and make the Dataset; `task` is one of `mcprune.data.roles.tasks.TASKS`.

    Columns of several thousand rows that look like the pixels of square images are taken for such (`square_shape`).

    Raises
    ------
    DataError
        No rows or columns, lengths that differ, NaN or infinite features, missing targets, a single class, a
        class with one row (it cannot be in two parts of a split), names that repeat.
    """
    rows, columns = features.shape
    if columns == 0:
        raise DataError(f"{name}: there are no feature columns. Give at least one besides the target.")
    if rows == 0:
        raise DataError(f"{name}: no rows. Give at least a few rows of every class.")
    if isinstance(raw_targets, np.ndarray) and raw_targets.ndim == 0:
        raise DataError(f"{name}: the targets are a single value. Give one class for each row.")
    if len(raw_targets) != rows:
        raise DataError(
            f"{name}: {rows} rows of features, but {len(raw_targets)} targets. Give one target for each row."
        )
    if feature_names is None:
        names = pixel_names(image_shape) if image_shape else tuple(column_names(columns))
    else:
        names = tuple(str(each) for each in feature_names)
    if len(names) != columns:
        raise DataError(f"{name}: {columns} columns, but {len(names)} feature names. Give one name for each column.")
    distinct_names(name, names)
    values = as_features(name, features, names, may_gap=coding is not None)
    if image_shape is None and coding is None and (image_shape := square_shape(values)) is not None:
        size = " x ".join(map(str, image_shape))
        notes += (f"the {columns:,} columns look like the pixels of {size} images, row by row, and are used as such",)
    chosen, note = resolve_task(
        task, raw_targets, "the target" if target_name is None else f"the target {target_name!r}"
    )
    notes += (note,) if note else ()
    if chosen != CLASSIFICATION:
        numbers = encode_numbers(name, raw_targets, chosen, target_name)
        return Dataset(
            name,
            values,
            numbers,
            (),
            names,
            image_shape,
            test_rows,
            target_name,
            notes,
            coding=coding,
            task=chosen,
            target_names=names_of_targets(numbers.shape[1], target_name),
        )
    targets, labels = encode(name, raw_targets, target_name)
    check_classes(name, targets, labels)
    if alike := differ_in_case(labels):
        notes += (
            f"classes that differ in upper and lower case alone: {some(alike)}. If they are one: write them alike",
        )
    return Dataset(name, values, targets, labels, names, image_shape, test_rows, target_name, notes, coding=coding)


def names_of_targets(count: int, target_name: str | None) -> tuple[str, ...]:
    """Return the names of so many numeric targets."""
    name = "target" if target_name is None else target_name
    return (name,) if count == 1 else tuple(f"{name}_{place}" for place in range(count))


def check_classes(name: str, targets: IntArray, labels: tuple[Label, ...]) -> None:
    """Refuse targets that cannot be classified or stratified."""
    if len(labels) < 2:
        raise DataError(
            f"{name}: all {len(targets)} rows have the class {some([repr(labels[0])])}. A classifier needs at least two "
            "classes; is it the right target column?"
        )
    counts = np.bincount(targets, minlength=len(labels))
    single = [repr(labels[i]) for i in np.flatnonzero(counts < 2)]
    if single:
        many = len(single) > max(1, len(targets) // 4)
        hint = (
            " It looks like a measured quantity: use task='regression', or name the right target column."
            if many
            else ""
        )
        raise DataError(
            f"{name}: of {len(labels)} classes in {len(targets)} rows, {len(single)} have one row only: "
            f"{some(single)}. They cannot be stratified over training and test rows: add rows, or merge or "
            f"remove these classes.{hint}"
        )
