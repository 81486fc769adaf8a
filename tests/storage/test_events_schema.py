"""docs/events.md against the events of a real run: the same kinds, and the same fields in each."""

import json
import re
from pathlib import Path

import pytest

from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.session.loop import run
from mcprune.session.steering import Replay
from mcprune.storage.events import KINDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"


def documented():
    """The fields of each kind: the first cells of the table under its heading."""
    fields = {}
    for section in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, *lines = section.splitlines()
        cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
        fields[title.strip()] = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    return fields


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


def test_the_document_knows_every_kind():
    assert tuple(documented()) == KINDS


def test_the_order_and_the_fields_are_as_documented(events):
    fields, kinds = documented(), [kind for kind, _ in events[0]]
    assert set(kinds) == set(KINDS) - {"knob", "stopped"}  # nobody steers here, and the clock asks for the last block
    assert kinds[0] == "start"
    order = [kind for kind in kinds if kind not in ("note", "pace")]
    assert order == sorted(order, key=KINDS.index)
    for kind, data in events[0]:
        assert set(data) == fields[kind], kind


def test_a_turned_knob_is_told_as_documented(tmp_path):
    config = make_config(
        epochs=2, retrain_epochs=1, keep=9, hidden=(8,), compare="no", threads=1, out=str(tmp_path / "run")
    )
    told = list(run(config, Replay({1: [{"alpha": 2.0}]}, end=2)))
    knobs = [event for event in told if event.kind == "knob"]
    assert [json.loads(event.line())["knobs"] for event in knobs] == [{"alpha": 2.0}]
    assert set(knobs[0].data) == documented()["knob"]
    assert next(event for event in told if event.kind == "stopped").data == {"reason": "replay", "block": 2}


def test_the_result_is_shown_as_the_run_showed_it(events, capsys):
    records, folder = events
    done = records[-1][1]
    assert main(["show", str(folder)]) == 0
    text = capsys.readouterr().out
    for row in done["rows"]:
        assert f"{row['accuracy']:.4f}" in text
    inputs = sum(index < 64 for index in done["keep"])
    assert f"inputs: {inputs} of 64 kept" in text
    assert text.count("██") == inputs
    assert f": {9 - inputs} of 8 kept" in text
