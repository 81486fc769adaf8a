"""Signals that end a run: the first one after the current step, the second one at once.

Only the command line handles the signals of its process (`own_signals`). A run that is started by a program leaves the handlers of
the program in place: Ctrl-C raises KeyboardInterrupt, and SIGTERM does what the program defines.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# The reason in the events of a run, and the exit code of the command.
REASONS = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminate"}
CODES = {reason: 128 + number for number, reason in REASONS.items()}


_owners: list[None] = []  # not empty while a command of this process owns the signals


@contextmanager
def own_signals() -> Iterator[None]:
    """Let every `Interrupt` inside handle SIGINT and SIGTERM; for a process that is one command."""
    _owners.append(None)
    try:
        yield
    finally:
        _owners.pop()


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Deliver SIGINT and SIGTERM that come inside only at the end, for work that an exception must not cut in two.

    Writing to a store that locks a file is such work: an interrupt inside of its lock leaves the lock behind. Like `Interrupt` it does
    nothing outside of `own_signals` and in other threads than the main one. May be nested.
    """
    if not (_owners and threading.current_thread() is threading.main_thread()):
        yield
        return
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    previous = {number: signal.signal(number, note) for number in REASONS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)


class Terminated(KeyboardInterrupt):
    """The second of two signals was SIGTERM."""

    code = CODES["terminate"]


class Interrupt:
    """Ends a run after the current step at the first signal, and at once at the second.

    Outside of `own_signals`, and in other threads than the main one, no signal is handled; only `ask` sets it.

    Parameters
    ----------
    signals : tuple of signal.Signals
        SIGINT alone, or SIGTERM too.

    Attributes
    ----------
    should_stop : bool
    reason : str
        `interrupt` or `terminate`; empty before that.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.should_stop = False
        self._is_signalled = False
        self.reason = ""
        self._signals = signals or (signal.SIGINT,)
        self._previous: dict[signal.Signals, Any] = {}
        self._is_installed = bool(_owners) and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Interrupt:
        for number in self._signals if self._is_installed else ():
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle:
                with suppress(ValueError):  # closed in another thread
                    signal.signal(number, previous)

    def ask(self, reason: str) -> None:
        """Stop as at a first signal: another process of the run got one, which may reach this process later."""
        self.should_stop, self.reason = True, self.reason or reason

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_signalled:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self._is_signalled = self.should_stop = True
        self.reason = self.reason or REASONS[signal.Signals(number)]
