"""From Python: `prune` for one call; `Problem`, a search and `fit` or `run` for its parts; `resume` for a run that was cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import nn

from mcprune.config.schema import Config
from mcprune.errors import ConfigError
from mcprune.models.adapters import unwrapped
from mcprune.path.call import path_of
from mcprune.path.search.levels import is_auto
from mcprune.problem import Options, Problem, Search, check_model, problem_and_rest, rows_of
from mcprune.report.screens.choose import progress_screen
from mcprune.results import Result, result_of_events
from mcprune.session import loop
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.resume import resume_run
from mcprune.session.steering.callbacks import Callback, Callbacks, Checkpoint
from mcprune.session.steering.controller import Controller
from mcprune.storage.events import Event
from mcprune.storage.layout import check_free


def prune(
    X: object,
    y: object = None,
    *,
    keep: object = None,
    model: nn.Module | str | None = None,
    sites: str = "inputs",
    sample_weight: object = None,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
    **options: object,
) -> Result:
    """Choose which n sites of a classifier to keep.

    Parameters
    ----------
    X : array (rows, N), frame, str, path, Dataset, pair (X, y), DataLoader or Dataset of torch
        Features, or without `y` a whole data set: by name or path, as a pair, or as one or two DataLoaders, see `Problem`.
    y : array (rows,), optional
        Classes.
    keep : int, dict of str to int, or "auto", optional
        n, or a number for each kind of site; by default a quarter of the sites. "auto" chooses n by a path: the fewest that are within
        one standard error of the best (`prune_path`); the result then has its `curve`.
    model : nn.Module, str or None
        The classifier, see `Problem`. None: a multilayer perceptron.
    sites : str
        What may be dropped, see `Problem`.
    sample_weight : str or array (rows,), optional
        How often each row counts in training, losses and scores: a column of a table or frame, which is then no feature, or numbers.
    callbacks : iterable of Callback
        Objects whose hooks are called during the run: `on_start` before the first block, `on_block` after each, `on_event` for
        each event, `on_end` in every case. `Callback` is the class to derive from. `Checkpoint(folder)` writes the run into a
        folder, `Dashboard()` serves the live page; one that is a `Controller` too changes the run while it goes on.
    progress : bool, optional
        Show on standard error, or below the cell of a notebook, what the run is doing. By default in a terminal and in a
        notebook; elsewhere the run is silent.
    **options
        Any other option of docs/options.md. Nothing is written unless `out` names a folder. `objective` may be a function
        (predictions, targets, mask) -> float.

    Returns
    -------
    Result

    Raises
    ------
    McpruneError
        The run cannot start, or it failed; the message names the cause and the remedy.
    KeyboardInterrupt
        Ctrl-C. What was written stays, and `resume` goes on with it.

    Examples
    --------
    >>> import mcprune
    >>> result = mcprune.prune("digits", keep=16)  # doctest: +SKIP
    >>> result.mask.indices.size  # doctest: +SKIP
    16
    >>> print(result)  # doctest: +SKIP
    16 of 64 pixels reach .975 test accuracy.

    A callback of your own:

    >>> class Losses(mcprune.Callback):
    ...     def on_block(self, search, info):
    ...         print(f"block {search.blocks_done}: loss {info.loss:.3f}, {info.kept} sites kept")
    >>> result = mcprune.prune("digits", keep=16, callbacks=[Losses()])  # doctest: +SKIP
    """
    chosen = {
        "keep": keep,
        "sites": sites,
        **({} if sample_weight is None else {"sample_weight": sample_weight}),
        **options,
    }
    data = X if y is None else (X, y)
    if is_auto(keep):
        return _prune_auto(data, model, chosen, tuple(callbacks), progress)
    return prune_problem(data, model, chosen, callbacks, progress=progress)


def _prune_auto(
    data: object,
    model: nn.Module | str | None,
    options: Options,
    callbacks: tuple[Callback, ...],
    progress: bool | None,
) -> Result:
    """Return the result of the level of a path that is enough."""
    options = dict(with_checkpoint(options, callbacks))
    out, force = options.pop("out", None), bool(options.pop("force", False))
    if out is not None:
        check_free(Path(str(out)), force=force)
    path = path_of(data, model, options, callbacks, progress)
    return path.at(out=None if out is None else str(out), force=force, progress=progress)


def prune_problem(
    data: object,
    model: nn.Module | str | None,
    options: Options,
    callbacks: Iterable[Callback] = (),
    controller: Controller | None = None,
    progress: bool | None = False,
) -> Result:
    """Do what `prune` does, with options by flat name; silently unless `progress` says otherwise."""
    problem, rest = problem_and_rest(model, data, options)
    return fit(problem, None, callbacks=callbacks, controller=controller, progress=progress, **rest)


def fit(
    problem: Problem,
    search: Search | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    controller: Controller | None = None,
    progress: bool | None = None,
    **options: object,
) -> Result:
    """Solve a problem by a search.

    Parameters
    ----------
    problem : Problem
    search : Markov, Gradient or Importance, optional
        By default the chain with its defaults.
    callbacks : iterable of Callback
        Who watches the run.
    controller : Controller, optional
        Who changes the run while it goes on; by default the first callback that is one.
    progress : bool, optional
        As that of `prune`.
    **options
        Options of training, retraining and the run, such as `epochs`, `seed`, `out` or `max_time`; without `search` also
        options of the search, such as `method`.

    Returns
    -------
    Result

    Raises
    ------
    McpruneError
        The run cannot start, or it failed; the message names the cause and the remedy.
    """
    callbacks = tuple(callbacks)
    config = problem.config(search, with_checkpoint(options, callbacks))
    running = _running(problem, config, controller, callbacks)
    return _result(running, problem.model, config.out_folder(), progress)


def run(
    problem: Problem | Config,
    search: Search | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    controller: Controller | None = None,
    **options: object,
) -> Iterator[Event]:
    """Solve a problem and yield what happens; leaving the loop ends the run and keeps what is written.

    Parameters
    ----------
    problem : Problem or Config
        A configuration names its data and its built-in model, and holds all options.
    search : Markov, Gradient or Importance, optional
    callbacks, controller
        As those of `fit`.
    **options
        As those of `fit`.

    Yields
    ------
    Event
        See docs/events.md; the last one is a `RunDone`.

    Raises
    ------
    McpruneError
        The run cannot start, or it failed; the message names the cause and the remedy.
    """
    callbacks = tuple(callbacks)
    if isinstance(problem, Config):
        if search is not None or options or any(isinstance(callback, Checkpoint) for callback in callbacks):
            raise ConfigError("A configuration holds all options. Use config.replace(...) to change them.")
        return loop.run(problem, controller, callbacks=callbacks)
    return _running(problem, problem.config(search, with_checkpoint(options, callbacks)), controller, callbacks)


def resume(
    folder: str | Path,
    data: object = None,
    model: nn.Module | None = None,
    *,
    objective: Callable[..., object] | None = None,
    sample_weight: object = None,
    older: bool = False,
    anyway: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
) -> Result:
    """Go on with a run that was cut off, to the bits that it would have had on this machine.

    Parameters
    ----------
    folder : path
        Of the run.
    data : str, Dataset, or a pair (X, y), optional
        The same data again, where they were arrays; else they are loaded again.
    model : nn.Module, optional
        A classifier of the same kind again, where the run had a user's own; it is trained in place, from the checkpoint's weights.
    objective : callable, optional
        The objective again, where it was a function.
    sample_weight : array (rows,), optional
        The sample weights again, where they were an array.
    older : bool
        Pass over the last checkpoint.
    anyway : bool
        Go on although versions, threads, device or data differ: the bits may differ then.
    callbacks : iterable of Callback
        Who watches the run; they get its earlier events too.
    progress : bool, optional
        As that of `prune`.

    Returns
    -------
    Result
        That of `prune`; its history and events are those of the whole run.

    Raises
    ------
    McpruneError
        There is nothing to go on from, with the reason and what would help.
    """
    check_model(model)
    model = None if model is None else unwrapped(model)
    opened = open_run(folder, older=older, anyway=anyway)
    try:
        config = opened.folder.config
        is_named = data is None and sample_weight is not None and "data" not in opened.needs
        source = config.data_settings().source if is_named else data
        dataset = None if source is None else rows_of(source, config, sample_weight, model)
        running = resume_run(opened, dataset, model, objective, callbacks=callbacks)
        return _result(running, model, Path(folder), progress)
    finally:
        opened.folder.close()


def with_checkpoint(options: Options, callbacks: Iterable[Callback]) -> Options:
    """Return the options of a run with those of its `Checkpoint`, where one of the callbacks is one.

    Raises
    ------
    ConfigError
        Two of them, or a folder beside one.
    """
    checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    if not checkpoints:
        return options
    for name in checkpoints[0].options():
        if name in options:
            raise ConfigError(f"{name} stands beside a Checkpoint, which says it already. Leave one of them out.")
    if len(checkpoints) > 1:
        raise ConfigError(f"{len(checkpoints)} Checkpoints, but a run is written into one folder. Give one.")
    return {**options, **checkpoints[0].options()}


def _running(
    problem: Problem, config: Config, controller: Controller | None, callbacks: Iterable[Callback]
) -> Iterator[Event]:
    """Return the events of a run that is about to start."""
    _check_folder_options(config)
    return loop.run_on(
        config,
        problem.dataset(config),
        config.out_folder(),
        problem.model,
        controller,
        problem.function,
        callbacks=callbacks,
    )


def _check_folder_options(config: Config) -> None:
    """Refuse options of a folder where the run writes none."""
    if config.out_folder() is not None:
        return
    for name, default in (("checkpoint_every", "auto"), ("force", False)):
        if config.is_set(name) and config.value(name) != default:
            raise ConfigError(
                f"{name}={config.value(name)!r} does nothing here: this run writes no folder. Leave it out, or name a folder, such "
                "as out='runs/a'."
            )


def _result(running: Iterator[Event], model: nn.Module | None, path: Path | None, progress: bool | None) -> Result:
    """Run to the end and return the result; torch's threads and the model's mode are put back."""
    log: list[Event] = []
    threads = torch.get_num_threads()
    # Module by module: users freeze normalisations by putting them, and nothing else, into evaluation mode.
    modes = [] if model is None else [(module, module.training) for module in model.modules()]
    try:
        with progress_screen(progress) as screen:
            for event in Callbacks([screen]).watch(running):
                log.append(event)
    finally:
        torch.set_num_threads(threads)
        for module, mode in modes:
            module.training = mode
    return result_of_events(log, path)
