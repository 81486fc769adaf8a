"""The gradient path's part of a plan: every option that is still open settled, from the length of the run."""

from __future__ import annotations

from typing import Any

import torch

from mcprune.chain.schedules import Schedule, parse
from mcprune.config.gradient import LARGEST, SCHEDULES
from mcprune.config.schema import RunConfig
from mcprune.errors import ConfigError
from mcprune.methods.gradient.alphas import Alpha, Constant, Decades, Stall, Strength, Timed, Windowed
from mcprune.methods.gradient.method import Gradient, GradientSettings
from mcprune.types import IntArray

# The slides' run: lambda from 1 to 1e7 in eight parts of 20 epochs, means over 10 epochs.
PARTS, WINDOW = 8, 10
FIXED, RAMP = "10.0", "geometric:0.02:30.0:0.7"
BOUND, BOUND_DRAWN = 7.0, 3.5  # of the weights; with straight-through gates it sets how many sites a row trades
# The way that a weight could go in a run under Adam: several times from one end to the other.
TRAVEL, LEAST_RATE, LARGEST_RATE = 100.0, 1e-3, 0.1
SGD_RATE = 30.0  # the gradient of a weight is of order alpha s (1 - s) / N


def settle(config: RunConfig, epochs: int, steps: int) -> dict[str, Any]:
    """Return what the open options of the gradient path become in a run of so many epochs and steps.

    Parameters
    ----------
    config : RunConfig
        With `--method gradient`. Its schedule may be `auto`: then only what pilots do not choose is settled.
    epochs, steps : int
        Of the whole run.

    Raises
    ------
    ConfigError
        A window or a decade longer than the run, lambda that starts above its end, an alpha that does not fit the schedule.
    """
    schedule = config.schedule or "ramp"
    optimizer = config.pruner_optimizer or "adam"
    rate = min(LARGEST_RATE, max(LEAST_RATE, TRAVEL / steps)) if optimizer == "adam" else SGD_RATE
    decade = config.decade_epochs or epochs / PARTS
    wanted: dict[str, Any] = {
        "schedule": schedule,
        "gate_kind": config.gate_kind or "sigmoid",
        "pruner_optimizer": optimizer,
        "pruner_learning_rate": config.pruner_learning_rate or float(f"{rate:.3g}"),
        "pruner_bound": config.pruner_bound or (BOUND_DRAWN if config.gate_kind == "straight-through" else BOUND),
        "alpha": config.alpha if "alpha" in config.model_fields_set else (FIXED if schedule == "fixed" else RAMP),
        "lambda_": config.lambda_ or (1e5 if schedule == "mu-lambda" else 1.0),
        "lambda_end": config.lambda_end or max(1e7, config.lambda_ or 0.0),
        "decade_epochs": decade,
        "window_kind": config.window_kind or "products",
        "stall_epochs": config.stall_epochs or max(1, round(epochs / 40)),
        "stall_tolerance": config.stall_tolerance or 0.01,
        "stall_factor": config.stall_factor or 2.0,
        "alpha_cap": config.alpha_cap or 1e6,
        "pilot_share": config.pilot_share or 0.4,
    }
    window = max(1, round(decade * WINDOW / 20)) if schedule == "decade" else WINDOW
    wanted["window_epochs"] = config.window_epochs or max(1, min(window, epochs))
    others = set().union(*SCHEDULES.values()) - SCHEDULES[schedule] - {"alpha"}
    settled = {name: None if name in others else value for name, value in wanted.items()}
    _check(config, settled, epochs)
    if schedule == "auto":
        del settled["alpha"], settled["gate_kind"], settled["pruner_bound"]
    return settled


def _check(config: RunConfig, settled: dict[str, Any], epochs: int) -> None:
    schedule, alpha = settled["schedule"], parse(settled["alpha"])
    for name in ("window_epochs", "decade_epochs", "stall_epochs"):
        if settled[name] is not None and settled[name] > epochs:
            spelled = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{spelled} {settled[name]:g} is longer than the run of {epochs} epochs; choose at most {epochs}, or more --epochs"
            )
    if settled["lambda_end"] is not None and settled["lambda_"] > settled["lambda_end"]:
        raise ConfigError(
            f"--lambda {settled['lambda_']:g} is above --lambda-end {settled['lambda_end']:g}, but it only rises; exchange them"
        )
    if schedule == "fixed" and alpha.kind != "constant":
        raise ConfigError(
            f"--schedule fixed needs one number for --alpha, met {settled['alpha']}; or use --schedule ramp"
        )
    if schedule == "ramp" and alpha.kind == "constant":
        raise ConfigError(
            f"--schedule ramp needs --alpha geometric:START:END[:UNTIL] or linear:..., met {settled['alpha']}; "
            "or use --schedule fixed"
        )
    if max(alpha.start, alpha.end) > LARGEST:
        raise ConfigError(f"--alpha {settled['alpha']} is so large that L_tot overflows; choose at most {LARGEST:g}")


def make_alpha(config: RunConfig) -> Alpha:
    """Return the schedule of a settled configuration, at its start."""
    if config.schedule in ("fixed", "ramp"):
        return Timed(parse(config.alpha))
    rule: Strength = Constant()
    if config.schedule == "mu-lambda":
        rule = Constant(config.lambda_ or 1.0)
    elif config.schedule == "decade":
        rule = Decades(config.lambda_ or 1.0, config.lambda_end or LARGEST, config.decade_epochs or 1.0)
    elif config.schedule == "stall":
        rule = Stall(
            config.lambda_ or 1.0, config.lambda_end or LARGEST, config.stall_factor or 2.0,
            config.stall_tolerance or 0.01, config.stall_epochs or 1,
        )  # fmt: skip
    return Windowed(
        rule,
        window=config.window_epochs or WINDOW,
        products=config.window_kind != "literal",
        cap=config.alpha_cap or LARGEST,
    )


def make_gradient(
    config: RunConfig,
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
    config : RunConfig
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
    settings = GradientSettings(
        keep=keep,
        gate_kind=config.gate_kind or "sigmoid",
        sharpness=parse(config.sharpness) if config.gate_kind == "annealed" else Schedule("constant", 1.0, 1.0),
        modified=config.rejection == "modified",
        optimizer=config.pruner_optimizer or "adam",
        learning_rate=config.pruner_learning_rate or LEAST_RATE,
        start_weight=config.start_weight,
        steps=steps,
        epoch_steps=max(1, rows // min(config.batch_size or rows, rows)),
        seed=config.seed,
        bound=config.pruner_bound,
    )
    return Gradient(sites, settings, make_alpha(config), device, floor)
