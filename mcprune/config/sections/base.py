"""What all sections share: strict, frozen models whose fields are options."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from mcprune.config.parsing import schedule_text, temperature_text

LARGEST_COUNT = 2**31
ScheduleText = Annotated[str, BeforeValidator(schedule_text)]
TemperatureText = Annotated[str, BeforeValidator(temperature_text)]
OpenScheduleText = Annotated[str | None, BeforeValidator(lambda value: None if value is None else schedule_text(value))]

Width = Annotated[int, Field(ge=1, le=65536)]


def path_text(value: object) -> object:
    """Return a path as text, any other value as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Section(BaseModel):
    """Options that belong together. Unknown names, NaN and infinities are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, hide_input_in_errors=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: object, info: ValidationInfo) -> object:
        # Otherwise `keep = true` would keep one site.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"true and false are no value here, got {value!r}")
        return value

    def is_set(self, name: str) -> bool:
        """Return whether the field was set, rather than left at its default."""
        return name in self.model_fields_set
