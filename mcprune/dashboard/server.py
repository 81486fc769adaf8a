"""The page's server: a thread of the run's process that shows a view and hands on the requests of the page."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import NoReturn, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mcprune.dashboard.controller import Accepted, Invalid, NotNow, Refused, Requests, TooMany
from mcprune.dashboard.security import Guard, impatient
from mcprune.dashboard.series import Message, Stream
from mcprune.errors import ConfigError
from mcprune.storage.events import plain
from mcprune.types import JsonObject

PORT, TRIES = 8765, 50
READERS = 32  # event streams at a time
STATUS: dict[type[Refused], int] = {NotNow: 409, Invalid: 422, TooMany: 429}
KEEP_ALIVE = 15.0  # seconds
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}


class PageView(Protocol):
    """What a page shows."""

    @property
    def stream(self) -> Stream:
        """Messages to open pages."""
        ...

    def state(self) -> JsonObject:
        """Return all that a page needs when it opens."""
        ...


class Server:
    """Serves the page of a run from a thread.

    Parameters
    ----------
    view : PageView
        What the page shows.
    requests : Requests
        Who takes what the page asks for.
    host : str
    port : int or None
        None: 8765, or the next free one; 0: any free one.
    frames : str
        Pages that may hold this one in a frame, in the words of the policy `frame-ancestors`.

    Raises
    ------
    ConfigError
        The address cannot be listened on.
    """

    def __init__(
        self,
        view: PageView,
        requests: Requests,
        host: str = "127.0.0.1",
        port: int | None = None,
        frames: str = "'none'",
    ) -> None:
        self.view = view
        self.requests = requests
        self.token = secrets.token_urlsafe(24)
        self._socket, self.note = listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.host = host
        self._static = _files()
        routes = [
            Route("/", self._page),
            Route("/static/{name}", self._file),
            Route("/state", self._state),
            Route("/events", self._events),
            Route("/knobs", self._knobs, methods=["POST"]),
            Route("/control", self._control, methods=["POST"]),
        ]
        app = Guard(Starlette(routes=routes), self.token, hosts(host, self.port), frames)
        config = uvicorn.Config(
            app, log_config=None, log_level="error", access_log=False, lifespan="off", http=impatient(), ws="none", loop="asyncio",
            timeout_graceful_shutdown=2, server_header=False, date_header=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="mcprune-page", daemon=True)

    @property
    def address(self) -> str:
        """What a browser is to open."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{'127.0.0.1' if name in ('0.0.0.0', '[::]') else name}:{self.port}/?token={self.token}"

    def start(self) -> None:
        """Start to serve; the socket listens already, so a browser may connect at once."""
        self._thread.start()

    def stop(self) -> None:
        """End all streams and the thread."""
        self.view.stream.close()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    async def _page(self, request: Request) -> Response:
        page = self._static["index.html"].read_text(encoding="utf-8").replace("{{token}}", self.token)
        return Response(page, media_type=TYPES[".html"])

    async def _file(self, request: Request) -> Response:
        # Only names of the list are served: no path is ever made from what was asked.
        file = self._static.get(request.path_params["name"])
        if file is None or file.suffix == ".html":
            return PlainTextResponse("there is no such file\n", 404)
        content = await asyncio.to_thread(file.read_bytes)
        return Response(content, media_type=TYPES[file.suffix])

    async def _state(self, request: Request) -> Response:
        return JSONResponse(plain(self.view.state()))

    async def _knobs(self, request: Request) -> Response:
        return await _answered(request, self.requests.change)

    async def _control(self, request: Request) -> Response:
        return await _answered(request, lambda body: self.requests.act(str(body.get("action"))[:40]))

    async def _events(self, request: Request) -> Response:
        if self.view.stream.readers >= READERS:
            return PlainTextResponse(f"{READERS} pages are open already; close one\n", 503)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        last = request.headers.get("last-event-id") or request.query_params.get("last-event-id") or ""
        return StreamingResponse(self._follow(last), media_type="text/event-stream")

    async def _follow(self, last: str) -> AsyncIterator[bytes]:
        """Yield the messages after `last`, or the whole state, and then all that follow."""
        stream, loop, news = self.view.stream, asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        leave = stream.listen(wake)
        try:
            yield b"retry: 1000\n\n"
            while True:
                news.clear()
                is_closed = stream.is_closed
                missed = stream.after(last)
                if missed is None:
                    last = stream.last  # before the state: what comes meanwhile is sent twice rather than never
                    yield Message(last, "state", self.view.state()).bytes()
                elif missed:
                    last = missed[-1].name
                    yield b"".join(message.bytes() for message in missed)
                elif is_closed:
                    return
                else:
                    try:
                        await asyncio.wait_for(news.wait(), KEEP_ALIVE)
                    except TimeoutError:
                        yield b": still here\n\n"
        finally:
            leave()


def listen(host: str, port: int | None) -> tuple[socket.socket, str]:
    """Return a socket that listens, and a note where it is not the usual port.

    Raises
    ------
    ConfigError
        The requested port is in use, none is free, or the host is not this machine's.
    """
    tried = [port] if port is not None else [*range(PORT, PORT + TRIES)]
    for one in tried:
        try:
            family, _, _, _, place = socket.getaddrinfo(host, one, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigError(f"--host {host!r} is no address of this machine ({error}); leave it out") from None
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(256)
            note = f"port {PORT} is in use, so the page is at port {one}" if port is None and one != PORT else ""
            return listener, note
        except PermissionError:
            listener.close()
            raise ConfigError(f"--port {one} is not for this user; choose one from 1024 on") from None
        except OSError as error:
            listener.close()
            if port is not None:
                raise ConfigError(
                    f"--port {port} of {host} cannot be listened on ({error.strerror}); choose another, or leave --port out"
                ) from None
    raise ConfigError(f"the ports {PORT} to {PORT + TRIES - 1} are all in use; choose one with --port")


def hosts(host: str, port: int) -> set[str]:
    """Return the names that requests may come for."""
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host.lower()}
    if host in ("0.0.0.0", "::"):
        names.add(socket.gethostname().lower())
        try:
            for *_, place in socket.getaddrinfo(socket.gethostname(), port):
                names.add(f"[{place[0]}]" if ":" in str(place[0]) else str(place[0]))
        except OSError:
            pass
    return {f"{name}:{port}" for name in names}


async def _answered(request: Request, ask: Callable[[JsonObject], Accepted | None]) -> Response:
    """Return the answer to a request whose body is a JSON object."""
    try:
        accepted = ask(_object(await request.body()))
    except Refused as refusal:  # a ValueError too
        reasons = refusal.reasons if isinstance(refusal, Invalid) else None
        return JSONResponse({"error": str(refusal), "refused": reasons}, STATUS[type(refusal)])
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse(plain({} if accepted is None else {"accepted": accepted.knobs, "clamped": accepted.clamped}))


def _object(body: bytes) -> JsonObject:
    """Return the JSON object of a body; ValueError where it is none."""

    def refuse(text: str) -> NoReturn:
        raise ValueError(f"{text} is not a number of JSON")

    try:
        content = json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        why = "a number has too many digits" if "limit" in str(error) and "digits" in str(error) else error
        raise ValueError(f"the body is not JSON: {why}") from None
    if not isinstance(content, dict):
        raise ValueError("the body must be a JSON object of names and values")
    return content


def _files() -> dict[str, Path]:
    """Return the files under /static, by name; plotly's script comes from its own package."""
    own = Path(str(files("mcprune.dashboard") / "static"))
    served = {path.name: path for path in own.iterdir() if path.suffix in TYPES}
    served["plotly.min.js"] = Path(str(files("plotly") / "package_data" / "plotly.min.js"))
    return served
