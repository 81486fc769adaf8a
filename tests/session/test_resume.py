"""A run that is left and resumed ends in the mask, the events, the result and the model of the run that never stopped."""

import json

import numpy as np
import pytest
from selection import long_but

from mcprune.config.schema import make_config
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.loop import run
from mcprune.session.resume import resume_run
from mcprune.session.search import Search
from mcprune.session.steering.replay import Replay
from mcprune.state import serialize
from mcprune.storage.layout import CHECKPOINT, FILES, OLDER, REQUEST

SHORT = {"epochs": 8, "retrain_epochs": 2, "compare": "no", "hidden": (16, 8), "keep": 16, "threads": 1}
HELD_OUT = {"eval_on": "held-out"}  # one classifier, where a default run has four
# Clocks tell these, and how much was evaluated ahead follows a clock.
CLOCKS = {"seconds", "seconds_left", "decisions_per_second", "forwards", "folder", "out"}

TEMPERED = {
    "temperature": "geometric:3e-3:3e-4",
    "replicas": "3,swap_every=16",
    "moves": "informed=2,site=1,exchange=1",
    "adapt_delta": 0.4,
    "eval_on": "held-out",
    "keep_schedule": "geometric:0.3",
    "warm_up": 0.6,
    "evaluation_rows": "200,early=100",  # fewer than there are: the rows are drawn
}
TURNS = {
    2: [{"temperature": 1e-3, "moves": {"exchange": 0.5, "site": 0.5}}],
    4: [{"adapt_delta": 0.3}],
    7: [{"alpha": 3.0}],
}
KINDS = {
    "plain": ({}, {}),
    "tempered": (TEMPERED, {}),
    "rank": ({**TEMPERED, "gates": "rank"}, {}),
    "waves": ({**HELD_OUT, "keep_schedule": "geometric:0.3,regrow=4", "input_noise": 0.1, "dropout": 0.2}, {}),
    "sharpened": ({**HELD_OUT, "gates": "sharpened", "sites": "inputs,units", "moves": "exchange=1,toggle=1"}, {}),
    "decade": ({"method": "gradient", "alpha": "decade", "gates": "hard-concrete"}, {}),
    "stall": ({"method": "gradient", "alpha": "stall", "gates": "straight-through"}, {}),
    "sgd": ({"method": "gradient", "alpha": "ramp", "gate_optimizer": "sgd"}, {}),
    "importance": ({"method": "importance"}, {}),
    "steered": (HELD_OUT, TURNS),
}


def without_clocks(value):
    if isinstance(value, dict):
        return {name: without_clocks(part) for name, part in value.items() if name not in CLOCKS}
    return [without_clocks(part) for part in value] if isinstance(value, list) else value


def lines(folder):
    return [without_clocks(json.loads(line)) for line in (folder / "events.jsonl").read_text().splitlines()]


def left(config, count, steering=None):
    """Run until so many events of progress are told, and leave."""
    for event in run(config, steering):
        count -= event.kind == "progress"
        if not count:
            return


def assert_same(folder, other):
    assert (folder / "mask.json").read_bytes() == (other / "mask.json").read_bytes()
    assert lines(folder) == lines(other)
    results = [without_clocks(json.loads((path / "result.json").read_text())) for path in (folder, other)]
    assert results[0] == results[1]
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)  # nothing is left to resume


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    long_but(
        "other kinds of runs; goldens/test_resume_goldens resumes them",
        KINDS,
        "rank",
        "decade",
        "steered",
    ),
)
def test_a_resumed_run_ends_in_the_same_bits(kind, tmp_path):
    options, turns = KINDS[kind]
    steering = Replay(turns, None) if turns else None
    config = make_config(**{**SHORT, **options, "out": str(tmp_path / "whole")})
    list(run(config, steering))
    left(config.replace(out=str(tmp_path / "cut")), 5, steering)
    twice = 0
    for event in resume_run(open_run(tmp_path / "cut")):
        twice += event.kind == "progress"
        if twice == 9:
            break
    assert {REQUEST, CHECKPOINT, OLDER} <= {path.name for path in (tmp_path / "cut").iterdir()}
    again = list(resume_run(open_run(tmp_path / "cut")))
    assert again[0].kind == "run_started"  # told again for who has just come
    assert_same(tmp_path / "cut", tmp_path / "whole")


TRAINER = "trainer.members.0"
FORGOTTEN = (
    f"{TRAINER}.order", f"{TRAINER}.optimizer", f"{TRAINER}.model", "evaluation", "method.ladder", "method.informed",
)  # fmt: skip


@pytest.fixture(scope="module")
def tempered(tmp_path_factory):
    """A tempered run, and the weights that it ends in."""
    path = tmp_path_factory.mktemp("tempered") / "whole"
    config = make_config(**{**SHORT, **TEMPERED, "out": str(path)})
    list(run(config))
    return config, json.loads((path / "mask.json").read_text())["weights"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", long_but("the control at other places", FORGOTTEN, f"{TRAINER}.optimizer", "method.ladder")
)
def test_what_is_not_put_back_is_missed(place, tempered, tmp_path, monkeypatch):
    """The control: each part of a checkpoint counts, so that one which were forgotten would be seen."""
    config, whole = tempered
    left(config.replace(out=str(tmp_path / "cut")), 5)
    restore = Search.restore

    def without(search, saved):
        part, start = saved, serialize(search.state)
        *path, name = (int(step) if step.isdigit() else step for step in place.split("."))
        for step in path:
            part, start = part[step], start[step]
        part[name] = start[name]
        restore(search, saved)

    monkeypatch.setattr(Search, "restore", without)
    list(resume_run(open_run(tmp_path / "cut")))
    assert not np.array_equal(json.loads((tmp_path / "cut" / "mask.json").read_text())["weights"], whole)
