"""The live page in a notebook: `mcprune.tune` runs beside the cells, and shows the page where it stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from torch import nn

from mcprune.api import prune_problem
from mcprune.dashboard.callback import Dashboard
from mcprune.dashboard.controller import Refused, is_bounded
from mcprune.results import Result
from mcprune.types import JsonObject


class Tuning:
    """A run in a thread, with its page.

    Attributes
    ----------
    address : str
        Of the page, token and all; any browser on this machine may open it.
    """

    def __init__(self, page: Dashboard, work: Callable[[], Result]) -> None:
        self.address = page.address
        self._page = page
        self._work = work
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mcprune-run", daemon=True)
        self._thread.start()

    @property
    def status(self) -> str:
        """starting, running, paused, testing, done or failed."""
        return self._page.view.status

    def change(self, **knobs: object) -> JsonObject:
        """Change knobs from the next block on, as the page does; return their values as accepted.

        Waits until the search runs: data are loaded and the engine is compiled first.

        Raises
        ------
        ConfigError
            A change that is refused, with the reason.
        """
        while self.status == "starting" and self._thread.is_alive():
            time.sleep(0.02)
        return self._page.change(knobs).knobs

    def pause(self) -> None:
        """Wait before the next block."""
        self._page.act("pause")

    def resume(self) -> None:
        """Continue after a pause."""
        self._page.act("resume")

    def finish(self) -> Result:
        """Bring n(t) to n within seconds, end the search there, and return what `result` does."""
        while self.status == "starting" and self._thread.is_alive():
            time.sleep(0.02)
        with suppress(Refused):  # it has ended already, or has no chain
            self._page.act("finish")
        return self.result()

    def stop(self) -> Result:
        """End the search after this block, and return what `result` does."""
        with suppress(Refused):  # it has ended already
            self._page.act("stop")
        return self.result()

    def result(self) -> Result:
        """Wait for the end of the run and return its result; the page stays open.

        Raises
        ------
        McpruneError
            The error that ended the run.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def close(self) -> None:
        """Stop the run if it is still running, and the page's server."""
        with suppress(Refused):
            self._page.act("stop")
        self._thread.join()
        self._page.close()

    def _repr_html_(self) -> str:
        """Return the page in a frame."""
        return self._page._repr_html_()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._page.view.fail(error)
            self._error = error


def tune(
    X: object = "digits",
    y: object = None,
    *,
    keep: object = None,
    model: nn.Module | str | None = None,
    sites: str = "inputs",
    is_paused: bool = False,
    port: int = 0,
    **options: object,
) -> Tuning:
    """Run `prune` in a thread, with a page on which the run is watched and steered.

    A chain goes on at n until it is stopped, unless `epochs`, `max_time` or `search_time` bounds it.

    In a notebook the returned object shows the page in a frame. This needs a notebook on this machine: from another machine open
    `address` through a tunnel.

    Parameters
    ----------
    X, y, keep, model, sites, **options
        As of `mcprune.prune`.
    is_paused : bool
        Wait before the first block.
    port : int
        Of the page; 0 is any free one.

    Returns
    -------
    Tuning
        `result()` waits for the end and returns what `prune` returns.

    Raises
    ------
    McpruneError
        With the cause and the remedy; errors of the run itself are raised by `result()`.

    Examples
    --------
    >>> import mcprune
    >>> tuning = mcprune.tune("digits", keep=16, epochs=500)  # doctest: +SKIP
    >>> tuning.change(temperature=1e-4)  # doctest: +SKIP
    {'temperature': 0.0001}
    >>> tuning.result().mask.indices.size  # doctest: +SKIP
    16
    """
    page = Dashboard(port, is_paused=is_paused, is_endless=not is_bounded(options), is_quiet=True, is_framed=True)
    data = X if y is None else (X, y)
    return Tuning(page, lambda: prune_problem(data, model, {"keep": keep, "sites": sites, **options}, [page]))
