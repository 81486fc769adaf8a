"""Runs of a comparison that were cut off: they go on from their checkpoint, to the bits of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mcprune.data.load import load
from mcprune.studies import jobs
from mcprune.studies.jobs import Job, Jobs

OPTIONS = {
    "data": "digits", "epochs": 30, "keep": 16, "hidden": "8", "compare": "no", "threads": 1, "retrain_epochs": 1,
    "checkpoint_every": "2", "evaluator": "full", "eval_on": "held-out", "start": "all",
}  # fmt: skip
WORK = """
import sys
from pathlib import Path
from mcprune.data.load import load
from mcprune.studies.jobs import Job, Jobs
list(Jobs(Path(sys.argv[1]), "test", [Job("one", %r)]).run(load("digits")))
"""


def made(root, options=OPTIONS):
    work = Jobs(root, "test", [Job("one", options)])
    return work, list(work.run(load("digits")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The mask of a run that nobody cut off."""
    work, told = made(tmp_path_factory.mktemp("whole") / "jobs")
    assert [one.status for one in told] == ["new"]
    return (work.folder("one") / "mask.json").read_bytes()


@pytest.mark.long("processes that are killed")
def test_a_job_that_was_killed_goes_on_and_ends_in_the_same_mask(tmp_path, whole, monkeypatch):
    root = tmp_path / "jobs"
    folder = root / "runs" / "one"
    process = subprocess.Popen([sys.executable, "-c", WORK % (OPTIONS,), str(root)])
    while not (folder / "checkpoint-older.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert before[-1]["event"] != "run_done"
    opened, real = [], jobs.open_run

    def open_run(*given, **more):
        opened.append(real(*given, **more))
        return opened[-1]

    monkeypatch.setattr(jobs, "open_run", open_run)
    work, told = made(root)
    assert [one.status for one in told] == ["new"]
    assert opened[-1].checkpoint["search"]["blocks_done"] > 0
    assert (folder / "mask.json").read_bytes() == whole
    assert work.finished("one")
    assert not (folder / "checkpoint.safetensors").exists()


def cut_off(root, monkeypatch):
    """Leave a run in the middle, a checkpoint behind it, as Ctrl-C does."""
    real = jobs.run_on

    def run_on(config, dataset, path, **more):
        for event in real(config, dataset, path, **more):
            yield event
            if path is not None and event.kind == "progress" and event.epoch > 9:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "run_on", run_on)
        with pytest.raises(KeyboardInterrupt, match="continues"):
            made(root)


@pytest.mark.slow
def test_a_checkpoint_that_is_no_good_is_passed_over(tmp_path, whole, monkeypatch):
    root = tmp_path / "jobs"
    cut_off(root, monkeypatch)
    checkpoint = root / "runs" / "one" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    work, _ = made(root)
    assert (work.folder("one") / "mask.json").read_bytes() == whole


@pytest.mark.slow
def test_a_run_of_other_options_is_not_gone_on_with(tmp_path, whole, monkeypatch):
    root = tmp_path / "jobs"
    cut_off(root, monkeypatch)
    monkeypatch.setattr(jobs, "resume_run", None)  # nobody goes on with it
    work, told = made(root, {**OPTIONS, "epochs": 5})
    assert [one.status for one in told] == ["new"]
    assert (work.folder("one") / "mask.json").read_bytes() != whole


@pytest.mark.slow
def test_an_earlier_run_that_a_kill_left_in_the_folder_is_not_gone_on_with(tmp_path, monkeypatch):
    """Killed after jobs.json had the new options and before the new run had begun."""
    root = tmp_path / "jobs"
    cut_off(root, monkeypatch)
    held = json.loads((root / "jobs.json").read_text())
    held["jobs"]["one"]["options"]["epochs"] = 5
    (root / "jobs.json").write_text(json.dumps(held))
    monkeypatch.setattr(jobs, "resume_run", None)
    work, told = made(root, {**OPTIONS, "epochs": 5})
    assert [one.status for one in told] == ["new"]
    assert work.finished("one")


@pytest.mark.long("processes that are killed")
def test_the_time_before_the_cut_counts(tmp_path, monkeypatch):
    """By a clock that blocks alone move: of 2 s some had gone in trials and some in the search, and the rest is what it gets."""
    from mcprune.session.search import Search

    now, real_advance, real = [0.0], Search._advance, jobs.run_on

    def advance(search, block):
        now[0] += 0.02
        return real_advance(search, block)

    monkeypatch.setattr(Search, "_advance", advance)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    root = tmp_path / "jobs"
    options = {**OPTIONS, "search_time": 2.0}
    for name in ("epochs", "eval_on", "start"):
        del options[name]

    def run_on(config, dataset, path, **more):
        for event in real(config, dataset, path, **more):
            yield event
            if path is not None and event.kind == "progress" and event.seconds > 0.8:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "run_on", run_on)
        with pytest.raises(KeyboardInterrupt):
            made(root, options)
    spent = json.loads((root / "jobs.json").read_text())["jobs"]["one"]["trial_seconds"]
    assert 0 < spent < 0.3
    before = now[0]
    now[0] += 1000.0  # the machine was off
    work, _ = made(root, options)
    assert work.spent("one")[0] == spent
    lines = (work.folder("one") / "events.jsonl").read_text().splitlines()
    last = [event for event in map(json.loads, lines) if event["event"] == "progress"][-1]
    assert 1.8 < last["seconds"] + spent < 2.1
    assert last["kept"] == 16
    # The search went on for the rest alone, behind a warm-up of an epoch and what lay behind the checkpoint.
    assert now[0] - before - 1000.0 < 1.6
