"""Checks of a user's own classifier, before anything is searched or written."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from mcprune.config.schema import Config
from mcprune.errors import ConfigError, ModelError, brief
from mcprune.models.modes import evaluating, is_fully_frozen, undrawn_parameters

# Parameters that a note names.
NAMED = 3


def check_model(model: nn.Module, rows: torch.Tensor, n_classes: int) -> None:
    """Refuse a model that cannot be copied, cannot be run on the rows, or does not give one output a class.

    Parameters
    ----------
    model : nn.Module
        Lazy layers get their shapes here.
    rows : Tensor, shape (2, N)
    n_classes : int

    Raises
    ------
    ModelError
    """
    outputs = _outputs(model, rows)
    if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != (2, n_classes):
        got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise ModelError(f"the model gives {got} for 2 rows; it must give (2, {n_classes}), one output a class")
    try:
        copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            f"The model cannot be copied ({type(error).__name__}: {brief(error)}). Use torch.nn.utils.parametrizations in place of "
            "torch.nn.utils.weight_norm and spectral_norm, and keep no tensor with a gradient history as an attribute."
        ) from error


def _outputs(model: nn.Module, rows: torch.Tensor) -> Any:
    try:
        with torch.no_grad(), evaluating(model):
            return model(rows)
    except Exception as error:  # the user's own code
        raise ModelError(
            f"the model cannot be run on rows of {rows.shape[1]} features ({type(error).__name__}: {brief(error)}); "
            "wrap it so that it takes (B, N)"
        ) from error


def check_frozen(config: Config, model: nn.Module) -> None:
    """Refuse options that train a model of which every parameter is frozen.

    Raises
    ------
    ConfigError
    """
    if not is_fully_frozen(model):
        return
    cause = "every parameter of the model has requires_grad=False, so nothing can be trained"
    if config.method == "markov" and not config.train.frozen:
        raise ConfigError(
            f"frozen=False, but {cause}. Pass frozen=True to choose a mask for the model as it is, or set requires_grad on what is to "
            "be trained."
        )
    if config.train.pretrain is not None:
        raise ConfigError(f"pretrain={config.train.pretrain}, but {cause}. Leave pretrain out.")
    if config.retrain.finetune not in ("auto", "none"):
        raise ConfigError(f"finetune={config.retrain.finetune}, but {cause}. Use finetune='none', or leave it out.")


def redraw_note(model: nn.Module) -> str:
    """What to say of trainable parameters that retraining cannot draw afresh; "" if there are none."""
    names = undrawn_parameters(model)
    if not names:
        return ""
    listing = ", ".join(map(repr, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"retraining starts {listing} from the values that they came with: no reset_parameters of the model draws them afresh"
