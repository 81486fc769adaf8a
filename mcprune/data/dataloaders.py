"""DataLoaders as data: their batches collected once into arrays, since the chain evaluates many candidates on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader

from mcprune.data.base import Dataset
from mcprune.data.load import from_arrays
from mcprune.errors import DataError, brief
from mcprune.types import AnyArray

NAME = "loader"


def is_loaders(data: object) -> bool:
    """Tell whether data is a DataLoader, or a pair of them: rows to train with, rows to test with."""
    is_pair = isinstance(data, tuple | list) and len(data) == 2 and any(isinstance(each, DataLoader) for each in data)
    return isinstance(data, DataLoader) or is_pair


def collect(
    data: object, limit: int, *, id_columns: str = "drop", required: Sequence[str] = (), task: str = "auto"
) -> Dataset:
    """Return the rows of one or two DataLoaders as one data set.

    Parameters
    ----------
    data : DataLoader, or pair of DataLoader
        Batches (features, classes, ...); what follows the classes is ignored. Each loader is read once: random changes of its
        rows are taken as they come and stay. The second one's rows are the test rows.
    limit : int
        Bytes that the rows may take.
    id_columns, required, task
        As in `from_arrays`.

    Raises
    ------
    DataError
        Batches of another form, rows of unequal shape, more bytes than the limit, no rows at all, and errors of `from_arrays`.
    """
    every = list(data) if isinstance(data, tuple | list) else [data]
    loaders = [each for each in every if isinstance(each, DataLoader)]
    if len(loaders) < len(every):
        raise DataError(
            "one of the two is a DataLoader and the other is not. Give a pair of DataLoaders, or arrays (X, y)."
        )
    parts: list[tuple[AnyArray, AnyArray]] = []
    left = limit
    for loader in loaders:
        rows, classes = _rows(loader, left, limit)
        left -= rows.nbytes
        parts.append((rows, classes))
    if len({rows.shape[1:] for rows, _ in parts}) > 1:
        raise DataError(
            f"the rows of the two loaders have the shapes {parts[0][0].shape[1:]} and {parts[1][0].shape[1:]}. "
            "Give rows of one shape."
        )
    features, classes = (np.concatenate(each) for each in zip(*parts, strict=True))
    dataset = from_arrays(features, classes, name=NAME, id_columns=id_columns, required=required, task=task)
    if len(parts) == 1:
        return dataset
    return replace(dataset, test_rows=np.arange(len(parts[0][1]), len(classes), dtype=np.int64))


def _rows(loader: DataLoader[object], left: int, limit: int) -> tuple[AnyArray, AnyArray]:
    rows: list[AnyArray] = []
    classes: list[AnyArray] = []
    for number, batch in enumerate(loader):
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise DataError(
                f"batch {number} of the loader is a {type(batch).__name__}. Give batches (features, classes)."
            )
        features, targets = _array(batch[0]), _array(batch[1])
        if features.ndim < 2 or targets.ndim not in (1, 2) or len(features) != len(targets):
            raise DataError(
                f"batch {number} of the loader has features of shape {features.shape} and classes of shape {targets.shape}. "
                "Give shapes (B, ...) and (B,), of several targets (B, T)."
            )
        left -= features.nbytes
        if left < 0:
            raise DataError(
                f"the loader's rows take more than {limit:,} bytes (max_memory), and all of them are kept in memory. Give fewer "
                "rows, such as torch.utils.data.Subset, or a larger max_memory."
            )
        rows.append(features)
        classes.append(targets)
    if not rows:
        raise DataError("the loader gives no batches. Give one with rows.")
    try:
        return np.concatenate(rows), np.concatenate(classes)
    except ValueError as error:
        raise DataError(
            f"the loader's batches have rows of unequal shape ({brief(error)}). Give rows of one shape."
        ) from None


def _array(values: object) -> AnyArray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        return np.asarray(values.numpy())
    return np.asarray(values)
