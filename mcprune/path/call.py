"""From Python: a path over several numbers of kept sites, or over limits on a cost, in one call."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from mcprune.config.measures import ALL_SITES
from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.errors import ConfigError
from mcprune.path.folder import check_path_folder, write_path
from mcprune.path.levels import AUTO, Levels, is_auto, parse_levels
from mcprune.path.result import PathResult
from mcprune.path.run import find_path
from mcprune.problem import Options, problem_and_rest
from mcprune.report.screens.choose import progress_screen
from mcprune.session.interrupt import Interrupt
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
    with progress_screen(progress) as screen:
        watching = [screen, *callbacks]
        return solve(config, levels, dataset, watching, problem.model, problem.function, out)


def solve(
    config: Config,
    levels: Levels | None,
    dataset: Dataset,
    callbacks: Iterable[Callback],
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
    out: Path | None = None,
) -> PathResult:
    """Search a path and write it; torch's threads are as they were afterwards.

    Raises
    ------
    KeyboardInterrupt
        No level was reached.
    """
    threads = torch.get_num_threads()
    watching, config = Callbacks(callbacks), config.replace(out=None)
    try:
        with Interrupt(signal.SIGINT, signal.SIGTERM) as interrupt:
            events = find_path(config, levels, dataset, interrupt, model, function)
            while True:
                try:
                    event: Event = next(events)
                except StopIteration as end:
                    searched = end.value
                    break
                watching.on_event(event)
    finally:
        torch.set_num_threads(threads)
    pairs = zip(searched.curve.levels, searched.chosen, strict=True)
    parameters = {level.level: one.parameters for level, one in pairs if one.parameters is not None}
    path = PathResult(
        searched.curve, config, searched.splits, parameters, model=copy.deepcopy(model), function=function, folder=out
    )
    if out is not None:
        write_path(out, path, parameters)
    return path


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
