"""DataLoaders and torch's Datasets as data: collected once into arrays, since the chain evaluates many candidates on the same rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mcprune.data.base import Dataset
from mcprune.data.load import from_arrays
from mcprune.data.packed import PackedBatch, field_names, unpack
from mcprune.errors import DataError, brief

NAME = "loader"
SOURCES = (DataLoader, TorchDataset)


READ = 256  # rows of a Dataset at a time


def is_loaders(data: object) -> bool:
    """Tell whether data is a DataLoader or a Dataset of torch, or a pair of them: rows to train with, rows to test with."""
    is_pair = isinstance(data, tuple | list) and len(data) == 2 and any(isinstance(each, SOURCES) for each in data)
    return isinstance(data, SOURCES) or is_pair


def collect(
    data: object,
    limit: int,
    *,
    id_columns: str = "drop",
    required: Sequence[str] = (),
    task: str = "auto",
    accepted: Collection[str] | None = None,
) -> Dataset:
    """Return the rows of one or two DataLoaders as one data set.

    Parameters
    ----------
    data : DataLoader or Dataset of torch, or pair of them
        Batches (features, classes, ...); what follows the classes is ignored. Features may be several tensors or a dict of them, and a
        batch may be a dict with its classes under `labels`: they become columns, one input after the other. Each loader is read once:
        random changes of its rows are taken as they come and stay. The second one's rows are the test rows.
    limit : int
        Bytes that the rows may take.
    id_columns, required, task
        As in `from_arrays`.
    accepted : collection of str, optional
        The keywords that the model takes; other entries of a dict are left out.

    Raises
    ------
    DataError
        Batches of another form, rows of unequal shape, more bytes than the limit, no rows at all, and errors of `from_arrays`.
    """
    every = list(data) if isinstance(data, tuple | list) else [data]
    loaders = [_loader(each) for each in every if isinstance(each, SOURCES)]
    if len(loaders) < len(every):
        raise DataError(
            "one of the two is a DataLoader and the other is not. Give a pair of DataLoaders, or arrays (X, y)."
        )
    parts: list[PackedBatch] = []
    left = limit
    for loader in loaders:
        part = _rows(loader, left, limit, accepted)
        left -= part.features.nbytes
        parts.append(part)
    if len({(part.features.shape[1:], part.fields) for part in parts}) > 1:
        raise DataError(
            f"the rows of the two loaders have the shapes {parts[0].features.shape[1:]} and {parts[1].features.shape[1:]}. "
            "Give rows of one shape."
        )
    features, classes = (np.concatenate(each) for each in zip(*(part[:2] for part in parts), strict=True))
    fields = parts[0].fields
    dataset = from_arrays(
        features,
        classes,
        name=NAME,
        feature_names=field_names(fields) if fields else None,
        id_columns="keep" if fields else id_columns,
        required=required,
        task=task,
    )
    dataset = replace(dataset, fields=fields)
    if len(parts) == 1:
        return dataset
    return replace(dataset, test_rows=np.arange(len(parts[0].targets), len(classes), dtype=np.int64))


def _loader(source: object) -> DataLoader[object]:
    return source if isinstance(source, DataLoader) else DataLoader(source, batch_size=READ)  # type: ignore[arg-type]


def _rows(loader: DataLoader[object], left: int, limit: int, accepted: Collection[str] | None) -> PackedBatch:
    batches: list[PackedBatch] = []
    for number, raw in enumerate(loader):
        batch = unpack(raw, number, accepted)
        left -= batch.features.nbytes
        if left < 0:
            raise DataError(
                f"the loader's rows take more than {limit:,} bytes (max_memory), and all of them are kept in memory. Give fewer "
                "rows, such as torch.utils.data.Subset, or a larger max_memory."
            )
        if batches and batch.fields != batches[0].fields:
            raise DataError(
                f"batch {number} of the loader has other inputs than batch 0, such as another length. Pad all rows to one length."
            )
        batches.append(batch)
    if not batches:
        raise DataError("the loader gives no batches. Give one with rows.")
    try:
        features, classes = (np.concatenate(each) for each in zip(*(batch[:2] for batch in batches), strict=True))
    except ValueError as error:
        raise DataError(
            f"the loader's batches have rows of unequal shape ({brief(error)}). Give rows of one shape."
        ) from None
    return PackedBatch(features, classes, batches[0].fields)
