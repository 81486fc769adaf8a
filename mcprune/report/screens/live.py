"""The live display of a run in a terminal."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Protocol

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mcprune.report.screens.lines import COLUMNS, epoch_of, figure_text
from mcprune.report.screens.text import TextScreen
from mcprune.report.terminal import RichOutput
from mcprune.report.text import duration, number
from mcprune.storage.events import Hardened, Progress, RunDone, RunStarted, Scored, Stage, Stopped

REFRESH = 5  # a second
SLOW = 3.0  # seconds after which a stage shows its time


class Knobs(Protocol):
    """Who knows the knobs."""

    def value(self, name: str) -> float | None:
        """Return the current value of a knob."""
        ...


class Keys(Protocol):
    """What a person steers by keys."""

    @property
    def message(self) -> str:
        """What the last key did."""
        ...

    @property
    def controller(self) -> Knobs:
        """Who knows the knobs."""
        ...


class LiveScreen(TextScreen):
    """A bar and five figures, drawn again a few times a second; notes scroll by above them."""

    def __init__(self, output: RichOutput, *, is_brief: bool = False) -> None:
        super().__init__(output, is_brief=is_brief)
        self.keys: Keys | None = None  # where a person may steer
        self._spinner = Spinner("line")
        self._latest: Progress | None = None
        self._name("loading torch and the data")
        self._live = Live(console=output.console, refresh_per_second=REFRESH, transient=True, get_renderable=self._draw)

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def close(self) -> None:
        """Stop the live display."""
        self._live.stop()

    def on_run_started(self, event: RunStarted) -> None:
        """Show the start of the run."""
        super().on_run_started(event)
        self._name("starting")

    def on_stage(self, event: Stage) -> None:
        """Name what takes long."""
        self._name(event.text)

    def on_progress(self, event: Progress) -> None:
        """Show the progress of the search."""
        # Validation is measured between epochs only: the last figure stands until the next.
        if event.validation_accuracy is None and self._latest is not None:
            event = replace(event, validation_accuracy=self._latest.validation_accuracy)
        self._latest = event
        self._name("searching")

    def on_stopped(self, event: Stopped) -> None:
        """Show the end of the search."""
        super().on_stopped(event)
        self._name("hardening")

    def on_hardened(self, event: Hardened) -> None:
        """Show the hard mask."""
        super().on_hardened(event)
        latest, self._latest = self._latest, None
        self._name("testing")
        if latest is not None and self.columns is COLUMNS:
            counts = f"{latest.proposals:,} proposals, {latest.decisions:,} decisions, {latest.accepted:,} accepted"
            self.output.lines([f"search: {counts}, {duration(latest.seconds)}"])

    def on_scored(self, event: Scored) -> None:
        """Show the scores of one mask."""
        self._name(f"testing (last: {event.name}, {number(event.accuracy, '.4f')})")

    def on_run_done(self, event: RunDone) -> None:
        """Show the result of the run."""
        self.close()
        super().on_run_done(event)

    def _name(self, label: str) -> None:
        """Set what the run is doing."""
        self._label, self._since = label, time.monotonic()

    def _draw(self) -> RenderableType:
        event, seconds = self._latest, time.monotonic() - self._since
        since = f", {duration(seconds)}" if seconds >= SLOW else ""
        if event is None:
            self._spinner.update(text=Text(self._label + since))
            return self._spinner
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(f"epoch {epoch_of(event)}"),
            ProgressBar(total=max(event.blocks, 1), completed=event.block, width=30),
            Text(f"{duration(event.seconds_left)} left"),
        )
        figures = [f"{title} {figure_text(getattr(event, key), form)}" for title, key, form, _ in self.columns]
        lines: list[RenderableType] = [bar, _row(figures)]
        if self._label != "searching" or since:
            lines.append(Text(self._label + since))
        if self.keys is not None:
            # They may be newer than the last figures.
            values = {name: self.keys.controller.value(name) for name in ("delta", "temperature")}
            lines.append(_row([f"{name} {number(value, '.4g')}" for name, value in values.items()]))
            lines.append(Text(self.keys.message, overflow="ellipsis", no_wrap=True))
        return Group(*lines)


def _row(figures: list[str]) -> Columns:
    """Return figures beside each other, on several lines where the terminal is narrow."""
    return Columns([Text(figure) for figure in figures], padding=(0, 3))
