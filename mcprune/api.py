"""From Python: `prune` for one call; `Problem`, a search and `fit` or `run` for its parts; `resume` for a run that was cut off."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mcprune.config.options import OPTIONS, check_names
from mcprune.config.schema import Config, make_config
from mcprune.config.sections.base import Section
from mcprune.config.sections.gradient import Gradient
from mcprune.config.sections.importance import Importance
from mcprune.config.sections.markov import Markov
from mcprune.data.base import Dataset
from mcprune.data.load import FROM_PYTHON
from mcprune.errors import ConfigError, ModelError
from mcprune.objectives.specs import FUNCTION
from mcprune.results import Mask, Result, metric_name
from mcprune.session import loop
from mcprune.session.build.dataset import dataset_of, load_dataset
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.checkpoints.resume import resume_run
from mcprune.session.finalize import outcome_of
from mcprune.session.steering.callbacks import Callback
from mcprune.session.steering.controller import Controller
from mcprune.storage.events import Event, Progress, RunDone, Stopped

Search = Markov | Gradient | Importance
# Sections whose options describe a problem; the others describe how it is solved.
PROBLEM_SECTIONS = ("data", "problem", "model")


class Problem:
    """A classifier, rows, the sites that may be dropped, how many are kept, and what is minimised.

    Parameters
    ----------
    model : nn.Module, str or None
        A torch classifier of (B, N) rows with one output a class; it is trained in place. Or the name of one, such as
        "resnet56". None: a multilayer perceptron of `hidden` widths.
    data : str, Dataset, pair (X, y), DataLoader or pair of DataLoader
        A data set by name or path, or features (rows, N) and classes (rows,) as arrays, lists or a frame. The rows of
        DataLoaders (train, or train and test) are collected into memory once, `max_memory` bytes of them at most.
    keep : int or dict of str to int, optional
        n, or a number for each kind of site; by default a quarter of the sites.
    sites : str
        "inputs", "units", "channels", "weights", some of them, or "units:LAYER,..." of the last three.
    objective : str or callable
        What the chain minimises: a name of docs/objectives.md, or a function (predictions, targets, mask) -> float.
    **options
        Other options of the data, of the problem and of the model, such as `must_keep`, `macs`, `test` or `hidden`.

    Raises
    ------
    ConfigError
        An unknown option, or one that belongs to `fit`.
    """

    def __init__(
        self,
        model: nn.Module | str | None,
        data: Any,
        *,
        keep: Any = None,
        sites: str = "inputs",
        objective: str | Callable[..., Any] = "cross-entropy",
        **options: Any,
    ) -> None:
        if isinstance(data[0] if isinstance(data, tuple) and data else data, nn.Module):
            raise ConfigError("the rows are a model. Give the rows first: prune(X, y, keep=..., model=model)")
        check_names(options)
        for name in options:
            if OPTIONS[name].section not in PROBLEM_SECTIONS:
                raise ConfigError(f"{name} is no part of a problem. Give it to fit or run instead")
        if isinstance(model, str):
            model, options = None, {"model": model, **options}
        check_model(model)
        self.model = model
        self.data = data
        self.function = objective if callable(objective) else None
        text = FUNCTION + getattr(objective, "__name__", type(objective).__name__) if callable(objective) else objective
        # What another method does not read stays unset unless somebody chose it.
        defaults = {"keep": None, "sites": "inputs", "objective": "cross-entropy"}
        chosen = {"keep": _plain_number(keep), "sites": sites, "objective": text}
        self.options = {name: value for name, value in chosen.items() if value != defaults[name]} | options

    def config(self, search: Search | None, options: dict[str, Any]) -> Config:
        """Return the checked configuration of this problem under a search and options of `fit`."""
        check_names(options)
        for name in options:
            if search is not None and OPTIONS[name].section == "search":
                raise ConfigError(f"{name} is an option of the search. Give it to {type(search).__name__}(...) instead")
        chosen = {} if search is None else {"method": search.method, **_flat(search)}
        source = os.fspath(self.data) if isinstance(self.data, str | os.PathLike) else FROM_PYTHON
        return make_config(**{"compare": "no", **self.options, **chosen, **options, "data": source})

    def dataset(self, config: Config) -> Dataset:
        """Return the rows as a data set, loaded or collected where they are not in memory yet."""
        return _dataset(self.data, config)


def prune(
    X: Any,
    y: Any = None,
    *,
    keep: Any = None,
    model: nn.Module | str | None = None,
    sites: str = "inputs",
    callbacks: Iterable[Callback] = (),
    **options: Any,
) -> Result:
    """Choose which n sites of a classifier to keep.

    Parameters
    ----------
    X : array (rows, N), frame, str, path, Dataset, pair (X, y) or DataLoader
        Features, or without `y` a whole data set: by name or path, as a pair, or as one or two DataLoaders.
    y : array (rows,), optional
        Classes.
    keep : int or dict of str to int, optional
        n, or a number for each kind of site; by default a quarter of the sites.
    model : nn.Module, str or None
        The classifier, see `Problem`. None: a multilayer perceptron.
    sites : str
        What may be dropped, see `Problem`.
    callbacks : iterable of Callback
        Who watches the run; one that is a `Controller` too changes it while it goes on.
    **options
        Any other option of docs/options.md. Nothing is written unless `out` names a folder. `objective` may be a function
        (predictions, targets, mask) -> float.

    Returns
    -------
    Result

    Raises
    ------
    McpruneError
        With the cause, what was found, and the remedy.
    KeyboardInterrupt
        Ctrl-C. What was written stays, and `resume` goes on with it.

    Examples
    --------
    >>> import mcprune
    >>> result = mcprune.prune("digits", keep=16)  # doctest: +SKIP
    >>> result.mask.indices.size  # doctest: +SKIP
    16
    """
    asked = {"keep": keep, "sites": sites, **options}
    return prune_problem(X if y is None else (X, y), model, asked, callbacks)


def prune_problem(
    data: Any,
    model: nn.Module | str | None,
    options: dict[str, Any],
    callbacks: Iterable[Callback] = (),
    controller: Controller | None = None,
) -> Result:
    """Do what `prune` does, with options by flat name."""
    check_names({name: value for name, value in options.items() if name != "model"})
    asked = {name: value for name, value in options.items() if OPTIONS[name].section in PROBLEM_SECTIONS}
    rest = {name: value for name, value in options.items() if name not in asked}
    return fit(Problem(model, data, **asked), None, callbacks=callbacks, controller=controller, **rest)


def fit(
    problem: Problem,
    search: Search | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    controller: Controller | None = None,
    **options: Any,
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
    **options
        Options of training, retraining and the run, such as `epochs`, `seed`, `out` or `max_time`; without `search` also
        options of the search, such as `method`.

    Returns
    -------
    Result

    Raises
    ------
    McpruneError
        With the cause, what was found, and the remedy.
    """
    config = problem.config(search, options)
    path = Path(config.runtime.out) if config.runtime.out else None
    running = loop.run_on(
        config,
        problem.dataset(config),
        path,
        problem.model,
        controller,
        problem.function,
        callbacks=callbacks,
    )
    return _result(running, problem.model, path)


def run(
    problem: Problem | Config,
    search: Search | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    controller: Controller | None = None,
    **options: Any,
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
        With the cause, what was found, and the remedy.
    """
    if isinstance(problem, Config):
        if search is not None or options:
            raise ConfigError("a configuration holds all options. Use config.replace(...) to change them")
        return loop.run(problem, controller, callbacks=callbacks)
    config = problem.config(search, options)
    path = Path(config.runtime.out) if config.runtime.out else None
    return loop.run_on(
        config,
        problem.dataset(config),
        path,
        problem.model,
        controller,
        problem.function,
        callbacks=callbacks,
    )


def resume(
    folder: str | Path,
    data: Any = None,
    model: nn.Module | None = None,
    *,
    objective: Callable[..., Any] | None = None,
    older: bool = False,
    anyway: bool = False,
    callbacks: Iterable[Callback] = (),
) -> Result:
    """Go on with a run that was cut off, to the bits that it would have had on this machine.

    Parameters
    ----------
    folder : path
        Of the run.
    data : str, Dataset, or a pair (X, y), optional
        The same data again, where they were given as arrays; else they are loaded as the first time.
    model : nn.Module, optional
        A classifier of the same kind again, where one was given; it is trained in place, its weights are the checkpoint's.
    objective : callable, optional
        The objective again, where it was a function.
    older : bool
        Pass over the last checkpoint.
    anyway : bool
        Go on although versions, threads, device or data differ: the bits may differ then.
    callbacks : iterable of Callback
        Who watches the run; they get its earlier events too.

    Returns
    -------
    Result
        As `prune` would have given; its history and events are those of the whole run.

    Raises
    ------
    McpruneError
        There is nothing to go on from, with the reason and what would help.
    """
    check_model(model)
    opened = open_run(folder, older=older, anyway=anyway)
    try:
        dataset = None if data is None else _dataset(data, opened.folder.config)
        return _result(resume_run(opened, dataset, model, objective, callbacks=callbacks), model, Path(folder))
    finally:
        opened.folder.close()


def _flat(search: Section) -> dict[str, Any]:
    """Return the options of a search that were set, by flat name."""
    return {
        name: getattr(search, entry.field)
        for name, entry in OPTIONS.items()
        if entry.section == "search" and entry.field != "method" and search.is_set(entry.field)
    }


def _result(running: Iterator[Event], model: nn.Module | None, path: Path | None) -> Result:
    """Run to the end and return the result; torch's threads and the model's mode are put back."""
    log: list[Event] = []
    threads = torch.get_num_threads()
    # Module by module: users freeze normalisations by putting them, and nothing else, into evaluation mode.
    modes = [] if model is None else [(module, module.training) for module in model.modules()]
    try:
        for event in running:
            log.append(event)
    finally:
        torch.set_num_threads(threads)
        for module, mode in modes:
            module.training = mode
    done = log[-1]
    assert isinstance(done, RunDone)
    outcome = outcome_of(done)
    support = outcome.search.mask
    return Result(
        mask=Mask(support, np.flatnonzero(support), done.names, outcome.search.weights),
        model=outcome.model,
        metrics={metric_name(score.name): score.accuracy for score in done.scores if score.accuracy is not None},
        is_complete=done.is_complete and not any(isinstance(event, Stopped) for event in log),
        history=[event for event in log if isinstance(event, Progress)],
        events=log,
        folder=path,
    )


def _plain_number(value: Any) -> Any:
    """Return numpy's integers as int; anything else is the configuration's to check."""
    return int(value) if isinstance(value, np.integer) else value


def check_model(model: object) -> None:
    if model is not None and not isinstance(model, nn.Module):
        raise ConfigError(f"model is a {type(model).__name__}; give a torch nn.Module, or None for an MLP")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            "the model is compiled by TorchScript, so its layers cannot be gated; give the nn.Module that it was made from"
        )
    if model is not None and any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise ModelError(
            "the model is on the device 'meta', which has no numbers; give it after model.to_empty(device='cpu') and its weights"
        )


def _dataset(data: Any, config: Config) -> Dataset:
    if isinstance(data, str | os.PathLike):
        return load_dataset(config.replace(data=os.fspath(data)))
    return dataset_of(data, config)
