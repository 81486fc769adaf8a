"""A run from its start to its result: make the plan, search, finish, and record the events."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from mcprune.config.schema import Config
from mcprune.config.unused import check_options
from mcprune.data.base import Dataset
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.distributed.evaluation import Ranks
from mcprune.environment import use_threads, versions
from mcprune.session.build.dataset import load_dataset
from mcprune.session.build.markov import make_method
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.checkpoints.classifiers import classifiers_content
from mcprune.session.checkpoints.folder_writer import FolderWriter
from mcprune.session.finish.finalize import SearchResult, finalize, write_mask
from mcprune.session.finish.mask_costs import cost_budgets
from mcprune.session.finish.search_time import with_search_time
from mcprune.session.interrupt import Interrupt
from mcprune.session.pilots import plan_in_time
from mcprune.session.ranks import share_plan
from mcprune.session.search import Search
from mcprune.session.search_parts import adapted_event
from mcprune.session.shadows.outcome import choose_by_shadows
from mcprune.session.steering.callbacks import Callback, Callbacks
from mcprune.session.steering.controller import Controller
from mcprune.storage.checkpoint import packed
from mcprune.storage.events import ErrorRate, Event, Hardened, Note, RunStarted, Stage
from mcprune.storage.folder import RunFolder
from mcprune.storage.layout import CLASSIFIERS
from mcprune.training.classifiers import describe_classifier
from mcprune.training.cross_validation.out_of_fold import FRESH_ROWS
from mcprune.types import BoolArray
from mcprune.version import VERSION

MOST_NAMES, MOST_CLASSES = 4096, 100  # names of inputs, and of classes or doubtful columns of a kind, in `run_started`


def run(
    config: Config,
    controller: Controller | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    ranks: Ranks | None = None,
) -> Iterator[Event]:
    """Run a configuration and yield its events; a loop that is left early ends the run, whose files stay.

    Parameters
    ----------
    config : Config
    controller : Controller, optional
        Changes the run between its blocks, such as a `Replay`; by default the first callback that is a controller.
    callbacks : iterable of Callback
        Their hooks are called during the run.
    ranks : Ranks, optional
        The processes of the run, where this is rank 0; the others call `worker.run`.

    Yields
    ------
    Event
        As docs/events.md describes them; the first is a `RunStarted`, the last a `RunDone`.

    Raises
    ------
    McpruneError
        What cannot be run; raised before anything is written where that is possible.

    Examples
    --------
    >>> import mcprune
    >>> for event in mcprune.run(mcprune.make_config(data="digits", keep=16)):  # doctest: +SKIP
    ...     if isinstance(event, mcprune.Progress):
    ...         print(event.block, event.loss)
    """
    began = time.monotonic()
    check_options(config)
    folder = RunFolder(config.folder(), config, force=bool(config.value("force")))
    try:
        folder.job = "" if ranks is None else ranks.job
        folder.announce()
        if ranks is not None:
            ranks.broadcast({"options": None})
        # The data set is in no variable, so that its memory is freed once its parts are made.
        yield from start_run(
            config, load_dataset(config), folder, controller=controller, callbacks=callbacks, ranks=ranks, began=began
        )
    finally:
        folder.close()


def run_on(
    config: Config,
    dataset: Dataset,
    path: Path | None,
    model: torch.nn.Module | None = None,
    controller: Controller | None = None,
    function: Callable[..., object] | None = None,
    *,
    callbacks: Iterable[Callback] = (),
) -> Iterator[Event]:
    """Run on a loaded data set; a path of None writes nothing."""
    folder = None if path is None else RunFolder(path, config, force=bool(config.value("force")))
    try:
        if folder is not None:
            is_from_python = config.data_settings().source == FROM_PYTHON
            parts = {"data": is_from_python, "model": model is not None, "objective": function is not None}
            folder.announce(tuple(name for name, is_missing in parts.items() if is_missing))
        yield from start_run(config, dataset, folder, model, controller, function, callbacks=callbacks)
    finally:
        if folder is not None:
            folder.close()


def start_run(
    config: Config,
    dataset: Dataset,
    folder: RunFolder | None,
    model: torch.nn.Module | None = None,
    controller: Controller | None = None,
    function: Callable[..., object] | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    ranks: Ranks | None = None,
    began: float | None = None,
) -> Iterator[Event]:
    """Start a run on a loaded data set, into a folder that the caller closes."""
    began = time.monotonic() if began is None else began
    error_rate, fdr = None, config.false_discovery_rate()
    if fdr is not None:
        yield Stage("shadows", "the columns compete with permuted copies of themselves")
        error_rate, config = choose_by_shadows(config, dataset)
    plan = make_plan(config, dataset, model, function=function)
    if error_rate is not None:
        plan.settings = plan.settings._replace(config=plan.config.replace(keep=None, fdr=fdr, groups=None))
    share_plan(plan, config, ranks)
    config = with_search_time(config, plan, began, ranks)
    callbacks = tuple(callbacks)
    search = make_search(config, plan, began, controller or controller_of(callbacks))
    del dataset
    if folder is not None:
        folder.config = search.plan.config
    yield from record_events(_events(search, folder, began, error_rate), search, folder, callbacks)


def controller_of(callbacks: Iterable[Callback]) -> Controller | None:
    """Return the first callback that is also a controller."""
    return next((callback for callback in callbacks if isinstance(callback, Controller)), None)


def record_events(
    events: Iterator[Event],
    search: Search,
    folder: RunFolder | None,
    callbacks: Iterable[Callback] = (),
    earlier: Iterable[Event] = (),
) -> Iterator[Event]:
    """Yield the events of a search, after they were written to its folder and passed to the callbacks.

    Parameters
    ----------
    events : iterator of Event
        The events to come.
    search : Search
    folder : RunFolder or None
    callbacks : iterable of Callback
    earlier : iterable of Event
        Of a resumed run up to its checkpoint: the folder has them already, and the callbacks get them first.
    """
    watching = Callbacks(callbacks)
    writing = Callbacks([] if folder is None else [FolderWriter(folder, search)])
    search.callbacks = Callbacks([*writing.callbacks, *watching.callbacks])
    yield from watching.watch(_chained(earlier, writing.watch(events)))


def _chained(earlier: Iterable[Event], events: Iterator[Event]) -> Iterator[Event]:
    """Yield earlier events, then the others; unlike itertools.chain, closing this generator closes the others."""
    yield from earlier
    yield from events


def _events(search: Search, folder: RunFolder | None, began: float, rate: ErrorRate | None) -> Iterator[Event]:
    yield start_event(search, folder)
    yield from map(Note, search.plan.notes)
    if rate is None:
        yield from search_and_finish(search, folder, began)
    else:
        yield rate
        shown = search.plan.shown
        sites = np.flatnonzero(shown.expand(np.isin(np.arange(shown.size), rate.indices))).tolist()
        with Interrupt(signal.SIGINT, signal.SIGTERM) as interrupt:
            yield from _finish(search, *search.adopt(sites), folder, began, interrupt, rate)


def start_event(search: Search, folder: RunFolder | None) -> RunStarted:
    """Return the first event of a run."""
    plan = search.plan
    data = plan.splits
    return RunStarted(
        version=VERSION,
        versions=versions(),
        name=data.name,
        rows={part: len(getattr(data, part).targets) for part in ("train", "validation", "test")},
        classes=tuple(map(str, data.labels[:MOST_CLASSES])),
        n_classes=data.n_classes,
        n_sites=plan.shown.size,
        keep=plan.keep,
        costs=tuple(cost_budgets(plan)),
        sites=plan.shown.groups,
        image_shape=None if data.image_shape is None else tuple(data.image_shape),
        feature_names=named_features(plan),
        doubtful={name: doubt.kind for doubt in data.doubts for name in doubt.names[:MOST_CLASSES]},
        classifier=describe_classifier(
            plan.settings.model, plan.model, plan.splits.n_inputs, is_users_model=plan.is_users_model
        ),
        device=str(plan.device),
        threads=plan.runtime.threads,
        folder=None if folder is None else str(folder.path),
        epochs=plan.train.epochs,
        blocks=plan.train.blocks,
        config=plan.config.flat(),
        objective=plan.objective.description if plan.has_own_measure else None,
        is_weighted=data.is_weighted,
        task=data.task,
        targets=data.target_names[:MOST_CLASSES],
        loss=plan.row_loss.description,
        **search.method.description(),
    )


def named_features(plan: Plan) -> tuple[str, ...] | None:
    """Return the names of the inputs; None for pixels without names of their own, and where there are too many for one event."""
    names = plan.shown.columns or plan.splits.names
    return tuple(map(str, names)) if plan.splits.has_own_names and len(names) <= MOST_NAMES else None


def search_and_finish(search: Search, folder: RunFolder | None, began: float) -> Iterator[Event]:
    """Search from the state that the search is in, harden the mask, retrain, compare and write."""
    plan = search.plan
    with Interrupt(signal.SIGINT, signal.SIGTERM) as interrupt:
        yield from search.run(interrupt, began)
        yield from search.notes()
        kept = plan.shown.count(search.position() > 0)
        if search.blocks_done < search.pace.blocks and not search.is_within():
            text = f"ended while {kept} sites were kept: the rest is dropped at once, which costs accuracy"
            yield Note(text + "; fewer --epochs plan a shorter run")
        if plan.chain.starts and search.may_play:
            yield Stage("playoff", "fresh classifiers compare the masks of the chains and their starts")
            if (fresh := len(plan.splits.validation.targets)) < FRESH_ROWS:
                yield Note(
                    f"playoff: {fresh} validation rows: the masks are compared mostly on rows that the search has used"
                )
        mask, hardened = search.harden()
        yield from filter(None, (search.playoff, search.refined))
        yield from _finish(search, mask, hardened, folder, began, interrupt)


def _finish(
    search: Search,
    mask: BoolArray,
    hardened: Hardened,
    folder: RunFolder | None,
    began: float,
    interrupt: Interrupt,
    error_rate: ErrorRate | None = None,
) -> Iterator[Event]:
    """Write the mask, retrain, compare and write the result."""
    yield from map(Note, search.method.notes(search.state.method))
    last = search.state.last
    result = SearchResult(
        mask=mask,
        weights=search.position().copy(),
        gates=search.final_gates,
        work=search.cost(),
        hardened=hardened,
        scores=search.method.scores(search.state.method),
        adapted=None if last is None else adapted_event(last.adapted),
        playoff=search.playoff,
        error_rate=error_rate,
    )
    classifiers = classifiers_content(search, mask)  # now: retraining may go on with these classifiers
    if folder is not None:
        folder.start()
        write_mask(search.plan, result, folder)
        folder.write_bytes(CLASSIFIERS, packed(classifiers))
    yield hardened
    yield from finalize(search.plan, result, folder, began, interrupt, classifiers)


def search(
    config: Config, dataset: Dataset, interrupt: Interrupt, *, split_seed: int | None = None
) -> tuple[Plan, BoolArray, float | None]:
    """Search without the rest of a run: the test rows are not used, and nothing is retrained or written.

    Parameters
    ----------
    config : Config
    dataset : Dataset
    interrupt : Interrupt
        Entered by the caller.
    split_seed : int, optional
        Draws the training, validation and test rows; by default the seed of the run does.

    Returns
    -------
    plan : Plan
    mask : ndarray of bool, shape (N,)
        Of exactly n sites.
    accuracy : float or None
        On the validation rows, with the mask and the classifier of the search; None without such rows.

    Raises
    ------
    McpruneError
        The configuration cannot be run, or the search diverged.
    KeyboardInterrupt
        The interrupt came.
    """
    began = time.monotonic()
    return search_planned(config, make_plan(config, dataset, split_seed=split_seed), interrupt, began)


def search_planned(
    config: Config, plan: Plan, interrupt: Interrupt, began: float
) -> tuple[Plan, BoolArray, float | None]:
    """Search as `search` does, for a plan; `began`, by time.monotonic, is where `max_time` is counted from."""
    searched = make_search(with_search_time(config, plan, began, None), plan, began)
    list(searched.run(interrupt, began))  # to its end
    if interrupt.should_stop:
        raise KeyboardInterrupt
    mask, hardened = searched.harden()
    return searched.plan, mask, hardened.validation_accuracy


def make_search(config: Config, plan: Plan, began: float, controller: Controller | None = None) -> Search:
    """Return the search of a plan, ready to run; on the gradient path pilots may change the plan first."""
    use_threads(plan.runtime.threads)
    if plan.method == "gradient":
        plan = plan_in_time(plan, config, began, lambda plan: Search(plan, make_method(plan)))
    return Search(plan, make_method(plan), controller)
