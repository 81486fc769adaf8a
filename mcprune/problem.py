"""A pruning problem: a classifier, rows, the sites that may be dropped, how many are kept, and what is minimised."""

from __future__ import annotations

import os
from collections.abc import Callable

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
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.weights import FROM_ARRAY
from mcprune.errors import ConfigError, ModelError
from mcprune.models.adapters import accepted_inputs, unwrapped
from mcprune.objectives.specs import FUNCTION
from mcprune.session.build.dataset import dataset_of, load_dataset

Search = Markov | Gradient | Importance
Options = dict[str, object]  # by flat name, as in docs/options.md
# Sections whose options describe a problem; the others describe how it is solved.
PROBLEM_SECTIONS = ("data", "problem", "model")
# What another method does not read stays unset unless somebody chose it.
DEFAULTS: Options = {"keep": None, "sites": "inputs", "objective": "auto"}


class Problem:
    """A classifier, rows, the sites that may be dropped, how many are kept, and what is minimised.

    Parameters
    ----------
    model : nn.Module, str or None
        A torch classifier of (B, N) rows with one output a class; it is trained in place. Or the name of one, such as
        "resnet56". None: a multilayer perceptron of `hidden` widths.
    data : str, Dataset, pair (X, y), DataLoader or Dataset of torch, or pair of these
        A data set by name or path, or features (rows, N) and classes (rows,) as arrays, lists or a frame. The rows of
        DataLoaders (train, or train and test) are collected into memory once, `max_memory` bytes of them at most. Their batches may be
        (features, classes), ((input, input, ...), classes), ({name: input}, classes) or dicts with `labels`.
    keep : int or dict of str to int, optional
        n, or a number for each kind of site; by default a quarter of the sites.
    sites : str
        "inputs", "units", "channels", "weights", "states", "heads", "neurons", "experts", "blocks", some of them, or
        "units:LAYER,..." of all but inputs; or "sensors", or "steps", of rows over time.
    objective : str or callable
        What the chain minimises: a name of docs/objectives.md, or a function (predictions, targets, mask) -> float. By default
        cross-entropy, of a regression the squared error.
    sample_weight : str or array-like (rows,), optional
        How often each row counts in training, losses and scores: a column of a table or frame, which is then no feature, or numbers.
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
        data: object,
        *,
        keep: object = None,
        sites: object = "inputs",
        objective: object = "auto",
        sample_weight: object = None,
        **options: object,
    ) -> None:
        if isinstance(data[0] if isinstance(data, tuple) and data else data, nn.Module):
            raise ConfigError("The rows are a model. Give the rows first: prune(X, y, keep=..., model=model).")
        check_names(options)
        for name in options:
            if OPTIONS[name].section not in PROBLEM_SECTIONS:
                raise ConfigError(f"{name} is no part of a problem. Give it to fit or run instead.")
        if isinstance(model, str):
            model, options = None, {"model": model, **options}
        check_model(model)
        self.model = None if model is None else unwrapped(model)
        self.data = data
        self.function: Callable[..., object] | None = objective if callable(objective) else None
        text = FUNCTION + getattr(objective, "__name__", type(objective).__name__) if callable(objective) else objective
        chosen: Options = {"keep": _plain_number(keep), "sites": sites, "objective": text}
        self.weights = None if isinstance(sample_weight, str) else sample_weight
        if sample_weight is not None:
            chosen["sample_weight"] = sample_weight if self.weights is None else FROM_ARRAY
        self.options = {name: value for name, value in chosen.items() if value != DEFAULTS.get(name)} | options

    def config(self, search: Search | None, options: Options) -> Config:
        """Return the checked configuration of this problem under a search and options of `fit`.

        Raises
        ------
        ConfigError
            An unknown option, one of the search beside a search, or a value out of range.
        """
        check_names(options)
        for name in options:
            if search is not None and OPTIONS[name].section == "search":
                raise ConfigError(
                    f"{name} is an option of the search. Give it to {type(search).__name__}(...) instead."
                )
        chosen: Options = {} if search is None else {"method": search.method, **flat_options(search)}
        source = os.fspath(self.data) if isinstance(self.data, str | os.PathLike) else FROM_PYTHON
        return make_config(**{"compare": "no", **self.options, **chosen, **options, "data": source})

    def dataset(self, config: Config) -> Dataset:
        """Return the rows as a data set, loaded or collected where they are not in memory yet."""
        return rows_of(self.data, config, self.weights, self.model)


def problem_and_rest(model: nn.Module | str | None, data: object, options: Options) -> tuple[Problem, Options]:
    """Return the problem that options by flat name describe, and the options of `fit` among them."""
    check_names({name: value for name, value in options.items() if name != "model"})
    chosen = {name: value for name, value in options.items() if OPTIONS[name].section in PROBLEM_SECTIONS}
    rest = {name: value for name, value in options.items() if name not in chosen}
    return Problem(model, data, **chosen), rest


def flat_options(search: Section) -> Options:
    """Return the options of a search that were set, by flat name."""
    return {
        name: getattr(search, entry.field)
        for name, entry in OPTIONS.items()
        if entry.section == "search" and entry.field != "method" and search.is_set(entry.field)
    }


def check_model(model: object) -> None:
    """Refuse what is no torch classifier whose layers can be gated.

    Raises
    ------
    ConfigError
        No nn.Module.
    ModelError
        A model that is compiled, or that has no numbers.
    """
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


def rows_of(data: object, config: Config, weights: object = None, model: nn.Module | None = None) -> Dataset:
    """Return data as a data set: loaded by name or path, or collected; `weights` (rows,) are sample weights from Python.

    Of batches that are dicts the inputs are what the model's forward pass takes.
    """
    if isinstance(data, str | os.PathLike):
        return load_dataset(config.replace(data=os.fspath(data)), weights)
    return dataset_of(data, config, weights, None if model is None else accepted_inputs(model))


def _plain_number(value: object) -> object:
    """Return numpy's integers as int; anything else is the configuration's to check."""
    return int(value) if isinstance(value, np.integer) else value
