"""The controller of a steered run: an endless one goes on at n until it is stopped."""

import pytest

from mcprune.config.schema import make_config
from mcprune.dashboard.controller import RunController
from mcprune.session.loop import run
from mcprune.storage.events import Progress, Replanned, RunStarted, Stopped


def small(folder, **options):
    """Return the configuration of a small search."""
    common = {"data": "digits", "keep": 16, "hidden": (8,), "compare": "no", "finetune": "none", "threads": 1}
    return make_config(**common, **options, out=str(folder))


def explore(tmp_path, controller, blocks):
    """Run a small search; stop it after so many blocks. Return its events."""
    config = small(tmp_path / "run", epochs=4)
    events = []
    for event in run(config, callbacks=[controller]):
        events.append(event)
        if isinstance(event, Progress) and event.block >= blocks:
            controller.act("stop") if controller.view.status == "running" else None
    return events


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


@pytest.mark.parametrize("options", [{"method": "gradient"}, {"method": "importance"}])
def test_a_method_without_a_chain_ends_as_planned(tmp_path, options):
    config = small(tmp_path, epochs=2, **options)
    events = list(run(config, callbacks=[RunController(is_endless=True)]))
    assert not [event for event in events if isinstance(event, (Replanned, Stopped))]
