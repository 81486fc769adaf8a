"""The live display of a run in a terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mcprune.cli.screens.text import COLUMNS, GRADIENT_COLUMNS, TextScreen, epoch_of
from mcprune.report.terminal import RichOutput
from mcprune.report.text import duration, number
from mcprune.storage.events import Hardened, Progress, RunDone, RunStarted, Scored, Stopped

if TYPE_CHECKING:
    from mcprune.dashboard.keys import Keys

REFRESH = 5  # a second
FIGURES = (
    *COLUMNS,
    *GRADIENT_COLUMNS[-2:],
    ("L_tot", "loss", ".4f", 8),
    ("validation", "validation_accuracy", ".4f", 8),
)
# two figures a line, so that the display fits into 80 characters
PAIRS = (
    ("loss", "classification_loss"),
    ("selection_loss", "rejection_loss"),
    ("gate_sum", "acceptance"),
    ("kept", "target"),
    ("validation_accuracy",),
)
GRADIENT_PAIRS = (*PAIRS[:2], ("gate_sum", "near_hard"), *PAIRS[3:4], ("validation_accuracy", "alpha"))


class LiveScreen(TextScreen):
    """A bar and the current figures, drawn again a few times a second; notes scroll by above them."""

    def __init__(self, output: RichOutput) -> None:
        super().__init__(output)
        self._label = "starting"
        self.keys: Keys | None = None  # where a person may steer
        self._spinner = Spinner("line")
        self._latest: Progress | None = None
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
        self._label = "searching"

    def on_progress(self, event: Progress) -> None:
        """Show the progress of the search."""
        # Validation is measured between epochs only: the last figure stands until the next.
        if event.validation_accuracy is None and self._latest is not None:
            event = replace(event, validation_accuracy=self._latest.validation_accuracy)
        self._latest = event

    def on_stopped(self, event: Stopped) -> None:
        """Show the end of the search."""
        super().on_stopped(event)
        self._label = "hardening"

    def on_hardened(self, event: Hardened) -> None:
        """Show the hard mask."""
        super().on_hardened(event)
        latest, self._latest, self._label = self._latest, None, "testing"
        if latest is not None and self.columns is COLUMNS:
            counts = f"{latest.proposals:,} proposals, {latest.decisions:,} decisions, {latest.accepted:,} accepted"
            self.output.lines([f"search: {counts}, {duration(latest.seconds)}"])

    def on_scored(self, event: Scored) -> None:
        """Show the scores of one mask."""
        self._label = f"testing (last: {event.name}, {number(event.accuracy, '.4f')})"

    def on_run_done(self, event: RunDone) -> None:
        """Show the result of the run."""
        self.close()
        super().on_run_done(event)

    def _draw(self) -> RenderableType:
        event = self._latest
        if event is None:
            self._spinner.update(text=Text(self._label))
            return self._spinner
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(f"epoch {epoch_of(event)}"),
            ProgressBar(total=max(event.blocks, 1), completed=event.block, width=30),
            *([Text(f"{event.decisions_per_second:,.0f} decisions/s")] if self.columns is COLUMNS else []),
            Text(f"{duration(event.seconds_left)} left"),
        )
        grid = Table.grid(padding=(0, 2))
        titles = {key: (title, form) for title, key, form, _ in FIGURES}
        for pair in PAIRS if self.columns is COLUMNS else GRADIENT_PAIRS:
            row = [Text(part) for key in pair for part in (titles[key][0], number(getattr(event, key), titles[key][1]))]
            grid.add_row(*row)
        if self.keys is None:
            return Group(bar, grid)
        grid.add_row(*(Text(part) for part in self._steered()))
        return Group(bar, grid, Text(self.keys.message, overflow="ellipsis", no_wrap=True))

    def _steered(self) -> list[str]:
        """Return the current values of the knobs of the keys, which may be newer than the last figures."""
        cells = []
        for name in ("delta", "temperature"):
            cells += [name, number(None if self.keys is None else self.keys.controller.value(name), ".4g")]
        return cells
