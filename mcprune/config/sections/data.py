"""[data]: where the rows come from and how they are split and scaled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.sections.base import Section, path_text


class Data(Section):
    """Where the rows come from, and how they are split and scaled."""

    source: Annotated[str, BeforeValidator(path_text)] = Field(
        default="digits",
        min_length=1,
        description="data set by name, or a file or folder",
        json_schema_extra={"flat": "data"},
    )
    target: str | None = Field(default=None, description="column that holds the class (tables)")
    sample_weight: str | None = Field(
        default=None,
        description="column that holds how often each row counts (tables): no feature then; training, losses and scores are weighted",
    )
    header: Literal["auto", "yes", "no"] = Field(
        default="auto", description="whether the first line of a csv or tsv holds names; auto: its content decides"
    )
    id_columns: Literal["drop", "keep"] = Field(
        default="drop",
        description="columns that only number or name the rows: leave them out of a table, or keep them as inputs",
    )
    test: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="fraction of the rows kept for the final test, unless the data has its own test part",
    )
    validation: float = Field(
        default=0.15, ge=0, lt=1, description="fraction of the remaining rows that validate choices made during the run"
    )
    scale: Literal["auto", "standard", "unit", "none"] = Field(
        default="auto",
        description="scaling of the inputs, fitted on the training rows; auto: unit for images, standard for tables, none for a "
        "trained model of your own",
    )
