"""Signals that ask a run to end: the first one after the current step, the second one at once."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any


class Interrupt:
    """Ask the run to end after the current step: the first SIGINT is noted, the second one interrupts at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self._previous: Any = None
        self._is_installed = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Interrupt:
        if self._is_installed:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_installed and signal.getsignal(signal.SIGINT) == self._handle:
            with suppress(ValueError):  # closed in another thread
                signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
