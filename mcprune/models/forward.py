"""Running a model: its dtype and device, rows to try it on, and errors that say what it was run on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mcprune.errors import ModelError, brief
from mcprune.models.modes import plain_attention
from mcprune.random import weights_generator

CHECKED_ROWS = 32


def random_rows(rows: tuple[int, ...]) -> torch.Tensor:
    """(32, *rows) normal deviates, float64, always the same."""
    generator = weights_generator(0)
    return torch.randn((CHECKED_ROWS, *rows), generator=generator, dtype=torch.float64, device="cpu")


def rows_that_run(model: nn.Module, rows: tuple[int, ...]) -> torch.Tensor:
    """Return `random_rows` where the model can be run on such, else 0 and 1 in their place, which are tokens of any vocabulary."""
    x = random_rows(rows)
    dtype, device = home(model)
    try:
        with torch.no_grad(), plain_attention():
            model(x.to(device=device, dtype=dtype))
    except Exception:  # the user's own code; who runs the model says what is wrong
        return (x > 0).to(x.dtype)
    return x


def home(model: nn.Module) -> tuple[torch.dtype, torch.device]:
    """Dtype and device of the first floating parameter; float32 on the CPU without one."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.dtype, parameter.device
    return torch.float32, torch.device("cpu")


def run_model(forward: Callable[[], object], model: nn.Module, rows: tuple[int, ...]) -> torch.Tensor:
    """Call ``forward``; whatever the model raises becomes a ModelError that says on what it was run."""
    try:
        result = forward()
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} could not be run on rows of shape {rows}: {brief(error)}. "
            "Pass input_shape=..., the shape of one row as the model takes it, such as (1, 28, 28)."
        ) from error
    if not isinstance(result, torch.Tensor):
        raise ModelError(
            f"{type(model).__name__} gives a {type(result).__name__}, not a tensor of logits. "
            "Wrap it in a module that returns the logits alone."
        )
    return result
