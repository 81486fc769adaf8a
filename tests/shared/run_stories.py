"""A run that is made up: its events, without a classifier or a chain."""

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from mcprune.config.schema import Config
from mcprune.errors import ConfigError
from mcprune.storage.events import (
    BeforeAfter,
    Event,
    Hardened,
    Note,
    Progress,
    RunDone,
    RunStarted,
    Scored,
    SiteGroup,
    Stopped,
)

INDICES = (1, 2, 10, 63, 64, 67, 68, 69)
SITES = (SiteGroup("inputs", "", 64), SiteGroup("units", "layers.0", 128))
HARDENED = Hardened(
    kept=8,
    n_sites=192,
    gate_sum=9.5,
    gate_sum_error=1.5,
    costs=(),
    kept_before=11,
    near_hard=0.5,
    last_crossed=(0,) * 189 + (30, 10, 20),
    steps=1000,
    forwards=192_000,
    validation_accuracy=0.91,
    validation_objective=None,
    evaluator_error=None,
)
DONE = RunDone(
    name="digits",
    n_sites=192,
    sites=SITES,
    folder="runs/digits",
    seconds=22.0,
    scores=(
        Scored("all sites", kept=192, accuracy=0.97, spread=None, count=1, objective=None, seconds=3.25),
        Scored("random masks", kept=8, accuracy=0.8312, spread=0.0211, count=5, objective=None, seconds=10.0),
    ),
    method="markov",
    objective=None,
    hardened=HARDENED,
    indices=INDICES,
    names=tuple(f"site {index}" for index in INDICES),
    image_shape=(8, 8),
    cut_short_by=None,
    files=("config.toml", "mask.json"),
    adapted=None,
    costs=(),
    parameters=BeforeAfter(17226, 1234),
    macs=BeforeAfter(17000, 1100),
    nonzero_weights=BeforeAfter(17000, 17000),
)
STARTED = RunStarted(
    version="0.1.0",
    versions={"mcprune": "0.1.0"},
    name="digits",
    rows={"train": 1221, "validation": 216, "test": 360},
    classes=tuple("0123456789"),
    n_classes=10,
    n_sites=192,
    keep=8,
    costs=(),
    sites=SITES,
    image_shape=None,
    feature_names=None,
    doubtful={},
    classifier="64-128-10",
    device="cpu",
    threads=2,
    folder="runs/digits",
    epochs=80,
    blocks=20,
    config={},
    objective=None,
    evaluator="fused",
    canonical="full",
)


def progress(block: int, blocks: int, seconds: float, **changes: Any) -> Progress:
    """A progress event of a run of 80 epochs."""
    fields: dict[str, Any] = dict(
        block=block,
        blocks=blocks,
        epoch=80 * block / blocks,
        epochs=80,
        loss=0.3,
        classification_loss=0.25,
        selection_loss=0.01,
        rejection_loss=float("nan"),
        alpha=1.0,
        schedule_lambda=None,
        delta=1.0,
        temperature=0.0,
        gate_sum=61.5,
        near_hard=1.0,
        kept=60,
        target=59,
        costs=(),
        cost_targets=(),
        proposals=64 * block,
        decisions=60 * block,
        accepted=3 * block,
        acceptance=0.047,
        moves={"exchange": (64 * block, 60 * block, 3 * block)},
        nonfinite=0,
        null_moves=0,
        rejected_by_bound=0,
        rejected_by_cost=0,
        adapted=None,
        decisions_per_second=12345.6,
        forwards=192 * block,
        validation_accuracy=None,
        validation_at_n=None,
        validation_objective=None,
        gates=None,
        seconds=seconds,
        seconds_left=None,
    )
    return Progress(**{**fields, **changes})


def made_up(blocks: int = 20, stop: str | None = None, of_progress: Any = None, **changes: Any) -> list[Event]:
    """The events of a run; `stop` is the reason to end it after half of its blocks, `changes` those of its start."""
    events: list[Event] = [replace(STARTED, blocks=blocks, **changes), Note("a [bold] note")]
    last = blocks // 2 if stop else blocks
    events += [progress(block, blocks, 1.0 * block, **(of_progress or {})) for block in range(1, last + 1)]
    if stop:
        events.append(Stopped(stop, last))
    return [*events, HARDENED, *DONE.scores, DONE]


@pytest.fixture
def story() -> Callable[..., list[Event]]:
    """The events of a whole run, to be changed by a test's own arguments."""
    return made_up


@pytest.fixture
def result() -> dict[str, Any]:
    """What result.json of that run holds, a copy of its own for each test."""
    return DONE.to_dict()


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


TUNED = {
    "epochs": 100_000,
    "retrain_epochs": 1,
    "compare": "no",
    "hidden": (8,),
    "keep": 16,
    "threads": 1,
    "eval_on": "held-out",
    "start": "all",  # without the playoff of several starts
    "force": True,
}


class Page:
    """A run with its server, in threads of this process."""

    def __init__(self, folder, is_paused=False, **options):
        # Torch is behind these: only who opens a page waits for it.
        from mcprune.config.schema import make_config
        from mcprune.dashboard.controller import RunController
        from mcprune.dashboard.server import Server

        self.controller = RunController(is_paused=is_paused)
        self.view = self.controller.view
        self.server = Server(self.view, self.controller, port=0)
        self.server.start()
        self.told = []
        self.run = threading.Thread(target=self._run, args=(make_config(**{**TUNED, **options, "out": str(folder)}),))
        self.run.start()
        self.until(lambda: self.view.status in ("running", "paused"), seconds=600.0)  # a busy machine may be compiling

    @property
    def address(self):
        return self.server.address

    def _run(self, config):
        from mcprune.session.loop import run
        from mcprune.session.steering.callbacks import Callback

        class Calm(Callback):
            """Leaves the processor to the server and to other tests for a moment after each block."""

            def on_block(self, search, info):
                time.sleep(0.002)

        for event in run(config, callbacks=[self.controller, Calm()]):
            self.told.append(event)

    def until(self, is_so, seconds=300.0):
        """Wait until something is so, which the threads bring about."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"still {self.view.status}"
            time.sleep(0.005)

    def close(self):
        with suppress(ConfigError):  # it may be over
            self.controller.act("stop")
        self.run.join(600.0)
        self.server.stop()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=120.0)

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
