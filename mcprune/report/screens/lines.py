"""The lines of a run in a terminal: its start, its progress, changes of knobs, the end of the search."""

from __future__ import annotations

from collections.abc import Mapping

from mcprune.config.budgets import COST_UNITS, cost_number
from mcprune.data.roles.tasks import CLASSIFICATION, REGRESSION
from mcprune.report import summary as table
from mcprune.report.text import duration, number
from mcprune.storage.answer import measure_name, noun
from mcprune.storage.events import Hardened, KnobChanged, Progress, RunStarted, Stopped

Columns = tuple[tuple[str, str, str, int], ...]

EPOCH = 9  # width of its column
SHOWN_CLASSES = 10

# (title, field of `Progress`, format, width) of the columns of progress
LOSS = ("loss", "classification_loss", ".4f", 9)
VALIDATION = ("validation", "validation_accuracy", ".4f", 10)
COLUMNS: Columns = (
    LOSS,
    ("kept", "kept", ",d", 7),
    ("accepted", "acceptance", ".1%", 8),
    VALIDATION,
)
# Of a budget that is a cost.
COST_COLUMNS: Columns = (LOSS, ("cost", "costs", ",d", 9), ("at most", "cost_targets", ",d", 9), *COLUMNS[2:])
# Under --method gradient nothing is proposed.
GRADIENT_COLUMNS: Columns = (
    LOSS,
    ("gate sum", "gate_sum", ",.1f", 8),
    ("at 0 or 1", "near_hard", ".1%", 9),
    VALIDATION,
)


def columns_of(event: RunStarted) -> Columns:
    """Return the columns of the progress of a run."""
    columns = GRADIENT_COLUMNS if event.config.get("method") == "gradient" else COLUMNS
    columns = COST_COLUMNS if event.costs else columns
    # What the chain minimises takes the place of the loss.
    return (("objective", *LOSS[1:]), *columns[1:]) if event.objective else columns


def start_lines(event: RunStarted) -> list[str]:
    """Return the lines that describe the run."""
    rows = event.rows
    groups = " + ".join(table.group_title(group) for group in event.sites)
    keep = f"{event.keep:,} of {event.n_sites:,} sites to keep ({groups})"
    if event.costs:
        bounds = [
            f"{cost_number(cost.limit, cost.unit)} of {cost_number(cost.total, cost.unit)} {COST_UNITS[cost.unit]}"
            for cost in event.costs
        ]
        keep = f"at most {' and '.join(bounds)} to keep, {event.n_sites:,} sites ({groups})"
    parts = f"{rows['train']:,} training, {rows['validation']:,} validation, {rows['test']:,} test rows"
    inputs = next((group.size for group in event.sites if group.kind == "inputs"), None)
    columns = [] if inputs is None else [f"{inputs:,} {noun(event.sites[:1], event.image_shape)}"]
    threads = event.threads
    device = f"{event.device}, {threads} thread{'' if threads == 1 else 's'}" if threads else event.device
    return [
        f"mcprune {event.version}: {event.name}, {keep}",
        "; ".join([parts, *columns, targets_of(event)]),
        f"classifier {event.classifier}; {device}",
    ]


def targets_of(event: RunStarted) -> str:
    """Return what is predicted: how many classes, or which numbers by which loss."""
    names = event.targets if event.task != CLASSIFICATION else event.classes
    count = max(event.n_classes, len(names))
    listed = ", ".join(names[:SHOWN_CLASSES]) + (", ..." if count > SHOWN_CLASSES else "")
    if event.task == CLASSIFICATION:
        return f"{count:,} classes ({listed})"
    if event.task != REGRESSION:
        return f"{count:,} labels ({listed})"
    return f"regression of {listed} by {event.loss}"


def epoch_of(event: Progress) -> str:
    """Return the epoch so far of all epochs."""
    return f"{number(event.epoch, '.1f')}/{number(event.epochs, 'g')}"


def progress_header(columns: Columns = COLUMNS) -> str:
    """Return the titles over the lines of progress."""
    titles = [title.rjust(width) for title, _, _, width in columns]
    return "  ".join(["epoch".rjust(EPOCH), *titles, "time left"])


def progress_line(event: Progress, columns: Columns = COLUMNS) -> str:
    """Return one line of progress, aligned with the titles."""
    figures = [figure_text(getattr(event, name), form).rjust(width) for _, name, form, width in columns]
    return "  ".join([epoch_of(event).rjust(EPOCH), *figures, duration(event.seconds_left).rjust(9)])


def figure_text(value: object, form: str) -> str:
    """Return a number as text; several, one for each cost, with a slash between them."""
    return "/".join(number(part, form) for part in value) if isinstance(value, tuple) else number(value, form)


def knob_line(event: KnobChanged) -> str:
    """Return the line that names the changed knobs, with their old and new values."""
    changes = [f"{name} {knob(event.before.get(name))} -> {knob(value)}" for name, value in event.knobs.items()]
    return f"block {event.block:,}: {', '.join(changes)}"


def time_option(config: Mapping[str, object]) -> str:
    """Return the option that limits the time of a search: with --max-time the time of the search follows from it."""
    is_search = config.get("max_time") is None and config.get("search_time") is not None
    return "--search-time" if is_search else "--max-time"


def replanned_line(planned: int, done: int, *, is_timed: bool) -> str:
    """Return the line on a search whose number of blocks was changed: to fit into a limited time (`is_timed`), or by who steered it."""
    if is_timed and done < planned:
        return (
            f"{done:,} of {planned:,} blocks fitted into the time; n(t) and the other schedules were compressed to fit"
        )
    how = "stretched" if done > planned else "compressed"
    return f"{done:,} blocks were planned in the end, {planned:,} at first; n(t) and the other schedules were {how}"


def knob(value: object) -> str:
    """Return the value of a knob as text."""
    if isinstance(value, Mapping):
        return " ".join(f"{name} {share:.0%}" for name, share in value.items())
    return "none" if value is None else number(value, "g")


def is_timed(config: Mapping[str, object]) -> bool:
    """Return whether an option limits the time of the search."""
    return any(config.get(name) is not None for name in ("max_time", "search_time"))


def stopped_line(event: Stopped, option: str) -> str:
    """Return the line that says why the search ended early and what comes now; `option` limits its time."""
    reasons = {
        "interrupt": "interrupted",
        "terminate": "terminated",
        "max_time": f"out of time ({option})",
        "validation": "its masks had stopped to do better on the validation rows",
        "stop": "stopped on the page",
        "finish": "finished on the page",
        "replay": "ended as the run that is repeated",
    }
    reason = reasons.get(event.reason, event.reason)
    return f"{reason} after block {event.block:,}: the mask so far is hardened and saved"


def hardened_line(
    event: Hardened, objective: str | None = None, task: str = CLASSIFICATION, *, is_weighted: bool = False
) -> str:
    """Return the line on the hard mask, and on how far the sum of the gates was from it."""
    away = event.gate_sum_error
    sums = f"the sum of gates was {number(event.gate_sum, ',.1f')}, {number(away, ',.1f')} away"
    detail = "" if not away else f" ({sums})"  # by rank nothing is left to harden
    if event.costs:
        first = event.costs[0]
        groups = "-".join(f"{count:,}" for count in first.groups)
        if first.names is not None:
            groups = ", ".join(first.names) or "none"
        used = [
            f"{cost_number(cost.used, cost.unit)} of at most {cost_number(cost.limit, cost.unit)} {COST_UNITS[cost.unit]}"
            for cost in event.costs
        ]
        detail = f" ({groups} of the groups: {' and '.join(used)})"
    value = event.validation_objective
    beside = "" if value is None else f", {objective or 'objective'} {number(value, '.4f')}"
    accuracy = number(event.validation_accuracy, ".4f")
    measure = measure_name(task, "validation", is_weighted=is_weighted)
    return f"hard mask: {event.kept:,} of {event.n_sites:,} sites{detail}; {measure} {accuracy}{beside}"
