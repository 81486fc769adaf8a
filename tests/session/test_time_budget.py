"""Schedules that follow the clock where it would cut a chain off: under a clock of the test's own, and what repeats such a run."""

import json
import time

import pytest

from mcprune.config.schema import make_config
from mcprune.data.load import load
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.loop import run, run_on
from mcprune.session.resume import resume_run
from mcprune.session.search import Search
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.replay import read_replay
from mcprune.session.time_budget import Pace
from mcprune.state import deserialize, serialize

EACH = 0.01  # seconds of a block
OPTIONS = {
    "epochs": 40, "keep": 16, "hidden": (8,), "compare": "no", "threads": 1, "retrain_epochs": 1, "keep_schedule": "geometric:0.3,regrow=5",
    "evaluator": "full", "lookahead": 8, "train_steps": 4, "decisions": 8,
}  # fmt: skip


class Clock:
    """Time that passes in blocks alone: `each(block)` seconds."""

    def __init__(self, monkeypatch, each=lambda block: EACH):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        real = Search._advance

        def advance(search, block):
            self.now += each(block)
            return real(search, block)

        monkeypatch.setattr(Search, "_advance", advance)


def of(told, kind):
    return [event for event in told if event.kind == kind]


def told_of(**more):
    return list(run_on(make_config(**{**OPTIONS, **more}), load("digits"), more.get("out") and make_path(more["out"])))


def make_path(out):
    from pathlib import Path

    return Path(out)


def planned_blocks(**more):
    """The blocks that a run plans, which is left before the first one."""
    events = run_on(make_config(**{**OPTIONS, **more}), load("digits"), None)
    first = next(events)
    events.close()
    return first.blocks


def ends_at_n(told):
    """Whether the chain was at n before it was hardened, its schedules had come to their end, and it had rested there."""
    last = of(told, "progress")[-1]
    resting = [event for event in of(told, "progress") if event.target == 16]
    return last.kept == last.target == 16 and last.block == last.blocks and len(resting) > 3


@pytest.mark.slow
def test_a_run_that_would_be_cut_comes_to_the_end_of_its_schedules(monkeypatch):
    blocks = planned_blocks()
    Clock(monkeypatch)
    told = told_of(search_time=0.4 * blocks * EACH)
    assert ends_at_n(told)
    assert not of(told, "stopped")
    last = of(told, "progress")[-1]
    assert 0.36 * blocks <= last.block - 1 <= 0.4 * blocks
    changes = of(told, "replanned")
    assert [change.blocks_before for change in changes] == [blocks, *(change.blocks for change in changes[:-1])]
    assert [data.target for data in of(told, "progress") if data.block <= changes[0].block][-1] > 16


@pytest.mark.slow
def test_without_it_the_mask_was_never_searched_for(monkeypatch):
    """The control: the same run under a pace that never changes ends while n(t) falls."""
    blocks = planned_blocks()
    monkeypatch.setattr(Pace, "blocks_in_time", lambda *_: 0)
    monkeypatch.setattr(Search, "is_falling", False)
    Clock(monkeypatch)
    told = told_of(search_time=0.25 * blocks * EACH)
    assert of(told, "stopped")[0].reason == "max_time"
    assert not ends_at_n(told)


@pytest.mark.slow
def test_one_block_is_made_at_n_however_little_time_there_is(monkeypatch):
    Clock(monkeypatch)
    told = told_of(search_time=1e-9)
    last = of(told, "progress")[-1]
    assert (last.block, last.blocks, last.target, last.kept) == (3, 3, 16, 16)  # the first is not counted
    assert of(told, "hardened")[0].kept_before == 16
    assert [(change.block, change.blocks) for change in of(told, "replanned")] == [(2, 3)]
    assert [text for note in of(told, "note") if (text := note.text).startswith("Only 3 of ")]


@pytest.mark.long("waits for its time to pass")
def test_what_the_first_block_compiles_is_no_time_of_the_search(monkeypatch):
    """A command that has to compile first gets the search that a second one gets."""
    blocks = planned_blocks()
    ends = []
    for first in (EACH, 1000 * EACH):
        with monkeypatch.context() as patch:
            Clock(patch, lambda block, first=first: EACH if block else first)
            told = told_of(search_time=0.4 * blocks * EACH)
        assert ends_at_n(told)
        ends.append(of(told, "progress")[-1].block)
    assert ends[0] == ends[1]


@pytest.mark.long("two runs; test_max_time compares shorter ones")
def test_a_run_that_fits_keeps_its_bits(monkeypatch, tmp_path):
    Clock(monkeypatch)
    plain = told_of(out=str(tmp_path / "plain"))
    timed = told_of(out=str(tmp_path / "timed"), search_time=1.05 * of(plain, "run_started")[0].blocks * EACH)
    assert not of(timed, "replanned")
    assert (tmp_path / "plain" / "mask.json").read_bytes() == (tmp_path / "timed" / "mask.json").read_bytes()


@pytest.fixture
def slower(monkeypatch):
    """A machine that gets three times as slow when n(t) has fallen, and recovers."""
    return Clock(monkeypatch, lambda block: 3 * EACH if 50 <= block < 65 else EACH)


@pytest.mark.long("waits for its time to pass")
def test_a_replay_and_a_resume_repeat_it(slower, tmp_path):
    folder = tmp_path / "run"
    limit = 1.25  # 120 blocks, of which 15 take three times as long
    told = told_of(out=str(folder), search_time=limit)
    changes = of(told, "replanned")
    assert any(change.blocks < change.blocks_before for change in changes)
    assert ends_at_n(told)
    assert 0.9 * limit <= of(told, "progress")[-1].seconds <= 1.05 * limit
    want = (folder / "mask.json").read_bytes()
    options, replay = read_replay(folder)
    again = list(run(make_config(**options, out=str(tmp_path / "again")), replay))
    assert of(again, "replanned") == changes
    assert (tmp_path / "again" / "mask.json").read_bytes() == want
    # Cut off behind the last change, its checkpoint before the first one.
    cut = tmp_path / "cut"
    slower.now = 0.0
    config = make_config(**{**OPTIONS, "search_time": limit, "checkpoint_every": "3", "out": str(cut)})
    stop = changes[-1].block + 1
    for event in run(config):
        if event.kind == "replanned" and event.block == changes[0].block:
            (tmp_path / "early").write_bytes((cut / "checkpoint.safetensors").read_bytes())
        if event.kind == "progress" and event.block == stop:
            break
    (cut / "checkpoint.safetensors").write_bytes((tmp_path / "early").read_bytes())
    (cut / "checkpoint-older.safetensors").unlink(missing_ok=True)
    slower.now = 1e6
    opened = open_run(cut)
    assert opened.controller.repeats_until == stop
    rest = list(resume_run(opened))
    assert of(rest, "replanned")[: len(changes)] == changes
    assert (cut / "mask.json").read_bytes() == want
    # The control: the changes are what the mask is made of.
    lines = (folder / "events.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["event"] != "replanned"]
    (folder / "events.jsonl").write_text("\n".join(kept) + "\n")
    options, replay = read_replay(folder)
    list(run(make_config(**options, out=str(tmp_path / "without")), replay))
    assert (tmp_path / "without" / "mask.json").read_bytes() != want


class Most(Controller):
    def most_blocks(self, plan):
        return 10 * plan.train.blocks


@pytest.mark.long("waits for its time to pass")
def test_time_that_is_left_is_filled_where_more_may_be_planned(monkeypatch):
    config = make_config(**{**OPTIONS, "epochs": 20, "search_time": 3.0})
    Clock(monkeypatch)
    told = list(run_on(config, load("digits"), None, controller=Most()))
    last = of(told, "progress")[-1]
    assert 2.8 <= last.seconds <= 3.05
    assert last.block > of(told, "run_started")[0].blocks
    assert ends_at_n(told)


def test_the_share_that_is_done_is_exact_until_it_is_changed_and_meets_its_end():
    one = Pace(7)
    assert [one.progress(block) for block in range(8)] == [block / 7 for block in range(8)]
    one.replan(2, 4)
    assert [one.progress(block) for block in (2, 3, 4, 5)] == [2 / 7, pytest.approx(2 / 7 + 5 / 14), 1.0, 1.0]
    with pytest.raises(ValueError, match="at least one"):
        one.replan(3, 3)
    other = Pace(7)
    deserialize(serialize(one.state), other.state)
    other.resume()
    assert other.progress(3) == one.progress(3)


def test_a_moment_in_which_the_machine_stands_still_is_no_measure():
    def asked(spike):
        one, now = Pace(1000), 0.0
        for block in range(1, 40):
            now += 0.1 + (spike if block == 35 else 0.0)
            if one.blocks_in_time(block, now, 110.0):
                return True
        return False

    assert not asked(0.0)
    assert not asked(4.0)
    assert asked(60.0)  # what is gone is gone
