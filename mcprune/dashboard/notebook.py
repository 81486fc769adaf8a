"""The live page in a notebook: `mcprune.tune` runs beside the cells, and shows the page where it stands."""

from __future__ import annotations

import threading
import time
from html import escape
from typing import Any

from torch import nn

from mcprune.api import prune_problem
from mcprune.dashboard.controller import Desk
from mcprune.dashboard.server import Server
from mcprune.errors import ConfigError, McpruneError
from mcprune.results import Result


class Tuning:
    """A run in a thread, with its page.

    Attributes
    ----------
    address : str
        Of the page, token and all; any browser on this machine may open it.
    """

    def __init__(self, server: Server, desk: Desk, work: Any) -> None:
        self.address = server.address
        self._server = server
        self._desk = desk
        self._work = work
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mcprune-run", daemon=True)
        self._thread.start()

    @property
    def status(self) -> str:
        """starting, running, paused, testing, done or failed."""
        return self._desk.status

    def turn(self, **knobs: Any) -> dict[str, Any]:
        """Turn knobs from the next block on, as the page does; return them as they were taken.

        Waits until the chain is there: data are loaded and the engine is compiled first.

        Raises
        ------
        ConfigError
            What is refused, with the reason.
        """
        while self._desk.status == "starting" and self._thread.is_alive():
            time.sleep(0.02)
        status, answer = self._desk.post(knobs)
        if status != 200:
            reasons = answer.get("refused") or {"": answer.get("error", "refused")}
            raise ConfigError("; ".join(str(reason) for reason in reasons.values()))
        return dict(answer["accepted"])

    def pause(self) -> None:
        """Wait in front of the next block."""
        self._desk.control("pause")

    def resume(self) -> None:
        """Go on."""
        self._desk.control("resume")

    def stop(self) -> Result:
        """End the search after this block, and return what `result` does."""
        self._desk.control("stop")
        return self.result()

    def result(self) -> Result:
        """Wait for the end of the run and return what it has found; the page stays.

        Raises
        ------
        McpruneError
            What ended the run.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def close(self) -> None:
        """Stop the run if it goes on, and the page's server."""
        self._desk.control("stop")
        self._thread.join()
        self._server.stop()

    def _repr_html_(self) -> str:
        """Return the page in a frame."""
        return (
            f'<iframe src="{escape(self.address, quote=True)}" width="100%" height="900" style="border:0" '
            'title="mcprune: the live page"></iframe>'
        )

    def _run(self) -> None:
        try:
            self._result = self._work()
        except McpruneError as error:
            self._desk.fail(str(error))
            self._error = error
        except BaseException as error:
            self._desk.fail(f"{type(error).__name__}: {error}")
            self._error = error


def tune(
    X: Any = "digits",
    y: Any = None,
    *,
    keep: Any = None,
    model: nn.Module | str | None = None,
    sites: str = "inputs",
    is_paused: bool = False,
    port: int = 0,
    **options: Any,
) -> Tuning:
    """Do what `prune` does beside the caller, with a page on which it is watched and steered.

    In a notebook the returned object shows the page in a frame. A page in a frame needs a notebook on this machine: others open
    `address` through a tunnel.

    Parameters
    ----------
    X, y, keep, model, sites, **options
        As of `mcprune.prune`.
    is_paused : bool
        Wait in front of the first block.
    port : int
        Of the page; 0 is any free one.

    Returns
    -------
    Tuning
        `result()` waits for the end and gives what `prune` returns.

    Raises
    ------
    McpruneError
        With the cause, what was met, and the remedy; what is met later is raised by `result()`.

    Examples
    --------
    >>> import mcprune
    >>> tuning = mcprune.tune("digits", keep=16, epochs=500)  # doctest: +SKIP
    >>> tuning.turn(temperature=1e-4)  # doctest: +SKIP
    {'temperature': 0.0001}
    >>> tuning.result().mask.indices.size  # doctest: +SKIP
    16
    """
    desk = Desk(is_paused=is_paused)
    server = Server(desk, port=port, frames="http://127.0.0.1:* http://localhost:*")
    server.start()
    asked = {"keep": keep, "sites": sites, **options}
    return Tuning(server, desk, lambda: prune_problem(X if y is None else (X, y), model, asked, desk, desk.hear))
