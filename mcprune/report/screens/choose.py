"""Which screen shows a run, and what its end means for the exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TextIO

from mcprune.report.screens.text import JsonScreen, PlainScreen, QuietScreen, Screen
from mcprune.report.terminal import PlainOutput, choose
from mcprune.session.steering.callbacks import Callbacks
from mcprune.storage.events import Event


def choose_screen(stream: TextIO, *, quiet: bool = False, json: bool = False, is_brief: bool = False) -> Screen:
    """Return the requested screen, else the live one in a terminal and plain lines elsewhere."""
    if json:
        return JsonScreen(stream)
    if quiet:
        return QuietScreen(stream)
    output = choose(stream)
    if isinstance(output, PlainOutput):
        return PlainScreen(output, is_brief=is_brief)
    from mcprune.report.screens.live import LiveScreen

    return LiveScreen(output, is_brief=is_brief)


def progress_screen(progress: bool | None) -> Screen:
    """Return the screen of a run that is started from Python, on standard error.

    Parameters
    ----------
    progress : bool or None
        None: shown in a terminal and in a notebook, silent elsewhere.
    """
    if progress is False or (progress is None and not in_notebook() and not is_terminal(sys.stderr)):
        return Screen()
    if in_notebook():
        from mcprune.report.screens.notebook import NotebookScreen

        return NotebookScreen()
    return choose_screen(sys.stderr, is_brief=True)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person may read the stream as it is written."""
    return stream is not None and stream.isatty()


def watch(events: Iterator[Event], screen: Screen) -> int:
    """Show the events of a run and return the exit code: 130 if it was interrupted, 143 if terminated, else 0.

    The iterator is closed on every way out: a screen that cannot go on (a closed pipe) ends the run too.
    The caller has entered the screen.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C where the run itself does not handle it; its text says where the files so far are.
    """
    try:
        for _ in Callbacks([screen]).watch(events):
            pass
    except KeyboardInterrupt as interrupt:
        folder = screen.folder
        where = (
            f"; the files written so far are in {folder}; mcprune resume {folder} continues the run" if folder else ""
        )
        raise type(interrupt)(where) from None
    return screen.code
