"""[data]: where the rows come from and how they are split and scaled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.parsing import site_names
from mcprune.config.sections.base import Section, path_text


class Data(Section):
    """Where the rows come from, and how they are split and scaled."""

    source: Annotated[str, BeforeValidator(path_text)] = Field(
        default="digits",
        min_length=1,
        description="data set by name, or a file or folder",
        json_schema_extra={"flat": "data"},
    )
    target: str | None = Field(default=None, description="column that holds the class or the number (tables)")
    task: Literal["auto", "classification", "regression", "multilabel"] = Field(
        default="auto",
        description="what the target is: classes, numbers, or several columns of 0 and 1; auto: its values decide (docs/regression.md)",
    )
    sample_weight: str | None = Field(
        default=None,
        description="column with the weight of each row (tables), which is then no feature; training, losses and scores are weighted",
    )
    header: Literal["auto", "yes", "no"] = Field(
        default="auto", description="whether the first line of a text table holds names; auto: its content decides"
    )
    separator: str = Field(
        default="auto",
        min_length=1,
        description="character between the cells of a text table, or comma, semicolon, tab, pipe, space; auto: its content decides",
    )
    decimal: str = Field(
        default="auto", description="decimal mark of a text table: point or comma; auto: its content decides"
    )
    encoding: str = Field(
        default="auto",
        min_length=1,
        description="encoding of a text table, such as utf-8, utf-16, cp1252; auto: its content decides",
    )
    ignore: Annotated[tuple[str, ...] | None, BeforeValidator(site_names)] = Field(
        default=None,
        description="columns of a table that are not read",
        json_schema_extra={"placeholder": "COLUMN,..."},
    )
    split_by: str | None = Field(
        default=None,
        description="column of entities, such as patients (tables), which is then no feature; no entity is in two of training, validation "
        "and test rows, nor in two folds",
    )
    split_time: str | None = Field(
        default=None,
        description="column of times (tables), which is then no feature; training rows come before validation rows, test rows last",
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
        default=0.15, ge=0, lt=1, description="fraction of the remaining rows that validate choices during the run"
    )
    scale: Literal["auto", "standard", "unit", "none"] = Field(
        default="auto",
        description="scaling of the inputs, fitted on the training rows; auto: unit for images, standard for tables, none for a "
        "trained model of your own",
    )
