"""Screens of plain text: nothing, JSON lines, or lines for a reader."""

from __future__ import annotations

from dataclasses import replace
from typing import Self, TextIO

from mcprune.data.roles.tasks import CLASSIFICATION
from mcprune.report import summary as table
from mcprune.report.screens.lines import (
    COLUMNS,
    columns_of,
    hardened_line,
    is_timed,
    knob_line,
    progress_header,
    progress_line,
    replanned_line,
    start_lines,
    stopped_line,
    time_option,
)
from mcprune.report.screens.pulse import Pulse
from mcprune.report.terminal import Output, report, write
from mcprune.report.text import duration, number, wrapped
from mcprune.session.interrupt import CODES
from mcprune.session.steering.callbacks import Callback
from mcprune.storage.answer import kept_doubts, measure_name
from mcprune.storage.events import (
    ErrorRate,
    Event,
    Hardened,
    KnobChanged,
    Note,
    Playoff,
    Progress,
    Refined,
    Replanned,
    RunDone,
    RunStarted,
    Scored,
    Stage,
    Stopped,
)

# A line of progress when a tenth of the blocks has passed, but not twice within 2 s and not later than 10 s.
SHARE, SOONEST, LATEST = 0.1, 2.0, 10.0
REPEAT_HEADER = 20


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
    """What the plain and the live screen share: the first lines, the notes, and the report at the end.

    Attributes
    ----------
    is_brief : bool
        At the end only the result in a sentence is shown, in place of the report.
    """

    def __init__(self, output: Output, *, is_brief: bool = False) -> None:
        self.output = output
        self.is_brief = is_brief
        self.objective: str | None = None
        self.task, self.is_weighted = CLASSIFICATION, False
        self.columns = COLUMNS
        self._doubtful: dict[str, str] = {}  # why columns are doubtful
        self._planned: int | None = None  # blocks at the start
        self._replanned: int | None = None  # blocks, as changed last
        self._limit = "--max-time"  # the option that limits the search
        self._is_timed = False

    def on_run_started(self, event: RunStarted) -> None:
        """Show the start of the run."""
        self.objective = event.objective
        self.task, self.is_weighted = event.task, event.is_weighted
        self._planned = event.blocks
        self._limit = time_option(event.config)
        self._is_timed = is_timed(event.config)
        self.columns = columns_of(event)
        self._doubtful = event.doubtful
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
        self._is_timed = self._is_timed and event.reason not in ("finish", "replay")
        self.output.lines([stopped_line(event, self._limit)])

    def on_playoff(self, event: Playoff) -> None:
        """Show the playoff of the finalists."""
        self.output.lines(table.playoff_lines(event, self.task))

    def on_refined(self, event: Refined) -> None:
        """Show what the chain has changed of the mask that it started from."""
        self.output.lines([table.refined_line(event)])

    def on_error_rate(self, event: ErrorRate) -> None:
        """Show the columns that beat their shadows."""
        self.output.lines(table.error_rate_lines(event))

    def on_hardened(self, event: Hardened) -> None:
        """Show the hard mask."""
        if self._planned is not None and self._replanned not in (None, self._planned):
            line = replanned_line(self._planned, self._replanned, is_timed=self._is_timed)
            self.output.lines(wrapped(line, self.output.width, indent=""))
        self.output.lines([hardened_line(event, self.objective, self.task, is_weighted=self.is_weighted)])

    def on_run_done(self, event: RunDone) -> None:
        """Show the result of the run."""
        if self.is_brief:
            for text in filter(None, (event.summary, event.simpler)):
                self.output.lines(wrapped(text, self.output.width, indent=""))
        else:
            report(self.output, event)
        if doubts := kept_doubts(event.names, self._doubtful):
            self.output.lines(wrapped(doubts, self.output.width, indent=""))
        if not event.is_complete and event.folder:
            self.output.lines([f"cut short: mcprune resume {event.folder} continues the run"])


class PlainScreen(TextScreen):
    """Aligned lines of plain text, few enough to be read."""

    def __init__(self, output: Output, *, is_brief: bool = False) -> None:
        super().__init__(output, is_brief=is_brief)
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
        measure = measure_name(self.task, "test", is_weighted=self.is_weighted)
        if event.rmse is not None:
            value = f", RMSE {number(event.rmse, '.4g')}, MAE {number(event.mae, '.4g')}{value}"
        self.output.lines([f"{event.name}: {measure} {accuracy}{value} at {event.kept:,} sites"])

    def _is_due(self, event: Progress) -> bool:
        if self._shown is None or event.block >= event.blocks:
            return True
        blocks, seconds = event.block - self._shown[0], event.seconds - self._shown[1]
        return seconds >= LATEST or (seconds >= SOONEST and blocks >= SHARE * event.blocks)
