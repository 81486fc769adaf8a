"""Measures and how they score: NAME[,rows=N][,temperature=T] and more where a ranking is cut."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from mcprune.config.measures import check_name
from mcprune.config.sections.base import LARGEST_COUNT
from mcprune.config.sections.text import TextOption

# Measures that look at no loss.
UNSCORED = {"magnitude", "magnitude-l1", "bn-scale", "random", "loss-tracked"}
# Proposals that come from no measure.
OWN_PROPOSALS = ("auto", "chain", "probes")


class Scores(TextOption):
    """What scores sites: the name of a measure, and what it looks at."""

    head: ClassVar[tuple[str, ...]] = ("name",)
    form: ClassVar[str] = "MEASURE[,rows=N][,temperature=T]"

    name: Annotated[str, AfterValidator(check_name)]
    rows: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="training rows that a score looks at, balanced over the classes",
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="by which the logits are divided while sites are scored",
    )

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        for part in ("rows", "temperature"):
            if getattr(self, part) is not None and self.name in (*UNSCORED, *OWN_PROPOSALS):
                raise ValueError(f"{part} belongs to measures that look at the loss, got {self}; leave it out")
        return self


class Ranking(Scores):
    """What scores sites, and how many each group of sites keeps at least."""

    form: ClassVar[str] = "MEASURE[,rows=N][,temperature=T][,layerwise][,min_per_layer=N]"

    layerwise: bool = Field(
        default=False, description="each group of sites keeps its share, in place of one ranking of all"
    )
    min_per_layer: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="sites that each group keeps at least"
    )


class Start(Ranking):
    """What chooses the first mask of a chain."""

    form: ClassVar[str] = "MEASURE[,after=EPOCHS][,rows=N][,temperature=T][,layerwise][,min_per_layer=N]"

    after: float | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="epochs of training before; 0 for a model that is trained already",
    )


class Proposals(Scores):
    """The scores by which the informed move draws sites."""

    form: ClassVar[str] = "chain, probes or MEASURE[,rows=N][,temperature=T]"

    name: Annotated[str, AfterValidator(lambda name: name if name in OWN_PROPOSALS else check_name(name))] = "auto"

    @property
    def is_measure(self) -> bool:
        """Whether the scores come from a measure."""
        return self.name not in OWN_PROPOSALS
