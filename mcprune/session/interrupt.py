"""Signals that ask a run to end: the first one after the current step, the second one at once."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

# What a run that was ended so says of it, and the exit code of the command.
REASONS = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminate"}
CODES = {reason: 128 + number for number, reason in REASONS.items()}


class Terminated(KeyboardInterrupt):
    """The second of two signals was SIGTERM."""

    code = CODES["terminate"]


class Interrupt:
    """Ask the run to end after the current step: the first signal is noted, the second one interrupts at once.

    Parameters
    ----------
    signals : tuple of signal.Signals
        SIGINT alone, or SIGTERM too.

    Attributes
    ----------
    is_asked : bool
    reason : str
        `interrupt` or `terminate`; nothing before it is asked.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.is_asked = False
        self.reason = ""
        self._signals = signals or (signal.SIGINT,)
        self._previous: dict[signal.Signals, Any] = {}
        self._is_installed = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Interrupt:
        for number in self._signals if self._is_installed else ():
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle:
                with suppress(ValueError):  # closed in another thread
                    signal.signal(number, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self.is_asked = True
        self.reason = REASONS[signal.Signals(number)]
