"""One line on standard error of where a command is."""

from __future__ import annotations

import sys


class StatusLine:
    """A line that is written over in a terminal; elsewhere a line from time to time.

    Parameters
    ----------
    since : float, seconds
        On the clock of `is_due`: outside of a terminal the first line comes `EVERY` later.
    """

    EVERY = 10.0  # seconds, outside of a terminal

    def __init__(self, since: float) -> None:
        self.is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._last = since

    def is_due(self, now: float) -> bool:
        """Return whether a line is to be shown at a time in seconds."""
        is_due = sys.stderr is not None and (self.is_terminal or now - self._last >= self.EVERY)
        if is_due:
            self._last = now
        return is_due

    def show(self, text: str) -> None:
        """Show a line in the place of the one before."""
        if self.is_terminal:
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self.is_terminal and sys.stderr is not None:
            print(file=sys.stderr, flush=True)
