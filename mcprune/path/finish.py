"""From a level of a path to the result of a run: its mask is retrained, tested and written as that of `mcprune run`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from torch import nn

from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.data.fingerprint import fingerprint
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.prepare import Splits
from mcprune.errors import FolderError, brief
from mcprune.path.search.recorder import LevelTensors, Parameters, Tensors
from mcprune.path.search.validate import starts_from_others
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.checkpoints.classifiers import classifiers_content
from mcprune.session.finish.finalize import SearchResult, finalize, write_mask
from mcprune.session.finish.retrain import PartlyTrained
from mcprune.session.interrupt import Interrupt
from mcprune.session.loop import make_search, record_events, start_event
from mcprune.session.search import Search
from mcprune.storage.checkpoint import packed
from mcprune.storage.events import Event, Note
from mcprune.storage.folder import RunFolder
from mcprune.storage.layout import CLASSIFIERS
from mcprune.storage.path_curve import Level

NO_TENSORS = LevelTensors()
# Of the epochs of a retraining, for a small model that has been trained on the training rows.
LAST_SHARE = 0.3


def finish_level(
    config: Config,
    rows: Dataset | Splits,
    level: Level,
    interrupt: Interrupt,
    folder: Path | None = None,
    tensors: LevelTensors = NO_TENSORS,
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
    data: str | None = None,
) -> Iterator[Event]:
    """Retrain, test and write the mask of a level; yield the events of a run, the last one a `RunDone`.

    Parameters
    ----------
    config : Config
        Of the level.
    rows : Dataset or Splits
    level : Level
    interrupt : Interrupt
    folder : Path, optional
        Where the run is written.
    tensors : LevelTensors
        What is kept of the classifiers of the level.
    model : nn.Module, optional
        The user's own classifier.
    function : callable, optional
        The objective, where it is a function of Python.
    data : str, optional
        Fingerprint of the data that the path was searched on, where `rows` were loaded again.

    Raises
    ------
    FolderError
        The data are others, or what the folder of the path has does not fit them.
    """
    began = time.monotonic()
    target = None if folder is None else RunFolder(folder, config, force=bool(config.value("force")))
    try:
        if target is not None:
            is_from_python = config.data_settings().source == FROM_PYTHON
            parts = {"data": is_from_python, "model": model is not None, "objective": function is not None}
            target.announce(tuple(name for name, is_missing in parts.items() if is_missing))
        plan = make_plan(config, rows, model, function=function)
        _check_data(plan, level, data)
        search = make_search(config, plan, began)
        if tensors.classifiers is not None:
            _put_classifiers(plan, tensors.classifiers)
        if target is not None:
            target.config = plan.config
            target.start()
        yield from record_events(_events(search, level, target, began, interrupt, tensors.small), search, target)
    finally:
        if target is not None:
            target.close()


def _check_data(plan: Plan, level: Level, data: str | None) -> None:
    """Refuse other data than those of the path, and a mask that is none of them."""
    if data is not None and data != fingerprint(plan.splits):
        raise FolderError(
            f"The data {plan.splits.name!r} are not those that the path was searched on. Restore them, or run mcprune path again."
        )
    if not all(0 <= site < plan.sites.size for site in level.indices):
        raise FolderError(
            f"Level {level.level} of path.json keeps site {max(level.indices)}, but there are {plan.sites.size}. Run mcprune path again."
        )


def _put_classifiers(plan: Plan, classifiers: Parameters) -> None:
    """Give a plan the classifiers of the search."""
    try:
        for gated, own in zip(plan.stack, classifiers, strict=True):
            gated.model.load_state_dict(own)
    except (RuntimeError, ValueError) as error:
        raise FolderError(
            f"The classifiers of the path do not fit its model ({brief(error)}). Run mcprune path again."
        ) from None


def _events(
    search: Search, level: Level, folder: RunFolder | None, began: float, interrupt: Interrupt, small: Tensors | None
) -> Iterator[Event]:
    plan, state = search.plan, search.state
    mask = np.zeros(plan.sites.size, bool)
    mask[list(level.indices)] = True
    yield start_event(search, folder)
    yield Note("the mask is that of a level of a path (mcprune path), whose search is not recorded here")
    search.method.adopt(state.method, mask)
    gates = search.training_gates()
    hardened = search.hardened_event(mask, gates, level.kept)
    result = SearchResult(mask, search.position().copy(), gates, search.cost(), hardened)
    if folder is not None:
        write_mask(plan, result, folder)
    classifiers = classifiers_content(search, mask)
    if folder is not None:
        folder.write_bytes(CLASSIFIERS, packed(classifiers))
    yield hardened
    partly_trained = None
    if small is not None and starts_from_others(plan):
        partly_trained = PartlyTrained(small, max(1, round(LAST_SHARE * plan.retrain.epochs)))
    yield from finalize(plan, result, folder, began, interrupt, classifiers, partly_trained)
