"""The live page as a callback: a run is watched and steered."""

from __future__ import annotations

import sys
from html import escape
from types import TracebackType
from typing import Self

from mcprune.dashboard.controller import RunController
from mcprune.dashboard.server import Server
from mcprune.session.steering.callbacks import SearchView

NOTEBOOKS = "http://127.0.0.1:* http://localhost:*"


class Dashboard(RunController):
    """Serves a page on which a run is watched and steered, from a thread of this process.

    Parameters
    ----------
    port : int, optional
        By default 8765, or the next free one; 0: any free one.
    host : str
        Address to listen on. Other machines need the token as well, which is part of `address`.
    is_paused : bool
        Wait before the first block.
    is_endless : bool
        See `RunController`.
    is_quiet : bool
        Do not print the address when the run starts.
    is_framed : bool, optional
        Whether pages on this machine may show this one in a frame; by default in a notebook.

    Attributes
    ----------
    server : Server
    address : str
        Of the page, with its token.

    Raises
    ------
    ConfigError
        The address cannot be listened on.

    Examples
    --------
    >>> import mcprune
    >>> with mcprune.Dashboard() as page:  # doctest: +SKIP
    ...     result = mcprune.prune("digits", keep=16, callbacks=[page])
    """

    def __init__(
        self,
        port: int | None = None,
        host: str = "127.0.0.1",
        *,
        is_paused: bool = False,
        is_endless: bool = False,
        is_quiet: bool = False,
        is_framed: bool | None = None,
    ) -> None:
        super().__init__(is_paused=is_paused, is_endless=is_endless)
        self._is_quiet = is_quiet
        is_framed = "ipykernel" in sys.modules if is_framed is None else is_framed
        self.server = Server(self.view, self, host, port, frames=NOTEBOOKS if is_framed else "'none'")
        self.server.start()
        self.address = self.server.address

    def on_start(self, search: SearchView) -> None:
        """See `Callback.on_start`."""
        super().on_start(search)
        if not self._is_quiet:
            print(f"live page: {self.address}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Stop the server; without this the page can be read until the process ends."""
        self.server.stop()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.close()

    def _repr_html_(self) -> str:
        """Return the page in a frame, for notebooks."""
        return (
            f'<iframe src="{escape(self.address, quote=True)}" width="100%" height="900" style="border:0" '
            'title="mcprune: the live page"></iframe>'
        )
