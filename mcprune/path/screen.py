"""What a path is doing, on one stream: stages, and how far the search is."""

from __future__ import annotations

from typing import TextIO

from mcprune.report.screens.choose import is_terminal
from mcprune.session.steering.callbacks import Callback
from mcprune.storage.events import Event, Note, Progress, Stage

PARTS = 10  # of the search that are reported where lines cannot be replaced


class PathScreen(Callback):
    """Writes stages and the progress of the search.

    Parameters
    ----------
    stream : TextIO
    is_quiet : bool
        Writes nothing.
    """

    def __init__(self, stream: TextIO, *, is_quiet: bool = False) -> None:
        self.stream, self.is_quiet = stream, is_quiet
        self.is_live = is_terminal(stream)
        self._is_open, self._part = False, 0

    def on_event(self, event: Event) -> None:
        """See `Callback.on_event`."""
        if self.is_quiet:
            return
        if isinstance(event, Stage):
            self._part = 0
            self._line(event.text)
        elif isinstance(event, Note):
            self._line(f"note: {event.text}")
        elif isinstance(event, Progress):
            shown = f"{event.kept:,} kept"
            text = f"  {event.block / event.blocks:4.0%}  {shown}, loss {event.loss:.4f}"
            if self.is_live:
                self.stream.write(f"\r{text:<60}")
                self._is_open = True
            elif (part := PARTS * event.block // event.blocks) > self._part:
                self._part = part
                self.stream.write(text + "\n")
        self.stream.flush()

    def _line(self, text: str) -> None:
        self.stream.write("\n" * self._is_open + text + "\n")
        self._is_open = False
