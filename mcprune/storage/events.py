"""The events of a run, a frozen dataclass for each kind; docs/events.md is generated from them (cli/events_page.py).

A run is an iterator of events. Each is also a line of `mcprune run --json` and, but for `Stage`, of `events.jsonl` in the
run's folder.
"""

from mcprune.storage.event_parts import Adapted, BeforeAfter, CostBudget, Event, MaskCost, SiteGroup, plain
from mcprune.storage.result_events import (
    ColumnStatistic,
    ErrorRate,
    Hardened,
    Playoff,
    Refined,
    RunDone,
    Scored,
    Standing,
)
from mcprune.storage.search_events import KnobChanged, Note, Progress, Replanned, RunStarted, Stage, Stopped

KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunStarted,
        Note,
        Stage,
        Progress,
        KnobChanged,
        Replanned,
        Stopped,
        ErrorRate,
        Playoff,
        Refined,
        Hardened,
        Scored,
        RunDone,
    )
}

__all__ = [
    "KINDS",
    "Adapted",
    "BeforeAfter",
    "ColumnStatistic",
    "CostBudget",
    "ErrorRate",
    "Event",
    "Hardened",
    "KnobChanged",
    "MaskCost",
    "Note",
    "Playoff",
    "Progress",
    "Refined",
    "Replanned",
    "RunDone",
    "RunStarted",
    "Scored",
    "SiteGroup",
    "Stage",
    "Standing",
    "Stopped",
    "plain",
]
