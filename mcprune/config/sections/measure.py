"""Measures and how they score: NAME[,rows=N][,temperature=T] and more where a ranking is cut."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from mcprune.config.measures import check_name, check_starts, is_measure
from mcprune.config.sections.base import LARGEST_COUNT
from mcprune.config.sections.text import TextOption

# Measures that look at no loss.
UNSCORED = {"magnitude", "magnitude-l1", "bn-scale", "random", "loss-tracked"}
# Proposals that come from no measure.
OWN_PROPOSALS = ("auto", "chain", "probes", "slopes")


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
            if getattr(self, part) is not None and self.measure in (*UNSCORED, *OWN_PROPOSALS, ""):
                raise ValueError(f"{part} belongs to measures that look at the loss, got {self}; leave it out")
        return self

    @property
    def measure(self) -> str:
        """The measure that scores; empty where nothing of the kind does."""
        return self.name


class Ranking(Scores):
    """What scores sites, and how many each group of sites keeps at least."""

    form: ClassVar[str] = "MEASURE[,rows=N][,temperature=T][,layerwise][,min_per_layer=N]"

    layerwise: bool = Field(
        default=False, description="each group of sites keeps the same share, instead of one ranking of all"
    )
    min_per_layer: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="sites that each group keeps at least"
    )


class Start(Ranking):
    """What chooses the first masks of a chain: one after the other, where there are several."""

    form: ClassVar[str] = "START[+START...][,after=EPOCHS][,rows=N][,temperature=T][,layerwise][,min_per_layer=N]"

    name: Annotated[str, AfterValidator(check_starts)]
    after: float | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="epochs of training before a measure; 0 for a model that is trained already",
    )

    @model_validator(mode="after")
    def _check_measure(self) -> Self:
        for part in ("after", "layerwise", "min_per_layer"):
            if getattr(self, part) not in (None, False) and not self.measure:
                raise ValueError(f"{part} belongs to starts by a measure, got {self}; leave it out")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The starts, in order."""
        return tuple(self.name.split("+"))

    @property
    def measure(self) -> str:
        """See `Scores.measure`; at most one start is a measure."""
        return next(filter(is_measure, self.names), "")


class Proposals(Scores):
    """The scores by which the informed move draws sites."""

    form: ClassVar[str] = "chain, probes, slopes or MEASURE[,rows=N][,temperature=T]"

    name: Annotated[str, AfterValidator(lambda name: name if name in OWN_PROPOSALS else check_name(name))] = "auto"

    @property
    def is_measure(self) -> bool:
        """Whether the scores come from a measure."""
        return self.name not in OWN_PROPOSALS
