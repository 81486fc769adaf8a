"""A classifier out of a file of the user: `FILE.py:NAME`."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

from torch import nn

from mcprune.errors import ModelError, brief
from mcprune.random import torch_seed


def model_of_file(text: str, seed: int) -> nn.Module:
    """Return the classifier that a file makes; the file is run.

    Parameters
    ----------
    text : str
        FILE.py:NAME, where NAME is an nn.Module, or is called without arguments and returns one, such as its class.
    seed : int
        Of torch's global random state inside.

    Raises
    ------
    ModelError
        No such file or name, a file that raises, or something that is no nn.Module.
    """
    path, _, name = text.rpartition(":")
    if not Path(path).is_file():
        raise ModelError(f"model={text!r}: there is no file {path!r}. Give FILE.py:NAME of a torch nn.Module.")
    spec = importlib.util.spec_from_file_location("mcprune_own_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with torch_seed(seed):
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # the user's own code
            raise ModelError(
                f"model={text!r}: {path} cannot be run, {type(error).__name__}: {brief(error)}. Fix that."
            ) from error
        if not hasattr(module, name):
            raise ModelError(f"model={text!r}: {path} has no {name!r}. Give FILE.py:NAME of something in it.")
        model = getattr(module, name)
        if isinstance(model, nn.Module):
            return copy.deepcopy(model)
        try:
            model = model()
        except Exception as error:  # the user's own code
            raise ModelError(
                f"model={text!r}: {name}() raised {type(error).__name__}: {brief(error)}. It is called without arguments."
            ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model={text!r}: {name}() returned a {type(model).__name__}. Return a torch nn.Module.")
    return model
