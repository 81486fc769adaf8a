"""The options of the gradient path, a part of `RunConfig`, and which options a run can use at all.

None means that the run settles the value; so an option of the gradient path that is not None was given by the user.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from mcprune.config.importance import SHARED as READ_BY_IMPORTANCE
from mcprune.config.importance import unused_importance
from mcprune.errors import ConfigError

GROUP: dict[str, Any] = {"group": "gradient"}
# A hundred times what the slides tried; beyond it alpha L_pru drowns L_cla, and far beyond float32 overflows.
LARGEST = 1e9


class GradientOptions(BaseModel):
    """How `--method gradient` trains its gates."""

    schedule: Literal["fixed", "ratio", "mu-lambda", "decade", "stall", "ramp", "auto"] | None = Field(
        None,
        description="how alpha goes over the run; auto: the best of short pilots on validation rows [ramp]",
        json_schema_extra=GROUP,
    )
    gate_kind: Literal["sigmoid", "annealed", "hard-concrete", "straight-through"] | None = Field(
        None, description="gates that the gradient trains [sigmoid]", json_schema_extra=GROUP
    )
    pruner_optimizer: Literal["adam", "sgd"] | None = Field(
        None, description="optimizer of the pruner's weights [adam]", json_schema_extra=GROUP
    )
    pruner_learning_rate: float | None = Field(
        None, gt=0, le=1e6, description="its step [scaled to the number of steps]", json_schema_extra=GROUP
    )
    pruner_bound: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="the pruner's weights (times the sharpness) are put back into plus or minus this, so that no gate saturates for good "
        "[7, for gates that are drawn hard 3.5]",
        json_schema_extra=GROUP,
    )
    lambda_: float | None = Field(
        None,
        gt=0,
        le=LARGEST,
        description="lambda, or where it starts if the schedule lets it rise [1, if constant 1e5]",
        json_schema_extra=GROUP,
    )
    lambda_end: float | None = Field(
        None, gt=0, le=LARGEST, description="lambda rises no further (decade, stall) [1e7]", json_schema_extra=GROUP
    )
    decade_epochs: float | None = Field(
        None,
        gt=0,
        le=2**31,
        description="epochs between two jumps of lambda by 10 [an eighth of the run]",
        json_schema_extra=GROUP,
    )
    window_epochs: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="past epochs in the means of L_cla and L_pru [10, for decade half of its epochs]",
        json_schema_extra=GROUP,
    )
    window_kind: Literal["products", "literal"] | None = Field(
        None,
        description="the window holds past products lambda L_pru, or L_pru alone, so that lambda cancels [products]",
        json_schema_extra=GROUP,
    )
    stall_epochs: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="epochs over which the variance of the weights must have changed, else lambda rises [a 40th of the run]",
        json_schema_extra=GROUP,
    )
    stall_tolerance: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="relative change of the variance that counts as none [0.01]",
        json_schema_extra=GROUP,
    )
    stall_factor: float | None = Field(
        None, gt=1, le=1e6, description="factor by which lambda rises when stalled [2]", json_schema_extra=GROUP
    )
    alpha_cap: float | None = Field(
        None,
        gt=0,
        le=LARGEST,
        description="alpha is cut to it where L_pru reaches 0 [1e6]",
        json_schema_extra=GROUP,
    )
    pilot_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="part of the time that the pilots of --schedule auto may take [0.4]",
        json_schema_extra=GROUP,
    )


WINDOWED = {"window_epochs", "alpha_cap"}
# The options of each schedule, besides those of all.
SCHEDULES: dict[str, set[str]] = {
    "fixed": {"alpha"},
    "ramp": {"alpha"},
    "ratio": WINDOWED,
    "mu-lambda": WINDOWED | {"window_kind", "lambda_"},
    "decade": WINDOWED | {"window_kind", "lambda_", "lambda_end", "decade_epochs"},
    "stall": WINDOWED | {"window_kind", "lambda_", "lambda_end", "stall_epochs", "stall_tolerance", "stall_factor"},
    "auto": {"pilot_share"},
}
# Auto chooses these too.
CHOSEN_BY_AUTO = {"gate_kind", "pruner_bound"}
# Options in the group of the chain that both methods read.
SHARED = {"preset", "method", "alpha", "rejection", "sharpness", "start_weight", "train_steps"}
# Options of the chain that stand in other groups.
CHAIN_TOO = {"perturb", "evaluator", "max_memory"}


# The options of the classifiers by name that others do not read.
MLP_ONLY = ("hidden", "search_hidden", "activation", "dropout", "retrain_dropout", "bias")
OF_MODELS = {"mlp": MLP_ONLY, "lenet-300-100": MLP_ONLY[2:]}


def unused(config: Any) -> dict[str, str]:
    """Return the options that the configuration's model, method, schedule and gates do not read, each with what it belongs to."""
    own = OF_MODELS.get(config.model, ("width",))
    others = {name: "--model mlp" for name in MLP_ONLY if name not in own}
    if "width" not in own:
        others["width"] = "the convolutional networks, such as --model vgg13"
    return others | _unused_of_method(config)


def _unused_of_method(config: Any) -> dict[str, str]:
    groups = {name: (field.json_schema_extra or {}).get("group") for name, field in type(config).model_fields.items()}
    found = unused_importance(config, groups)
    if config.method != "gradient":
        found |= {name: "--method gradient" for name, group in groups.items() if group == "gradient"}
    if config.method == "markov":
        return found
    shared = SHARED if config.method == "gradient" else READ_BY_IMPORTANCE
    found |= {name: "--method markov" for name, group in groups.items() if group == "chain" and name not in shared}
    found |= dict.fromkeys(CHAIN_TOO, "--method markov")
    if config.method == "importance":
        return found
    schedule = config.schedule or "ramp"
    for name in sorted(set().union(*SCHEDULES.values()) - SCHEDULES[schedule]):
        found[name] = "--schedule " + " or ".join(other for other in SCHEDULES if name in SCHEDULES[other])
    if schedule == "auto":
        found |= dict.fromkeys(CHOSEN_BY_AUTO, "a schedule that you name, since auto chooses it")
    if config.gate_kind != "annealed":
        found["sharpness"] = "--gate-kind annealed"
    if config.gate_kind == "hard-concrete":
        found["rejection"] = "the other kinds of gates"
    return found


def check_options(config: Any) -> None:
    """Refuse options that were given and that the run would not read.

    Raises
    ------
    ConfigError
        Naming the option and what it belongs to.
    """
    for name, owner in unused(config).items():
        if name in config.model_fields_set and getattr(config, name) is not None:
            spelled = "--" + name.rstrip("_").replace("_", "-")
            met = f"--method {config.method}"
            if name in (*MLP_ONLY, "width"):
                met = f"--model {config.model}"
            elif config.method == "gradient" and not owner.startswith("--method"):
                met = f"--schedule {config.schedule or 'ramp'}"
                if name in ("sharpness", "rejection"):
                    met = f"--gate-kind {config.gate_kind or 'sigmoid'}"
            if config.method == "importance" and owner.startswith("measures"):
                met = f"--measure {config.measure or 'loss'}"
            if config.preset != "default" and config.method != "markov":
                spelled += f" (by --preset {config.preset})"
            raise ConfigError(
                f"{spelled} does nothing under {met}: it belongs to {owner}; leave it out, or change that"
            )
