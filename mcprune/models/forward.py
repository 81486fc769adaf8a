"""Running a model: its dtype and device, rows to try it on, and errors that say what it was run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from mcprune.errors import ModelError, brief
from mcprune.models.adapters import with_whole_numbers
from mcprune.models.modes import plain_attention
from mcprune.random import weights_generator

CHECKED_ROWS = 32


def random_rows(rows: tuple[int, ...], model: nn.Module | None = None) -> torch.Tensor:
    """(32, *rows) normal deviates, float64, always the same; whole numbers of a model are those of its examples."""
    generator = weights_generator(0)
    x = torch.randn((CHECKED_ROWS, *rows), generator=generator, dtype=torch.float64, device="cpu")
    return x if model is None else with_whole_numbers(model, x)


def zero_rows(model: nn.Module, count: int, rows: Sequence[int]) -> torch.Tensor:
    """(count, *rows) zeros where the model is, in its dtype; whole numbers of a model are those of its examples."""
    dtype, device = home(model)
    return with_whole_numbers(model, torch.zeros((count, *rows), dtype=dtype, device=device))


def rows_that_run(model: nn.Module, rows: tuple[int, ...]) -> torch.Tensor:
    """Return `random_rows` where the model can be run on such, else 0 and 1 in their place, which are tokens of any vocabulary."""
    x = random_rows(rows, model)
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
