"""From Python: `prune` on a user's own arrays or data set, with the mask, the small model and the history in one result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mcprune.config.schema import Config, make_config
from mcprune.data.base import Dataset
from mcprune.data.load import FROM_PYTHON
from mcprune.errors import ConfigError, ModelError
from mcprune.objectives.specs import FUNCTION
from mcprune.session.build.dataset import dataset_of, load_dataset
from mcprune.session.finalize import outcome_of
from mcprune.session.loop import run_on
from mcprune.session.resume import events_of, open_run
from mcprune.session.steering import Steering
from mcprune.storage.events import Event, Progress, RunDone
from mcprune.storage.pruned_model import PrunedModel
from mcprune.types import BoolArray, FloatArray, IntArray

# A mask that shows itself names so many sites.
SHOWN_NAMES = 100


@dataclass(frozen=True)
class Mask:
    """A hard mask over N sites that keeps exactly n.

    Attributes
    ----------
    kept : ndarray of bool, shape (N,)
    keep : ndarray of int64, shape (n,)
        The kept sites' flat indices, rising.
    names : tuple of str
        Names of the kept sites, in the order of `keep`.
    weights : ndarray of float64, shape (N,)
        The pruner weights at the end of the search.
    """

    kept: BoolArray
    keep: IntArray
    names: tuple[str, ...]
    weights: FloatArray

    def _repr_html_(self) -> str:
        """Show the mask in a notebook: how many sites are kept, and which."""
        names = ", ".join(escape(name) for name in self.names[:SHOWN_NAMES])
        more = f" and {len(self.names) - SHOWN_NAMES:,} more" if len(self.names) > SHOWN_NAMES else ""
        return f"<p><b>{self.keep.size:,} of {self.kept.size:,} sites kept</b>: {names}{more}</p>"


@dataclass(frozen=True)
class Result:
    """What a run has found.

    Attributes
    ----------
    mask : Mask
    model : PrunedModel
        The pruned model, retrained: `model.predict(X)` takes whole rows or those of the kept columns, `model(model.transform(X))`
        gives outputs.
    figures : dict of str to float
        Test accuracy by row of the final table.
    history : list of Progress
        The state of the run after blocks, from its events.
    events : list of Event
    folder : Path or None
    """

    mask: Mask
    model: PrunedModel
    figures: dict[str, float]
    history: list[Progress]
    events: list[Event] = field(repr=False)
    folder: Path | None

    def _repr_html_(self) -> str:
        """Show the result in a notebook: the figures, the picture of the kept inputs where they are an image, the mask."""
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{value:.4f}</td></tr>" for name, value in self.figures.items())
        table = f"<table><tr><th></th><th>test accuracy</th></tr>{rows}</table>"
        return table + picture(self.model) + self.mask._repr_html_()


def picture(model: PrunedModel) -> str:
    """Return the kept inputs of a small model as an SVG; nothing where they are no image."""
    if model.image_shape is None or model.columns.size == model.n_inputs:
        return ""
    height, width = model.image_shape[-2:]
    places = sorted({int(column) % (height * width) for column in model.columns})
    squares = "".join(f'<rect x="{place % width}" y="{place // width}" width="1" height="1"/>' for place in places)
    return (
        f'<svg role="img" aria-label="the kept inputs" viewBox="0 0 {width} {height}" width="200" '
        f'style="border:1px solid #888;background:#8882" fill="#3b82d0">{squares}</svg>'
    )


def prune(
    model: nn.Module | str | None, data: Any, keep: int | None = None, sites: str = "inputs", **options: Any
) -> Result:
    """Choose which n sites of a classifier to keep.

    Parameters
    ----------
    model : nn.Module, str or None
        A torch classifier of (B, N) rows with one output a class; it is trained in place. Or the name of one, such as
        "resnet56". None: an MLP of `hidden` widths.
    data : str, Dataset, pair (X, y), DataLoader or pair of DataLoader
        A data set by name or path, or features (rows, N) and classes (rows,) as arrays, lists or a pandas frame. The rows of
        DataLoaders (train, or train and test) are collected into memory once, `max_memory` bytes of them at most.
    keep : int, optional
        n; by default a quarter of the sites.
    sites : str
        "inputs", "units", "channels", some of them, "units:LAYER,..." or "channels:LAYER,...".
    **options
        Any other option of `Config`. Nothing is written unless `out` names a folder. `objective` may be a function
        (predictions, targets, mask) -> float, see docs/objectives.md.

    Returns
    -------
    Result

    Raises
    ------
    McpruneError
        With the cause, what was met, and the remedy.

    Examples
    --------
    >>> import mcprune
    >>> result = mcprune.prune(None, "digits", keep=16)  # doctest: +SKIP
    >>> result.mask.keep.size  # doctest: +SKIP
    16
    """
    return prune_steered(Steering(), lambda event: None, model, data, keep, sites, **options)


def prune_steered(
    steering: Steering,
    hear: Callable[[Event], None],
    model: nn.Module | str | None,
    data: Any,
    keep: int | None = None,
    sites: str = "inputs",
    **options: Any,
) -> Result:
    """Do what `prune` does while somebody steers, and `hear` is told every event."""
    if isinstance(model, str):
        model, options = None, {"model": model, **options}
    _check_model(model)
    given = {"keep": _plain_number(keep), "sites": sites, "compare": "no", **options}
    function = given["objective"] if callable(given.get("objective")) else None
    if function is not None:
        given["objective"] = FUNCTION + getattr(function, "__name__", type(function).__name__)
    given["data"] = os.fspath(data) if isinstance(data, str | os.PathLike) else FROM_PYTHON
    config = make_config(**given)
    dataset = _dataset(data, config)
    path = Path(config.runtime.out) if config.runtime.out else None
    return _result(run_on(config, dataset, path, model=model, steering=steering, function=function), model, path, hear)


def resume(
    folder: str | Path,
    data: Any = None,
    model: nn.Module | None = None,
    *,
    objective: Callable[..., Any] | None = None,
    older: bool = False,
    anyway: bool = False,
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

    Returns
    -------
    Result
        As `prune` would have given; its history and events are those of the whole run.

    Raises
    ------
    McpruneError
        Nothing to go on from, with the reason and what would help.
    """
    _check_model(model)
    opened = open_run(folder, older=older, anyway=anyway)
    try:
        dataset = None if data is None else _dataset(data, opened.folder.config)
        return _result(events_of(opened, dataset, model, objective), model, Path(folder), lambda event: None)
    finally:
        opened.folder.close()


def _result(
    running: Iterator[Event],
    model: nn.Module | None,
    path: Path | None,
    hear: Callable[[Event], None],
) -> Result:
    """Run to the end and return what came out; torch's threads and the model's mode are put back."""
    told: list[Event] = []
    threads = torch.get_num_threads()
    # Module by module: users freeze normalisations by putting them, and nothing else, into evaluation mode.
    modes = [] if model is None else [(module, module.training) for module in model.modules()]
    try:
        for event in running:
            hear(event)
            told.append(event)
    finally:
        torch.set_num_threads(threads)
        for module, mode in modes:
            module.training = mode
    done = told[-1]
    assert isinstance(done, RunDone)
    outcome = outcome_of(done)
    mask = outcome.search.mask
    return Result(
        mask=Mask(mask, np.flatnonzero(mask), done.names, outcome.search.weights),
        model=outcome.model,
        figures={score.name: score.accuracy for score in done.scores if score.accuracy is not None},
        history=[event for event in told if isinstance(event, Progress)],
        events=told,
        folder=path,
    )


def _plain_number(value: Any) -> Any:
    """Return numpy's integers as int; anything else is the configuration's to judge."""
    return int(value) if isinstance(value, np.integer) else value


def _check_model(model: object) -> None:
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
