"""Screens of plain text: nothing, JSON lines, or lines for a reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self, TextIO

from mcprune.config.budgets import COST_UNITS
from mcprune.report import summary as table
from mcprune.report.screens.pulse import Pulse
from mcprune.report.terminal import Output, report, write
from mcprune.report.text import duration, number, wrapped
from mcprune.session.interrupt import CODES
from mcprune.session.steering.callbacks import Callback
from mcprune.storage.answer import noun
from mcprune.storage.events import (
    Event,
    Hardened,
    KnobChanged,
    Note,
    Playoff,
    Progress,
    Replanned,
    RunDone,
    RunStarted,
    Scored,
    Stage,
    Stopped,
)

Columns = tuple[tuple[str, str, str, int], ...]

# A line of progress when a tenth of the blocks has passed, but not twice within 2 s and not later than 10 s.
SHARE, SOONEST, LATEST = 0.1, 2.0, 10.0
REPEAT_HEADER = 20
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


class Screen(Callback):
    """A callback that shows nothing: the base of all screens, with a hook for each kind of event.

    Attributes
    ----------
    code : int
        The exit code of the run so far.
    folder : str or None
        The run's folder.
    """

    code = 0
    folder: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_event(self, event: Event) -> None:
        """Show an event, and note what it means for the exit code."""
        if isinstance(event, RunStarted):
            self.folder = event.folder
        elif isinstance(event, Stopped):
            self.code = CODES.get(event.reason, 0)
        elif isinstance(event, RunDone) and event.cut_short_by is not None:
            self.code = CODES[event.cut_short_by]
        self.show(event)

    def show(self, event: Event) -> None:
        """Show an event: call the hook of its kind, if there is one."""
        hook = getattr(self, "on_" + event.kind, None)
        if hook is not None:
            hook(event)

    def close(self) -> None:
        """Leave the terminal as it was."""


class JsonScreen(Screen):
    """Every event as one line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: Event) -> None:
        """Write an event as one line of JSON."""
        write(self._stream, event.to_json() + "\n")


class QuietScreen(Screen):
    """Only the run's folder, at the end: it can be caught by a script as it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def on_run_done(self, event: RunDone) -> None:
        """Show the result of the run."""
        if event.folder:
            write(self._stream, f"{event.folder}\n")


class TextScreen(Screen):
    """What the plain and the live screen share: the first lines, the notes, and the report at the end."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.objective: str | None = None
        self.measure = "test accuracy"
        self.columns = COLUMNS
        self._planned: int | None = None  # blocks at the start
        self._replanned: int | None = None  # blocks, as changed last
        self._limit = "--max-time"  # the option that limits the search

    def on_run_started(self, event: RunStarted) -> None:
        """Show the start of the run."""
        self.objective = event.objective
        self.measure = "weighted test accuracy" if event.is_weighted else "test accuracy"
        self._planned = event.blocks
        self._limit = time_option(event.config)
        self.columns = GRADIENT_COLUMNS if event.config.get("method") == "gradient" else COLUMNS
        self.columns = COST_COLUMNS if event.costs else self.columns
        if event.objective:  # what the chain minimises takes the place of L_cla
            self.columns = (("objective", *LOSS[1:]), *self.columns[1:])
        self.output.lines(start_lines(event))

    def on_stage(self, event: Stage) -> None:
        """Show that a stage begins that may take long."""

    def on_note(self, event: Note) -> None:
        """Show a note."""
        self.output.lines(wrapped(f"note: {event.text}", self.output.width, indent=""))

    def on_knob_changed(self, event: KnobChanged) -> None:
        """Show a change of a knob."""
        self.output.lines(wrapped(knob_line(event), self.output.width, indent=""))

    def on_replanned(self, event: Replanned) -> None:
        """Keep the new number of blocks for the end of the search."""
        self._replanned = event.blocks  # shown once, at the end of the search

    def on_stopped(self, event: Stopped) -> None:
        """Show the end of the search."""
        self.output.lines([stopped_line(event, self._limit)])

    def on_playoff(self, event: Playoff) -> None:
        """Show the playoff of the finalists."""
        self.output.lines(table.playoff_lines(event))

    def on_hardened(self, event: Hardened) -> None:
        """Show the hard mask."""
        if self._planned is not None and self._replanned not in (None, self._planned):
            line = replanned_line(self._planned, self._replanned)
            self.output.lines(wrapped(line, self.output.width, indent=""))
        self.output.lines([hardened_line(event, self.objective)])

    def on_run_done(self, event: RunDone) -> None:
        """Show the result of the run."""
        report(self.output, event)
        if not event.is_complete and event.folder:
            self.output.lines([f"cut short: mcprune resume {event.folder} continues the run"])


class PlainScreen(TextScreen):
    """Aligned lines of plain text, few enough to be read."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._shown: tuple[float, float] | None = None  # block and seconds of the last line
        self._lines = 0
        self._counts = (0, 0)  # decisions and accepted ones up to the last line
        self._validation: float | None = None  # measured last
        self._pulse = Pulse(self._announce)

    def __enter__(self) -> PlainScreen:
        self._pulse.start("loading torch and the data")
        return self

    def close(self) -> None:
        """Stop the line that says that the run goes on."""
        self._pulse.stop()

    def show(self, event: Event) -> None:
        """Show an event."""
        with self._pulse.talking():
            super().show(event)

    def on_stage(self, event: Stage) -> None:
        """Name a stage; if it takes long it is named again."""
        self._pulse.label = event.text
        if event.name not in ("search", "compile", "compare"):  # those show themselves soon
            self.output.lines([f"{event.text} ..."])

    def _announce(self, label: str, seconds: float) -> None:
        self.output.lines([f"... {label}, {duration(seconds)}"])

    def on_progress(self, event: Progress) -> None:
        """Show the progress of the search."""
        # Validation is measured between epochs only: the last figure stands until the next.
        if event.validation_accuracy is None:
            event = replace(event, validation_accuracy=self._validation)
        self._validation = event.validation_accuracy
        self._pulse.label = f"searching, block {event.block:,} of {event.blocks:,}"
        if not self._is_due(event):
            return
        # Of all decisions since the last line: a single window may hold none for a candidate.
        if event.decisions > self._counts[0]:
            since = (event.accepted - self._counts[1]) / (event.decisions - self._counts[0])
            self._counts = (event.decisions, event.accepted)
            event = replace(event, acceptance=since)
        self._shown = (event.block, event.seconds)
        if self._lines % REPEAT_HEADER == 0:
            self.output.lines([progress_header(self.columns)])
        self._lines += 1
        self.output.lines([progress_line(event, self.columns)])

    def on_scored(self, event: Scored) -> None:
        """Show the scores of one mask."""
        value = "" if event.objective is None else f", {self.objective} {number(event.objective, '.4f')}"
        accuracy = number(event.accuracy, ".4f")
        self.output.lines([f"{event.name}: {self.measure} {accuracy}{value} at {event.kept:,} sites"])

    def _is_due(self, event: Progress) -> bool:
        if self._shown is None or event.block >= event.blocks:
            return True
        blocks, seconds = event.block - self._shown[0], event.seconds - self._shown[1]
        return seconds >= LATEST or (seconds >= SOONEST and blocks >= SHARE * event.blocks)


def start_lines(event: RunStarted) -> list[str]:
    """Return the lines that describe the run."""
    rows = event.rows
    groups = " + ".join(table.group_title(group) for group in event.sites)
    keep = f"{event.keep:,} of {event.n_sites:,} sites to keep ({groups})"
    if event.costs:
        bounds = [f"{cost.limit:,} of {cost.total:,} {COST_UNITS[cost.unit]}" for cost in event.costs]
        keep = f"at most {' and '.join(bounds)} to keep, {event.n_sites:,} sites ({groups})"
    parts = f"{rows['train']:,} training, {rows['validation']:,} validation, {rows['test']:,} test rows"
    inputs = next((group.size for group in event.sites if group.kind == "inputs"), None)
    columns = [] if inputs is None else [f"{inputs:,} {noun(event.sites[:1], event.image_shape)}"]
    classes = ", ".join(event.classes[:SHOWN_CLASSES]) + (", ..." if event.n_classes > SHOWN_CLASSES else "")
    threads = event.threads
    device = f"{event.device}, {threads} thread{'' if threads == 1 else 's'}" if threads else event.device
    return [
        f"mcprune {event.version}: {event.name}, {keep}",
        "; ".join([parts, *columns, f"{event.n_classes:,} classes ({classes})"]),
        f"classifier {event.classifier}; {device}",
    ]


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


def replanned_line(planned: int, done: int) -> str:
    """Return the line on a search whose number of blocks was fitted to the time."""
    if done > planned:
        return f"{done:,} blocks were planned in the end, {planned:,} at first; n(t) and the other schedules were stretched"
    return f"{done:,} of {planned:,} blocks fitted into the time; n(t) and the other schedules were compressed to fit"


def knob(value: object) -> str:
    """Return the value of a knob as text."""
    if isinstance(value, Mapping):
        return " ".join(f"{name} {share:.0%}" for name, share in value.items())
    return "none" if value is None else number(value, "g")


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


def hardened_line(event: Hardened, objective: str | None = None) -> str:
    """Return the line on the hard mask, and on how far the sum of the gates was from it."""
    away = event.gate_sum_error
    sums = f"the sum of gates was {number(event.gate_sum, ',.1f')}, {number(away, ',.1f')} away"
    detail = "" if not away else f" ({sums})"  # by rank nothing is left to harden
    if event.costs:
        first = event.costs[0]
        groups = "-".join(f"{count:,}" for count in first.groups)
        if first.names is not None:
            groups = ", ".join(first.names) or "none"
        used = [f"{cost.used:,} of at most {cost.limit:,} {COST_UNITS[cost.unit]}" for cost in event.costs]
        detail = f" ({groups} of the groups: {' and '.join(used)})"
    value = event.validation_objective
    beside = "" if value is None else f", {objective or 'objective'} {number(value, '.4f')}"
    accuracy = number(event.validation_accuracy, ".4f")
    return f"hard mask: {event.kept:,} of {event.n_sites:,} sites{detail}; validation accuracy {accuracy}{beside}"
