"""The data set of a run's configuration."""

from __future__ import annotations

from collections.abc import Collection

from mcprune.config.schema import Config
from mcprune.config.sections.settings import DataSettings
from mcprune.data.base import Dataset
from mcprune.data.dataloaders import collect, is_loaders
from mcprune.data.formats.reading import Reading
from mcprune.data.load import check_task, from_arrays, refuse_columns
from mcprune.data.load import load as load_data
from mcprune.data.weights import FROM_ARRAY, with_weights
from mcprune.errors import ConfigError


def load_dataset(config: Config, weights: object = None) -> Dataset:
    """Load the data set that a configuration names, with sample weights (rows,) from Python if there are any.

    Raises
    ------
    ConfigError
        The configuration says that the weights came from Python, and there are none.
    DataError
        As `mcprune.data.load.load` and `mcprune.data.weights.with_weights`.
    """
    settings = config.data_settings()
    dataset = load_data(settings.source, _reading(settings, weights))
    return dataset if weights is None else with_weights(dataset, weights)


def _reading(settings: DataSettings, weights: object) -> Reading:
    """Return how a table is read: without a column of sample weights where they are `weights`.

    Raises
    ------
    ConfigError
        They came from Python, and are not here.
    """
    if settings.reading.sample_weight != FROM_ARRAY:
        return settings.reading
    if weights is None:
        raise ConfigError(
            "The sample weights of this run came from Python and are not in its folder. Run or resume it from Python, with "
            "sample_weight=array."
        )
    return settings.reading._replace(sample_weight=None)


def dataset_of(
    data: object, config: Config, weights: object = None, accepted: Collection[str] | None = None
) -> Dataset:
    """Return data that were passed from Python as a data set.

    Parameters
    ----------
    data : Dataset, DataLoader or Dataset of torch or pair of them, or pair (X, y)
    config : Config
        Its `sample_weight` names a column of a frame X.
    weights : array-like (rows,), optional
        Sample weights.
    accepted : collection of str, optional
        The keywords that the model takes, of the entries of a loader's dicts.

    Raises
    ------
    ConfigError
        Anything else; sample weights beside a DataLoader.
    DataError
        Data that cannot be classified.
    """
    settings = config.data_settings()
    reading = _reading(settings, weights)
    if isinstance(data, Dataset):
        refuse_columns("a Dataset", reading)
        check_task(data, reading.task)
        return data if weights is None else with_weights(data, weights)
    if is_loaders(data):
        if weights is not None or reading.sample_weight is not None:
            raise ConfigError(
                "sample_weight beside a DataLoader, whose rows may come in any order. Give arrays: prune(X, y, sample_weight=...)."
            )
        refuse_columns("a DataLoader", reading)
        return collect(
            data,
            settings.max_memory,
            id_columns=reading.id_columns,
            required=reading.required,
            task=reading.task,
            accepted=accepted,
        )
    if isinstance(data, tuple | list) and len(data) == 2:
        return from_arrays(
            data[0],
            data[1],
            reading=reading,
            sample_weight=weights,
        )
    raise ConfigError(
        f"data is a {type(data).__name__}. Give a name or path, a Dataset, a pair (X, y) or a DataLoader."
    )
