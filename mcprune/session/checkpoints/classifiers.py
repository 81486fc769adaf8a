"""The classifiers that a search ends with, kept so that masks can be evaluated by them later."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from mcprune.config.files import recorded_options
from mcprune.config.options import in_flat
from mcprune.config.schema import Config, make_config
from mcprune.data.base import Dataset
from mcprune.data.fingerprint import fingerprint
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.weights import FROM_ARRAY
from mcprune.errors import ConfigError, FolderError, brief
from mcprune.objectives.specs import FUNCTION
from mcprune.session.build.plan import Plan
from mcprune.session.build.planner import make_plan
from mcprune.session.search_status import SearchStatus
from mcprune.state import put_tensors, serialize
from mcprune.storage.checkpoint import read_checkpoint
from mcprune.storage.layout import CLASSIFIERS, RESULT, read_json
from mcprune.types import BoolArray, JsonObject

SCHEMA = 1


class SearchClassifiers(NamedTuple):
    """The plan of a run with the classifiers that its search has ended with, and the mask (N,) of the run."""

    plan: Plan
    mask: BoolArray


def classifiers_content(search: SearchStatus, mask: BoolArray) -> JsonObject:
    """Return a copy of the classifiers of a search, and what they belong to, as a tree for `packed`."""
    plan = search.plan
    return {
        "kind": "search classifiers",
        "classifiers_schema": SCHEMA,
        "options": recorded_options(plan.config.replace(out=None, force=False)),
        "evaluator": search.evaluator_name,
        "data": fingerprint(plan.splits),
        "is_users_model": plan.is_users_model,
        "classifiers": [serialize(gated.model) for gated in plan.stack],
        "mask": np.array(mask, bool),
    }


def read_classifiers(folder: str | Path) -> JsonObject:
    """Return the content of the classifiers of a run.

    Raises
    ------
    FolderError
        There is no run, it has not ended its search, or the file is broken.
    """
    path = Path(folder)
    if not (path / CLASSIFIERS).exists():
        read_json(path, RESULT)  # says of a folder that holds no finished run what is missing
        raise FolderError(
            f"{str(path)!r} has no {CLASSIFIERS}: the classifiers of its search were not kept. Run again, which keeps them."
        )
    try:
        content = read_checkpoint(path / CLASSIFIERS)
    except FolderError as error:
        raise FolderError(f"The classifiers of {str(path)!r} cannot be read: {error}. Run again.") from None
    if content.get("kind") != "search classifiers" or content.get("classifiers_schema") != SCHEMA:
        raise FolderError(
            f"{str(path / CLASSIFIERS)!r} was written by another mcprune. Use that version, or run again."
        )
    return content


def classifiers_config(content: JsonObject, name: str) -> Config:
    """Return the configuration of the run, with the evaluator that it used; `name` stands for the run in errors."""
    try:
        return make_config(**in_flat(content["options"])).with_evaluator(content["evaluator"])
    except (TypeError, ConfigError) as error:
        raise FolderError(f"The options of {name} are not valid: {error}. Run again.") from None


def check_parts(config: Config, dataset: object, model: nn.Module | None, function: object, *, name: str) -> None:
    """Refuse to go on without what came from Python.

    Raises
    ------
    ConfigError
        Data, sample weights, model or objective are missing, or given though the run has its own.
    """
    call, asked = "Sample from Python: mcprune.sample", config.data_settings()
    if dataset is None and asked.source == FROM_PYTHON:
        raise ConfigError(f"The data of {name} came from Python and are not in its folder. {call}(..., data=(X, y)).")
    if dataset is None and asked.reading.sample_weight == FROM_ARRAY:
        raise ConfigError(f"The sample weights of {name} came from Python. {call}(..., data=..., sample_weight=array).")
    is_function = str(config.value("objective")).startswith(FUNCTION)
    if is_function and function is None:
        raise ConfigError(f"The objective of {name} was a function of Python. {call}(..., objective=function).")
    if not is_function and function is not None:
        raise ConfigError(f"The objective of {name} is in its options. Leave objective out.")


def restore_classifiers(
    content: JsonObject,
    config: Config,
    dataset: Dataset,
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
    *,
    name: str,
) -> SearchClassifiers:
    """Return the classifiers of a content, on the same data again; the user's model is copied, and stays as it is.

    Raises
    ------
    McpruneError
        Model or data are missing or others than those of the run.
    """
    if content["is_users_model"] and model is None and not config.names_model_file():
        raise ConfigError(
            f"The classifier of {name} came from Python, and its code is not in the folder. "
            "Sample from Python: mcprune.sample(..., model=model)."
        )
    if not content["is_users_model"] and model is not None:
        raise ConfigError(f"The classifier of {name} is a built-in one. Leave model out.")
    plan = make_plan(config, dataset, copy.deepcopy(model), function=function)
    plan.notes.clear()
    if content["data"] != fingerprint(plan.splits):
        raise FolderError(
            f"The data {plan.splits.name!r} are not those that {name} was started with. Give the same data again."
        )
    try:
        if len(content["classifiers"]) != len(plan.stack):
            raise ValueError(f"{len(content['classifiers'])} classifiers, not {len(plan.stack)}")
        for gated, saved in zip(plan.stack, content["classifiers"], strict=True):
            put_tensors(gated.model, saved["parameters"], saved["buffers"])
        mask = np.asarray(content["mask"], bool)
        if mask.shape != (plan.sites.size,):
            raise ValueError(f"a mask of {mask.size} sites, not {plan.sites.size}")
    except (LookupError, TypeError, ValueError) as error:
        raise FolderError(f"The classifiers of {name} do not fit its model ({brief(error)}). Run again.") from None
    return SearchClassifiers(plan, mask)
