"""Small runs that together use every way to a mask, kind of site, constraint and control: NAME -> Configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Configuration:
    """What to run, and how.

    Attributes
    ----------
    options : dict
        Options of the run besides those of `COMMON`.
    turns : dict of int to list of dict
        Changes of knobs and of the number of planned blocks, by the number of blocks done before them.
    end : int or None
        Blocks after which the search is stopped early.
    network : callable or None
        Makes the user's own classifier; None for one by name.
    ranks : int
        Processes that share the run.
    """

    options: Mapping[str, Any]
    turns: Mapping[int, list[dict[str, Any]]] = field(default_factory=dict)
    end: int | None = None
    network: Callable[[], nn.Module] | None = None
    ranks: int = 1


# The evaluator is named in each chain's options: `auto` chooses the fastest by a clock, and another one rounds differently.
COMMON = {
    "data": "digits",
    "keep": 16,
    "hidden": (24, 12),
    "epochs": 16,
    "batch_size": 64,
    "retrain_epochs": 2,
    "learning_rate": 0.01,
    "compare": "no",
    "seed": 3,
    "threads": 1,
    "device": "cpu",
    "checkpoint_every": "1",
}
FUSED = {"evaluator": "fused"}
LADDER = {
    "temperature": "geometric:3e-3:3e-4",
    "replicas": "3,swap_every=16",
    "moves": "informed=2,site=1,exchange=1",
}
ADAPTED = {
    "adapt_delta": 0.4,
    "keep_schedule": "geometric:0.3",
    "warm_up": 0.6,
    "evaluation_rows": "200,early=100",  # fewer than there are, so that the rows are drawn
}
WIDTHS = {"sites": "inputs,units", "moves": "exchange=3,toggle=1"}
# The rows of an 8 x 8 image as tied groups with costs.
LINES = {f"line{row}": {"sites": [f"{8 * row}-{8 * row + 7}"], "cost": 2 + row % 3} for row in range(8)}
TURNS = {
    2: [{"temperature": 1e-3, "moves": {"exchange": 0.5, "site": 0.5}}],
    4: [{"adapt_delta": 0.3}, {"blocks": 18}],
    7: [{"alpha": 3.0, "budget_pressure": 1.5}],
}


def convolutions() -> nn.Module:
    """A small network of the user's own for 8 x 8 images, with batch norm and a depthwise convolution."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(96, 10)),
        )


CHANNELS = {
    "keep": 8,
    "sites": "channels",
    "hidden": None,
    "decisions": 16,
    "lookahead": 4,
    "pool": "4",
    "evaluator": "suffix",
}

# The chain on inputs: its budgets, gates, moves and what it minimises.
INPUTS = {
    "inputs": Configuration(FUSED),
    "by-sign": Configuration({**FUSED, "gates": "hard"}),
    "rank-mixture": Configuration(
        {**FUSED, "moves": "site=3,block=1,exchange=1,toggle=1", "delta": "0.5", "temperature": "1e-3", "pool": "none"}
    ),
    "waves": Configuration(
        {"keep_schedule": "geometric:0.3,regrow=4", "input_noise": 0.1, "dropout": 0.2, "evaluator": "incremental"}
    ),
    "slides": Configuration({"preset": "slides", "evaluator": "full"}),
    "tempered": Configuration({**LADDER, **ADAPTED, **FUSED}),
    "chain-drops": Configuration(
        {
            "pool": "none",
            "moves": "exchange=1,toggle=1,site=1,block=1",
            "temperature": "1e-3",
            "gates": "sharpened",
            "evaluator": "full",
        }
    ),
    "objective": Configuration(
        {
            "evaluator": "incremental",
            "data": "breast-cancer",
            "keep": 5,
            "epochs": 20,
            "batch_size": 32,
            "objective": "auc",
            "compare": "yes",
        }
    ),
    "early-reject": Configuration({**FUSED, "early_reject": 0.1, "moves": "exchange=1,uniform=1"}),
    "distilled": Configuration({**FUSED, "epochs": 8, "retrain_distill": 2.0, "retrain_warp": 0.5}),
}
CONSTRAINED = {
    "fixed": Configuration(
        {
            **FUSED,
            "data": "wine",
            "keep": 5,
            "epochs": 40,
            "batch_size": 16,
            "must_keep": ["hue", "0"],
            "must_drop": ["ash"],
            "compare": "yes",
        }
    ),
    "groups": Configuration({**FUSED, "keep": 11, "groups": LINES, "must_keep": ["line3"], "must_drop": ["pixel_4_0"]}),
    "macs": Configuration({**WIDTHS, "macs": 401, "keep": None, "evaluator": "full"}),
}
KINDS = {
    "units": Configuration(
        {"sites": "units", "keep": 12, "gates": "sharpened", "moves": "exchange=1,toggle=1", "evaluator": "suffix"}
    ),
    "weights": Configuration({**FUSED, "sites": "weights", "keep": 300}),
    "weights-frozen": Configuration({**FUSED, "sites": "weights", "keep": 300, "pretrain": 5, "frozen": True}),
    "channels": Configuration(CHANNELS, network=convolutions),
    "channels-macs": Configuration(
        {**CHANNELS, "macs": 3000, "keep": None, "moves": "exchange=1,toggle=1"}, network=convolutions
    ),
    "channels-by-name": Configuration(
        {**CHANNELS, "model": "mobilenet_v1", "width": 0.05, "keep": 40, "epochs": 3, "checkpoint_every": "0.1"},
    ),
}
GRADIENT = {
    "straight-through": Configuration({"method": "gradient", "alpha": "stall", "gates": "straight-through"}),
    "hard-concrete": Configuration({"method": "gradient", "alpha": "decade", "gates": "hard-concrete"}),
    "ramp": Configuration({"method": "gradient", "sites": "inputs,units", "keep": 30, "gate_optimizer": "sgd"}),
}
MEASURES = {
    "importance": Configuration(
        {"method": "importance", "measure": "loss,rows=200", "rounds": "4", "sites": "inputs,units", "keep": 30}
    ),
    "start": Configuration({**FUSED, "start": "magnitude,after=3"}),
    "start-units": Configuration(
        {"sites": "units", "keep": 12, "start": "obd,after=3,rows=200", "evaluator": "suffix"}
    ),
    "start-macs": Configuration(
        {**WIDTHS, "macs": 401, "keep": None, "start": "magnitude,after=2", "evaluator": "full"}
    ),
    "propose-fisher": Configuration({**FUSED, "proposals": "fisher,rows=100", "moves": "informed=1"}),
    "propose-trials": Configuration({**FUSED, "proposals": "probes", "moves": "informed=3,exchange=1"}),
}
STEERED = {
    "steered": Configuration(FUSED, turns=TURNS),
    "stopped": Configuration({**LADDER, **ADAPTED, **FUSED}, turns={3: [{"adapt_delta": 0.3}]}, end=9),
}
SHARED = {
    "ranks": Configuration({**LADDER, **FUSED, "replicas": "4,swap_every=16"}, ranks=2),
    "ranks-shared": Configuration({**FUSED, "train_ranks": "shared", "dropout": 0.1}, ranks=2),
}
FOLDS = {
    "folds": Configuration({**FUSED, "eval_on": "folds", "eval_folds": 3, "hidden": None}),
    "folds-units": Configuration({**WIDTHS, "eval_on": "folds", "keep": 30, "epochs": 4, "evaluator": "incremental"}),
}


def held_out(configuration: Configuration) -> Configuration:
    """Evaluate on held-out rows where a chain does not say what it evaluates on."""
    if configuration.options.get("method", "markov") != "markov":
        return configuration
    return replace(configuration, options={"eval_on": "held-out", **configuration.options})


CONFIGURATIONS = {
    name: held_out(configuration)
    for group in (INPUTS, CONSTRAINED, KINDS, GRADIENT, MEASURES, STEERED, SHARED, FOLDS)
    for name, configuration in group.items()
}
