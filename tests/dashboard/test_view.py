"""What the page is sent of a run's events."""

import pytest

from mcprune.dashboard.view import RunView
from mcprune.storage.events import Stage


def sent(view, kind):
    return [
        message.data for message in view.stream.after(f"{view.stream.last.split('-')[0]}-0") if message.kind == kind
    ]


@pytest.fixture
def seen(story):
    """A view that has seen a run up to its search, and the events that follow."""
    events = story()
    view = RunView()
    view.on_event(events[0])
    return view, events


def test_a_stage_that_takes_long_is_shown_until_the_next(seen):
    view, events = seen
    view.on_event(Stage("compile", "loading the engine"))
    assert view.state()["run"]["stage"] == "loading the engine"
    view.on_event(Stage("search", "searching: 40 blocks"))  # whose figures follow each other
    assert view.state()["run"]["stage"] == ""
    view.on_event(Stage("compare", "training a model with all sites"))
    view.on_event(events[-1])
    assert view.status == "done"
    assert view.state()["run"]["stage"] == ""
    assert [message["text"] for message in sent(view, "stage")] == [
        "loading the engine", "", "training a model with all sites", "",
    ]  # fmt: skip


def test_an_error_ends_the_stage(seen):
    view, _ = seen
    view.on_event(Stage("retrain", "training the pruned model"))
    view.on_end(ValueError("broken"))
    assert (view.status, view.state()["run"]["stage"]) == ("failed", "")


def test_the_page_knows_whether_accuracies_are_weighted(seen):
    view, events = seen
    assert view.state()["run"]["is_weighted"] is events[0].is_weighted
