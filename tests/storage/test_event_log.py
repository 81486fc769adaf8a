"""The one reader of events.jsonl and result.json: what it returns, what it leaves out, what it refuses."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from mcprune.errors import FolderError
from mcprune.storage.event_log import parse_events, read_log, read_result
from mcprune.storage.events import KnobChanged, Replanned


@pytest.fixture
def write(tmp_path):
    """Write events, and raw text behind them, as a run's folder does; return the folder."""

    def write(events, more=""):
        text = "".join(event.to_json() + "\n" for event in events) + more
        (tmp_path / "events.jsonl").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def changed(line, **fields):
    return json.dumps({**json.loads(line), **fields}) + "\n"


def test_a_whole_run(story, write):
    events = story()
    log = read_log(write(events))
    assert log.events == tuple(events)
    assert (log.started, log.done, log.hardened) == (events[0], events[-1], events[-1].hardened)
    assert log.notes == ["a [bold] note"]
    assert log.series("block").tolist() == list(range(1, 21))
    assert np.isnan(log.series("validation_accuracy")).all()
    assert log.indices() == list(events[-1].indices)
    assert [score.name for score in log.scores] == ["all sites", "random masks"]
    assert not log.is_torn
    assert not log.is_replanned


def test_a_run_that_goes_on(story, write):
    gates = np.r_[np.full(8, 255), np.zeros(184)].astype(np.uint8)
    text = base64.b64encode(gates.tobytes()).decode()
    log = read_log(write(story(of_progress={"gates": text})[:5]))
    assert (log.done, log.hardened, log.stopped) == (None, None, None)
    assert log.indices() == list(range(8))  # of the last gates


def test_changes_are_compared_up_to_the_next_one(story, write):
    events = story()
    for block in (5, 5, 9):
        place = next(at for at, event in enumerate(events) if getattr(event, "block", 0) == block) + 1
        events.insert(place, KnobChanged(block, 64 * block, {"delta": 1.0 * block}, {"delta": 1.0}))
    log = read_log(write([*events[:4], Replanned(2, 20, 30, 0.1), *events[4:]]))
    _, second, third = log.knob_changes
    assert [log.is_superseded(change) for change in log.knob_changes] == [True, False, False]
    before, after = log.compared(second)
    assert (log.series("block")[before].tolist(), log.series("block")[after].tolist()) == (
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9],
    )
    assert log.series("block")[log.compared(third)[1]].tolist() == list(range(10, 20))
    assert log.is_replanned
    assert log.epoch_of(2.5) == 10.0


def test_a_line_that_was_cut_off_is_left_out(story, write):
    line = story()[3].to_json()
    log = read_log(write(story()[:3], line[:70]))
    assert log.is_torn
    assert len(log.events) == 3
    with pytest.raises(FolderError, match=r"line 4 of .* is not JSON"):
        read_log(write(story()[:3], line[:70] + "\n" + line + "\n"))


def test_unknown_kinds_and_fields_are_ignored(story, write):
    line = story()[3].to_json()
    log = read_log(write(story()[:3], '{"event": "weather", "text": "fair"}\n' + changed(line, more=1)))
    assert log.events == tuple(story()[:4])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"block": "3"}, "block"),
        ({"block": 3.5}, "block"),
        ({"block": True}, "block"),
        ({"loss": "low"}, "loss"),
        ({"loss": 1e308}, "loss"),
        ({"moves": {"site": [1]}}, "moves.site"),
        ({"moves": [1]}, "moves"),
        ({"gates": 7}, "gates"),
    ],
)
def test_a_field_of_another_type_is_refused(story, write, fields, words):
    with pytest.raises(FolderError, match=f"line 4 of .*{words}"):
        read_log(write(story()[:3], changed(story()[3].to_json(), **fields)))


def test_a_missing_field_is_refused(story, write):
    content = json.loads(story()[3].to_json())
    del content["proposals"]
    with pytest.raises(FolderError, match="proposals"):
        read_log(write(story()[:3], json.dumps(content) + "\n"))


@pytest.mark.parametrize("start", [{"n_sites": 191}, {"sites": ()}, {"image_shape": (8, -8)}, {"image_shape": (0, 8)}])
def test_sizes_that_do_not_fit_are_refused(story, write, start):
    events = story()
    with pytest.raises(FolderError, match="do not fit"):
        read_log(write([replace(events[0], **start), *events[1:]]))


def test_gates_of_another_size_are_refused(story, write):
    with pytest.raises(FolderError, match="do not fit"):
        read_log(write(story(of_progress={"gates": base64.b64encode(b"123").decode()})))


def test_a_log_has_one_start(story, write):
    for events in (story()[1:], story()[:1] + story()):
        with pytest.raises(FolderError, match="run_started"):
            read_log(write(events))


def test_folders_without_a_run(tmp_path):
    with pytest.raises(FolderError, match="there is no folder"):
        read_log(tmp_path / "nowhere")
    with pytest.raises(FolderError, match=r"has no events\.jsonl"):
        read_log(tmp_path)
    (tmp_path / "request.json").touch()
    with pytest.raises(FolderError, match="mcprune resume"):
        read_log(tmp_path)


def test_events_up_to_the_first_broken_line(story):
    lines = "".join(event.to_json() + "\n" for event in story()[:3]).encode()
    assert parse_events(lines) == (story()[:3], "")
    events, problem = parse_events(lines + b"{\n" + lines)
    assert events == story()[:3]
    assert problem == "it is not JSON"


def test_the_result_is_the_last_event(story, tmp_path):
    done = story()[-1]
    (tmp_path / "result.json").write_text(json.dumps(replace(done, folder=None).to_dict()))
    assert read_result(tmp_path) == replace(done, folder=None)
