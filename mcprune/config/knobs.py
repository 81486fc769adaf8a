"""The declarations of what can be changed during a run: options, or parts of options."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from mcprune.config.options import OPTIONS
from mcprune.config.sections.markov import EvaluationRows, KeepSchedule

PARTS: dict[str, FieldInfo] = {
    "budget_pressure": KeepSchedule.model_fields["pressure"],
    "evaluation_rows": EvaluationRows.model_fields["end"],
}


def knob_field(name: str) -> FieldInfo:
    """Return the declaration of a knob: its type, its range and what it means."""
    return PARTS[name] if name in PARTS else OPTIONS[name].info


def knob_meaning(name: str) -> str:
    """Return what a knob is, without its default."""
    return str(knob_field(name).description).split(" [")[0]


def knob_limits(name: str) -> tuple[float | None, float | None]:
    """Return the range of a knob; None where a side is open or exclusive."""
    field = knob_field(name)
    if isinstance(field.json_schema_extra, dict) and isinstance(pair := field.json_schema_extra.get("steered"), list):
        low, high = pair
        return float(str(low)), float(str(high))
    sides: list[float | None] = [None, None]
    for part in field.metadata:
        for side, mark in enumerate(("ge", "le")):
            if (bound := getattr(part, mark, None)) is not None:
                sides[side] = float(bound)
    return sides[0], sides[1]
