"""The gradient path's part of a plan: every option that is still open settled, from the length of the run."""

from __future__ import annotations

from typing import Any

import torch

from mcprune.chain.schedules import Schedule, parse
from mcprune.config.schema import Config
from mcprune.config.sections.gradient import LARGEST_ALPHA as LARGEST
from mcprune.config.sections.gradient import SCHEDULES, TrainedGates
from mcprune.config.sections.gradient import Alpha as AlphaText
from mcprune.errors import ConfigError
from mcprune.methods.gradient.alphas import Alpha, Constant, Decades, Stall, Strength, Timed, Windowed
from mcprune.methods.gradient.method import Gradient, GradientSettings
from mcprune.types import IntArray

# The slides' run: lambda from 1 to 1e7 in eight parts of 20 epochs, means over 10 epochs.
PARTS, WINDOW = 8, 10
FIXED, RAMP, SHARPNESS = "10", "geometric:0.02:30:0.7", "geometric:1:16"
BOUND, BOUND_DRAWN = 7.0, 3.5  # of the weights; with straight-through gates it sets how many sites a row trades
# The way that a weight could go in a run under Adam: several times from one end to the other.
TRAVEL, LEAST_RATE, LARGEST_RATE = 100.0, 1e-3, 0.1
SGD_RATE = 30.0  # the gradient of a weight is of order alpha s (1 - s) / N


def settle(config: Config, epochs: int, steps: int) -> dict[str, Any]:
    """Return what the open options of the gradient path become in a run of so many epochs and steps.

    Parameters
    ----------
    config : Config
        With `--method gradient`. Its alpha may be `auto`: then only what pilots do not choose is settled.
    epochs, steps : int
        Of the whole run.

    Raises
    ------
    ConfigError
        A window or a decade longer than the run.
    """
    search = config.gradient
    kind = search.alpha.kind
    optimizer = search.gate_optimizer
    rate = min(LARGEST_RATE, max(LEAST_RATE, TRAVEL / steps)) if optimizer.kind == "adam" else SGD_RATE
    if optimizer.learning_rate is None:
        optimizer = optimizer.but(learning_rate=float(f"{rate:.3g}"))
    settled: dict[str, Any] = {"alpha": _alpha(search.alpha, epochs), "gate_optimizer": optimizer}
    if kind == "auto":
        return settled
    gates = search.gates if search.gates is not None else TrainedGates()
    if gates.kind == "annealed" and gates.sharpness is None:
        gates = gates.but(sharpness=SHARPNESS)
    bound = BOUND_DRAWN if gates.kind == "straight-through" else BOUND
    return settled | {
        "gates": gates,
        "weight_bound": bound if search.weight_bound is None else search.weight_bound,
    }


def _alpha(alpha: AlphaText, epochs: int) -> AlphaText:
    """Return the parts of alpha, settled for a run of so many epochs."""
    decade = alpha.epochs if alpha.epochs is not None else epochs / PARTS
    stall = alpha.epochs if alpha.epochs is not None else float(max(1, round(epochs / 40)))
    window = max(1, round(decade * WINDOW / 20)) if alpha.kind == "decade" else WINDOW
    usual: dict[str, Any] = {
        "value": FIXED if alpha.kind == "fixed" else RAMP,
        "lambda_": 1e5 if alpha.kind == "mu-lambda" else 1.0,
        "lambda_end": max(1e7, alpha.lambda_ or 0.0),
        "epochs": decade if alpha.kind == "decade" else stall,
        "window": max(1, min(window, epochs)),
        "window_kind": "products",
        "tolerance": 0.01,
        "factor": 2.0,
        "cap": 1e6,
        "pilots": 0.4,
    }
    open_parts = {name: usual[name] for name in SCHEDULES[alpha.kind] if getattr(alpha, name) is None}
    settled = alpha.but(**open_parts)
    for name in ("window", "epochs"):
        length = getattr(settled, name)
        if length is not None and length > epochs:
            raise ConfigError(
                f"alpha={alpha}: {name}={length:g} is longer than the run of {epochs} epochs; choose at most {epochs}, or more --epochs"
            )
    return settled


def make_alpha(config: Config) -> Alpha:
    """Return the schedule of a settled configuration, at its start."""
    alpha = config.gradient.alpha
    if alpha.kind in ("fixed", "ramp"):
        return Timed(parse(alpha.value or RAMP))
    rule: Strength = Constant()
    if alpha.kind == "mu-lambda":
        rule = Constant(alpha.lambda_ or 1.0)
    elif alpha.kind == "decade":
        rule = Decades(alpha.lambda_ or 1.0, alpha.lambda_end or LARGEST, alpha.epochs or 1.0)
    elif alpha.kind == "stall":
        rule = Stall(
            alpha.lambda_ or 1.0, alpha.lambda_end or LARGEST, alpha.factor or 2.0, alpha.tolerance or 0.01, round(alpha.epochs or 1)
        )  # fmt: skip
    return Windowed(
        rule,
        window=alpha.window or WINDOW,
        products=alpha.window_kind != "literal",
        cap=alpha.cap or LARGEST,
    )


def make_gradient(
    config: Config,
    *,
    sites: int,
    keep: int,
    rows: int,
    steps: int,
    device: torch.device,
    floor: IntArray | None = None,
) -> Gradient:
    """Return the gradient path of a settled configuration, at its start.

    Parameters
    ----------
    config : Config
    sites, keep : int
        N and n.
    rows : int
        That train.
    steps : int
        Of the whole run.
    device : torch.device
    floor : ndarray of int, shape (N,), optional
        See `Gradient`.
    """
    search = config.gradient
    gates = search.gates if search.gates is not None else TrainedGates()
    settings = GradientSettings(
        keep=keep,
        gate_kind=gates.kind,
        sharpness=Schedule("constant", 1.0, 1.0) if gates.sharpness is None else parse(gates.sharpness),
        modified=search.rejection == "modified",
        optimizer=search.gate_optimizer.kind,
        learning_rate=search.gate_optimizer.learning_rate or LEAST_RATE,
        start_weight=search.start_weight,
        steps=steps,
        epoch_steps=max(1, rows // min(config.train.batch_size or rows, rows)),
        seed=config.runtime.seed,
        bound=search.weight_bound,
    )
    return Gradient(sites, settings, make_alpha(config), device, floor)
