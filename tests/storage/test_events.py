"""The events of real runs: their kinds, their order, and their form in JSON and back."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.session.loop import run
from mcprune.session.steering.replay import Replay
from mcprune.storage.event_log import parse_event, read_log
from mcprune.storage.events import KINDS, Adapted, Event, KnobChanged, Stage, Stopped
from mcprune.storage.result_events import ColumnStatistic, ErrorRate, Playoff, Refined, Standing


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """The lines of a short run that is out of time after its first block."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    options = {
        "--max-time": "1e-9",
        "--retrain-epochs": "1",
        "--compare": "yes",
        "--keep": "9",
        "--hidden": "8",
    }
    given = [part for pair in options.items() for part in pair]
    assert main(["run", "--quiet", "--sites", "inputs,units", "--out", str(folder), *given]) == 0
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [(record.pop("event"), record) for record in records], folder


def test_the_order_and_the_fields_are_as_declared(events):
    records, folder = events
    kinds = [kind for kind, _ in records]
    # Nobody steers here, and the clock asks for the last block.
    assert set(kinds) == set(KINDS) - {"knob_changed", "stopped", "playoff", "refined", "error_rate", "stage"}
    assert kinds[0] == "run_started"
    order = [kind for kind in kinds if kind not in ("note", "replanned")]
    assert order == sorted(order, key=list(KINDS).index)
    log = read_log(folder)
    assert [event.kind for event in log.events] == kinds
    assert [event.to_dict() for event in log.events] == [record for _, record in records]


def test_every_event_is_read_back_as_it_was(story):
    adapted = Adapted(frozen_at=64, temperatures=(1e-3, 2e-3), swap_rates=(0.25, None), round_trips=3)
    events = story(stop="max_time", of_progress={"adapted": adapted}, image_shape=(8, 8))
    standings = (Standing("chain from all", 0.1, 0.97, 0.0, 0.0, 2), Standing("forest", 0.2, 0.95, 0.1, 0.01, 1))
    events.append(Playoff(standings, 1.2, 0.6, 1.1, 0.05, False, 1168, (300, 300), 2.5))
    columns = (ColumnStatistic(3, "d", 0.9, 0.2, 0.02, True), ColumnStatistic(0, "a", 0.3, 0.2, 0.6, False))
    events.append(ErrorRate(0.1, 0.02, 0.9, columns, 12, 400, 2.5))
    events.append(Refined(0.5, 0.4, 3, 200))
    events.append(Stage("retrain", "training the pruned model"))
    assert {event.kind for event in events} == set(KINDS) - {"knob_changed", "replanned"}
    assert [parse_event(event.to_json().encode()) for event in events] == events


def test_what_is_not_finite_is_not_known(story):
    progress = replace(story()[2], loss=np.inf, acceptance=float("nan"))
    assert (progress.loss, progress.acceptance) == (None, None)
    assert json.loads(progress.to_json())["loss"] is None


def test_the_kind_is_the_name_of_the_class():
    @dataclass(frozen=True)
    class SomethingNew(Event):
        pass

    assert SomethingNew().kind == "something_new"
    assert json.loads(SomethingNew().to_json()) == {"event": "something_new"}


def test_a_changed_knob_is_an_event(tmp_path):
    config = make_config(
        epochs=2, retrain_epochs=1, keep=9, hidden=(8,), compare="no", threads=1, out=str(tmp_path / "run")
    )
    told = list(run(config, Replay({1: [{"alpha": 2.0}]}, end=2)))
    changes = [event for event in told if event.kind == "knob_changed"]
    assert [json.loads(event.to_json())["knobs"] for event in changes] == [{"alpha": 2.0}]
    assert [event for event in told if isinstance(event, KnobChanged)] == changes
    assert next(event for event in told if event.kind == "stopped") == Stopped("replay", 2)


def test_the_result_is_shown_as_the_run_showed_it(events, capsys):
    records, folder = events
    done = records[-1][1]
    assert main(["show", str(folder)]) == 0
    text = capsys.readouterr().out
    for score in done["scores"]:
        assert f"{score['accuracy']:.4f}" in text
    inputs = sum(index < 64 for index in done["indices"])
    assert f"inputs: {inputs} of 64 kept" in text
    assert text.count("██") == inputs
    assert f": {9 - inputs} of 8 kept" in text
