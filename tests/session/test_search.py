"""The search's estimate of the time that is left, by a clock of the test's own."""

import time

import pytest

from mcprune.session.loop import run
from mcprune.session.search import Search
from mcprune.storage.events import Progress

SLOW, EACH = 1.5, 0.01  # seconds of a first block that compiles the engine, and of the others


@pytest.fixture
def slow_start(monkeypatch):
    """Time passes in blocks alone, and the first one takes long, as with a new installation."""
    now, advance = [0.0], Search._advance

    def slowly(self, block):
        now[0] += EACH if block else SLOW
        return advance(self, block)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Search, "_advance", slowly)


@pytest.mark.slow
def test_no_time_is_estimated_from_the_block_that_compiles(slow_start, quick, tmp_path):
    progress = [
        event for event in run(quick(epochs=30, hidden=(8,), out=str(tmp_path / "run"))) if isinstance(event, Progress)
    ]
    assert [event.block for event in progress[:3]] == [1, 2, 3]
    assert [event.seconds_left for event in progress[:2]] == [None, None]
    estimate = progress[2].seconds_left
    # The control: by the first block alone it would be this much.
    assert estimate < 0.2 * SLOW * (progress[2].blocks - 3)
    assert progress[-1].seconds_left == 0
