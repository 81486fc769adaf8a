"""[search] with method = "gradient": gates that backprop trains."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mcprune.chain.schedules import KINDS, parse
from mcprune.config.parsing import nearest, positive_schedule_text, schedule_text
from mcprune.config.sections.base import LARGEST_COUNT, Section
from mcprune.config.sections.text import TextOption

# A hundred times what the slides tried; beyond it alpha L_pru drowns L_cla, and far beyond float32 overflows.
LARGEST_ALPHA = 1e9
WINDOWED = {"window", "cap"}
# The parts that each schedule reads.
SCHEDULES: dict[str, set[str]] = {
    "fixed": {"value"},
    "ramp": {"value"},
    "ratio": WINDOWED,
    "mu-lambda": WINDOWED | {"window_kind", "lambda_"},
    "decade": WINDOWED | {"window_kind", "lambda_", "lambda_end", "epochs"},
    "stall": WINDOWED | {"window_kind", "lambda_", "lambda_end", "epochs", "tolerance", "factor"},
    "auto": {"pilots"},
}


class Alpha(TextOption):
    """How the weight of L_pru in L_tot changes over the run."""

    head: ClassVar[tuple[str, ...]] = ("kind", "value")
    form: ClassVar[str] = (
        "NUMBER, geometric:START:END[:UNTIL], linear:..., or ratio, mu-lambda, decade, stall or auto with KEY=VALUE,..."
    )

    kind: Literal["fixed", "ramp", "ratio", "mu-lambda", "decade", "stall", "auto"] = "ramp"
    value: Annotated[str, BeforeValidator(schedule_text)] | None = Field(
        default=None,
        description="the number, or the schedule",
        json_schema_extra={"placeholder": "NUMBER|SCHEDULE"},
    )
    lambda_: float | None = Field(
        default=None,
        gt=0,
        le=LARGEST_ALPHA,
        description="lambda, or where it starts if the schedule lets it rise",
    )
    lambda_end: float | None = Field(
        default=None, gt=0, le=LARGEST_ALPHA, description="lambda rises no further (decade, stall)"
    )
    epochs: float | None = Field(
        default=None,
        gt=0,
        le=LARGEST_COUNT,
        description="decade: epochs between two jumps of lambda by 10; stall: epochs over which the "
        "variance of the weights must have changed, else lambda rises",
    )
    window: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="past epochs in the means of L_cla and L_pru",
    )
    window_kind: Literal["products", "literal"] | None = Field(
        default=None,
        description="the window holds past products lambda L_pru, or L_pru alone, so that lambda cancels",
    )
    tolerance: float | None = Field(
        default=None, gt=0, lt=1, description="relative change of the variance that counts as none"
    )
    factor: float | None = Field(default=None, gt=1, le=1e6, description="factor by which lambda rises when stalled")
    cap: float | None = Field(
        default=None, gt=0, le=LARGEST_ALPHA, description="alpha is cut to it where L_pru reaches 0"
    )
    pilots: float | None = Field(
        default=None, gt=0, lt=1, description="auto: fraction of the time that the pilots may take"
    )

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """See `TextOption.parts`: a number is a fixed alpha, a schedule a ramp."""
        first = text.split(":")[0].split(",")[0].strip()
        if first in SCHEDULES:
            return super().parts(text)
        if first.isalpha() and first not in KINDS:
            raise ValueError(f"there is no alpha {first!r}{nearest(first, SCHEDULES)}, got {text!r}; write {cls.form}")
        kind = "ramp" if first in ("geometric", "linear") else "fixed"
        return {"kind": kind, "value": text.strip()}

    def __str__(self) -> str:
        """See `TextOption.__str__`."""
        text = super().__str__()
        return self.value if self.kind in ("fixed", "ramp") and self.value is not None else text.replace(",", ":", 1)

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        for field in type(self).model_fields:
            if field != "kind" and getattr(self, field) is not None and field not in SCHEDULES[self.kind]:
                owners = " or ".join(kind for kind, fields in SCHEDULES.items() if field in fields)
                raise ValueError(
                    f"{self.key_of(field)} belongs to alpha {owners}, got {self.kind}; leave it out, or change that"
                )
        if self.value is not None:
            schedule = parse(self.value)
            if self.kind == "fixed" and schedule.kind != "constant":
                raise ValueError(f"a fixed alpha is one number, got {self.value}; write the schedule alone for a ramp")
            if self.kind == "ramp" and schedule.kind == "constant":
                raise ValueError(
                    f"a ramp is geometric:START:END[:UNTIL] or linear:..., got {self.value}; write the number alone to fix alpha"
                )
            if max(schedule.start, schedule.end) > LARGEST_ALPHA:
                raise ValueError(
                    f"it is so large that L_tot overflows, got {self.value}; choose at most {LARGEST_ALPHA:g}"
                )
        if self.lambda_ is not None and self.lambda_end is not None and self.lambda_ > self.lambda_end:
            raise ValueError(
                f"lambda={self.lambda_:g} is above lambda_end={self.lambda_end:g}, got {self}; exchange them, since lambda only rises"
            )
        return self


class TrainedGates(TextOption):
    """The gates that the gradient trains."""

    head: ClassVar[tuple[str, ...]] = ("kind", "sharpness")
    form: ClassVar[str] = "sigmoid, annealed[:SCHEDULE], hard-concrete or straight-through"

    kind: Literal["sigmoid", "annealed", "hard-concrete", "straight-through"] = "sigmoid"
    sharpness: Annotated[str, BeforeValidator(positive_schedule_text)] | None = Field(
        default=None,
        description="beta in sigmoid(beta w) of annealed gates",
        json_schema_extra={"placeholder": "SCHEDULE"},
    )

    @model_validator(mode="after")
    def _check_sharpness(self) -> Self:
        if self.sharpness is not None and self.kind != "annealed":
            raise ValueError(f"a sharpness belongs to annealed gates, got {self}; leave it out")
        return self


class GateOptimizer(TextOption):
    """The optimizer of the site weights."""

    head: ClassVar[tuple[str, ...]] = ("kind", "learning_rate")
    form: ClassVar[str] = "adam[:LEARNING_RATE] or sgd[:LEARNING_RATE]"

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: float | None = Field(default=None, gt=0, le=1e6, description="its learning rate")


class Gradient(Section):
    """Gates that backprop trains together with the classifier. None: settled by the run."""

    method: Literal["gradient"] = "gradient"
    alpha: Alpha = Field(
        default=Alpha(),
        description="weight of L_pru in L_tot: a number, a schedule, or ratio, mu-lambda, decade or stall with their parts, "
        "such as decade:epochs=20,window=10; or auto, the best of short pilots on validation rows "
        "(docs/compare.md)",
        json_schema_extra={"placeholder": "NUMBER|SCHEDULE|KIND[:KEY=VALUE,...]"},
    )
    rejection: Literal["plain", "modified"] = Field(
        default="plain", description="L_rej, or L_rej' with the product of all gates"
    )
    gates: TrainedGates | None = Field(
        default=None,
        description="gates that the gradient trains: sigmoid, annealed[:SCHEDULE], hard-concrete or straight-through",
        json_schema_extra={"placeholder": "KIND[:SCHEDULE]"},
    )
    gate_optimizer: GateOptimizer = Field(
        default=GateOptimizer(),
        description="optimizer of the site weights, and its learning rate",
        json_schema_extra={"placeholder": "adam|sgd[:RATE]"},
    )
    start_weight: float = Field(default=4.0, gt=0, le=100, description="weight of every site at the start")
    weight_bound: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="the site weights (times the sharpness) are clipped to plus or minus this, so that no gate saturates for "
        "good",
    )
