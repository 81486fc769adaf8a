"""Knobs that are changed between blocks, their record, and its replay."""

import json

import pytest

from mcprune.cli.main import main
from mcprune.errors import ConfigError, FolderError
from mcprune.session.build.dataset import load_dataset
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import make_search, run
from mcprune.session.steering.knobs import KNOBS
from mcprune.session.steering.replay import Replay, read_replay
from mcprune.storage.layout import FILES

TURNS = {
    2: [{"budget_pressure": 3.0}],
    3: [{"temperature": 1e-3, "moves": {"exchange": 0.5, "site": 0.5}}, {"alpha": 3.0}],
    6: [{"delta": 3.0}],
    10: [{"adapt_delta": 0.3}],
    12: [{"adapt_delta": None, "evaluation_rows": 100}],
    14: [{"moves": {"uniform": 1.0}}],
}


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    from mcprune.config.schema import make_config

    folder = tmp_path_factory.mktemp("steered") / "run"
    # Alpha is a knob by sign; 18 blocks of the rows held out.
    options = {"keep_schedule": "geometric:0.3,regrow=3", "gates": "hard", "eval_on": "held-out"}
    config = make_config(
        **options, epochs=12, retrain_epochs=2, compare="no", hidden=(24, 12), keep=16, threads=1, out=str(folder)
    )
    return folder, config, list(run(config, Replay(TURNS, end=17)))


def test_changes_are_in_force_from_their_block_on(steered):
    _, _, told = steered
    progress = {event.block: event for event in told if event.kind == "progress"}
    assert progress[3].temperature == 0 < progress[4].temperature == 1e-3
    assert set(progress[3].moves) == {"exchange"}
    assert set(progress[4].moves) == {"exchange", "site"}
    assert (progress[3].alpha, progress[4].alpha) == (1.0, 3.0)
    assert (progress[6].delta, progress[7].delta) == (1.0, 3.0)
    # As planned block 3 has 64 (16 / 64)^(3/18 / 0.3) = 29.6; of its way to 16 a third is left in logarithms.
    assert (progress[2].target, progress[3].target) == (39, 20)
    assert progress[12].delta != progress[11].delta  # adapted
    assert progress[13].delta == progress[14].delta == progress[17].delta  # it stays where it was switched off
    assert max(progress) == 17


def test_what_follows_from_a_change_is_recorded_with_it(steered):
    folder, _, told = steered
    knobs = [event for event in told if event.kind == "knob_changed"]
    assert [turn.block for turn in knobs] == [2, 3, 3, 6, 10, 12, 14]
    assert all(turn.proposals == 64 * turn.block for turn in knobs)
    assert all(set(turn.knobs) == set(turn.before) for turn in knobs)
    off = knobs[5]
    assert set(off.knobs) == {"adapt_delta", "evaluation_rows", "delta"}
    assert off.before["adapt_delta"] == 0.3
    assert off.knobs["delta"] != 3.0
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [line["knobs"] for line in lines if line["event"] == "knob_changed"] == [turn.knobs for turn in knobs]
    note = next(event.text for event in told if event.kind == "note" and "samples one distribution" in event.text)
    assert f"from proposal {64 * 14:,} of {64 * 17:,} on" in note


@pytest.mark.slow
def test_a_replay_repeats_the_mask_and_its_own_replay_too(steered, tmp_path):
    folder, _, _ = steered
    want = (folder / "mask.json").read_bytes()
    for number in (1, 2):
        again = tmp_path / str(number)
        assert main(["run", "--quiet", "--replay", str(folder), "--out", str(again)]) == 0
        assert (again / "mask.json").read_bytes() == want
        assert sorted(path.name for path in again.iterdir()) == sorted(FILES)
        folder = again


@pytest.mark.slow
def test_without_one_of_the_changes_the_weights_are_others(steered):
    """The control: every kind of change counts, so that a replay which lost one would be seen."""
    folder, config, _ = steered
    want = json.loads((folder / "mask.json").read_text())["weights"]
    for block in TURNS:
        # Without delta's users adapt_delta would be refused: of the first turn only the temperature goes.
        left = {3: [{"moves": {"exchange": 0.5, "site": 0.5}}]} if block == 3 else {}
        turns = {at: turn for at, turn in TURNS.items() if at != block} | left
        other = folder.parent / f"without-{block}"
        list(run(config.replace(out=str(other), finetune="none", retrain_epochs=None), Replay(turns, end=17)))
        assert json.loads((other / "mask.json").read_text())["weights"] != want, block


@pytest.mark.slow
def test_a_stop_is_replayed_where_it_was_and_not_by_the_clock(quick, tmp_path):
    told = list(run(quick(out=str(tmp_path / "run"), epochs=100_000, max_time=0.3)))
    last = next(event.block for event in told[::-1] if event.kind == "progress")
    options, replay = read_replay(tmp_path / "run")
    assert "max_time" not in options
    assert [event.kind for event in told].count("replanned") == sum(map(len, replay.changes.values())) > 0
    assert replay.changes[max(replay.changes)][-1]["blocks"] >= last
    assert main(["run", "--quiet", "--replay", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "mask.json").read_bytes() == (tmp_path / "run" / "mask.json").read_bytes()


def test_an_impossible_change_ends_a_replay_with_its_reason(quick, tmp_path):
    config = quick(out=str(tmp_path / "run"), moves="exchange=1")
    with pytest.raises(ConfigError, match="none of the moves uses delta"):
        list(run(config, Replay({2: [{"adapt_delta": 0.3}]}, end=None)))
    with pytest.raises(ConfigError, match="no knob 'speed'"):
        list(run(config.replace(force=True), Replay({2: [{"speed": 0.3}]}, end=None)))


def test_the_gradient_path_has_no_knobs(quick):
    config = quick(method="gradient", alpha="ramp")
    plan = make_plan(config, load_dataset(config))
    knobs = make_search(config, plan, 0.0).knobs
    assert knobs.names == ()
    assert knobs.values() == {}
    config = quick()
    assert make_search(config, make_plan(config, load_dataset(config)), 0.0).knobs.names == KNOBS  # the control


def test_a_folder_without_a_run_cannot_be_replayed(tmp_path):
    with pytest.raises(FolderError, match="Give --replay the folder of a run"):
        read_replay(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_replay(tmp_path)
    (tmp_path / "config.toml").write_text("[problem]\nkeep = 3\n")
    (tmp_path / "events.jsonl").write_text("not json\n")
    with pytest.raises(FolderError, match="is not JSON"):
        read_replay(tmp_path)


@pytest.mark.slow
def test_steering_nothing_changes_nothing(steered, quick, tmp_path):
    plain, empty = (tmp_path / name for name in ("plain", "empty"))
    list(run(quick(out=str(plain))))
    list(run(quick(out=str(empty)), Replay({}, end=None)))
    assert (plain / "mask.json").read_bytes() == (empty / "mask.json").read_bytes()
