"""A run that is made up: its events, without a classifier or a chain."""

import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from types import ModuleType
from typing import Any

import pytest

from mcprune.session.config import RunConfig
from mcprune.session.events import Event

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
def fake_run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[RunConfig]]:
    """Put events in the place of the loop's; the list that comes back fills with the configurations."""

    def install(make: Callable[[], Iterator[Event]]) -> list[RunConfig]:
        asked: list[RunConfig] = []

        def run(config: RunConfig) -> Iterator[Event]:
            asked.append(config)
            return make()

        loop = ModuleType("mcprune.session.loop")
        loop.run = run
        monkeypatch.setitem(sys.modules, "mcprune.session.loop", loop)
        return asked

    return install


@pytest.fixture
def fake_folder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in of session/folder.py, to be given the functions that a test needs."""
    folder = ModuleType("mcprune.session.folder")
    monkeypatch.setitem(sys.modules, "mcprune.session.folder", folder)
    return folder


@pytest.fixture
def fake_records(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in of session/records.py, likewise."""
    records = ModuleType("mcprune.session.records")
    monkeypatch.setitem(sys.modules, "mcprune.session.records", records)
    return records
