"""Whether a masked model and the smaller one that was cut out of it agree on random rows."""

from __future__ import annotations

import math

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.forward import home, rows_that_run, run_model
from mcprune.sites.gates import GatedModel

# Gates that differ from 1 by so much show how a model rounds: in float64 the outputs hardly differ. So many such differences are allowed.
NUDGE, ROUNDINGS = 1e-13, 30.0


def require_agreement(
    masked: GatedModel, small: nn.Module, mask: torch.Tensor, rows: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Raise a ModelError unless both, in evaluation mode, give the same logits for random rows."""
    _, device = home(masked)
    x = rows_that_run(masked.model, rows).to(device=device, dtype=dtype)
    inputs = masked.sites.inputs
    kept = x.flatten(1)[:, mask[inputs.start : inputs.stop].to(device)] if inputs is not None else x
    with torch.no_grad():
        expected = run_model(lambda: masked(x, mask.to(device=device, dtype=dtype)), masked.model, rows)
        actual = run_model(lambda: small(kept), small, tuple(kept.shape[1:]))
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
    if not worst <= bound and dtype == torch.float64:  # models that compute in float32 inside round as such
        with torch.no_grad():
            moved = masked(x, mask.to(device=device, dtype=dtype) * (1 + NUDGE))
        bound = max(bound, ROUNDINGS * float((moved - expected).abs().max()))
    if not worst <= bound:
        raise ModelError(_mismatch(masked.model, f"outputs that differ by {worst:.3g}, more than {bound:.3g}"))


def _mismatch(model: nn.Module, difference: str) -> str:
    return (
        f"the smaller model of {type(model).__name__} was built and gives {difference}: its forward pass is not "
        "what its layers say, or is random in evaluation mode. "
        'Choose sites = "inputs", or write the model as one nn.Sequential.'
    )
