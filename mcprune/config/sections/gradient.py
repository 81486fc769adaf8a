"""[search] with method = "gradient": gates that backprop trains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mcprune.config.sections.base import LARGEST_COUNT, PositiveScheduleText, ScheduleText, Section

# A hundred times what the slides tried; beyond it alpha L_pru drowns L_cla, and far beyond float32 overflows.
LARGEST_ALPHA = 1e9


class Gradient(Section):
    """Gates that backprop trains together with the classifier. None: settled by the run."""

    method: Literal["gradient"] = "gradient"
    alpha: ScheduleText | None = Field(
        default=None,
        description="weight of L_pru in L_tot; a number or kind:start:end[:until] [10 if fixed, else a ramp]",
    )
    rejection: Literal["plain", "modified"] = Field(
        default="plain", description="L_rej, or L_rej' with the product of all gates"
    )
    sharpness: PositiveScheduleText = Field(
        default="geometric:1.0:16.0", description="beta in sigmoid(beta w) with --gate-kind annealed"
    )
    start_weight: float = Field(default=4.0, gt=0, le=100, description="weight of every site at the start")
    schedule: Literal["fixed", "ratio", "mu-lambda", "decade", "stall", "ramp", "auto"] | None = Field(
        default=None,
        description="how alpha changes over the run; auto: the best of short pilots on validation rows [ramp]",
    )
    gate_kind: Literal["sigmoid", "annealed", "hard-concrete", "straight-through"] | None = Field(
        default=None, description="gates that the gradient trains [sigmoid]"
    )
    pruner_optimizer: Literal["adam", "sgd"] | None = Field(
        default=None, description="optimizer of the site weights [adam]"
    )
    pruner_learning_rate: float | None = Field(
        default=None, gt=0, le=1e6, description="its learning rate [scaled to the number of steps]"
    )
    pruner_bound: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="the site weights (times the sharpness) are clipped to plus or minus this, so that no gate saturates for good "
        "[7, for gates that are drawn hard 3.5]",
    )
    lambda_: float | None = Field(
        default=None,
        gt=0,
        le=LARGEST_ALPHA,
        description="lambda, or where it starts if the schedule lets it rise [1, if constant 1e5]",
    )
    lambda_end: float | None = Field(
        default=None, gt=0, le=LARGEST_ALPHA, description="lambda rises no further (decade, stall) [1e7]"
    )
    decade_epochs: float | None = Field(
        default=None,
        gt=0,
        le=LARGEST_COUNT,
        description="epochs between two jumps of lambda by 10 [an eighth of the run]",
    )
    window_epochs: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="past epochs in the means of L_cla and L_pru [10, for decade half of its epochs]",
    )
    window_kind: Literal["products", "literal"] | None = Field(
        default=None,
        description="the window holds past products lambda L_pru, or L_pru alone, so that lambda cancels [products]",
    )
    stall_epochs: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="epochs over which the variance of the weights must have changed, else lambda rises [a 40th of the run]",
    )
    stall_tolerance: float | None = Field(
        default=None, gt=0, lt=1, description="relative change of the variance that counts as none [0.01]"
    )
    stall_factor: float | None = Field(
        default=None, gt=1, le=1e6, description="factor by which lambda rises when stalled [2]"
    )
    alpha_cap: float | None = Field(
        default=None, gt=0, le=LARGEST_ALPHA, description="alpha is cut to it where L_pru reaches 0 [1e6]"
    )
    pilot_share: float | None = Field(
        default=None, gt=0, lt=1, description="fraction of the time that the pilots of --schedule auto may take [0.4]"
    )


WINDOWED = {"window_epochs", "alpha_cap"}
# The options that each schedule reads, besides those that all read.
SCHEDULES: dict[str, set[str]] = {
    "fixed": {"alpha"},
    "ramp": {"alpha"},
    "ratio": WINDOWED,
    "mu-lambda": WINDOWED | {"window_kind", "lambda_"},
    "decade": WINDOWED | {"window_kind", "lambda_", "lambda_end", "decade_epochs"},
    "stall": WINDOWED | {"window_kind", "lambda_", "lambda_end", "stall_epochs", "stall_tolerance", "stall_factor"},
    "auto": {"pilot_share"},
}
# What --schedule auto chooses.
CHOSEN_BY_AUTO = {"gate_kind", "pruner_bound"}
