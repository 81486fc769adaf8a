"""What a path is doing, on one stream: stages, and how far the search is."""

from __future__ import annotations

import sys
from typing import TextIO

from mcprune.report.screens.choose import in_notebook, is_terminal
from mcprune.session.interrupt import CODES
from mcprune.session.steering.callbacks import Callback
from mcprune.storage.events import Event, Note, Progress, Stage, Stopped
from mcprune.storage.path_events import PathProgress

PARTS = 10  # of the search that are reported where lines cannot be replaced


class PathScreen(Callback):
    """Writes stages and the progress of the search.

    Parameters
    ----------
    stream : TextIO
    is_quiet : bool
        Writes nothing.

    Attributes
    ----------
    code : int
        The exit code of a signal that has ended the search; 0 without one.
    """

    def __init__(self, stream: TextIO, *, is_quiet: bool = False) -> None:
        self.stream, self.is_quiet = stream, is_quiet
        self.code = 0
        self._searched: tuple[int, ...] = ()
        self.is_live = is_terminal(stream)
        self._is_open, self._part = False, 0

    def on_event(self, event: Event) -> None:
        """See `Callback.on_event`."""
        if isinstance(event, Stopped):
            self.code = CODES.get(event.reason, 0)
        if self.is_quiet:
            return
        if isinstance(event, Stage):
            self._part = 0
            self._line(event.text)
        elif isinstance(event, PathProgress):
            self._show_levels(event)
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

    def _show_levels(self, event: PathProgress) -> None:
        """Write a line for each level that has been searched since the last time."""
        for score in event.scores if event.level is not None and event.way != "score" else ():
            if score.level not in self._searched and not score.is_final:
                self._searched += (score.level,)
                share = (
                    "" if score.accuracy is None else f": accuracy {score.accuracy:.4f} +- {score.accuracy_error:.4f}"
                )
                self._line(f"  searched {score.level:,}{share}{' in the search' if share else ''}")

    def _line(self, text: str) -> None:
        self.stream.write("\n" * self._is_open + text + "\n")
        self._is_open = False


def path_screen(progress: bool | None) -> PathScreen:
    """Return the screen of a path that is started from Python, on standard error.

    Parameters
    ----------
    progress : bool or None
        None: shown in a terminal and in a notebook, silent elsewhere.
    """
    is_shown = in_notebook() or is_terminal(sys.stderr) if progress is None else progress
    return PathScreen(sys.stderr, is_quiet=not is_shown)
