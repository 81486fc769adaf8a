"""Who is let in to the live page's server, by raw requests; the run behind it waits before its first block."""

import json
import socket

import pytest

from mcprune.dashboard.security import BODY
from mcprune.dashboard.server import PORT, listen
from mcprune.errors import ConfigError

ROWS = 349  # of digits that evaluate candidates: the held-out ones


@pytest.fixture(scope="module")
def paused(tmp_path_factory, page_class):
    page = page_class(tmp_path_factory.mktemp("tune") / "run", is_paused=True)
    page.until(lambda: page.view.status == "paused")
    yield page
    page.close()


def test_the_right_request_is_let_in(paused):
    """The control of all that follows: the same request with nothing wrong."""
    status, answer = paused.ask("GET", f"/?token={paused.server.token}", token=None)
    assert status == 200
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"<title>mcprune" in body
    assert b"{{token}}" not in body
    policy = next(line for line in head.decode().split("\r\n") if line.lower().startswith("content-security-policy:"))
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert b"nosniff" in head
    assert b"no-referrer" in head
    assert paused.ask("GET", "/state", Origin=f"http://127.0.0.1:{paused.server.port}")[0] == 200
    assert paused.ask("GET", "/state", host=f"localhost:{paused.server.port}")[0] == 200
    assert paused.post("/knobs", {"alpha": 1.0})[0] == 200


PATHS = ["/", "/state", "/events", "/static/app.js", "/static/plotly.min.js", "/knobs", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", [None, "", "wrong", "é" * 16, "x" * 5000])
def test_no_token_and_wrong_tokens_get_nothing(paused, path, token):
    status, answer = paused.ask("GET", path, token=token)
    assert status in (403, 431, 400)
    assert paused.server.token.encode() not in answer
    assert b"mcprune tune printed" in answer or status != 403


def test_a_prefix_and_two_tokens_are_wrong(paused):
    token = paused.server.token
    for query in (
        f"token={token[:-1]}",
        f"token={token}x",
        "token=a&token=" + token,
        "&" * 2000,
        "token=" + "a" * 9000,
    ):
        assert paused.ask("GET", "/?" + query, token=None)[0] in (400, 403, 431)
    assert paused.ask("POST", "/control", {"action": "stop"}, token=None)[0] == 403
    assert paused.view.status == "paused"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://127.0.0.1:{port}.evil.example",
    ],
)
def test_a_foreign_origin_is_refused_with_the_right_token(paused, origin):
    given = origin.format(port=paused.server.port)
    assert paused.ask("POST", "/knobs", {"alpha": 2.0}, Origin=given)[0] == 403
    assert paused.ask("GET", "/state", Origin=given)[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "evil.example", "127.0.0.1:{port}@evil.example"]
)
def test_a_foreign_host_is_refused_with_the_right_token(paused, host):
    assert paused.ask("GET", "/state", host=host.format(port=paused.server.port))[0] in (400, 421)


def test_an_oversized_body_is_refused_however_it_is_sent(paused):
    big = b'{"alpha": 1' + b" " * BODY + b"}"
    assert paused.ask("POST", "/knobs", big)[0] == 413
    assert paused.ask("POST", "/knobs", b"{}", Content_Length="99999999999999999999")[0] in (400, 413)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(big), big)
    head = (
        f"POST /knobs HTTP/1.1\r\nHost: 127.0.0.1:{paused.server.port}\r\nX-Mcprune-Token: {paused.server.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    assert paused.raw(head.encode() + chunked)[0] == 413
    assert paused.ask("POST", "/knobs", b'{"alpha": 1' + b" " * 100 + b"}")[0] == 200  # the control


@pytest.mark.parametrize(
    "body",
    [
        b'{"delta": NaN}',
        b'{"delta": Infinity}',
        b"[1]",
        b"7",
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 9000,
        b'{"delta": 1' + b"0" * 5000 + b"}",
    ],
)
def test_what_is_no_object_of_numbers_is_refused(paused, body):
    status, answer = paused.post("/knobs", body)
    assert status in (400, 422)
    assert answer.get("error") or answer.get("refused")


@pytest.mark.parametrize(
    ("knobs", "named"),
    [
        ({"delta": "nan"}, "delta"),
        ({"delta": 1e999}, "delta"),
        ({"delta": True}, "delta"),
        ({"delta": None}, "delta"),
        ({"delta": [1]}, "delta"),
        ({"temperature": "linear:1:1e300"}, "temperature"),
        ({"moves": {"site": -1}}, "moves"),
        ({"moves": {"sight": 1}}, "moves"),
        ({"moves": {}}, "moves"),
        ({"moves": 3}, "moves"),
        ({"moves": {"site": 10**400}}, "moves"),
        ({"evaluation_rows": 1.5}, "evaluation_rows"),
        ({"adapt_delta": 0.3, "moves": {"exchange": 1}}, "adapt_delta"),  # no move of this run uses delta
        ({"seed": 3}, "seed"),
        ({"__class__": 3}, "__class__"),
    ],
)
def test_a_refused_knob_says_why_and_changes_nothing(paused, knobs, named):
    before = paused.view.knobs.values()
    body = json.dumps(knobs).replace("Infinity", "1e999").encode()
    status, answer = paused.post("/knobs", body)
    assert status == 422
    assert len(answer["refused"][named]) > 10
    assert paused.view.knobs.values() == before


@pytest.mark.parametrize(
    ("name", "given", "becomes"),
    [
        ("delta", -5, 0),
        ("delta", 1e308, 1e6),
        ("temperature", -1e308, 0.0),
        ("evaluation_rows", -3, 1),
        ("budget_pressure", 1e9, 4.0),
        ("budget_pressure", 0, 0.25),
        ("budget_pressure", -1, 0.25),
        ("delta", 10**400, 1e6),
        ("evaluation_rows", -(10**400), 1),
        ("evaluation_rows", 99999999, ROWS),
    ],
)
def test_what_is_out_of_range_is_clamped_and_said(paused, name, given, becomes):
    status, answer = paused.post("/knobs", {name: given})
    assert status == 200
    assert answer["accepted"] == {name: becomes}
    assert "out of the range" in answer["clamped"][name]
    paused.until(lambda: paused.view.knobs.values()[name] == becomes)
    assert paused.post("/control", {"action": "undo"})[0] == 200


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"moves": "x"}, "moves takes shares by name, but got 'x'. Give shares such as {"),
        ({"moves": None}, "moves takes shares by name"),
        ({"temperature": "abc"}, "'abc' is not a number"),
        ({"adapt_delta": 0.3, "moves": {"exchange": 1}}, "give uniform, block or site a share"),
    ],
)
def test_a_refusal_has_the_words_of_the_page_and_not_of_the_command_line(paused, knobs, said):
    (text,) = paused.post("/knobs", knobs)[1]["refused"].values()
    assert said in text
    assert "--" not in text
    assert ".," not in text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/static/....//server.py",
        "/static/..\\server.py", "/../../../../etc/passwd", "/static/index.html", "/static/app.js%00.css", "/static/",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_files_of_the_page(paused, path):
    status, answer = paused.ask("GET", path)
    assert status in (400, 404)
    assert b"root:" not in answer
    assert b"class Server" not in answer
    assert paused.ask("GET", "/static/app.js")[0] == 200  # the control


def test_other_methods_and_other_bodies_are_refused(paused):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert paused.ask(method, "/state")[0] == 405
    assert paused.ask("GET", "/knobs")[0] == 405
    assert paused.ask("POST", "/state", {})[0] == 405
    assert (
        paused.ask("POST", "/knobs", {"alpha": 1.0}, Content_Type="text/plain")[0] == 415
    )  # what a foreign form can send
    assert paused.post("/control", {"action": "rm -rf"})[0] == 422
    assert paused.post("/control", {})[0] == 422


def test_the_page_names_no_host_but_its_own(paused):
    for name in ("index.html", "app.js", "charts.js", "knobs.js", "picture.js", "tune.css"):
        text = paused.server._static[name].read_text(encoding="utf-8")
        text = text.replace("xmlns='http://www.w3.org/2000/svg'", "")  # the icon's namespace, which nothing fetches
        assert "//" not in text.replace("// ", "").replace("/*", ""), name


def test_a_port_in_use_is_an_error_if_named_and_else_the_next_is_taken(paused):
    with pytest.raises(ConfigError, match=f"--port {paused.server.port} of"):
        listen("127.0.0.1", paused.server.port)
    with socket.socket() as busy:
        try:
            busy.bind(("127.0.0.1", PORT))
            busy.listen()
        except OSError:
            pass  # somebody else's: as busy
        found, note = listen("127.0.0.1", None)
        with found:
            assert found.getsockname()[1] > PORT
            assert f"port {PORT} is in use" in note


def test_a_host_of_another_machine_is_an_error():
    with pytest.raises(ConfigError, match=r"cannot be listened on|no address of this machine"):
        listen("192.0.2.1", 0)
