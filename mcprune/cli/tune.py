"""`mcprune tune`: a run with its page."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from mcprune.cli.arguments import run_options, run_parser
from mcprune.cli.parser import Group, Parser
from mcprune.config.options import option
from mcprune.config.schema import make_config
from mcprune.errors import ConfigError

if TYPE_CHECKING:
    from mcprune.dashboard.series import Stream
    from mcprune.dashboard.server import Server

DESCRIPTION = (
    "Run like `mcprune run`, and serve a page on this machine on which the run is watched and steered: delta, temperature, alpha, "
    "the mixture of moves, the evaluation batch, the pressure of n(t); pause, step, stop. The chain goes on at n until it is stopped, "
    "unless --epochs or --max-time bounds it. Every change is recorded with its block, "
    "and `mcprune run --replay FOLDER` repeats the run. With FOLDER the page shows a recorded run instead."
)
PAGE = ("port", "host", "browser")
OWN = ("folder", *PAGE, "paused")
GONE = 3.0  # seconds without an open page after which a finished run is no longer served
TERMINATED = 128 + 15  # exit code after SIGTERM


def tune_parser() -> Parser:
    """Return the parser: the options of run, and the page's own."""
    parser = run_parser("tune", DESCRIPTION)
    page = parser.add_argument_group("page")
    parser.option("folder", metavar="FOLDER", nargs="?", help="show a recorded run instead of running")
    add_page_options(parser, page)
    parser.option("--paused", action="store_true", group=page, help="wait before the first block (default: no)")
    return parser


def add_page_options(parser: Parser, page: Group) -> None:
    """Add the options of a page, by the names of `PAGE`."""
    parser.option(
        "--port",
        metavar="INTEGER",
        group=page,
        help="of the page (default: 8765, or the next free one; 0: any free one)",
    )
    parser.option(
        "--host",
        metavar="NAME",
        group=page,
        help="address to listen on; other machines need the token as well (default: 127.0.0.1)",
    )
    parser.option(
        "--no-browser",
        action="store_false",
        dest="browser",
        group=page,
        help="do not open a browser (default: open one where there is a display)",
    )


def check_page(own: Mapping[str, object]) -> None:
    """Refuse options of a page, by the names of `PAGE`, without "live".

    Raises
    ------
    ConfigError
        There is one.
    """
    for name in PAGE:
        if own[name] not in (None, True) and not own["live"]:
            flag = "--no-browser" if name == "browser" else f"--{name}"
            raise ConfigError(f"{flag} is for the page. Add --live, or leave it out")


def tune(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    options, quiet, json = run_options(arguments, tune_parser())
    own = argparse.Namespace(**{name: options.pop(name, None) for name in OWN})
    port = page_port(own.port)
    if own.folder is not None:
        if options:
            raise ConfigError(
                f"{option(next(iter(options)))} is for a new run, but {own.folder!r} is a recorded one. Leave one of them out"
            )
        if own.paused:
            raise ConfigError(f"--paused is for a new run, but {own.folder!r} is a recorded one. Leave --paused out")
        return _show(own, port)
    config = make_config(**options)

    from mcprune.dashboard.callback import Dashboard
    from mcprune.dashboard.controller import is_bounded
    from mcprune.report.screens.choose import choose_screen, watch
    from mcprune.session.loop import run

    host = "127.0.0.1" if own.host is None else own.host
    with Dashboard(
        port, host, is_paused=bool(own.paused), is_endless=not is_bounded(config.flat()), is_quiet=True
    ) as page:
        events = run(config, callbacks=[page])
        first = next(events)
        # Printed before the screen starts, which would wrap it. Standard output is for the JSON lines alone.
        stream = sys.stderr if json else sys.stdout
        announce(page.server, own.browser is not False, stream)
        with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
            code = watch(chain([first], events), screen)
        if code != TERMINATED:  # SIGTERM does not wait for a page to be closed
            linger(page.view.stream)
        return code


def _show(own: argparse.Namespace, port: int | None) -> int:
    """Serve a recorded run until Ctrl-C."""
    from mcprune.dashboard.recorded import NoRequests, RecordedRun
    from mcprune.dashboard.server import Server

    server = Server(RecordedRun(own.folder), NoRequests(), own.host or "127.0.0.1", port)
    server.start()
    try:
        announce(server, own.browser is not False, sys.stdout)
        print("Ctrl-C ends the page", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        return 0
    finally:
        server.stop()


def announce(server: Server, opens: bool, stream: TextIO) -> None:
    """Print the address of the page on a line of its own, and open it where there is a display."""
    if server.note:
        print(f"note: {server.note}", file=sys.stderr, flush=True)
    print(server.address, file=stream, flush=True)
    if opens and has_display():
        threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()


def linger(stream: Stream) -> None:
    """Serve while a page is open: its last figures can still be read and reloaded."""
    seen = time.monotonic() if stream.readers else -GONE
    if stream.readers:
        print("the page is served while it is open; Ctrl-C ends it", file=sys.stderr, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while time.monotonic() - seen < GONE:
            if stream.readers:
                seen = time.monotonic()
            time.sleep(0.1)


def has_display() -> bool:
    """Tell whether a browser could show itself: without a display webbrowser would take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def page_port(value: object) -> int | None:
    """Return the port that an option asks for; None for the usual one.

    Raises
    ------
    ConfigError
        It is no number of a port.
    """
    if value is None:
        return None
    text = str(value)
    if not (text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise ConfigError(f"--port takes a number from 0 to 65535, but got {text!r}. Leave it out for the usual port")
    return int(text)
