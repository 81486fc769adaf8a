"""The live display of a run in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mcprune.cli.screen import COLUMNS, GRADIENT_COLUMNS, TextScreen, epoch_of
from mcprune.report.terminal import RichOutput
from mcprune.report.text import duration, number

if TYPE_CHECKING:
    from mcprune.dashboard.keys import Keys

Data = Mapping[str, Any]

REFRESH = 5  # a second
FIGURES = (
    *COLUMNS,
    *GRADIENT_COLUMNS[-2:],
    ("L_tot", "loss", ".4f", 8),
    ("validation", "validation_accuracy", ".4f", 8),
)
# two figures a line, so that the display fits into 80 characters
PAIRS = (
    ("loss", "cla"),
    ("sel", "rej"),
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
        self._latest: dict[str, Any] = {}
        self._live = Live(console=output.console, refresh_per_second=REFRESH, transient=True, get_renderable=self._draw)

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def close(self) -> None:
        self._live.stop()

    def on_start(self, data: Data) -> None:
        super().on_start(data)
        self._label = "searching"

    def on_progress(self, data: Data) -> None:
        # Validation is measured between epochs only: the last figure stands until the next.
        fresh = {key: value for key, value in data.items() if value is not None or key != "validation_accuracy"}
        self._latest = {**self._latest, **fresh}

    def on_stopped(self, data: Data) -> None:
        super().on_stopped(data)
        self._label = "hardening"

    def on_harden(self, data: Data) -> None:
        super().on_harden(data)
        self._search_is_over()

    def on_row(self, data: Data) -> None:
        self._label = f"testing (last: {data['name']}, {number(data.get('accuracy'), '.4f')})"

    def on_done(self, data: Data) -> None:
        self.close()
        super().on_done(data)

    def _search_is_over(self) -> None:
        latest, self._latest, self._label = self._latest, {}, "testing"
        if latest and self.columns is COLUMNS:
            proposals, accepted = number(latest.get("proposals"), ",d"), number(latest.get("accepted"), ",d")
            self.output.lines(
                [f"search: {proposals} proposals, {accepted} accepted, {duration(latest.get('seconds'))}"]
            )

    def _draw(self) -> RenderableType:
        data = self._latest
        if not data:
            self._spinner.update(text=Text(self._label))
            return self._spinner
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(f"epoch {epoch_of(data)}"),
            ProgressBar(total=max(data["blocks"], 1), completed=data["block"], width=30),
            *(
                [Text(f"{number(data.get('proposals_per_second'), ',.0f')} proposals/s")]
                if self.columns is COLUMNS
                else []
            ),
            Text(f"{duration(data.get('seconds_left'))} left"),
        )
        grid = Table.grid(padding=(0, 2))
        titles = {key: (title, form) for title, key, form, _ in FIGURES}
        for pair in PAIRS if self.columns is COLUMNS else GRADIENT_PAIRS:
            row = [Text(part) for key in pair for part in (titles[key][0], number(data.get(key), titles[key][1]))]
            grid.add_row(*row)
        if self.keys is None:
            return Group(bar, grid)
        grid.add_row(*(Text(part) for part in self._steered()))
        return Group(bar, grid, Text(self.keys.said, overflow="ellipsis", no_wrap=True))

    def _steered(self) -> list[str]:
        """Return the knobs of the keys: as they stand, which may be ahead of the last figures."""
        desk = self.keys.desk if self.keys is not None else None
        found = []
        for name in ("delta", "temperature"):
            found += [name, number(desk.now(name) if desk is not None else None, ".4g")]
        return found
