"""Who may speak to the page's server: the right token, from this page, to this host, in few bytes."""

from __future__ import annotations

import asyncio
import hmac
from typing import ClassVar, cast
from urllib.parse import parse_qs

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

BODY = 16_384  # bytes of a body
PATIENCE = 10.0  # seconds for a whole request to arrive
MOST = 256  # connections at a time
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors "
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Stands before the application: refuses what does not come from the page.

    Parameters
    ----------
    app : ASGI application
    token : str
    hosts : set of str
        Allowed values of the Host header; anything else may be a rebound name.
    frames : str
        Who may hold the page in a frame.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: set[str], frames: str = "'none'") -> None:
        self.app = app
        self.token = token.encode()
        self.hosts = hosts
        self.headers = [(b"content-security-policy", (POLICY + frames).encode()), *HEADERS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on with the headers of every answer."""
        if scope["type"] != "http":
            return
        refusal = self.refusal(scope)
        if refusal is None and scope["method"] == "POST":
            body = await _body(receive)
            refusal = (body, "the request is too large or incomplete") if isinstance(body, int) else None
            receive = _once(body)
        if refusal is not None:
            await _answer(send, *refusal, self.headers)
            return

        async def passed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
            await send(message)

        await self.app(scope, receive, passed)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason of a refusal, or None."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        host = headers.get(b"host", [])
        if len(host) != 1 or host[0].decode("latin-1").lower() not in self.hosts:
            return 421, "this host name is not served here"
        for origin in headers.get(b"origin", []):
            text = origin.decode("latin-1").lower()
            if not text.startswith("http://") or text[7:] not in self.hosts:
                return 403, "requests from other pages are refused"
        if headers.get(b"sec-fetch-site", [b"none"])[0] in (b"cross-site", b"same-site") and scope["method"] != "GET":
            return 403, "requests from other pages are refused"
        tokens = (
            parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=8).get("token", [])
            if _is_short(scope)
            else []
        )
        tokens += [value.decode("latin-1") for value in headers.get(b"x-mcprune-token", [])]
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0].encode("latin-1", "replace"), self.token):
            return 403, "the token is missing or wrong: open the address that mcprune tune printed"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "only GET and POST are served"
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", [b""])[0].split(b";")[0].strip().lower()
            if kind != b"application/json":
                return 415, "a body must be application/json"
            length = headers.get(b"content-length", [b"0"])[0]
            if not length.isdigit() or int(length) > BODY:
                return 413, f"a body has at most {BODY} bytes"
        return None


def _is_short(scope: Scope) -> bool:
    query: bytes = scope["query_string"]
    return len(query) < 1024 and query.count(b"&") < 8


async def _body(receive: Receive) -> bytes | int:
    """Return the whole body, or the status of the refusal."""
    parts: list[bytes] = []

    async def read() -> int:
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return 400
            size += len(message.get("body", b""))
            if size > BODY:
                return 413
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return 0

    try:
        status = await asyncio.wait_for(read(), PATIENCE)
    except TimeoutError:
        return 408
    return status or b"".join(parts)


def _once(body: bytes | int) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _answer(send: Send, status: int, text: str, more: list[tuple[bytes, bytes]]) -> None:
    body = (text + "\n").encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, but a request that does not arrive in time is dropped: many connections cost nothing.

    Of more than `MOST` connections the one that has waited longest without a request is closed, so that a page still gets in and the
    run's own files can be opened. A class of its own for each server (`impatient`).
    """

    waiting: ClassVar[dict[ImpatientProtocol, None]]
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._wait()
        if len(self.connections) > MOST:
            next(iter(self.waiting))._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self._patience is None and self.conn.trailing_data[0]:  # the first bytes of a further request
            self._wait()

    def _wait(self) -> None:
        self.waiting[self] = None
        self._patience = self.loop.call_later(PATIENCE, self._give_up)

    def _wait_no_more(self) -> None:
        self.waiting.pop(self, None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._wait_no_more()
        if not self.transport.is_closing():
            self.transport.close()


def impatient() -> type[ImpatientProtocol]:
    """Return the protocol of one server."""
    return type("ImpatientProtocol", (ImpatientProtocol,), {"waiting": {}})
