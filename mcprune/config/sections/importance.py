"""[search] with method = "importance": sites are dropped by a measure; and the options of measures that a chain shares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.parsing import layer_widths
from mcprune.config.sections.base import LARGEST_COUNT, Measure, Section

# Measures that look at no loss.
UNSCORED = {"magnitude", "magnitude-l1", "bn-scale", "random", "loss-tracked"}


class Scoring(Section):
    """How measures score sites and how their ranking is cut."""

    score_rows: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="training rows that a score looks at, balanced over the classes [2560]",
    )
    score_temperature: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="by which the logits are divided while sites are scored [200 for grasp, else 1]",
    )
    layerwise: bool = Field(
        default=False, description="each group of sites keeps its share, in place of one ranking of all"
    )
    floor: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="sites that each group keeps at least [1]"
    )


class Importance(Scoring):
    """Sites are dropped in rounds, by an importance measure. None: settled by the run."""

    method: Literal["importance"] = "importance"
    start_weight: float = Field(default=4.0, gt=0, le=100, description="weight of every site at the start")
    measure: Measure = Field(
        default=None,
        description="importance by which sites are dropped: magnitude, loss, grasp, fisher, obd, ... (docs/importance.md) [loss]",
        json_schema_extra={"placeholder": "MEASURE"},
    )
    rounds: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="rounds of training for an epoch, scoring and dropping [10, or as many as there are epochs for]",
    )
    counts: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(layer_widths)] = Field(
        default=None,
        min_length=1,
        description="sites left after each round, falling to n, in place of --rounds [the same fraction of all sites goes in every round]",
    )
    recover: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="epochs of training after the last round [half of the run, or what the rounds leave]",
    )
