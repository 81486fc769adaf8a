"""A run that is left and resumed ends in the mask, the events, the result and the model of the run that never stopped."""

import json

import numpy as np
import pytest

from mcprune.config.schema import make_config
from mcprune.session.loop import run
from mcprune.session.resume import events_of, open_run
from mcprune.session.steering import Replay
from mcprune.storage.layout import BEGUN, CHECKPOINT, FILES, OLDER

SHORT = {"epochs": 8, "retrain_epochs": 2, "compare": "no", "hidden": (16, 8), "keep": 16, "threads": 1}
# Clocks tell these, and how much was evaluated ahead follows a clock.
CLOCKS = {"seconds", "seconds_left", "proposals_per_second", "forwards", "folder", "out"}

TEMPERED = {
    "temperature": "geometric:3e-3:3e-4",
    "replicas": "3,swap_every=16",
    "moves": "informed=2,site=1,exchange=1",
    "adapt_delta": 0.4,
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
    "waves": ({"keep_schedule": "geometric:0.3,regrow=4", "input_noise": 0.1, "dropout": 0.2}, {}),
    "sharpened": ({"gates": "sharpened", "sites": "inputs,units", "moves": "exchange=1,toggle=1"}, {}),
    "decade": ({"method": "gradient", "alpha": "decade", "gates": "hard-concrete"}, {}),
    "stall": ({"method": "gradient", "alpha": "stall", "gates": "straight-through"}, {}),
    "sgd": ({"method": "gradient", "alpha": "ramp", "gate_optimizer": "sgd"}, {}),
    "importance": ({"method": "importance"}, {}),
    "steered": ({}, TURNS),
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_in_the_same_bits(kind, tmp_path):
    options, turns = KINDS[kind]
    steering = Replay(turns, None) if turns else None
    config = make_config(**{**SHORT, **options, "out": str(tmp_path / "whole")})
    list(run(config, steering))
    left(config.replace(out=str(tmp_path / "cut")), 5, steering)
    twice = 0
    for event in events_of(open_run(tmp_path / "cut")):
        twice += event.kind == "progress"
        if twice == 9:
            break
    assert {BEGUN, CHECKPOINT, OLDER} <= {path.name for path in (tmp_path / "cut").iterdir()}
    again = list(events_of(open_run(tmp_path / "cut")))
    assert again[0].kind == "run_started"  # told again for who has just come
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_what_is_not_put_back_is_missed(tmp_path, monkeypatch):
    """The control: each part of a checkpoint counts, so that one which were forgotten would be seen."""
    from mcprune.methods.markov import saving as chain_saving
    from mcprune.training.batches import EvaluationRows, RowOrder

    config = make_config(**{**SHORT, **TEMPERED, "out": str(tmp_path / "whole")})
    list(run(config))
    whole = json.loads((tmp_path / "whole" / "mask.json").read_text())["weights"]
    fill = chain_saving.fill_arrays
    forgotten = {
        "rows": (RowOrder, "restore", lambda self, saved: None),
        "places": (EvaluationRows, "restore", lambda self, saved: None),
        "optimizer": ("mcprune.training.trainer", "restore_optimizer", lambda optimizer, saved: None),
        "ladder": (chain_saving, "fill_arrays", lambda held, saved: None if "gaps" in saved else fill(held, saved)),
        "scores": (chain_saving, "fill_arrays", lambda held, saved: None if "tries" in saved else fill(held, saved)),
        "classifier": ("mcprune.training.trainer", "put_tensors", lambda model, parameters, buffers: None),
    }
    for name, (owner, attribute, instead) in forgotten.items():
        cut = tmp_path / name
        left(config.replace(out=str(cut)), 5)
        with monkeypatch.context() as patch:
            where = f"{owner}.{attribute}" if isinstance(owner, str) else None
            patch.setattr(where, instead) if where else patch.setattr(owner, attribute, instead)
            list(events_of(open_run(cut)))
        assert not np.array_equal(json.loads((cut / "mask.json").read_text())["weights"], whole), name
