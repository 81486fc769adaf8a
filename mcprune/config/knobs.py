"""What can be changed during a run: the declarations, options or parts of options, and which have no effect now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic.fields import FieldInfo

from mcprune.config.options import OPTIONS
from mcprune.config.sections.markov import EvaluationRows, KeepSchedule

PARTS: dict[str, FieldInfo] = {
    "budget_pressure": KeepSchedule.model_fields["pressure"],
    "evaluation_rows": EvaluationRows.model_fields["end"],
}

USES_DELTA = ("site", "block", "uniform")  # moves whose step has the half-width delta
CHANGES_COUNT = (*USES_DELTA, "toggle")  # moves that can change L_pru: an exchange keeps the sum of the gates


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


def unused_knobs(
    names: Iterable[str], moves: Mapping[str, float], *, is_by_rank: bool = False, is_at_target: bool = False
) -> dict[str, str]:
    """Return those knobs that change nothing now, each with the reason.

    Parameters
    ----------
    names : iterable of str
        The knobs.
    moves : mapping of str to float
        Shares of the mixture, by kind of move.
    is_by_rank : bool
        Whether the mask is the n largest weights: then n(t) holds at every step.
    is_at_target : bool
        Whether n(t) has reached n.

    Examples
    --------
    >>> unused_knobs(["delta", "temperature"], {"exchange": 1.0})
    {'delta': 'no move of the mixture uses it'}
    """
    names = list(names)
    present = {name for name, share in moves.items() if share > 0}
    reasons = {
        "delta": ("no move of the mixture uses it", USES_DELTA),
        "adapt_delta": ("no move of the mixture uses delta", USES_DELTA),
        "alpha": ("no move of the mixture changes L_pru", CHANGES_COUNT),
    }
    unused = {name: reasons[name][0] for name in names if name in reasons and not present & set(reasons[name][1])}
    if is_by_rank and "alpha" in names:
        unused["alpha"] = "gates by rank hold n(t), so L_pru is 0"
    if is_at_target and "budget_pressure" in names:
        unused["budget_pressure"] = "n(t) has reached n"
    return unused
