"""Runs that are killed, interrupted, out of room, or without their folder: each goes on to the end that it would have had."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import mcprune
from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.errors import FolderError
from mcprune.session.checkpoints.open_run import is_finished, open_run
from mcprune.session.loop import run
from mcprune.session.resume import resume_run
from mcprune.session.steering.replay import Replay
from mcprune.storage.atomic import Lock
from mcprune.storage.layout import CHECKPOINT, FILES, OLDER, REQUEST

SHORT = {
    "epochs": 8,
    "retrain_epochs": 2,
    "compare": "no",
    "hidden": (16, 8),
    "keep": 16,
    "threads": 1,
    "eval_on": "held-out",
}
CLOCKS = {"seconds", "seconds_left", "decisions_per_second", "forwards", "folder", "out"}
ROOT = Path(__file__).parents[2]


def without_clocks(value):
    if isinstance(value, dict):
        return {name: without_clocks(part) for name, part in value.items() if name not in CLOCKS}
    return [without_clocks(part) for part in value] if isinstance(value, list) else value


def record(folder):
    told = [without_clocks(json.loads(line)) for line in (folder / "events.jsonl").read_text().splitlines()]
    files = [(folder / name).read_bytes() for name in ("mask.json", "model.safetensors")]
    return [*files, without_clocks(json.loads((folder / "result.json").read_text())), told]


def config(folder, **changes):
    return make_config(**{**SHORT, "out": str(folder), **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the run that never stopped has left."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    list(run(config(folder, checkpoint_every="0.5")))
    return record(folder)


def leave(folder, count, **changes):
    """Run until so many events of progress are told, and leave."""
    for event in run(config(folder, checkpoint_every="0.5", **changes)):
        count -= event.kind == "progress"
        if not count:
            return


@pytest.mark.long("processes that are killed again and again")
def test_ten_kills_at_random_moments_lose_nothing(tmp_path):
    out = tmp_path / "kills.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "reliability.py"), "--only", "kills", "--kills", "10"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row["value"] for row in json.loads(out.read_text())["rows"]}
    assert rows["kills at random moments, resumed after each"] == 10
    assert rows["kills after which a resume failed"] == 0
    assert rows["of them equal to the run that never stopped"] == rows["ends of killed runs"] >= 1


def doing(running, block, work):
    """Go through a run, and do something behind a block."""
    for event in running:
        if event.kind == "progress" and event.block == block:
            work()


def until(process, kind):
    for line in process.stdout:
        if json.loads(line)["event"] == kind:
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.long("processes that are killed again and again")
@pytest.mark.parametrize(
    ("number", "code", "kind", "more"),
    [(signal.SIGTERM, 143, "progress", ()), (signal.SIGINT, 130, "scored", ("--checkpoint-every", "0.5"))],
)
def test_a_signal_saves_the_run_and_resume_ends_it(number, code, kind, more, whole, tmp_path, capsys):
    """In the middle of the search (without any other checkpoint), and in the middle of the retraining."""
    folder = tmp_path / "run"
    # So slow that the signal finds it: without waiting for a clock, which is the machine's.
    options = {
        "--epochs": "8",
        "--retrain-epochs": "2",
        "--compare": "no",
        "--hidden": "16,8",
        "--keep": "16",
        "--threads": "1",
    }
    wanted = whole
    if kind == "progress":
        options["--epochs"] = "150"
        list(run(config(tmp_path / "long", epochs=150, start="all")))
        wanted = record(tmp_path / "long")
    else:
        options["--retrain-epochs"] = "2000"
    given = [part for pair in options.items() for part in pair]
    command = [sys.executable, "-m", "mcprune", "run", "--json", "--out", str(folder), *given, *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(process, kind)
        process.send_signal(number)
        process.stdout.read()
        assert "Traceback" not in process.stderr.read()
        assert process.wait() == code
    # What was found by then is there as a whole.
    assert len(json.loads((folder / "mask.json").read_text())["indices"]) == 16
    assert json.loads((folder / "result.json").read_text())["cut_short_by"] == (
        "terminate" if code == 143 else "interrupt"
    )
    assert mcprune.load(folder).columns.size == 16
    assert {REQUEST, CHECKPOINT} <= {path.name for path in folder.iterdir()}
    if kind == "scored":  # a resume may not change options, so that this one would take as long again
        events = [event for event, _ in zip(resume_run(open_run(folder)), range(60), strict=False)]
        assert [event.kind for event in events].count("hardened") == 1
        assert json.loads((folder / "mask.json").read_text()) == json.loads(wanted[0])
        return
    assert main(["resume", str(folder), "--json"]) == 0
    told = capsys.readouterr()
    assert "going on after block" in told.err
    # Told again from the start: what is printed is the whole run.
    assert len(told.out.splitlines()) == len((folder / "events.jsonl").read_text().splitlines())
    assert record(folder)[:1] == wanted[:1]
    assert record(folder)[2:] == wanted[2:]
    assert main(["resume", str(folder)]) == 0  # and once more: nothing is left to do
    assert "is finished" in capsys.readouterr().err


LIMITS = {"events": 6_000, "checkpoint": 20_000, "mask": 400}


@pytest.mark.slow
@pytest.mark.parametrize("where", LIMITS)
def test_a_file_that_may_not_grow_stops_the_run_and_resume_goes_on(where, whole, tmp_path):
    """The limit of a process on the size of a file writes a part and then fails, as a full disk does."""
    folder = tmp_path / "run"
    changes = {"checkpoint_every": "0.5" if where != "events" else "1000"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    told = []

    def limited():
        for event in run(config(folder, **changes)):
            told.append(event)
            if (where == "mask" and event.kind == "hardened") or (len(told) == 12 and where != "mask"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (LIMITS[where], hard))

    try:
        with pytest.raises(
            FolderError, match=r"cannot be written: .*. Make room, then: mcprune resume|cannot be written"
        ):
            limited()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not any(path.name.endswith((".new", ".part")) for path in folder.iterdir())  # they would hold the room
    opened = open_run(folder)
    assert (opened.checkpoint is None) == (where == "events")
    list(resume_run(opened))
    assert record(folder)[0] == whole[0]
    assert record(folder)[3][1:] == whole[3][1:]


@pytest.fixture
def disk(tmp_path):
    """A disk of 256 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path)]).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


FULL = {
    "checkpoint": {"checkpoint_every": "0.5"},
    "events": {"checkpoint_every": "1000"},
    "result": {"checkpoint_every": "0.5"},
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(what, whole, disk):
    folder, ballast = disk / "run", disk / "ballast"

    def fill():
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))

    def filled():
        for event in run(config(folder, **FULL[what])):
            if event.kind == "hardened" if what == "result" else getattr(event, "block", None) == 5:
                fill()

    with pytest.raises(FolderError, match=r"No space left on device. Make room, then: mcprune resume"):
        filled()
    assert (folder / "mask.json").exists() == (what == "result")
    ballast.unlink()
    opened = open_run(folder)
    assert (opened.checkpoint is None) == (what == "events")
    list(resume_run(opened))
    assert record(folder)[0] == whole[0]
    assert record(folder)[3][1:] == whole[3][1:]


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_stops_the_run_and_resume_goes_on(whole, disk):
    """Root may write into any folder that is not mounted so."""
    folder = disk / "run"

    def forbid():
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)

    with pytest.raises(FolderError, match=r"Read-only file system. Make it writable, then: mcprune resume"):
        doing(run(config(folder, checkpoint_every="0.5")), 5, forbid)
    subprocess.run(["umount", "-l", str(folder)], check=True)
    opened = open_run(folder)
    assert opened.checkpoint is not None
    list(resume_run(opened))
    assert record(folder)[0] == whole[0]


@pytest.mark.parametrize("taken", ["run", "parent"])
def test_a_folder_that_is_taken_away_in_the_search_is_told_of_and_its_mask_is_kept(taken, tmp_path, monkeypatch):
    folder = tmp_path / "parent" / "run"
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    gone = folder if taken == "run" else folder.parent
    with pytest.raises(
        FolderError, match=r"no longer exists: .* cannot be written\. .* after block \d+, 16 sites, is in "
    ) as met:
        doing(run(config(folder, checkpoint_every="0.5")), 5, lambda: shutil.rmtree(gone))
    assert not folder.exists()
    found = Path(str(met.value).rpartition(" is in ")[2])
    assert found.parent == (folder.parent if taken == "run" else tmp_path / "temporary")
    assert len(json.loads(found.read_text())["indices"]) == 16


@pytest.mark.slow
def test_a_folder_that_is_taken_away_while_retraining_keeps_the_mask_that_was_found(whole, tmp_path):
    folder = tmp_path / "run"

    def taken():
        for event in run(config(folder)):
            if event.kind == "hardened":
                shutil.rmtree(folder)

    with pytest.raises(FolderError, match="no longer exists: ") as met:
        taken()
    assert Path(str(met.value).rpartition(" is in ")[2]).read_bytes() == whole[0]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_any_more_is_told_of(tmp_path):
    folder = tmp_path / "run"
    leave(folder, 5)
    folder.chmod(0o500)
    try:
        with pytest.raises(FolderError, match="Make it writable, then: mcprune resume"):
            list(resume_run(open_run(folder)))
    finally:
        folder.chmod(0o700)


@pytest.mark.slow
def test_two_processes_do_not_go_on_with_one_run_and_the_lock_dies_with_its_holder(whole, tmp_path):
    folder = tmp_path / "run"
    leave(folder, 5)
    script = (
        "import pathlib, sys, mcprune.storage.atomic as disk\n"
        f"lock = disk.Lock(pathlib.Path({str(folder)!r}))\n"
        "print(1, flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        with pytest.raises(FolderError, match="another run has started"):
            open_run(folder)
        with pytest.raises(FolderError, match="another run has started"):
            next(run(config(folder, force=True)))
        process.kill()
        process.wait()
    list(resume_run(open_run(folder)))
    assert record(folder)[0] == whole[0]
    Lock(folder).release()


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(whole, tmp_path, monkeypatch):
    jumps = iter(range(10**9, -(10**9), -12_345))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    folder = tmp_path / "run"
    list(run(config(folder, checkpoint_every="0.05s")))
    assert record(folder)[0] == whole[0]
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    seconds = [event["seconds"] for event in told if event["event"] == "progress"]
    assert seconds == sorted(seconds)
    assert seconds[-1] < 600


@pytest.mark.slow
def test_knobs_that_were_turned_behind_the_checkpoint_are_turned_again(tmp_path):
    """A run is steered, its last checkpoint is older than the last change, and it is cut off."""
    turns = {
        2: [{"temperature": 1e-3, "moves": {"exchange": 0.5, "site": 0.5}}],
        5: [{"alpha": 3.0}],
        7: [{"delta": 2.0}],
    }
    list(run(config(tmp_path / "whole"), Replay(turns, None)))

    class Person(Replay):
        def pending(self, block):
            return {}  # nobody knows beforehand what a person will do

    person, folder = Person(turns, None), tmp_path / "run"
    for event in run(config(folder, checkpoint_every="1"), person):
        if event.kind == "progress" and event.block == 4:
            saved = {name: (folder / name).read_bytes() for name in (CHECKPOINT, OLDER) if (folder / name).exists()}
        if event.kind == "progress" and event.block == 9:
            break
    for name, data in saved.items():
        (folder / name).write_bytes(data)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "knob_changed", "block": 9, "kno')  # torn
    opened = open_run(folder)
    assert opened.checkpoint["search"]["blocks_done"] <= 4
    list(resume_run(opened))
    assert record(folder)[0] == record(tmp_path / "whole")[0]
    assert record(folder)[3][1:] == record(tmp_path / "whole")[3][1:]
    assert [line["block"] for line in record(folder)[3] if line["event"] == "knob_changed"] == [2, 5, 7]


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_block_starts_again(whole, tmp_path):
    folder = tmp_path / "run"
    running = run(config(folder, checkpoint_every="0.5"))
    assert next(running).kind == "run_started"
    held = (folder / REQUEST).read_bytes()
    running.close()
    assert not folder.exists()  # who leaves leaves nothing; a kill leaves what was asked for
    folder.mkdir()
    (folder / f"{REQUEST}.new").write_bytes(held[:50])  # killed in the first instant: the same command again
    with pytest.raises(FolderError, match="run again"):
        open_run(folder)
    first = run(config(folder, checkpoint_every="0.5"))
    assert next(first).kind == "run_started"
    first.close()
    assert sorted(folder.iterdir()) == []
    (folder / REQUEST).write_bytes(held)
    (folder / "config.toml.new").write_text("half")
    assert not is_finished(folder)
    assert main(["run", "--out", str(folder)]) == 2  # and the message names resume
    list(resume_run(open_run(folder)))
    assert record(folder)[0] == whole[0]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


@pytest.mark.slow
def test_rows_and_models_from_python_are_given_again(tmp_path):
    import numpy as np
    import torch

    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 8))
    y = (x[:, 1] + x[:, 4] > 0).astype(int)

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.randn(8))  # nothing resets it for the retraining
            self.norm = torch.nn.BatchNorm1d(8)
            self.out = torch.nn.Linear(8, 2)

        def forward(self, rows):
            return self.out(torch.tanh(self.norm(rows + self.shift)))

    options = {"keep": 3, "epochs": 40, "retrain_epochs": 2, "threads": 1}
    torch.manual_seed(1)
    start = Own().state_dict()

    def fresh():
        model = Own()
        model.load_state_dict(start)
        return model

    whole = mcprune.prune((x, y), model=fresh(), out=str(tmp_path / "whole"), **options)
    folder = tmp_path / "run"
    from mcprune.data.load import from_arrays
    from mcprune.session.loop import run_on

    given = make_config(data="arrays", compare="no", out=str(folder), **options)
    for event in run_on(given, from_arrays(x, y), folder, model=fresh()):
        if event.kind == "progress" and event.block == 5:
            break
    with pytest.raises(mcprune.McpruneError, match=r"came from Python .*data=\(X, y\)"):
        mcprune.resume(folder)
    with pytest.raises(mcprune.McpruneError, match="model="):
        mcprune.resume(folder, data=(x, y))
    with pytest.raises(FolderError, match="are not those"):
        mcprune.resume(folder, data=(x + 1e-3, y), model=Own())
    result = mcprune.resume(folder, data=(x, y), model=Own())
    assert np.array_equal(result.mask.weights, whole.mask.weights)
    assert result.metrics == whole.metrics
    assert [entry.loss for entry in result.history] == [entry.loss for entry in whole.history]
