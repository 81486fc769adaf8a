"""From Python: a path over several numbers of kept sites, or over limits on a cost, in one call."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import torch
from torch import nn

from mcprune.config.measures import ALL_SITES
from mcprune.data.base import Dataset
from mcprune.data.fingerprint import fingerprint
from mcprune.errors import ConfigError
from mcprune.path.folder import check_path_folder, write_path
from mcprune.path.result import PathResult
from mcprune.path.run import Searched, find_path
from mcprune.path.screen import path_screen
from mcprune.path.search.ladder import Watch
from mcprune.path.search.levels import AUTO, Levels, is_auto, parse_levels
from mcprune.path.search.store import PathRequest, PathStore, check_parts, parts_from_python
from mcprune.problem import Options, check_model, problem_and_rest, rows_of
from mcprune.session.build.dataset import load_dataset
from mcprune.session.interrupt import Interrupt
from mcprune.session.loop import controller_of
from mcprune.session.steering.callbacks import Callback, Callbacks
from mcprune.storage.events import Event

COSTS = ("macs", "parameters")
# Options that a path sets itself, and why.
FIXED = {"start": "starts from all sites", "keep_schedule": "has its own n(t), which stops at every level"}


def prune_path(
    X: object,
    y: object = None,
    *,
    keep: object = AUTO,
    model: nn.Module | str | None = None,
    sites: str = "inputs",
    sample_weight: object = None,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
    **options: object,
) -> PathResult:
    """Choose a mask for every number of kept sites of a list, in one run, and tell how many are enough.

    Parameters
    ----------
    X, y, model, sites, sample_weight
        As those of `prune`.
    keep : str or iterable of int
        "2:200" (12 numbers of about equal factors), "2:200:20" (20 of them), "5,10,20" or [5, 10, 20]. "auto" looks between few
        sites and all, and then at every number around the answer. For a path over a cost give `macs` or `parameters` such a
        range instead.
    callbacks : iterable of Callback
        Get the events of the search.
    progress : bool, optional
        As that of `prune`.
    **options
        As those of `prune`; `out` names a folder for the path.

    Returns
    -------
    PathResult
        `path.curve` has the figures, `path.enough` the answer, `path.at(25)` a `Result`.

    Raises
    ------
    McpruneError
        The path cannot start, or it failed; the message names the cause and the remedy.

    Examples
    --------
    >>> import mcprune
    >>> path = mcprune.prune_path("wine", keep="1:13")  # doctest: +SKIP
    >>> print(path)  # doctest: +SKIP
    >>> path.at(5).model.predict(X)  # doctest: +SKIP
    """
    chosen = {"keep": keep, "sites": sites, **({} if sample_weight is None else {"sample_weight": sample_weight})}
    return path_of(X if y is None else (X, y), model, {**chosen, **options}, callbacks, progress)


def path_of(
    data: object,
    model: nn.Module | str | None,
    options: Options,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = False,
) -> PathResult:
    """Do what `prune_path` does, with options by flat name."""
    levels, rest = split_levels(options)
    problem, others = problem_and_rest(model, data, rest)
    config = problem.config(None, others)
    out = config.out_folder()
    if out is not None:
        check_path_folder(out, force=bool(config.value("force")))
    dataset = problem.dataset(config)
    needs = parts_from_python(config, has_model=problem.model is not None, has_function=problem.function is not None)
    store = PathStore(out, PathRequest(config, levels, needs=needs))
    try:
        path = solve(store, dataset, [path_screen(progress), *callbacks], problem.model, problem.function)
        if path.is_complete:
            store.finish()
        return path
    finally:
        store.close()


def resume_path(
    folder: str | Path,
    data: object = None,
    model: nn.Module | None = None,
    *,
    objective: Callable[..., object] | None = None,
    sample_weight: object = None,
    anyway: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
) -> PathResult:
    """Go on with a path that was cut off, to the bits that it would have had on this machine.

    Parameters
    ----------
    folder : path
        Of the path.
    data : str, Dataset, or a pair (X, y), optional
        The same data again, where they were arrays; else they are loaded again.
    model : nn.Module, optional
        A classifier of the same kind again, where the path had a user's own.
    objective : callable, optional
        The objective again, where it was a function.
    sample_weight : array (rows,), optional
        The sample weights again, where they were an array.
    anyway : bool
        Go on although versions, threads, device or data differ: the bits may differ then.
    callbacks : iterable of Callback
        They get the events from here on.
    progress : bool, optional
        As that of `prune`.

    Returns
    -------
    PathResult
        That of `prune_path`.

    Raises
    ------
    McpruneError
        There is nothing to go on from, with the reason and the remedy.

    Examples
    --------
    >>> import mcprune
    >>> path = mcprune.resume_path("runs/wine-path")  # doctest: +SKIP
    """
    check_model(model)
    store = PathStore.open(Path(folder), anyway=anyway)
    try:
        request = store.request
        assert request is not None
        has_data = data is not None or sample_weight is not None
        check_parts(store, has_data=has_data, has_model=model is not None, has_function=objective is not None)
        source = request.config.data_settings().source if data is None else data
        dataset = rows_of(source, request.config, sample_weight) if has_data else load_dataset(request.config)
        path = solve(store, dataset, [path_screen(progress), *callbacks], model, objective)
        if path.is_complete:
            store.finish()
        return path
    finally:
        store.close()


def solve(
    store: PathStore,
    dataset: Dataset,
    callbacks: Iterable[Callback],
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
) -> PathResult:
    """Search the path that a store asks for, or what is left of it, and write it; torch's threads are as they were afterwards.

    Raises
    ------
    KeyboardInterrupt
        No level was reached.
    """
    assert store.request is not None
    threads, out = torch.get_num_threads(), store.folder
    watching, config = tuple(callbacks), store.request.config.replace(out=None)
    model = store.with_first_parameters(model)
    try:
        with Interrupt(signal.SIGINT, signal.SIGTERM) as interrupt:
            watch = Watch(interrupt, store, watching, controller_of(watching))
            settled = config.replace(**store.pinned)
            searched = _passed_on(find_path(settled, store.request.levels, dataset, watch, model, function), watching)
    finally:
        torch.set_num_threads(threads)
    pairs = zip(searched.curve.levels, searched.chosen, strict=True)
    tensors = {level.level: one.tensors for level, one in pairs}
    path = PathResult(
        searched.curve,
        config,
        searched.splits,
        tensors,
        model=copy.deepcopy(model),
        function=function,
        folder=out,
        is_complete=searched.is_complete,
        data=None if out is None else fingerprint(searched.splits),
    )
    if out is not None:
        write_path(out, path, tensors, keeps_levels=store.is_resumed)
    return path


def _passed_on(events: Generator[Event, None, Searched], callbacks: tuple[Callback, ...]) -> Searched:
    """Pass events to callbacks, and return the result."""
    results: list[Searched] = []

    def collected() -> Iterator[Event]:
        results.append((yield from events))

    for _ in Callbacks(callbacks).watch(collected()):
        pass
    return results[0]


def split_levels(options: Options) -> tuple[Levels | None, Options]:
    """Return the levels that options ask for, None for `auto`, and the options without them.

    Raises
    ------
    ConfigError
        Ranges of two options, levels that cannot be read, or options that a path sets itself.
    """
    if options.get("method", "markov") != "markov":
        raise ConfigError(f"A path is searched by the chain, but method={options['method']}. Leave method out.")
    for name, why in FIXED.items():
        if name in options:
            raise ConfigError(f"{name}={options[name]}, but a path {why}. Leave {name} out.")
    keep = options.get("keep")
    if isinstance(keep, dict) or (isinstance(keep, str) and "=" in keep):
        raise ConfigError(
            f"A path goes over one number of sites, but keep={keep} names kinds of them. Give a range such as 2:200."
        )
    if options.get("fdr") is not None:
        raise ConfigError(
            f"fdr={options['fdr']} with a path, but each chooses how many columns are kept. Leave one of the two out."
        )
    if options.get("groups") is not None:
        raise ConfigError("A path with groups: what they cost is not searched level by level. Leave groups out.")
    levels, rest = _split(options)
    return levels, {**rest, "start": ALL_SITES}


def _split(options: Options) -> tuple[Levels | None, Options]:
    keep = options.get("keep")
    ranged = [name for name in COSTS if is_range(options.get(name))]
    if len(ranged) > 1:
        raise ConfigError(
            "Both macs and parameters have a range, but a path goes over one of them. Give the other one number."
        )
    if ranged:
        if is_range(keep) and not is_auto(keep):
            raise ConfigError(
                f"keep and {ranged[0]} have a range, but a path goes over one of them. Give the other one number."
            )
        levels = parse_levels(options[ranged[0]], ranged[0])
        rest = {**options, ranged[0]: levels.numbers[0]}
        return levels, {name: value for name, value in rest.items() if not (name == "keep" and is_auto(value))}
    rest = {name: value for name, value in options.items() if name != "keep"}
    if keep is None or is_auto(keep):
        return None, rest
    levels = parse_levels(keep)
    return levels, {**rest, "keep": levels.numbers[0]}


def is_range(value: object) -> bool:
    """Whether an option has several numbers, or asks for a choice among them."""
    if isinstance(value, str):
        return is_auto(value) or ((":" in value or "," in value) and "=" not in value)
    return isinstance(value, Iterable) and not isinstance(value, dict)
