"""Callbacks: a class of empty hooks, and several callbacks as one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the screen derives from this module, and shows itself while torch is imported
    from mcprune.methods.base import BlockInfo
    from mcprune.session.build.plan import Plan
    from mcprune.session.steering.knobs import Knobs
    from mcprune.storage.events import Event
    from mcprune.types import Float32Array, FloatArray


class SearchView(Protocol):
    """The part of a search that callbacks may read."""

    plan: Plan
    knobs: Knobs

    @property
    def blocks_done(self) -> int:
        """Blocks done so far."""
        ...

    @property
    def planned_blocks(self) -> int:
        """Blocks that are planned now."""
        ...

    @property
    def proposals(self) -> int:
        """Proposals consumed so far, by all replicas."""
        ...

    @property
    def is_falling(self) -> bool:
        """Whether the budget, n(t) or cost(t), is still falling."""
        ...

    @property
    def block_seconds(self) -> float:
        """The usual time of a block; 0 before the first one."""
        ...

    def blocks_to_fall(self, within: int) -> int:
        """Return how many blocks to plan in all so that the budget comes down to its end within so many blocks from now on."""
        ...

    def position(self) -> FloatArray:
        """Return the pruner weights, shape (N,)."""
        ...

    def training_gates(self) -> Float32Array:
        """Return the gates (N,) under which the classifier trains now."""
        ...


class Callback:
    """Hooks that are called during a run; each does nothing. Derive from it and override the hooks that you need.

    All hooks are called in the thread of the run. An error that a hook raises ends the run.

    Examples
    --------
    >>> import mcprune
    >>> class Losses(mcprune.Callback):
    ...     def on_block(self, search, info):
    ...         print(search.blocks_done, info.loss)
    >>> result = mcprune.prune("digits", keep=16, callbacks=[Losses()])  # doctest: +SKIP
    """

    def on_start(self, search: SearchView) -> None:
        """React to the start of the search, or to its continuation after a resume."""

    def on_block(self, search: SearchView, info: BlockInfo) -> None:
        """React to a finished block; its events come afterwards."""

    def on_event(self, event: Event) -> None:
        """React to an event of the run, before the run yields it."""

    def on_end(self, error: BaseException | None) -> None:
        """React to the end of the run, by an error unless `error` is None; GeneratorExit where its loop was left."""


class Checkpoint(Callback):
    """Writes a run into a folder while it goes on, so that `mcprune.resume` and `mcprune.load` can read it.

    Parameters
    ----------
    folder : str or path
        It must be empty or missing.
    every : str
        Time between two checkpoints, such as "30s" or "5min", or epochs, such as "2"; "auto": 30 seconds, or rarer where
        writing takes more than 1% of the time.
    force : bool
        Replace the run that the folder has.

    Examples
    --------
    >>> import mcprune
    >>> result = mcprune.prune("digits", keep=16, callbacks=[mcprune.Checkpoint("runs/a")])  # doctest: +SKIP
    >>> mcprune.load("runs/a").predict(X)  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: str = "auto", force: bool = False) -> None:
        self.folder = os.fspath(folder)
        self.every = every
        self.force = force

    def options(self) -> dict[str, object]:
        """Return the options of the run, by flat name: the writer itself is the run's own."""
        return {"out": self.folder, "checkpoint_every": self.every, "force": self.force}


class Callbacks(Callback):
    """Several callbacks, called in their order; at the end in the reverse order.

    Parameters
    ----------
    callbacks : iterable of Callback
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks = tuple(callbacks)

    def on_start(self, search: SearchView) -> None:
        """See `Callback.on_start`."""
        for callback in self.callbacks:
            callback.on_start(search)

    def on_block(self, search: SearchView, info: BlockInfo) -> None:
        """See `Callback.on_block`."""
        for callback in self.callbacks:
            callback.on_block(search, info)

    def on_event(self, event: Event) -> None:
        """See `Callback.on_event`."""
        for callback in self.callbacks:
            callback.on_event(event)

    def on_end(self, error: BaseException | None) -> None:
        """See `Callback.on_end`; all are called even if one raises an error, and the first error is raised in the end."""
        raised: BaseException | None = None
        for callback in reversed(self.callbacks):
            try:
                callback.on_end(error)
            except BaseException as other:
                raised = raised or other
        if raised is not None:
            raise raised

    def watch(self, events: Iterator[Event]) -> Iterator[Event]:
        """Yield the events, each after the callbacks got it; in every case close the events and call `on_end`."""
        try:
            try:
                for event in events:
                    self.on_event(event)
                    yield event
            finally:
                getattr(events, "close", lambda: None)()
        except BaseException as error:
            self.on_end(error)
            raise
        self.on_end(None)
