"""The data set of a run's configuration."""

from __future__ import annotations

from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.data.dataloaders import collect, is_loaders
from mcprune.data.load import from_arrays
from mcprune.data.load import load as load_data
from mcprune.errors import ConfigError


def load_dataset(config: Config) -> Dataset:
    """Load the data set that a configuration names; errors as `mcprune.data.load.load`."""
    settings = config.data_settings()
    return load_data(
        settings.source,
        target=settings.target,
        header=settings.header,
        id_columns=settings.id_columns,
        required=settings.required,
    )


def dataset_of(data: object, config: Config) -> Dataset:
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
    settings = config.data_settings()
    if is_loaders(data):
        return collect(data, settings.max_memory, id_columns=settings.id_columns, required=settings.required)
    if isinstance(data, tuple | list) and len(data) == 2:
        return from_arrays(data[0], data[1], id_columns=settings.id_columns, required=settings.required)
    raise ConfigError(
        f"data is a {type(data).__name__}. Give a name or path, a Dataset, a pair (X, y) or a DataLoader."
    )
