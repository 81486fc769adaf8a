"""Knobs that are changed within a block: in force from its next part on, recorded with it, repeated by replays and resumes."""

import json

import pytest

from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.loop import run
from mcprune.session.resume import resume_run
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.replay import Replay

# By blocks and parts: as the sites of the first block are dropped, as a later one has trained only, as it is about to decide.
WITHIN = {
    (0, 5): [{"delta": 0.2}],
    (3, 1): [{"temperature": 1e-2}],
    (5, 2): [{"moves": {"exchange": 1.0}}, {"delta": 2.0}],
}
BLOCKS = 9


class Person(Controller):
    """Changes knobs as a person does: nothing is known beforehand."""

    def __init__(self, within):
        self.within = within
        self.parts = []

    def poll_within(self, block, part):
        self.parts.append((block, part))
        return tuple(self.within.get((block, part), ()))

    def stop_reason(self, block):
        return "stop" if block >= BLOCKS else ""


def config(out, **changes):
    options = {
        "epochs": 12,
        "retrain_epochs": 1,
        "compare": "no",
        "hidden": (24, 12),
        "keep": 16,
        "threads": 1,
        "eval_on": "held-out",
    }
    return make_config(**options, keep_schedule="constant", checkpoint_every="0.2", out=str(out), **changes)


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    folder, person = tmp_path_factory.mktemp("within") / "run", Person(WITHIN)
    return folder, person, list(run(config(folder), person))


def test_a_change_is_in_force_and_recorded_in_its_block(steered):
    folder, person, events = steered
    changes = [event for event in events if event.kind == "knob_changed"]
    assert [(one.block, one.part) for one in changes] == [(0, 5), (3, 1), (5, 2), (5, 2)]
    progress = {event.block: event for event in events if event.kind == "progress"}
    assert progress[1].delta == 0.2  # where it was 1 before
    assert progress[3].temperature == 0 < progress[4].temperature == 1e-2
    assert progress[6].moves["site"] == progress[5].moves["site"]
    assert progress[6].moves["exchange"][1] == 64  # all decisions of its block
    first = [part for block, part in person.parts if block == 0]
    assert first == list(range(1, len(first) + 1))
    assert len(first) > 10  # all but 16 of 64 sites go in turns
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines if line["event"] == "knob_changed"] == [5, 1, 2, 2]


@pytest.mark.slow
def test_a_replay_repeats_changes_within_blocks(steered, tmp_path):
    folder, _, _ = steered
    assert main(["run", "--quiet", "--replay", str(folder), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "mask.json").read_bytes() == (folder / "mask.json").read_bytes()


@pytest.mark.slow
def test_who_asks_between_the_parts_changes_nothing(tmp_path):
    """The control of the others: a change is what makes the weights others, not that the blocks have parts."""
    weights = []
    for number, controller in enumerate(
        (Person({}), Replay({}, BLOCKS), Replay({}, BLOCKS, within={(3, 1): [{"temperature": 1e-2}]}))
    ):
        list(run(config(tmp_path / str(number)), controller))
        weights.append(json.loads((tmp_path / str(number) / "mask.json").read_text())["weights"])
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.slow
@pytest.mark.parametrize("place", [(3, 1), (5, 2)])
def test_a_resume_repeats_a_change_of_the_block_in_which_the_run_was_cut_off(steered, tmp_path, place):
    folder, _, _ = steered
    for event in run(config(tmp_path), Person(WITHIN)):
        if event.kind == "knob_changed" and (event.block, event.part) == place:
            break
    opened = open_run(tmp_path)
    assert opened.controller.within.get(place)
    later = {at: changes for at, changes in WITHIN.items() if at > place}
    opened.controller.within.update(later)
    opened.controller.end = BLOCKS
    opened.controller.reason = "stop"
    if place == (5, 2):  # the run was left between the two changes of this place
        opened.controller.within[place] = WITHIN[place]
    list(resume_run(opened))
    assert (tmp_path / "mask.json").read_bytes() == (folder / "mask.json").read_bytes()
