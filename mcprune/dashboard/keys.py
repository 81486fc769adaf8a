"""Steering in a terminal without a browser: single keys while `mcprune run` shows its live display."""

from __future__ import annotations

import os
import select
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from mcprune.dashboard.controller import Desk

HELP = "keys: + - delta, T t temperature up and down, p pause, q stop and save"
FACTOR = 1.25  # of one key
# From temperature 0 a first key up leads here, and a key down from near it back to exactly 0.
SMALLEST = 1e-6


class Keys:
    """Reads keys of the terminal in a thread of its own, and hands them to a desk; nothing where there is no terminal.

    Parameters
    ----------
    desk : Desk
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.said = HELP
        self._terminal: Any = None
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
        """Do what a key means, and keep what came of it for the display."""
        if key == "p":
            status, answer = self.desk.control("resume" if self.desk.status == "paused" else "pause")
        elif key == "q":
            status, answer = self.desk.control("stop")
        elif key in "+=-":
            status, answer = self._turn("delta", 1.0 / FACTOR if key == "-" else FACTOR)
        elif key in "tT":
            status, answer = self._turn("temperature", FACTOR if key == "T" else 1.0 / FACTOR)
        else:
            return
        if status == 200:
            turned = answer.get("accepted")
            text = ", ".join(f"{name} {value:.4g}" for name, value in turned.items()) if turned else key_words(key)
        else:
            text = str(answer.get("error") or "; ".join(answer["refused"].values()))
        self.said = f"{text}  ({HELP})"

    def _turn(self, name: str, factor: float) -> tuple[int, dict[str, Any]]:
        """Multiply a knob; one that a schedule or the adaptation moves goes on from where it is."""
        now = self.desk.now(name)
        if now is None:
            return 409, {"error": "the chain does not run yet"}
        value = now * factor
        if name == "temperature" and value < SMALLEST:
            value = SMALLEST if factor > 1 else 0.0
        return self.desk.post({name: float(f"{value:.4g}")})


def key_words(key: str) -> str:
    """Return what a key that turns no knob has asked for."""
    return {"p": "pause or go on", "q": "stopping after this block"}[key]


def can_be_used() -> bool:
    """Tell whether keys can be read: a terminal of the kind that gives single ones."""
    try:
        import termios  # noqa: F401 - not there on every system
    except ImportError:
        return False
    return sys.stdin is not None and sys.stdin.isatty()
