"""The progress of a run in a notebook: a bar with the figures of the terminal, drawn again where it stands."""

from __future__ import annotations

import time
from dataclasses import replace
from html import escape
from importlib import import_module
from typing import Protocol

from mcprune.report.screens.lines import COLUMNS, Columns, columns_of, epoch_of, figure_text, start_lines
from mcprune.report.screens.text import Screen as Base
from mcprune.report.text import duration, number
from mcprune.storage.events import Hardened, Note, Progress, RunDone, RunStarted, Scored, Stage

EVERY = 0.5  # seconds between two drawings at least
STYLE = "font-family:system-ui,sans-serif;font-size:13px;max-width:60em"


class Handle(Protocol):
    """A display of IPython that can be drawn again."""

    def update(self, content: object) -> None:
        """Draw it again."""
        ...


class NotebookScreen(Base):
    """A bar, five figures and the notes of a run, as the output of a cell."""

    def __init__(self) -> None:
        self._handle: Handle | None = None
        self._last = 0.0
        self._label = "loading the data"
        self._latest: Progress | None = None
        self._columns: Columns = COLUMNS
        self._start: list[str] = []
        self._notes: list[str] = []

    def __enter__(self) -> NotebookScreen:
        self._draw(is_due=True)
        return self

    def on_run_started(self, event: RunStarted) -> None:
        """Show what is run."""
        self._start, self._columns = start_lines(event), columns_of(event)
        self._draw(is_due=True)

    def on_note(self, event: Note) -> None:
        """Show a note."""
        self._notes.append(event.text)
        self._draw(is_due=True)

    def on_stage(self, event: Stage) -> None:
        """Name what takes long."""
        self._label = event.text
        self._draw(is_due=True)

    def on_progress(self, event: Progress) -> None:
        """Show the progress of the search."""
        if event.validation_accuracy is None and self._latest is not None:
            event = replace(event, validation_accuracy=self._latest.validation_accuracy)
        self._latest, self._label = event, "searching"
        self._draw()

    def on_hardened(self, event: Hardened) -> None:
        """Show that the search has ended."""
        self._label = "testing"
        self._draw(is_due=True)

    def on_scored(self, event: Scored) -> None:
        """Show the scores of one mask."""
        self._label = f"testing (last: {event.name}, {number(event.accuracy, '.4f')})"
        self._draw(is_due=True)

    def on_run_done(self, event: RunDone) -> None:
        """Show the end; the result shows itself as a card."""
        self._label = f"done in {duration(event.seconds)}"
        self._draw(is_due=True)

    def html(self) -> str:
        """Return what is shown."""
        event, parts = self._latest, [f"<div>{escape(line)}</div>" for line in self._start]
        if event is not None:
            figures = [
                f"{title} <b>{escape(figure_text(getattr(event, key), form))}</b>"
                for title, key, form, _ in self._columns
            ]
            figures = [f"epoch {escape(epoch_of(event))}", *figures, f"{duration(event.seconds_left)} left"]
            parts.append(f'<progress value="{event.block}" max="{max(event.blocks, 1)}" style="width:24em"></progress>')
            parts.append(f"<div>{' &nbsp; '.join(figures)}</div>")
        parts.append(f'<div style="opacity:.8">{escape(self._label)}</div>')
        if self._notes:
            notes = "".join(f"<li>{escape(text)}</li>" for text in self._notes)
            count = f"{len(self._notes)} note{'s' if len(self._notes) > 1 else ''}"
            parts.append(f"<details><summary>{count}</summary><ul>{notes}</ul></details>")
        return f'<div style="{STYLE}">{"".join(parts)}</div>'

    def _draw(self, *, is_due: bool = False) -> None:
        """Draw again, unless that was done just before."""
        if not is_due and time.monotonic() - self._last < EVERY:
            return
        shown = import_module("IPython.display")  # there is one in a notebook
        self._last = time.monotonic()
        if self._handle is None:
            self._handle = shown.display(shown.HTML(self.html()), display_id=True)
        else:
            self._handle.update(shown.HTML(self.html()))
