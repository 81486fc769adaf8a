"""Two models compared on random rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.modes import evaluating as evaluating
from mcprune.random import weights_generator

if TYPE_CHECKING:
    from mcprune.sites.gates import GatedModel

CHECKED_ROWS = 32


def require_agreement(
    masked: GatedModel, small: nn.Module, mask: torch.Tensor, rows: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Raise a ModelError unless both, in evaluation mode, give the same logits for random rows."""
    _, device = home(masked)
    x = random_rows(rows).to(device=device, dtype=dtype)
    inputs = masked.sites.inputs
    kept = x.flatten(1)[:, mask[inputs.start : inputs.stop].to(device)] if inputs is not None else x
    with torch.no_grad():
        expected = run(lambda: masked(x, mask.to(device=device, dtype=dtype)), masked.model, rows)
        actual = run(lambda: small(kept), small, tuple(kept.shape[1:]))
    if not bool(torch.isfinite(expected).all()):
        raise ModelError(
            f"the masked {type(masked.model).__name__} gives outputs that are not finite, so there is "
            "nothing to compare with. Train it again, with a smaller learning rate."
        )
    if expected.shape != actual.shape:
        raise ModelError(_mismatch(masked.model, f"shape {tuple(actual.shape)} in place of {tuple(expected.shape)}"))
    # Half of the digits: rounding stays far below, any wrong weight is far above.
    bound = math.sqrt(torch.finfo(expected.dtype).eps) * max(float(expected.abs().max()), 1e-6)
    worst = float((expected - actual).abs().max())
    if not worst <= bound:
        raise ModelError(_mismatch(masked.model, f"outputs that differ by {worst:.3g}, more than {bound:.3g}"))


def _mismatch(model: nn.Module, difference: str) -> str:
    return (
        f"the smaller model of {type(model).__name__} was built and gives {difference}: its forward pass is not "
        "what its layers say, or is random in evaluation mode. "
        'Choose sites = "inputs", or write the model as one nn.Sequential.'
    )


def random_rows(rows: tuple[int, ...]) -> torch.Tensor:
    """(32, *rows) normal deviates, float64, always the same."""
    generator = weights_generator(0)
    return torch.randn((CHECKED_ROWS, *rows), generator=generator, dtype=torch.float64, device="cpu")


def home(model: nn.Module) -> tuple[torch.dtype, torch.device]:
    """Dtype and device of the first floating parameter; float32 on the CPU without one."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.dtype, parameter.device
    return torch.float32, torch.device("cpu")


def run(forward: Callable[[], object], model: nn.Module, rows: tuple[int, ...]) -> torch.Tensor:
    """Call ``forward``; whatever the model raises becomes a ModelError that says on what it was run."""
    try:
        result = forward()
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} could not be run on rows of shape {rows}: {error}. "
            "Pass input_shape=..., the shape of one row as the model takes it, such as (1, 28, 28)."
        ) from error
    if not isinstance(result, torch.Tensor):
        raise ModelError(
            f"{type(model).__name__} gives a {type(result).__name__}, not a tensor of logits. "
            "Wrap it in a module that returns the logits alone."
        )
    return result
