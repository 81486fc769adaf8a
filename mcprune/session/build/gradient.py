"""The gradient path's part of a plan: every option that is still open settled, from the length of the run."""

from __future__ import annotations

from typing import Any

import torch

from mcprune.chain.schedules import Schedule, parse
from mcprune.config.schema import Config
from mcprune.config.sections.gradient import LARGEST_ALPHA as LARGEST
from mcprune.config.sections.gradient import SCHEDULES
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


def settle(config: Config, epochs: int, steps: int) -> dict[str, Any]:
    """Return what the open options of the gradient path become in a run of so many epochs and steps.

    Parameters
    ----------
    config : Config
        With `--method gradient`. Its schedule may be `auto`: then only what pilots do not choose is settled.
    epochs, steps : int
        Of the whole run.

    Raises
    ------
    ConfigError
        A window or a decade longer than the run, lambda that starts above its end, an alpha that does not fit the schedule.
    """
    search = config.gradient
    schedule = search.schedule or "ramp"
    optimizer = search.pruner_optimizer or "adam"
    rate = min(LARGEST_RATE, max(LEAST_RATE, TRAVEL / steps)) if optimizer == "adam" else SGD_RATE
    decade = search.decade_epochs or epochs / PARTS
    wanted: dict[str, Any] = {
        "schedule": schedule,
        "gate_kind": search.gate_kind or "sigmoid",
        "pruner_optimizer": optimizer,
        "pruner_learning_rate": search.pruner_learning_rate or float(f"{rate:.3g}"),
        "pruner_bound": search.pruner_bound or (BOUND_DRAWN if search.gate_kind == "straight-through" else BOUND),
        "alpha": search.alpha if search.alpha is not None else (FIXED if schedule == "fixed" else RAMP),
        "lambda": search.lambda_ or (1e5 if schedule == "mu-lambda" else 1.0),
        "lambda_end": search.lambda_end or max(1e7, search.lambda_ or 0.0),
        "decade_epochs": decade,
        "window_kind": search.window_kind or "products",
        "stall_epochs": search.stall_epochs or max(1, round(epochs / 40)),
        "stall_tolerance": search.stall_tolerance or 0.01,
        "stall_factor": search.stall_factor or 2.0,
        "alpha_cap": search.alpha_cap or 1e6,
        "pilot_share": search.pilot_share or 0.4,
    }
    window = max(1, round(decade * WINDOW / 20)) if schedule == "decade" else WINDOW
    wanted["window_epochs"] = search.window_epochs or max(1, min(window, epochs))
    others = {name.rstrip("_") for name in set().union(*SCHEDULES.values()) - SCHEDULES[schedule] - {"alpha"}}
    settled = {name: None if name in others else value for name, value in wanted.items()}
    _check(config, settled, epochs)
    if schedule == "auto":
        del settled["alpha"], settled["gate_kind"], settled["pruner_bound"]
    return settled


def _check(config: Config, settled: dict[str, Any], epochs: int) -> None:
    schedule, alpha = settled["schedule"], parse(settled["alpha"])
    for name in ("window_epochs", "decade_epochs", "stall_epochs"):
        if settled[name] is not None and settled[name] > epochs:
            spelled = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{spelled} {settled[name]:g} is longer than the run of {epochs} epochs; choose at most {epochs}, or more --epochs"
            )
    if settled["lambda_end"] is not None and settled["lambda"] > settled["lambda_end"]:
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


def make_alpha(config: Config) -> Alpha:
    """Return the schedule of a settled configuration, at its start."""
    search = config.gradient
    if search.schedule in ("fixed", "ramp"):
        return Timed(parse(search.alpha or RAMP))
    rule: Strength = Constant()
    if search.schedule == "mu-lambda":
        rule = Constant(search.lambda_ or 1.0)
    elif search.schedule == "decade":
        rule = Decades(search.lambda_ or 1.0, search.lambda_end or LARGEST, search.decade_epochs or 1.0)
    elif search.schedule == "stall":
        rule = Stall(
            search.lambda_ or 1.0, search.lambda_end or LARGEST, search.stall_factor or 2.0,
            search.stall_tolerance or 0.01, search.stall_epochs or 1,
        )  # fmt: skip
    return Windowed(
        rule,
        window=search.window_epochs or WINDOW,
        products=search.window_kind != "literal",
        cap=search.alpha_cap or LARGEST,
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
    settings = GradientSettings(
        keep=keep,
        gate_kind=search.gate_kind or "sigmoid",
        sharpness=parse(search.sharpness) if search.gate_kind == "annealed" else Schedule("constant", 1.0, 1.0),
        modified=search.rejection == "modified",
        optimizer=search.pruner_optimizer or "adam",
        learning_rate=search.pruner_learning_rate or LEAST_RATE,
        start_weight=search.start_weight,
        steps=steps,
        epoch_steps=max(1, rows // min(config.train.batch_size or rows, rows)),
        seed=config.runtime.seed,
        bound=search.pruner_bound,
    )
    return Gradient(sites, settings, make_alpha(config), device, floor)
