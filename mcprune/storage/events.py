"""What a run tells its observers: one flat record at a time, a JSON line each. docs/events.md is the schema."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

START, NOTE, PROGRESS, KNOB, PACE, STOPPED, HARDEN, ROW, DONE = (
    "start", "note", "progress", "knob", "pace", "stopped", "harden", "row", "done",
)  # fmt: skip
KINDS = (START, NOTE, PROGRESS, KNOB, PACE, STOPPED, HARDEN, ROW, DONE)


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    data : dict
        Its fields, as docs/events.md lists them for the kind; plain numbers, texts, lists and dicts.
    """

    kind: str
    data: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the event as one line of strict JSON: a non-finite number becomes null."""
        return json.dumps({"event": self.kind, **plain(self.data)}, allow_nan=False, separators=(", ", ": "))


def plain(value: Any) -> Any:
    """Return the value in JSON's own types: arrays as lists, non-finite numbers as None."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
