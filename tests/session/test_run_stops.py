"""Runs that end early: by the clock, by leaving the loop, by Ctrl-C."""

import json
import signal

import pytest
from commands import Command

import mcprune
from mcprune.session.loop import run

LONG = {"epochs": 100_000}


def lines(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_max_time_ends_the_search_and_hardens(quick, tmp_path):
    told = list(run(quick(out=str(tmp_path / "run"), search_time=0.3, method="gradient", **LONG)))
    stopped = next(event for event in told if event.kind == "stopped")
    assert stopped.reason == "max_time"
    assert 1 <= stopped.block < told[0].blocks
    kinds = [event.kind for event in told]
    assert kinds.index("stopped") < kinds.index("hardened")
    mask = json.loads((tmp_path / "run" / "mask.json").read_text())
    assert len(mask["indices"]) == 16
    # Time limits the search: what is left of the run is done in full.
    assert {row.name for row in told[-1].scores} == {"hard mask, not retrained", "hard mask, retrained"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["progress", "harden", "row"])
def test_leaving_the_loop_leaves_what_is_written(kind, quick, tmp_path):
    config = quick(out=str(tmp_path / "run"))
    before = signal.getsignal(signal.SIGINT)
    seen = []
    for event in run(config):
        seen.append(event)
        if event.kind == kind:
            break
    assert [line["event"] for line in lines(tmp_path / "run")] == [
        event.kind for event in seen if event.kind != "stage"
    ]
    assert (tmp_path / "run" / "config.toml").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_leaving_before_the_first_block_leaves_nothing(quick, tmp_path):
    for event in run(quick(out=str(tmp_path / "run"))):
        assert event.kind == "run_started"
        break
    assert list(tmp_path.iterdir()) == []


def started(folder, *more):
    """A long run in a process of its own, after its first progress."""
    options = ["--hidden", "24,12", "--keep", "16", "--compare", "no"]
    return Command("run", "--json", "--out", str(folder), *options, *more)


def until(process, kind):
    told = []
    for line in process.stdout:
        told.append(json.loads(line))
        if told[-1]["event"] == kind:
            return told
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
def test_ctrl_c_ends_the_search_with_a_mask_and_a_model(tmp_path):
    folder = tmp_path / "run"
    with started(folder, "--epochs", "4000", "--start", "all") as process:  # of more the first progress comes late
        until(process, "progress")
        process.send_signal(signal.SIGINT)
        rest = [json.loads(line) for line in process.stdout]
        assert process.stderr.read() == ""
        assert process.wait() == 130
    assert next(line for line in rest if line["event"] == "stopped")["reason"] == "interrupt"
    assert rest[-1]["event"] == "run_done"
    mask = json.loads((folder / "mask.json").read_text())
    assert len(set(mask["indices"])) == len(mask["indices"]) == 16
    model = mcprune.load(folder)
    assert model.columns.tolist() == mask["indices"]
    assert lines(folder)[-1] == rest[-1]


@pytest.mark.slow
def test_ctrl_c_while_retraining_leaves_the_mask(tmp_path):
    folder = tmp_path / "run"
    with started(folder, "--epochs", "1", "--retrain-epochs", "100000") as process:
        until(process, "scored")  # the mask without retraining is tested, the retraining begins
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        told = process.stderr.read()
        assert process.wait() == 130
    assert "Traceback" not in told
    keep = json.loads((folder / "mask.json").read_text())["indices"]
    assert len(keep) == 16
    # What was found before is saved as a whole: the model as found, and a result that says so.
    assert mcprune.load(folder).columns.tolist() == keep
    assert json.loads((folder / "result.json").read_text())["cut_short_by"]
