"""The content of a checkpoint: the state of the search, and what must be the same where it is resumed."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from mcprune.state import Saved
from mcprune.types import JsonObject


class Origin(TypedDict):
    """The user's model as it was before the search; `frozen` names its frozen parameters."""

    parameters: JsonObject
    buffers: JsonObject
    frozen: list[str]


class RunFacts(TypedDict):
    """What stays the same during a run.

    Attributes
    ----------
    options : dict
        Of the resolved configuration, in sections.
    evaluator : str or None
        Of the candidates; None where there are none.
    machine : dict
        Versions, processor, device and threads.
    data : str
        Fingerprint.
    is_users_model : bool
    spent_forwards : int
        Before the search.
    training_ranks : int or None
        Processes that share the rows of each step.
    origin : dict
        Of a model of the user, from which retraining starts.
    """

    options: JsonObject
    evaluator: str | None
    machine: dict[str, str]
    data: str
    is_users_model: bool
    spent_forwards: int
    training_ranks: int | None
    origin: NotRequired[Origin]


class Checkpoint(RunFacts):
    """A checkpoint as it is read.

    Attributes
    ----------
    run : str
        The id of the run.
    events : tuple of int
        Bytes and CRC-32 of the events up to here.
    search : dict
        The state of the search.
    steering : dict
        The changes from here on that are known already, as `Replay.of` takes them.
    """

    run: str
    events: tuple[int, int]
    search: Saved
    steering: JsonObject
