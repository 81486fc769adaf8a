"""A thread that speaks where a run is silent for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mcprune.errors import McpruneError

SILENCE = 10.0  # seconds after which a silent run says what it is doing


class Pulse:
    """Says what a run is doing, each time that nothing was said for 10 seconds.

    Parameters
    ----------
    say : callable
        Takes the label, and the seconds since it was set.

    Attributes
    ----------
    label : str
        What the run is doing.
    """

    def __init__(self, say: Callable[[str, float], None]) -> None:
        self._say = say
        self._label = ""
        self._since = self._spoken = time.monotonic()
        self._lock = threading.RLock()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def label(self) -> str:
        """What the run is doing."""
        return self._label

    @label.setter
    def label(self, text: str) -> None:
        self._label, self._since = text, time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the label was set."""
        return time.monotonic() - self._since

    def start(self, label: str) -> None:
        """Start the thread."""
        self.label = label
        self._spoken = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="mcprune-pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(1.0)

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Keep the thread silent while something else is written."""
        with self._lock:
            yield
            self._spoken = time.monotonic()

    def _run(self) -> None:
        # An output that takes no more ends the run at its next event, not here.
        with suppress(McpruneError, OSError, ValueError):
            while not self._is_over.wait(SILENCE / 20):
                with self._lock:
                    if time.monotonic() - self._spoken >= SILENCE and not self._is_over.is_set():
                        self._say(self._label, self.seconds)
                        self._spoken = time.monotonic()
