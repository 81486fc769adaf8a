"""[search] with method = "importance": sites are dropped by a measure, in rounds."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.parsing import layer_widths
from mcprune.config.sections.base import LARGEST_COUNT, Section
from mcprune.config.sections.measure import Ranking
from mcprune.config.sections.text import TextOption


class Rounds(TextOption):
    """How many rounds there are, or the sites left after each, and the epochs after them."""

    form: ClassVar[str] = "N or N1,N2,...[,recover=EPOCHS]"

    number: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="rounds of training for an epoch, scoring and dropping",
    )
    counts: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(layer_widths)] = Field(
        default=None, min_length=1, description="sites left after each round, falling to n"
    )
    recover: int | None = Field(
        default=None,
        ge=0,
        le=LARGEST_COUNT,
        description="epochs of training after the last round",
    )

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """See `TextOption.parts`: the numbers before the first key are one number of rounds, or the counts."""
        pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
        counts = [piece for piece in pieces if "=" not in piece]
        fields = super().parts("," + ",".join(piece for piece in pieces if "=" in piece))
        if counts:
            fields |= {"number": counts[0]} if len(counts) == 1 else {"counts": tuple(counts)}
        return fields

    def __str__(self) -> str:
        """See `TextOption.__str__`."""
        sizes = self.counts if self.counts is not None else () if self.number is None else (self.number,)
        recover = () if self.recover is None else (f"recover={self.recover}",)
        return ",".join(map(str, (*sizes, *recover)))


class Importance(Section):
    """Sites are dropped in rounds, by an importance measure. None: settled by the run."""

    method: Literal["importance"] = "importance"
    start_weight: float = Field(default=4.0, gt=0, le=100, description="weight of every site at the start")
    measure: Ranking = Field(
        default=Ranking(name="loss"),
        description="importance by which sites are dropped: magnitude, loss, grasp, fisher, obd, ... (docs/importance.md)",
        json_schema_extra={"placeholder": "MEASURE[,rows=N,...]"},
    )
    rounds: Rounds = Field(
        default=Rounds(),
        description="rounds of training for an epoch, scoring and dropping; or the sites left after each, falling to n; "
        "recover=EPOCHS of training follow",
        json_schema_extra={"placeholder": "N|N1,N2,...[,recover=EPOCHS]"},
    )
