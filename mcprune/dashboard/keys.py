"""Steering in a terminal without a browser: single keys while `mcprune run` shows its live display."""

from __future__ import annotations

import os
import select
import sys
import threading
from typing import Self

from mcprune.dashboard.controller import NotNow, Refused, RunController

HELP = "keys: + - delta, T t temperature up and down, p pause, f finish at n, q stop now"
FACTOR = 1.25  # of one key
# From temperature 0 a first key up leads here, and a key down from near it back to exactly 0.
SMALLEST = 1e-6


class Keys:
    """Reads keys of the terminal in a thread of its own, and requests what they mean.

    Parameters
    ----------
    controller : RunController

    Attributes
    ----------
    message : str
        What the last key did, for the display.
    """

    def __init__(self, controller: RunController) -> None:
        self.controller = controller
        self.message = HELP
        self._terminal: list[int | list[bytes | int]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="mcprune-keys", daemon=True)

    def __enter__(self) -> Self:
        """Have the terminal give single keys, unseen; Ctrl-C stays what it is."""
        import termios
        import tty

        number = sys.stdin.fileno()
        self._terminal = termios.tcgetattr(number)
        tty.setcbreak(number)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        import termios

        self._is_over.set()
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._terminal)
        self._thread.join(1.0)

    def _read(self) -> None:
        number = sys.stdin.fileno()
        while not self._is_over.is_set():
            ready, _, _ = select.select([number], [], [], 0.1)
            if ready:
                letters = os.read(number, 64)
                if not letters:
                    return
                for letter in letters.decode("ascii", "ignore"):
                    self.press(letter)

    def press(self, key: str) -> None:
        """Request what a key means, and keep the outcome for the display."""
        try:
            text = self._request(key)
        except Refused as refusal:
            text = str(refusal)
        if text:
            self.message = f"{text}  ({HELP})"

    def _request(self, key: str) -> str:
        if key == "p":
            self.controller.act("resume" if self.controller.view.status == "paused" else "pause")
            return "pause or resume"
        if key == "f":
            self.controller.act("finish")
            return "finishing: n(t) comes down to n, then the run ends"
        if key == "q":
            self.controller.act("stop")
            return "stopping after this block"
        if key in "+=-":
            return self._multiply("delta", 1.0 / FACTOR if key == "-" else FACTOR)
        if key in "tT":
            return self._multiply("temperature", FACTOR if key == "T" else 1.0 / FACTOR)
        return ""

    def _multiply(self, name: str, factor: float) -> str:
        """Multiply a knob; one that a schedule or the adaptation moves starts from where it is."""
        now = self.controller.value(name)
        if now is None:
            raise NotNow("the search does not run yet")
        value = now * factor
        if name == "temperature" and value < SMALLEST:
            value = SMALLEST if factor > 1 else 0.0
        accepted = self.controller.change({name: float(f"{value:.4g}")})
        return ", ".join(f"{knob} {new:.4g}" for knob, new in accepted.knobs.items())


def can_be_used() -> bool:
    """Tell whether keys can be read: a terminal of the kind that gives single ones."""
    try:
        import termios  # noqa: F401 - not there on every system
    except ImportError:
        return False
    return sys.stdin is not None and sys.stdin.isatty()
