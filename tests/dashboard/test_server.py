"""What somebody on the same machine may try on the live page's server, by raw sockets; no run stands behind it."""

import logging
import socket
import time

import pytest

from mcprune.dashboard import security as guard
from mcprune.dashboard.controller import RunController
from mcprune.dashboard.server import Server


class Served:
    """A server whose controller waits for a run that never comes."""

    def __init__(self):
        self.controller = RunController()
        self.server = Server(self.controller.view, self.controller, port=0)
        self.server.start()
        self.host = f"Host: 127.0.0.1:{self.server.port}\r\n".encode()
        self.token = f"X-Mcprune-Token: {self.server.token}\r\n".encode()
        self.good = self.host + self.token
        self.close = b"Connection: close\r\n\r\n"

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=120.0)

    def raw(self, text):
        """Send bytes and return all that comes back until the server closes."""
        with self.connect() as line:
            line.sendall(text)
            answer = b""
            try:
                while part := line.recv(65536):
                    answer += part
            except ConnectionResetError:  # it closed while bytes were still coming
                pass
        return answer

    @property
    def connections(self):
        return len(self.server._server.server_state.connections)


@pytest.fixture(scope="module")
def served():
    served = Served()
    yield served
    served.server.stop()


def status(answer):
    return int(answer.split(b" ", 2)[1])


def until(is_so, seconds=300.0):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_control_a_right_request(served):
    assert status(served.raw(b"GET /state HTTP/1.1\r\n" + served.good + served.close)) == 200
    assert status(served.raw(b"GET /state HTTP/1.0\r\n" + served.good + b"\r\n")) == 200


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /state HTTP/1.0\r\n{token}\r\n", 421),  # no host at all, which 1.0 allows
        (b"GET /state HTTP/1.1\r\n{token}\r\n", 400),
        (b"GET /state HTTP/1.1\r\n{host}{host}{token}\r\n", 400),
        (b"GET /state HTTP/1.1\r\n{host}Host: evil.example\r\n{token}\r\n", 400),
        (b"GET /state HTTP/1.1\r\nHost: evil.example\r\n{host}{token}\r\n", 400),
        (b"GET http://evil.example/state HTTP/1.1\r\n{host}{token}{close}", 404),
        (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n{host}{token}{close}", 404),
        (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n{host}{token}\r\n", 400),
        (b"GET /state?" + b"token=x&" * 5000 + b" HTTP/1.1\r\n{host}{close}", 403),
        (
            b"POST /control HTTP/1.1\r\n{host}{token}Content-Type: application/json\r\nContent-Length: 5, 6\r\n\r\n{}",
            400,
        ),
        (b"POST /control HTTP/1.1\r\n{host}{token}Content-Type: application/json\r\nContent-Length: -1\r\n\r\n{}", 400),
        (b"GET /state HTTP/1.1\r\n{host}{token}X: a\x00b\r\n\r\n", 400),
        (b"GET /static/\xff\xfe HTTP/1.1\r\n{host}{token}\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03" + b"\x07" * 200 + b"\r\n\r\n", 400),  # somebody who speaks TLS
    ],
)
def test_what_is_no_right_request_is_refused(served, head, expected):
    for name in ("host", "token", "close"):
        head = head.replace(b"{%s}" % name.encode(), getattr(served, name))
    answer = served.raw(head)
    assert status(answer) == expected
    assert served.server.token.encode() not in answer


def test_a_body_in_chunks_cannot_hide_a_second_request(served):
    smuggled = b"POST /control HTTP/1.1\r\n" + served.good + b"Content-Type: application/json\r\nContent-Length: 18\r\n"
    inside = b'POST /control HTTP/1.1\r\nContent-Length: 17\r\n\r\n{"action":"stop"}'
    answer = served.raw(smuggled + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inside)
    assert [status(answer), answer.count(b"HTTP/1.1 ")] == [400, 2]  # the second one has no host
    assert not served.controller._is_stopped


def test_three_hundred_requests_in_one_line_are_answered_in_turn(served):
    one = b"GET /state HTTP/1.1\r\n" + served.good + b"\r\n"
    answer = served.raw(300 * one + b"GET /state HTTP/1.1\r\n" + served.good + served.close)
    assert answer.count(b"HTTP/1.1 200 OK") == 301
    # Without the token the first refusal closes the line.
    answer = served.raw(300 * (b"GET /state HTTP/1.1\r\n" + served.host + b"\r\n"))
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 403") == 1


@pytest.mark.slow
def test_a_request_that_trickles_is_given_up_the_first_and_a_further_one(served, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 1.5)  # a loaded machine may stand still for a moment before the first bytes
    with served.connect() as first, served.connect() as further, served.connect() as body:
        further.sendall(b"GET /state HTTP/1.1\r\n" + served.good + b"\r\n")
        assert further.recv(65536).startswith(b"HTTP/1.1 200")
        body.sendall(
            b"POST /control HTTP/1.1\r\n"
            + served.good
            + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        lines = {first, further}
        began = time.monotonic()
        while lines and time.monotonic() < began + 60:
            for line in list(lines):
                try:
                    line.sendall(b"G")
                    line.setblocking(False)
                    if line.recv(1) == b"":
                        lines.discard(line)
                except BlockingIOError:
                    pass
                except OSError:
                    lines.discard(line)
                line.setblocking(True)
            time.sleep(0.05)
        assert not lines
        assert status(body.recv(65536)) == 408


def test_of_too_many_connections_the_one_that_has_waited_longest_goes(served, monkeypatch):
    monkeypatch.setattr(guard, "MOST", 20)
    until(lambda: served.connections == 0)
    with served.connect() as reader:
        reader.sendall(b"GET /events HTTP/1.1\r\n" + served.good + b"\r\n")
        assert reader.recv(12) == b"HTTP/1.1 200"
        lines = [served.connect() for _ in range(60)]
        until(lambda: served.connections == 20)
        assert status(served.raw(b"GET /state HTTP/1.1\r\n" + served.good + served.close)) == 200
        assert lines[0].recv(1) == b""
        lines[-1].sendall(b"GET /state HTTP/1.1\r\n" + served.good + served.close)  # the latest is served
        assert lines[-1].recv(12) == b"HTTP/1.1 200"
        assert served.server.view.stream.readers == 1  # who is served already stays
        for line in lines:
            line.close()
    until(lambda: served.server.view.stream.readers == 0)


def test_the_head_of_the_events_is_no_reader(served):
    assert status(served.raw(b"HEAD /events HTTP/1.1\r\n" + served.good + served.close)) == 200
    assert served.server.view.stream.readers == 0


def test_nothing_of_it_is_printed(served, caplog):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n"
    with served.connect() as line:
        line.sendall(b"GET /state HTTP/1.1\r\n" + served.good + upgrade)
        assert line.recv(12) == b"HTTP/1.1 200"
    assert status(served.raw(b"nonsense\r\n\r\n")) == 400
    assert not caplog.records  # what is logged and handled by nobody lands on the terminal
    with caplog.at_level(logging.WARNING, "uvicorn.error"):  # the control
        served.raw(b"nonsense\r\n\r\n")
    assert caplog.records
