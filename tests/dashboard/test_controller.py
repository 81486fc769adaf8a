"""The controller of a steered run: an endless one goes on at n until it is stopped."""

import pytest

from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.dashboard import controller as controllers
from mcprune.dashboard.controller import NotNow, RunController
from mcprune.session.loop import run
from mcprune.storage.events import Progress, Replanned, RunStarted, Stopped


def small(folder, **options):
    """Return the configuration of a small search."""
    common = {"data": "digits", "keep": 16, "hidden": (8,), "compare": "no", "finetune": "none", "threads": 1}
    common |= {} if "method" in options else {"eval_on": "held-out", "start": "all"}
    return make_config(**{**common, **options, "out": str(folder)})


def explore(tmp_path, controller, blocks):
    """Run a small search; stop it after so many blocks. Return its events."""
    config = small(tmp_path / "run", epochs=4)
    events = []
    for event in run(config, callbacks=[controller]):
        events.append(event)
        if isinstance(event, Progress) and event.block >= blocks:
            controller.act("stop") if controller.view.status == "running" else None
    return events


@pytest.mark.slow
def test_an_endless_run_goes_on_at_n_until_it_is_stopped(tmp_path):
    planned = explore(tmp_path / "once", RunController(), 10**9)
    blocks = next(event.blocks for event in planned if isinstance(event, RunStarted))
    assert not [
        event for event in planned if isinstance(event, (Replanned, Stopped))
    ]  # control: a usual run ends by itself

    events = explore(tmp_path / "endless", RunController(is_endless=True), 3 * blocks)
    replanned = [event for event in events if isinstance(event, Replanned)]
    assert [event.blocks for event in replanned[:2]] == [2 * blocks, 4 * blocks]
    stopped = next(event for event in events if isinstance(event, Stopped))
    assert stopped.block >= 3 * blocks
    late = [event for event in events if isinstance(event, Progress) and event.block > blocks]
    assert late
    assert {event.kept for event in late} == {16}


def finished(folder, monkeypatch, after, **options):
    """Press Finish after so many blocks of a run without an end; return its events."""
    monkeypatch.setattr(controllers, "FALL", 0.05)
    monkeypatch.setattr(controllers, "REST", 0.025)
    controller = RunController(is_endless=True)
    config = small(folder, **{"retrain_epochs": 1, "finetune": "scratch", **options})
    events = []
    for event in run(config, callbacks=[controller]):
        events.append(event)
        if isinstance(event, Progress) and event.block >= after and controller.view.status == "running":
            controller.act("finish")
    return events


@pytest.mark.slow
def test_finish_brings_n_down_then_ends_and_is_replayed(tmp_path, monkeypatch):
    events = finished(tmp_path / "run", monkeypatch, 4, epochs=120)
    progress = [event for event in events if isinstance(event, Progress)]
    assert next(event for event in progress if event.block == 4).target > 32  # the control: n(t) was far above n
    replanned = next(event for event in events if isinstance(event, Replanned))
    assert replanned.block == 4
    assert replanned.blocks < replanned.blocks_before
    stopped = next(event for event in events if isinstance(event, Stopped))
    assert stopped.reason == "finish"
    assert stopped.block < replanned.blocks_before / 4
    assert (progress[-1].target, progress[-1].kept) == (16, 16)
    assert any(score.name == "hard mask, retrained" for score in events[-1].scores)
    assert events[-1].is_complete

    assert main(["run", "--quiet", "--replay", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "mask.json").read_bytes() == (tmp_path / "run" / "mask.json").read_bytes()


@pytest.mark.slow
def test_finish_at_n_ends_behind_the_block(tmp_path, monkeypatch):
    events = finished(tmp_path, monkeypatch, 4, epochs=120, keep_schedule="constant")
    assert next(event for event in events if isinstance(event, Stopped)) in (
        Stopped("finish", 5),
        Stopped("finish", 6),
    )
    assert not [event for event in events if isinstance(event, Replanned)]


@pytest.mark.slow
def test_a_run_without_a_chain_is_not_finished_but_says_why(tmp_path):
    controller = RunController()
    for event in run(small(tmp_path, epochs=2, method="gradient"), callbacks=[controller]):
        if isinstance(event, Progress) and controller.view.status == "running":
            with pytest.raises(NotNow, match=r"no n\(t\)"):
                controller.act("finish")
            return
    raise AssertionError("no progress event came")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"method": "gradient"}, {"method": "importance"}])
def test_a_method_without_a_chain_ends_as_planned(tmp_path, options):
    config = small(tmp_path, epochs=2, **options)
    events = list(run(config, callbacks=[RunController(is_endless=True)]))
    assert not [event for event in events if isinstance(event, (Replanned, Stopped))]
