"""The data set of a run's configuration."""

from __future__ import annotations

from typing import Any, TypedDict

from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.data.dataloaders import collect, is_loaders
from mcprune.data.load import from_arrays
from mcprune.data.load import load as load_data
from mcprune.errors import ConfigError


class ColumnOptions(TypedDict):
    """Options of `load` and `from_arrays` that say which columns are features."""

    id_columns: str
    required: tuple[str, ...]


def column_options(config: Config) -> ColumnOptions:
    """Return what the configuration says of columns: those that it names as sites are features in any case."""
    problem = config.problem
    grouped = [site for group in (problem.groups or {}).values() for site in group.get("sites", ())]
    named = [*(problem.must_keep or ()), *(problem.must_drop or ()), *map(str, grouped)]
    return {"id_columns": config.data.id_columns, "required": (*named, problem.objective.partition(":")[2])}


def load_dataset(config: Config) -> Dataset:
    """Load the data set that a configuration names; errors as `mcprune.data.load.load`."""
    return load_data(config.data.source, target=config.data.target, header=config.data.header, **column_options(config))


def dataset_of(data: Any, config: Config) -> Dataset:
    """Return data that were passed from Python as a data set.

    Parameters
    ----------
    data : Dataset, DataLoader or pair of them, or pair (X, y)
    config : Config

    Raises
    ------
    ConfigError
        Anything else.
    DataError
        Data that cannot be classified.
    """
    if isinstance(data, Dataset):
        return data
    if is_loaders(data):
        return collect(data, config.runtime.max_memory, **column_options(config))
    if isinstance(data, tuple | list) and len(data) == 2:
        return from_arrays(data[0], data[1], **column_options(config))
    raise ConfigError(
        f"data is a {type(data).__name__}. Give a name or path, a Dataset, a pair (X, y) or a DataLoader."
    )
