"""The page of a report: the result in a sentence, what is kept, how good and how sure that is; the rest is folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mcprune.exporters.footprint import Footprints
from mcprune.report import details, outcome, sampled, tables
from mcprune.report import summary as table
from mcprune.report.charts import curves
from mcprune.report.page import Page
from mcprune.report.text import duration
from mcprune.storage.answer import noun
from mcprune.storage.event_log import EventLog

Runs = Mapping[str, EventLog]
REASONS = {
    "interrupt": "it was interrupted (Ctrl-C)",
    "terminate": "it was terminated (SIGTERM)",
    "max_time": "its time was up",
    "validation": "its masks had stopped to do better on the validation rows",
    "stop": "it was stopped on the live page",
    "finish": "it was finished on the live page",
    "replay": "the run that it repeats had ended there",
}


def check(run: EventLog) -> None:
    """Refuse a run whose result cannot be shown.

    Raises
    ------
    FolderError
        Naming what is wrong with it.
    """
    if run.done is not None:
        table.check(run.done, str(run.folder))


def write_page(
    path: Path, runs: Runs, features: Mapping[str, Sequence[str] | None], costs: Mapping[str, Footprints]
) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    runs : mapping of str to EventLog
        By their folders; the first is the one that is reported, the others are drawn over it.
    features : mapping
        The names of all inputs, None where they are not known.
    costs : mapping
        What the models of the runs that have ended cost.
    """
    label, run = next(iter(runs.items()))
    start = run.started
    name = noun(start.sites, start.image_shape)
    page = Page(f"{start.name}: {start.keep:,} of {start.n_sites:,} {name}")
    outcome.lead(page, run)
    page.paragraph(state(run))
    if len(runs) > 1:
        page.paragraph(
            f"The run in {label}; {len(runs) - 1} more drawn over it: {', '.join(list(runs)[1:])}.", quiet=False
        )
    for other_name, other in list(runs.items())[1:]:
        page.paragraph(f"{other_name}: {state(other)}")
    names = features[label]
    outcome.kept_and_accuracy(page, runs, names)
    outcome.several(page, runs)
    outcome.predictions(page, run)
    outcome.sure_and_curve(page, runs, names)
    sampled.error_rate(page, run)
    with page.row():
        with page.cell():
            is_level = sampled.curve_over_n(page, run)
            if not is_level:
                tables.costs(page, runs, costs)
        with page.cell():
            if is_level:
                tables.costs(page, runs, costs)
            details.repeat(page, runs)
    tables.firmware(page, costs)
    with page.fold("All curves"):
        curves.all_curves(page, runs)
    for other_name, other in runs.items():
        tables.changes(page, other_name if len(runs) > 1 else "", other)
    tables.diagnosis(page, runs)
    details.setting(page, runs)
    details.options(page, runs)
    page.write(path)


def state(run: EventLog) -> str:
    """Say whether the run has ended, and how."""
    last = run.progress[-1] if run.progress else None
    parts = []
    if run.done is not None:
        parts.append(f"The run has ended after {duration(run.done.seconds)}.")
    elif run.hardened is not None:
        parts.append(
            "This run is unfinished: its search has ended, but its last figures are missing. It may be going on."
        )
    else:
        done = f"{last.block:,} of {run.started.blocks:,} blocks were recorded" if last else "no block was recorded"
        parts.append(f"This run is unfinished: {done}. It may be going on, or it was broken off.")
    if run.stopped is not None:
        reason = run.stopped.reason
        parts.append(f"The search ended early, at block {run.stopped.block}: {REASONS.get(reason, reason)}.")
    if run.done is not None and not run.done.is_complete:
        parts.append("What followed the search was cut short.")
    if run.is_torn:
        parts.append("The last line of its events was cut off and is left out.")
    return " ".join(parts)
