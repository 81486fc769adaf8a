"""A run that is made up: its events, without a classifier or a chain."""

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from types import ModuleType
from typing import Any

import pytest

from mcprune.config.schema import Config
from mcprune.storage.events import Event

KEEP = [1, 2, 10, 63, 64, 67, 68, 69]
RESULT: dict[str, Any] = {
    "name": "digits",
    "N": 192,
    "n": 8,
    "sites": [
        {"kind": "inputs", "layer": "", "size": 64},
        {"kind": "units", "layer": "layers.0", "size": 128},
    ],
    "rows": [
        {"name": "all sites", "sites": 192, "accuracy": 0.97, "spread": None, "count": 1, "seconds": 3.25},
        {
            "name": "random masks",
            "sites": 8,
            "accuracy": 0.8312,
            "spread": 0.0211,
            "count": 5,
            "seconds": 10.0,
        },
    ],
    "keep": KEEP,
    "names": [f"site {index}" for index in KEEP],
    "image_shape": [8, 8],
    "files": ["config.toml", "mask.json"],
    "parameters": {"before": 17226, "after": 1234},
    "folder": "runs/digits",
    "seconds": 22.0,
}


def progress(block: int, blocks: int, seconds: float) -> Event:
    """A progress event of a run of 80 epochs."""
    data = {
        "block": block,
        "blocks": blocks,
        "epoch": 80 * block / blocks,
        "epochs": 80,
        "loss": 0.3,
        "cla": 0.25,
        "sel": 0.01,
        "rej": float("nan"),
        "alpha": 1.0,
        "delta": 1.0,
        "temperature": 0.0,
        "gate_sum": 61.5,
        "kept": 60,
        "target": 59,
        "proposals": 64 * block,
        "accepted": 3 * block,
        "acceptance": 0.047,
        "moves": {"exchange": [64 * block, 3 * block]},
        "nonfinite": 0,
        "null_moves": 0,
        "proposals_per_second": 12345.6,
        "validation_accuracy": None,
        "seconds": seconds,
        "seconds_left": None,
    }
    return Event("progress", data)


def made_up(blocks: int = 20, stop: str | None = None, **changes: Any) -> list[Event]:
    """The events of a run; `stop` is the reason to end it after half of its blocks."""
    start = {
        "version": "0.1.0",
        "rows": {"train": 1221, "validation": 216, "test": 360},
        **{key: RESULT[key] for key in ("name", "N", "n", "sites", "folder")},
        "classifier": "64-128-10",
        "device": "cpu",
        "threads": 2,
        "epochs": 80,
        "blocks": blocks,
        "config": {},
        **changes,
    }
    events = [Event("start", start), Event("note", {"text": "a [bold] note"})]
    last = blocks // 2 if stop else blocks
    events += [progress(block, blocks, 1.0 * block) for block in range(1, last + 1)]
    if stop:
        events.append(Event("stopped", {"reason": stop, "block": last}))
    harden = {"kept": 8, "N": 192, "gate_sum": 9.5, "away": 1.5, "validation_accuracy": 0.91}
    events.append(Event("harden", harden))
    events += [Event("row", row) for row in RESULT["rows"]]
    done = {key: value for key, value in RESULT.items() if key not in ("name", "N", "n", "sites")}
    return [*events, Event("done", done)]


@pytest.fixture
def story() -> Callable[..., list[Event]]:
    """The events of a whole run, to be changed by a test's own arguments."""
    return made_up


@pytest.fixture
def result() -> dict[str, Any]:
    """What read_result gives, a copy of its own for each test."""
    return deepcopy(RESULT)


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Config]]:
    """Put events in the place of the loop's; the list that comes back fills with the configurations."""

    def install(make: Callable[[], Iterator[Event]]) -> list[Config]:
        asked: list[Config] = []

        def run(config: Config) -> Iterator[Event]:
            asked.append(config)
            return make()

        loop = ModuleType("mcprune.session.loop")
        loop.run = run
        monkeypatch.setitem(sys.modules, "mcprune.session.loop", loop)
        return asked

    return install


@pytest.fixture
def fake_folder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in of storage/pruned_model.py, to be given the functions that a test needs."""
    folder = ModuleType("mcprune.storage.pruned_model")
    monkeypatch.setitem(sys.modules, "mcprune.storage.pruned_model", folder)
    return folder


@pytest.fixture
def fake_records(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in of storage/layout.py, likewise."""
    records = ModuleType("mcprune.storage.layout")
    monkeypatch.setitem(sys.modules, "mcprune.storage.layout", records)
    return records


TUNED = {
    "epochs": 100_000,
    "retrain_epochs": 1,
    "compare": "no",
    "hidden": (8,),
    "keep": 16,
    "threads": 1,
    "force": True,
}


class Page:
    """A run with its server, in threads of this process."""

    def __init__(self, folder, is_paused=False, **options):
        # Torch is behind these: only who opens a page waits for it.
        from mcprune.config.schema import make_config
        from mcprune.dashboard.controller import Desk
        from mcprune.dashboard.server import Server

        self.desk = Desk(is_paused=is_paused)
        self.server = Server(self.desk, port=0)
        self.server.start()
        self.told = []
        self.run = threading.Thread(target=self._run, args=(make_config(**{**TUNED, **options, "out": str(folder)}),))
        self.run.start()
        self.until(lambda: self.desk.status in ("running", "paused"), seconds=600.0)  # a busy machine may be compiling

    def _run(self, config):
        from mcprune.session.loop import run

        for event in run(config, self.desk):
            self.desk.hear(event)
            self.told.append(event)

    def until(self, is_so, seconds=60.0):
        """Wait until something is so, which the threads bring about."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"still {self.desk.status}"
            time.sleep(0.005)

    def close(self):
        self.desk.control("stop")
        self.run.join(60.0)
        self.server.stop()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20.0)

    def raw(self, text):
        """Send bytes, return the status and the whole answer."""
        with self.connect() as line:
            line.sendall(text)
            answer = b""
            while part := line.recv(65536):
                answer += part
        return int(answer.split(b" ", 2)[1]), answer

    def ask(self, method, path, body=None, token=True, host=None, **headers):
        """One request; `token` True is the right one, None is none."""
        given = {"Host": host or f"127.0.0.1:{self.server.port}", "Connection": "close"}
        if token is not None:
            given["X-Mcprune-Token"] = self.server.token if token is True else token
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is not None:
            given |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in given.items() if value is not None),
        ]
        return self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + data)

    def post(self, path, body):
        status, answer = self.ask("POST", path, body)
        return status, json.loads(answer.split(b"\r\n\r\n", 1)[1])


@pytest.fixture(scope="session")
def page_class() -> type[Page]:
    """A run with its live page's server: `page_class(folder, is_paused=False, **options)`, to be closed."""
    return Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's chromium. Of a module, not the session: while it is open the thread has a running event loop."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
