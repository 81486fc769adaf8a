"""Callbacks: what they are called with, in which order, and what an error in one of them does."""

import pytest

import mcprune
from mcprune.config.schema import make_config
from mcprune.session.loop import run
from mcprune.session.steering.callbacks import Callback, Callbacks
from mcprune.session.steering.controller import Commands, Controller
from mcprune.storage.event_log import read_log
from mcprune.storage.events import Note, Progress, RunDone, RunStarted


class Recorder(Callback):
    """Notes the names of its hooks as they are called."""

    def __init__(self, calls=None, name=""):
        self.calls = [] if calls is None else calls
        self.name = name
        self.error = None

    def on_start(self, search):
        self.calls.append((self.name, "start", search.blocks_done))

    def on_block(self, search, info):
        assert info.kept == (search.position() > 0).sum()
        self.calls.append((self.name, "block", search.blocks_done))

    def on_event(self, event):
        self.calls.append((self.name, event.kind, getattr(event, "block", None)))

    def on_end(self, error):
        self.error = error
        self.calls.append((self.name, "end", None))


@pytest.fixture
def config(tmp_path):
    return make_config(
        epochs=2, retrain_epochs=1, keep=9, hidden=(8,), compare="no", threads=1, out=str(tmp_path / "run")
    )


def test_hooks_are_called_in_the_order_of_the_run(config):
    recorder = Recorder()
    events = list(run(config, callbacks=[recorder]))
    kinds = [kind for _, kind, _ in recorder.calls]
    assert kinds[0] == "run_started"
    assert kinds[-2:] == ["run_done", "end"]
    assert recorder.error is None
    assert [kind for kind in kinds if kind not in ("start", "block", "end")] == [event.kind for event in events]
    assert kinds.index("start") < kinds.index("block")
    # A block is done before the event that describes it.
    blocks = [(kind, block) for _, kind, block in recorder.calls if kind in ("block", "progress")]
    assert blocks == sorted(blocks, key=lambda call: (call[1], call[0]))
    assert len([kind for kind, _ in blocks if kind == "block"]) == events[0].blocks


@pytest.mark.slow
def test_an_error_in_a_hook_ends_the_run_and_what_was_done_can_be_resumed(config, tmp_path):
    class Fails(Callback):
        def on_event(self, event):
            if isinstance(event, Progress) and event.block == 3:
                raise ZeroDivisionError("a fault of the caller")

    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        list(run(config.replace(epochs=8), callbacks=[recorder, Fails()]))
    assert isinstance(recorder.error, ZeroDivisionError)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    again = Recorder()
    result = mcprune.resume(tmp_path / "run", callbacks=[again])
    assert result.is_complete
    assert again.calls[0][1] == "run_started"  # earlier events come again
    assert next(block for _, kind, block in again.calls if kind == "start") == 3


def test_a_loop_that_is_left_tells_its_callbacks(config):
    recorder = Recorder()
    for event in run(config, callbacks=[recorder]):
        if isinstance(event, Progress):
            break
    assert isinstance(recorder.error, GeneratorExit)


def test_a_callback_that_is_a_controller_steers(config):
    class Both(Recorder, Controller):
        def poll(self, block, should_stop):
            return Commands(({"temperature": 1e-3},)) if block == 2 else Commands()

        def stop_reason(self, block):
            return "stop" if block == 5 else ""

    both = Both()
    list(run(config.replace(epochs=4), callbacks=[Recorder(), both]))
    log = read_log(config.runtime.out)
    assert [(change.block, change.knobs) for change in log.knob_changes] == [(2, {"temperature": 1e-3})]
    assert (log.stopped.reason, log.stopped.block) == ("stop", 5)
    assert ("", "stopped", 5) in both.calls


def test_prune_takes_callbacks():
    recorder = Recorder()
    result = mcprune.prune("digits", keep=9, epochs=1, retrain_epochs=1, hidden=(8,), threads=1, callbacks=[recorder])
    assert isinstance(result.events[0], RunStarted)
    assert isinstance(result.events[-1], RunDone)
    assert recorder.calls[-1] == ("", "end", None)


def test_several_callbacks_end_in_the_reverse_order_even_if_one_fails():
    calls = []

    class Fails(Recorder):
        def on_end(self, error):
            super().on_end(error)
            raise ValueError(self.name)

    callbacks = Callbacks([Recorder(calls, "a"), Fails(calls, "b"), Fails(calls, "c"), Recorder(calls, "d")])
    with pytest.raises(ValueError, match="c"):
        list(callbacks.watch(iter([Note("x")])))
    assert calls == [
        *((name, "note", None) for name in "abcd"),
        *((name, "end", None) for name in "dcba"),
    ]


def test_the_watched_events_are_closed_before_the_end_is_announced():
    calls = []

    def events():
        try:
            yield Note("x")
        finally:
            calls.append("closed")

    class Fails(Recorder):
        def on_event(self, event):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        list(Callbacks([Fails(calls)]).watch(events()))
    assert calls == ["closed", ("", "end", None)]
