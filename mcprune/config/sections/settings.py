"""Settings of single parts of a run that are read before the data are known."""

from __future__ import annotations

from typing import NamedTuple

from mcprune.data.formats.reading import Reading


class DataSettings(NamedTuple):
    """How data are loaded, split and scaled.

    Attributes
    ----------
    source : str
        As in the section `Data`.
    reading : Reading
        How a table is read. Columns that the options name are features in any case.
    test, validation, scale
        As in the section `Data`.
    max_memory : int
        Bytes.
    """

    source: str
    reading: Reading
    test: float
    validation: float
    scale: str
    max_memory: int


class OwnModelSettings(NamedTuple):
    """How a model of the user is used.

    Attributes
    ----------
    data : DataSettings
    method : str
    is_frozen : bool
        It is not trained during the search.
    pretrain : int or None
        Epochs of training before the search.
    finetune : str
        As in the section `Retrain`; possibly auto.
    is_start_scored : bool
        A measure scores the model as it came.
    """

    data: DataSettings
    method: str
    is_frozen: bool
    pretrain: int | None
    finetune: str
    is_start_scored: bool


class RankSettings(NamedTuple):
    """How the processes of a run find each other: the device asked for, and the seconds to wait; None for the usual time."""

    device: str
    timeout: float | None
