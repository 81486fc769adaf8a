"""`mcprune tune` as a command: the address on a line of its own, the port, the end, a recorded run."""

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from commands import Command

from mcprune.cli.main import main

SHORT = [
    "--epochs",
    "12",
    "--hidden",
    "8",
    "--retrain-epochs",
    "1",
    "--compare",
    "no",
    "--threads",
    "1",
    "--keep",
    "16",
]


@pytest.fixture
def tuned():
    """Start commands; whatever is left of them at the end is ended."""
    begun = []

    def start(*arguments):
        process = Command("tune", "--no-browser", *arguments, env={**os.environ, "COLUMNS": "20"})
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate(timeout=600)


def get(address, path=""):
    base, query = address.split("?", 1)
    with urllib.request.urlopen(f"{base}{path}?{query}", timeout=120) as answer:
        return answer.status, answer.read()


@pytest.mark.slow
def test_the_address_stands_alone_and_the_run_ends_as_nobody_looks(tuned, tmp_path):
    process = tuned("--port", "0", "--out", str(tmp_path / "run"), *SHORT)
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    address, *rest = out.splitlines()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)  # not wrapped at 20 columns
    assert "written to" in " ".join(rest)
    assert "token" not in "".join(path.read_text(errors="replace") for path in (tmp_path / "run").iterdir())
    with pytest.raises(urllib.error.URLError):
        get(address)


@pytest.mark.long("the run of the test before it, whose lines are those of mcprune run --json")
def test_json_lines_stay_alone_on_standard_output(tuned, tmp_path):
    process = tuned("--port", "0", "--json", "--out", str(tmp_path / "run"), *SHORT)
    out, said = process.communicate(timeout=600)
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "run_done"
    assert "http://127.0.0.1:" in said


@pytest.mark.slow
def test_a_paused_run_waits_and_ctrl_c_hardens_it(tuned, tmp_path):
    process = tuned(
        "--port",
        "0",
        "--paused",
        "--quiet",
        "--out",
        str(tmp_path / "run"),
        *SHORT,
        "--epochs",
        "100000",
        "--start",
        "all",
    )
    address = process.stdout.readline().strip()
    assert get(address)[0] == 200
    # The address is printed before the search begins: the data are loaded first.
    end = time.monotonic() + 600
    while (state := json.loads(get(address, "state")[1]))["status"] == "starting":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert state["status"] == "paused"
    assert state["latest"] == {}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130
    assert json.loads((tmp_path / "run" / "mask.json").read_text())["n_sites"] == 64


@pytest.mark.slow
def test_a_finished_run_is_looked_at_and_not_steered(tuned, tmp_path):
    folder = tmp_path / "run"
    assert main(["run", "--quiet", "--out", str(folder), *SHORT]) == 0
    process = tuned(str(folder), "--port", "0")
    address = process.stdout.readline().strip()
    state = json.loads(get(address, "state")[1])
    assert state["status"] == "done"
    assert state["knobs"] == {}
    assert state["latest"]["figures"]["kept"] == 16
    assert len(state["series"]["columns"]["loss"]) > 3
    request = urllib.request.Request(
        address.replace("?", "knobs?"), b'{"delta": 1}', {"Content-Type": "application/json"}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=120)
    with refused.value as answer:
        assert answer.code == 409
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 0


@pytest.mark.slow
def test_a_run_that_has_not_ended_is_looked_at_with_its_changes(tmp_path):
    from mcprune.config.schema import make_config
    from mcprune.dashboard.recorded import RecordedRun
    from mcprune.session.loop import run
    from mcprune.session.steering.replay import Replay

    options = {"epochs": 12, "hidden": (8,), "retrain_epochs": 1, "compare": "no", "threads": 1, "keep": 16}
    told = list(run(make_config(**options, out=str(tmp_path / "run")), Replay({6: [{"alpha": 2.0}]}, None)))
    whole = RecordedRun(tmp_path / "run")
    assert whole.state()["status"] == "done"
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    cut = next(place for place, line in enumerate(lines) if '"event": "hardened"' in line)
    (tmp_path / "run" / "events.jsonl").write_text("\n".join([*lines[:cut], lines[cut][:20]]))
    for name in ("mask.json", "result.json", "model.json", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    state = RecordedRun(tmp_path / "run").state()
    assert state["status"] == "unfinished"
    assert "mcprune resume" in state["run"]["no_knobs"]
    assert tuple(state["run"]["image_shape"]) == (8, 8)
    assert state["latest"]["mask"]
    (entry,) = state["changes"]
    losses = [event.loss for event in told if event.kind == "progress"]
    assert entry["figures_before"]["loss"] == pytest.approx(sum(losses[:6]) / 6)
    assert entry["figures_after"]["loss"] == pytest.approx(sum(losses[6:16]) / 10)
    assert entry["blocks_after"] == 10


def test_what_cannot_be_is_one_message(tmp_path, capsys):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        assert main(["tune", "--no-browser", "--port", port, "--out", str(tmp_path / "run")]) == 2
        assert f"--port {port} of 127.0.0.1 cannot be listened on" in capsys.readouterr().err
    for arguments, said in (
        (["--port", "http"], "--port takes a number from 0 to 65535, but got 'http'"),
        (["--port", "70000"], "got '70000'"),
        ([str(tmp_path / "nothing")], "there is no folder"),
        ([str(tmp_path)], "not the folder of a run"),
        ([str(tmp_path), "--keep", "3"], "--keep is for a new run"),
        ([str(tmp_path), "--paused"], "--paused is for a new run"),
        (["--prot", "1"], "did you mean '--port'?"),
    ):
        assert main(["tune", "--no-browser", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_run_ends_the_server_too(tmp_path, capsys):
    assert (
        main(
            ["tune", "--no-browser", "--port", "0", "--data", "digits", "--keep", "999", "--out", str(tmp_path / "run")]
        )
        == 2
    )
    said = capsys.readouterr()
    assert "keep=999" in said.err
    assert "http" not in said.out


def test_the_help_is_quick_and_names_the_page_s_options(capsys):
    assert main(["tune", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("--port", "--no-browser", "--paused", "--host", "--keep", "FOLDER"))
