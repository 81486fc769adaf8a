"""What the search of a path leaves at each of its stops, noted block by block and kept in the folder of the path."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from mcprune.chain.schedules import Stairs
from mcprune.methods.base import BlockInfo
from mcprune.path.search.store import PathStore
from mcprune.session.checkpoints.writer import CheckpointTimes
from mcprune.session.search import Search
from mcprune.session.steering.callbacks import Callback, SearchView
from mcprune.types import BoolArray, JsonObject

Tensors = Mapping[str, torch.Tensor]  # by name
Parameters = tuple[dict[str, torch.Tensor], ...]  # of each classifier of the search


class LevelTensors(NamedTuple):
    """Parameters of the classifiers of the search with the mask of a level, and tensors of the small model that has scored it."""

    classifiers: Parameters | None = None
    small: Tensors | None = None


class Stop(NamedTuple):
    """What a search has at one of its stops.

    Attributes
    ----------
    mask : ndarray of bool, shape (N,)
        The last one of the stop.
    accuracy, accuracy_error : float
        Of the classifier of the search on the validation rows, and its standard error; nan before the end of the stop, and without
        such rows.
    parameters : Parameters or None
        Of the classifiers at the end of the stop; None before it.
    """

    mask: BoolArray
    accuracy: float = math.nan
    accuracy_error: float = math.nan
    parameters: Parameters | None = None


class Recorder(Callback):
    """Notes the last mask of each stop of a search, and what its classifiers were at its end.

    Parameters
    ----------
    stairs : Stairs
    search : Search

    Attributes
    ----------
    stops : dict of int to Stop
        Those that were reached.
    stop : int
        The one that is searched; -1 before the first level.
    """

    def __init__(self, stairs: Stairs, search: Search) -> None:
        self.stairs, self.search = stairs, search
        self.stops: dict[int, Stop] = {}
        self.stop = -1

    def on_block(self, search: SearchView, info: BlockInfo) -> None:
        """See `Callback.on_block`."""
        done, pace = search.blocks_done, self.search.pace
        stop, after = self.stairs.stop(pace.progress(done)), self.stairs.stop(pace.progress(done + 1))
        self.stop = after
        if stop < 0 or self.stairs.value(pace.progress(done)) != self.stairs.levels[stop]:
            return
        reached = Stop(search.position() > 0)
        if done == pace.blocks or after != stop:
            share, error = self._accuracy(reached.mask)
            reached = Stop(
                reached.mask,
                share,
                error,
                tuple(
                    {name: tensor.detach().clone() for name, tensor in gated.model.state_dict().items()}
                    for gated in search.plan.stack
                ),
            )
        self.stops[stop] = reached

    @property
    def state(self) -> tuple[int, int]:
        """The stop that is searched, and how many have come to their end."""
        return self.stop, sum(one.parameters is not None for one in self.stops.values())

    def _accuracy(self, mask: BoolArray) -> tuple[float, float]:
        validation = self.search.validation
        share = validation.accuracy(mask)
        if share is None:
            return math.nan, math.nan
        counts = np.ones(len(validation.targets)) if validation.weights is None else validation.weights
        rows = float(counts.sum() ** 2 / (counts**2).sum())
        return share, math.sqrt(share * (1.0 - share) / rows)

    def content(self) -> JsonObject:
        """Return what was noted, as a part of a checkpoint."""
        return {"stop": self.stop, "stops": {str(number): one._asdict() for number, one in self.stops.items()}}

    def restore(self, content: JsonObject) -> None:
        """Take over what `content` returned."""
        self.stop = int(content["stop"])
        self.stops = {
            int(number): Stop(
                np.asarray(one["mask"], bool),
                float(one["accuracy"]),
                float(one["accuracy_error"]),
                None if one["parameters"] is None else tuple(one["parameters"]),
            )
            for number, one in content["stops"].items()
        }


class SearchSaver(Callback):
    """Writes the state of the search of a path when a checkpoint is due, and before it stops.

    Parameters
    ----------
    store : PathStore
    name : str
        Of the part.
    search : Search
    recorder : Recorder
        Called before.
    """

    def __init__(self, store: PathStore, name: str, search: Search, recorder: Recorder) -> None:
        self.store, self.name, self.search, self.recorder = store, name, search, recorder
        self.times = CheckpointTimes(search.plan)

    def on_start(self, search: SearchView) -> None:
        """See `Callback.on_start`."""
        self.times.start(search.blocks_done)

    def on_block(self, search: SearchView, info: BlockInfo) -> None:
        """See `Callback.on_block`."""
        is_over = self.search.blocks_done >= self.search.pace.blocks  # its candidates are written next
        if not is_over and (self.times.is_due(self.search) or self.search.state.end_reason):
            self.save()

    def save(self) -> None:
        """Write the state; valid between two blocks."""
        if self.store.folder is None:
            return
        began = time.monotonic()
        content = {"evaluator": self.search.evaluator_name, "search": self.search.save()}
        self.store.save(self.name, {**content, "recorder": self.recorder.content()})
        self.times.written(self.search, began)
